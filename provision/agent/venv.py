"""What is first on the PATH of what runs in a release: the environment that it links."""

from __future__ import annotations

import os
from typing import Mapping, Optional

from ..contract.names import ENVIRONMENT

SYSTEM = "/usr/local/bin:/usr/bin:/bin"


def on_path(folder: str, env: Optional[Mapping[str, str]] = None) -> Optional[Mapping[str, str]]:
    """`env`, or our own, for what runs in the release in `folder`; as it is where that has no environment."""
    venv = os.path.join(os.path.realpath(folder), ENVIRONMENT)
    if not os.path.isdir(venv):
        return env
    env = dict(os.environ if env is None else env)
    return {**env, "PATH": f"{venv}/bin:{env.get('PATH', SYSTEM)}", "VIRTUAL_ENV": venv}
