"""One module a verb; each has a click command named `command` (or a group of them)."""
