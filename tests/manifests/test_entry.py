"""With which module a service begins, as its command says."""

from __future__ import annotations

import pytest

from provision.manifests.entry import entry


@pytest.mark.parametrize(
    ("command", "kind", "name", "python"),
    [
        ("uvicorn main:app --port 80", "module", "main", ""),
        ("python3 -m uvicorn --reload web.main:app", "module", "web.main", "python3"),
        ("gunicorn -w 2 -k uvicorn.workers.UvicornWorker shop.wsgi:make()", "module", "shop.wsgi", ""),
        ("uvicorn --app-dir src main:app", "command", "uvicorn", ""),
        ("python -m worker", "run", "worker", "python"),
        ("/opt/py/bin/python3.12 -u -X dev -m worker --x", "run", "worker", "/opt/py/bin/python3.12"),
        ("python -u jobs/run.py --all", "script", "jobs/run.py", "python"),
        ("shop-serve 80", "command", "shop-serve", ""),
        ("rq worker", "command", "rq", ""),
    ],
)
def test_it_is_told_from_the_command(command: str, kind: str, name: str, python: str) -> None:
    assert entry(command.split()) == {"kind": kind, "name": name, "python": python}


@pytest.mark.parametrize("command", ["python -c pass", "python", "/usr/sbin/nginx -g x", "./run.sh", "python - x"])
def test_what_does_not_tell_is_not_asked(command: str) -> None:
    assert entry(command.split()) is None
