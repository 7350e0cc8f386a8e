"""`python -m provision.cli` is `deploy`."""

from provision.cli.program import run

run()
