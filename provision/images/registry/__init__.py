"""What a registry is asked, and how: names, logins, requests, documents, byte for byte."""
