"""Whether a run of GitHub Actions works for a fork's pull request: for code that nobody of the project has agreed to.

A runner says what it was started by in two variables, GITHUB_EVENT_NAME and GITHUB_EVENT_PATH (GitHub's "Variables
reference"); the file holds the event as a webhook tells it. Events that come with a pull request name its two
repositories; `workflow_run` names the one whose commit began the run before. A comment on a pull request does not say
whose code is meant, and a file that can't be read says nothing: both count as a fork's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from provision.errors import Refused
from provision.project.suspects import looks_secret

_OF_CODE = ("pull_request", "workflow_run", "issue_comment")  # how the events begin that may be about others' code
_LARGEST = 32 * 1024 * 1024  # bytes of an event; GitHub sends none over 25 MB


def is_fork(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process works for a pull request of a fork, as far as the runner says; False outside of one."""
    environ = os.environ if environ is None else environ
    name = environ.get("GITHUB_EVENT_NAME", "")
    if environ.get("GITHUB_ACTIONS") != "true" or not name.startswith(_OF_CODE):
        return False
    said = event(environ)
    if name == "issue_comment":
        return not isinstance(said.get("issue"), dict) or "pull_request" in said["issue"]
    if name == "workflow_run":
        return _differ(_of(said, "workflow_run", "head_repository"), _of(said, "repository"))
    return _differ(_of(said, "pull_request", "head", "repo"), _of(said, "pull_request", "base", "repo"))


def refuse_fork(what: str, environ: Mapping[str, str] | None = None) -> None:
    """Refuse `what` for a fork's pull request.

    Args:
        what: a sentence's subject and verb, such as "a preview is not deployed".

    Raises:
        Refused: this works for one.
    """
    if is_fork(environ):
        raise Refused(
            f"{what} for a fork's pull request.",
            why="Its code is not the project's, so it gets no secrets, no hooks, no secret commands and no preview.",
            next_step="review it, push its commits to a branch of this repository, and run the workflow there",
        )


class Given(NamedTuple):
    """What a declaration may take its variables from, as `provision.project.load` has it."""

    environ: Mapping[str, str]
    env_file: Path | None


def given(env_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Given:
    """What deploy.toml may name: everything; but a fork's can send it to a host of its own, so it gets nothing secret.

    No file of variables then: a fork's could say where the key of a provider is sent, and the job's has secrets.
    """
    environ = os.environ if environ is None else environ
    if not is_fork(environ):
        return Given(environ, env_file)
    return Given({name: value for name, value in environ.items() if not looks_secret(name, value)}, Path(os.devnull))


def event(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the run was started by; empty where that can't be read."""
    try:
        with Path(environ.get("GITHUB_EVENT_PATH", "")).open("rb") as stream:
            said = json.loads(stream.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _of(said: Any, *keys: str) -> Any:
    for key in keys:
        said = said.get(key) if isinstance(said, dict) else None
    return said


def _differ(head: Any, base: Any) -> bool:
    """Whether two repositories are not surely one; that of a fork which was removed is null."""
    one, other = _of(head, "id"), _of(base, "id")
    return one is None or one != other
