"""Every room of `deploy` as a task, and one of this project's own: `fab up`, then `fab greet --path /health`."""

from provision.tasks import ns, task


@task(help={"path": "What to ask for."})
def greet(connection, path="/"):
    """Ask the service on each host, as somebody there would."""
    connection.run(f"curl -fsS http://127.0.0.1:8000{path}")


ns.add_task(greet)
