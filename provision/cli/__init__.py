"""The command line: thin verbs over the library, and one place that writes to the terminal.

`main` knows every verb by name and summary and imports one only to run it, so `deploy --help` costs what click costs.
"""
