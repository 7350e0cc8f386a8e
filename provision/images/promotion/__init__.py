"""What allows a channel to move, and what is written down when it has."""
