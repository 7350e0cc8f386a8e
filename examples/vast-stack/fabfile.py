"""Steps of this team's own around those of `deploy`: `fab release`, `fab deploy.status`, `fab -H gpu-03 gpus`."""

from fabric import task
from invoke import Collection, Exit

from provision import tasks


@task(help={"target": "Where to (default: deploy.target of fabric.yaml)."})
def release(context, target=""):
    """Try the project as canary, ask it as its users do, and promote it; a canary that fails ends."""
    tasks.check(context, target=target)
    tasks.up(context, "canary", target=target)
    try:
        tasks.smoke(context, "canary", target=target)
    except Exit:
        tasks.down(context, "canary", target=target)
        raise
    tasks.promote(context, target=target)


@tasks.task
def gpus(connection):
    """Show what each machine's GPUs are doing."""
    connection.run("nvidia-smi --query-gpu=name,utilization.gpu,memory.used --format=csv,noheader")


@tasks.task(help={"file": "A job for the workers."})
def job(connection, file):
    """Bring a job to each machine, where a worker finds it."""
    connection.put(file, "/workspace/cres/shared/jobs/")


namespace = Collection(release, gpus, job, deploy=tasks.ns)
