"""Written by deploy: run at boot; asks the agent of each project to recover it."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
from typing import Dict

from ..trust import compiled, fault, own, refusal


def main(folder: str, environment: Dict[str, str]) -> None:
    """Recover what is listed in `folder`, the host's own.

    Args:
        environment: what a sandbox has beside the account's.
    """
    os.environ.update(environment)
    projects = os.path.join(folder, "projects")
    if fault(projects):
        sys.exit(f"deploy: {fault(projects)}; no project is recovered")
    for path in sorted(glob.glob(os.path.join(projects, "*.json"))):
        if own(path) or not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8") as stream:
            python, isolated, entry, *words = json.load(stream)["recover"]
        agent = os.path.dirname(os.path.dirname(entry))
        wrong = refusal(agent) if os.path.exists(entry) else "its agent is gone"
        if wrong:
            sys.stderr.write(f"deploy: {path}: {wrong}\n")
            continue
        command = [python, isolated, "-X", "pycache_prefix=" + compiled(), entry]
        subprocess.run(command + words, stdin=subprocess.DEVNULL, check=False)
