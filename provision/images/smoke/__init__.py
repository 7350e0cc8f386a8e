"""An image booted as in production, and asked for what it serves."""
