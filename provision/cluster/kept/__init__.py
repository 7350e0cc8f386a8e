"""What a cluster keeps of a project: its releases, what is ours, who deploys, what was signed."""
