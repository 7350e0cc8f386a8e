"""Who gets which request, and what users saw of it."""
