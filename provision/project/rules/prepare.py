"""Rules about the prepare step: what it reads and makes lies inside the release."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from provision.contract.names import OURS
from provision.project.fault import Fault
from provision.project.rules.view import Sound


def _paths(view: Sound) -> Iterator[Fault]:
    step = view.prepare
    for key, paths in (("inputs", step.inputs), ("outputs", step.outputs)) if step else ():
        for index, path in enumerate(paths):
            yield from _inside(key, index, path)


def _inside(key: str, index: int, path: str) -> Iterator[Fault]:
    plain = posixpath.normpath(path)
    if not path or path.startswith("/") or plain == "." or ".." in plain.split("/") or "\0" in path:
        yield Fault(("prepare", key, index), "expected a path inside the project.", 'Such as "data" or "web/dist".')
    elif plain != path:
        yield Fault(("prepare", key, index), "a path has one spelling here.", f'Write "{plain}".')
    elif key == "outputs" and plain.split("/")[0] in OURS:
        yield Fault(("prepare", key, index), "a release has a file of deploy's by that name.", "Choose another.")


def _apart(view: Sound) -> Iterator[Fault]:
    outputs = view.prepare.outputs if view.prepare else ()
    for index, path in enumerate(outputs):
        before = outputs[:index]
        if path in before:
            yield Fault(("prepare", "outputs", index), f'"{path}" is named twice.')
            continue
        for other in before:
            inner, outer = sorted((path, other), key=len, reverse=True)
            if inner.startswith(outer + "/") and outer:
                yield Fault(("prepare", "outputs", index), f'"{inner}" lies in "{outer}".', f'Keep "{outer}".')


RULES = (_paths, _apart)
