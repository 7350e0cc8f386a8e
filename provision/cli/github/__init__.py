"""`deploy` as a step of a GitHub workflow (action.yml): its events as log lines, annotations and a job summary."""
