"""What a release would lack: models, binaries and inputs of the prepare step that are not in the project's folder.

The same that `provision.release.build` refuses one by one, all at once and without reading a model whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from provision.contract.names import ENVIRONMENT
from provision.errors import UnencodableValue, UsageError
from provision.project.fault import did_you_mean
from provision.project.schema import Project
from provision.project.service import Service
from provision.project.target import Target
from provision.release.files import check_binary
from provision.release.models import declared_files, is_hosts_own, look_at

_INTERPRETERS = ("python", "python3", "bash", "sh", "node")


def lacking(project: Project, targets: Iterable[Target], root: Path) -> Iterator[UnencodableValue]:
    """What `deploy plan` would refuse of the files that `targets` are sent, each thing once."""
    reached = [target for target in targets if target.can.over_ssh]
    if project.prepare and any(target.prepare for target in reached):
        for index, path in enumerate(project.prepare.inputs):
            if not (root / path).exists():
                yield UnencodableValue(f"prepare.inputs[{index}]", f"there is no {path}; make it, or remove it here")
    for name, service in project.services.items():
        if not any(target.runs(name) for target in reached):
            continue
        try:
            for key, model in service.models.items():
                if model in project.models:
                    declared_files(model, project.models[model], root)
                elif not is_hosts_own(model):
                    look_at(model, root, f"services.{name}.{key}")
            if service.binary and not service.binary.startswith("/"):
                path = os.path.normpath(service.binary)
                file = root / path
                check_binary(f"services.{name}.binary", path, found=file.is_file(), executable=os.access(file, os.X_OK))
        except UsageError as error:
            subject, _, what = error.what.partition(": ")
            said = "; ".join(part.rstrip(".") for part in (what, error.why, error.next_step) if part)
            yield UnencodableValue(subject, said)


def absent(project: Project, services: Mapping[str, Service], root: Path) -> Iterator[str]:
    """Commands that begin with a file of the project which is not there, each as a warning."""
    if project.prepare:
        return  # who knows what that makes
    for name, service in services.items():
        words = [word.text for word in service.command[:2] if not word.refs and not word.secrets]
        program = words[0] if words else ""
        if len(words) == 2 and program in _INTERPRETERS and PurePosixPath(words[1]).suffix:
            script = words[1]
        elif "/" in program:
            script = program
        else:
            continue
        path = os.path.normpath(script)
        if script.startswith(("/", "-")) or path.split("/")[0] in ("..", ENVIRONMENT) or (root / path).exists():
            continue
        folder = (root / path).parent
        others = [file.relative_to(root).as_posix() for file in folder.iterdir()] if folder.is_dir() else []
        yield f"services.{name}.command: there is no {path} in the project. {did_you_mean(path, others)}".rstrip()
