"""Who does something, and where: for records, not for permission. A registry's own accounts decide who may write."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping


def actor(environ: Mapping[str, str] | None = None) -> str:
    """The person: whom GitHub Actions names, or who is logged in."""
    environ = os.environ if environ is None else environ
    if environ.get("GITHUB_ACTIONS") == "true" and environ.get("GITHUB_ACTOR"):
        return environ["GITHUB_ACTOR"]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have a number alone
        return str(os.getuid())


def where(environ: Mapping[str, str] | None = None) -> str:
    """The workflow run, or the machine."""
    environ = os.environ if environ is None else environ
    if environ.get("GITHUB_ACTIONS") == "true":
        return "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(
            {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "?", "GITHUB_RUN_ID": "?", **environ}
        )
    return socket.gethostname()
