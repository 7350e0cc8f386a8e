"""Models by where they are: found, judged by their headers, and written down, before a byte of their weights moves."""
