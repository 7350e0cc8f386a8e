"""`deploy init`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from platform import libc_ver
from typing import TYPE_CHECKING

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.engines import IN_IMAGE
from provision.errors import DeployError
from provision.project.environment import read_environment
from provision.project.platforms import OF_IMAGES, OVER_SSH, PLATFORMS
from provision.project.sandbox import SANDBOX

if TYPE_CHECKING:
    from provision.project.init import Answers


@verb("init", example="deploy init\ndeploy init --name cres --on ann@gpu.example.net --platform systemd", hosts=False)
@click.option("--name", help="The project's name (default: the folder's).")
@click.option("--on", metavar="[USER@]HOST[:PORT]", help='Where it runs; "sandbox" is a throwaway host here.')
@click.option("--platform", type=click.Choice(OVER_SSH), help="What starts programs there.")
@click.option(
    "--wheels", type=click.Choice(["host", "ship"]), help="ship: packages are collected here, for such a host."
)
@click.option("--image", metavar="NAME@sha256:…", help="docker: what the containers are made of.")
@click.option("--yes", is_flag=True, help="Ask nothing; take what the folder suggests.")
def command(
    session: Session,
    name: str | None,
    on: str | None,
    platform: str | None,
    wheels: str | None,
    image: str | None,
    yes: bool,
) -> None:
    """Write a commented deploy.toml for the project in this folder.

    It looks for an app (FastAPI, Starlette, Flask, Django, or a program that is just started), for the file that names
    its packages, for a model and a worker, and asks for what it can't see. An existing file is never changed.
    """
    from provision.haproxy import is_for
    from provision.project import init

    answers = init.propose(session.directory)
    if session.console.is_interactive and not yes:
        name = name or click.prompt("Name of the project", default=answers.name, err=True)
        on = on or click.prompt("Where it runs, [user@]host[:port]", default=answers.host, err=True)
    answers = replace(
        answers,
        name=init.slug(name or answers.name),
        host=on or answers.host,
        ships=wheels == "ship",
        image=image,
    )
    seen = _look(session.directory, answers)
    platform = platform or (OF_IMAGES[0] if image else seen.get("platform", answers.platform))
    is_root = seen.get("uid", "0") == "0"
    answers = replace(
        answers,
        platform=platform,
        path=None if is_root else f"{seen.get('home', '')}/{answers.name}",
        rights=seen.get("rights", "") if not is_root and PLATFORMS[platform].user_units else "",
        server=IN_IMAGE if answers.model and "server" in seen else None,
        traffic="problem" in seen or "haproxy" in seen or is_for(seen.get("machine", ""), seen.get("library", "")),
    )
    file = init.write(session.directory, answers)
    found = {
        "app": answers.app.place if answers.app else None,
        "packages": answers.packages.file if answers.packages else None,
        "model": answers.model,
        "worker": answers.worker.module if answers.worker else None,
    }
    kinds = {"app": f", a {answers.app.kind}" if answers.app else ""}
    notes = [*answers.notes]
    if not answers.traffic:
        notes.append("no HAProxy can be had there, so nothing stands before the services (targets.NAME.traffic)")
    if seen.get("problem"):
        notes.append(f"the host could not be looked at, so what it has is guessed: {seen['problem']}")
    session.console.answer(
        {"event": "result", "file": str(file), "name": answers.name, **found, "notes": notes},
        [
            f"wrote {file}",
            *(f"  found {what}: {where}{kinds.get(what, '')}" for what, where in found.items() if where),
            *(f"  {note}" for note in notes),
            "next: deploy check, then deploy up"
            if answers.app or answers.model
            else "next: edit it, then deploy check",
        ],
    )


def _look(directory: Path, answers: Answers) -> dict[str, str]:
    """What the host has, as far as it lets us in without a question: see `_LOOK`; or the `problem` with it."""
    from provision.hosts import connect, parse_hosts

    known = read_environment(directory / ".env", ".env", os.environ, required=False).variables
    host, identity = (
        re.sub(r"\$\{(\w+)\}", lambda named: known.get(named[1], ""), text) for text in (answers.host, answers.identity)
    )
    if answers.host == SANDBOX:
        return {"machine": os.uname().machine, "library": libc_ver()[0]}
    if host == "root@:":
        return {"problem": ""}
    try:
        key = Path(identity).expanduser() if "VAST_" in answers.host else None
        (spec,) = parse_hosts([host], identity=key, known_hosts=(directory / "known_hosts",), connect_timeout=5)
        with connect(spec, retries=0) as connection:
            told = connection.run(["sh", "-c", _LOOK, "sh", IN_IMAGE], timeout=20).stdout
            return dict(line.split("=", 1) for line in told.decode(errors="replace").splitlines() if "=" in line)
    except DeployError as error:
        return {"problem": error.what}
    except (OSError, ValueError) as error:
        return {"problem": str(error)}


# sd_booted(3). `rights` is how one who is not root may have units.
_LOOK = """
if [ -d /run/systemd/system ]; then echo platform=systemd; fi
echo "uid=$(id -u)"
echo "home=$HOME"
if sudo -n true 2>/dev/null; then echo rights=sudo; else echo rights=user_units; fi
if [ -x "$1" ]; then echo server=1; fi
echo "machine=$(uname -m)"
if getconf GNU_LIBC_VERSION >/dev/null 2>&1; then echo library=glibc; fi
if PATH=/usr/sbin:/usr/local/sbin:$PATH command -v haproxy >/dev/null; then echo haproxy=1; fi
"""
