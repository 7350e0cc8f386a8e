"""What an apply would change, and the apply itself."""
