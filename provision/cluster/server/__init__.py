"""The API server of a target: who asks it, how often, and what it gives back."""
