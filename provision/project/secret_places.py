"""Places that hold no secret: why not, and how it is done instead."""

from __future__ import annotations

from provision.project.checks import KINDS
from provision.project.fault import Fault, Path
from provision.project.template import SecretPart


def refused(path: Path, part: SecretPart) -> Fault:
    """`part` stands at `path`, which holds no secret."""
    why, way = _place(path, part.name)
    if part.like:
        way = f"If that is chance, change one of the two values. If not: {way[:1].lower()}{way[1:]}"
    return Fault(path, f"{part}, and {why}.", way)


def _place(path: Path, name: str) -> tuple[str, str]:
    match path:
        case ("services", str(service), "command" | "args", *_):
            return (
                "arguments are seen by every account of the host and kept in the release",
                (
                    f'Let the program read its environment: services.{service}.secrets = ["{name}"]. Or a file: '
                    f'secret_files = ["{name}"], '
                    f'secret_args = {{ {name} = ["--key-file", "${{secret_files.{name}}}"] }}.'
                ),
            )
        case ("services", _, "secret_args", str(secret), *_):
            return (
                "arguments are seen by every account of the host and kept in the release",
                f'Write "${{secret_files.{secret}}}", the path of its file.',
            )
        case ("services", _, "check" | "checks" | "warm", *rest) if special := [
            kind.no_secret for key, kind in KINDS.items() if key in rest and kind.no_secret
        ]:
            return special[0](name)
        case ("checks", *_):
            return (
                "a check is kept in the release and in logs",
                f'Move it to the service that has the secret, and send it: token = "{name}".',
            )
        case ("prepare", "command", *_):
            return (
                "arguments are seen by every account of the host and kept in the release",
                f'Let the step read its environment: prepare.secrets = ["{name}"].',
            )
        case ("once", str(step), "command" | "undo", *_):
            return (
                "arguments are seen by every account of the host and kept in the release",
                f'Let it read its environment: once.{step}.secrets = ["{name}"].',
            )
        case ("targets", *_):
            return "what says where a target is, is shown and logged", "Give it a variable that is no secret."
        case ("secrets" | "hooks", *_):
            return "arguments are seen by every account of this machine", "Let the program find it by itself."
        case _:
            return (
                "what stands here is part of every release",
                "Give it a variable that is no secret. In a service, env and secret_files hold secrets.",
            )
