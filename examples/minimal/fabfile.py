"""Every room of `deploy` as a task, and one of this project's own: `fab up`, then `fab greet --path /health`."""

import shlex

from provision.tasks import ns, task

ASK = "import sys, urllib.request as http; sys.stdout.write(http.urlopen(sys.argv[1], timeout=10).read().decode())"


@task(help={"path": "What to ask for."})
def greet(connection, path="/"):
    """Ask the service on each host, as somebody there would."""
    connection.run(shlex.join(["python3", "-c", ASK, f"http://127.0.0.1:8000{path}"]))


ns.add_task(greet)
