"""Whether what was applied runs, and is proven."""
