"""Rules about folders of a release: what the prepare step reads and makes, and what outlives it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from provision.contract.names import OURS
from provision.project.fault import Fault, Path
from provision.project.rules.view import Sound
from provision.project.service import Service


def _paths(view: Sound) -> Iterator[Fault]:
    step = view.prepare
    for key, paths in (("inputs", step.inputs), ("outputs", step.outputs)) if step else ():
        for index, path in enumerate(paths):
            yield from _inside(("prepare", key, index), path, made=key == "outputs")
    for where, path, _ in _data_paths(view):
        yield from _inside(where, path, made=True)


def _data_paths(view: Sound) -> Iterator[tuple[Path, str, Service]]:
    for name, service in view.services.items():
        yield from ((("services", name, "data", index), path, service) for index, path in enumerate(service.data))


def _inside(where: Path, path: str, *, made: bool) -> Iterator[Fault]:
    plain = posixpath.normpath(path)
    if not path or path.startswith("/") or plain == "." or ".." in plain.split("/") or "\0" in path:
        yield Fault(where, "expected a path inside the project.", 'Such as "data" or "web/dist".')
    elif plain != path:
        yield Fault(where, "a path has one spelling here.", f'Write "{plain}".')
    elif made and plain.split("/")[0] in OURS:
        yield Fault(where, "a release has a file of deploy's by that name.", "Choose another.")


def _apart(view: Sound) -> Iterator[Fault]:
    outputs = view.prepare.outputs if view.prepare else ()
    named: list[tuple[Path, str]] = [(("prepare", "outputs", index), path) for index, path in enumerate(outputs)]
    named += [(where, path) for where, path, _ in _data_paths(view)]
    for at, (where, path) in enumerate(named):
        before = named[:at]
        # Two services may write to one folder, which neither names twice.
        if any(
            path == other and other_where[:2] in (where[:2], ("prepare", "outputs")) for other_where, other in before
        ):
            yield Fault(where, f'"{path}" is named twice.')
            continue
        for _, other in before:
            inner, outer = sorted((path, other), key=len, reverse=True)
            if outer and inner.startswith(outer + "/"):
                yield Fault(where, f'"{inner}" lies in "{outer}".', f'Keep "{outer}".')


def _data(view: Sound) -> Iterator[Fault]:
    writers: dict[str, str | None] = {}
    for where, path, service in _data_paths(view):
        places = [target for target in view.targets.values() if where[1] in view.chosen(target)]
        if places and not any(target.can.on_host for target in places):
            hint = 'Give it a volume: volumes = { data = { path = "/data", size = "1GiB" } }.'
            yield Fault(where, "it runs in containers alone, and there this counts for nothing.", hint)
        if writers.setdefault(path, service.user) != service.user:
            message = f'"{path}" is another account\'s already, which another service runs as.'
            yield Fault(where, message, "Let both run as one user, or write to folders of their own.")


RULES = (_paths, _apart, _data)
