"""`deploy image promote` without click, where it is written as plainly as CI does.

Such a run is a few requests, and click takes as long to import as half of them. Only what click reads in the same way
is read here; help, mistakes and all other spellings are left to it, so that one place judges what people write.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_OPTIONS = {"--from": "origin", "--to": "goal", "--key": "key", "--dir": "directory", "-C": "directory"}
_FLAGS = {"--dry-run": "dry_run", "--json": "as_json"}
_COMPLETION = "_DEPLOY_COMPLETE"  # a shell asks click what could come next


def read(words: Sequence[str]) -> dict[str, Any] | None:
    """What was asked for, by the names that click gives it, without what was left out; None: let click read it."""
    if list(words[:2]) != ["image", "promote"] or _COMPLETION in os.environ:
        return None
    found: dict[str, Any] = {}
    rest = iter(words[2:])
    for word in rest:
        if word in _FLAGS:
            found[_FLAGS[word]] = True
            continue
        place, value = (_OPTIONS[word], next(rest, "")) if word in _OPTIONS else ("name", word)
        if not value or value.startswith("-") or place in found:
            return None
        found[place] = value
    if "name" not in found:
        return None
    for place, is_right in (("key", Path.is_file), ("directory", Path.is_dir)):
        if place in found:
            found[place] = Path(found[place])
            if not is_right(found[place]) or not os.access(found[place], os.R_OK):
                return None
    return found


def run(asked: dict[str, Any]) -> int:
    """Do what `read` found; the exit code."""
    from provision.cli.channels import promote
    from provision.cli.session import Session

    own = {name: asked.pop(name) for name in ("as_json", "directory") if name in asked}
    with Session(**own) as session:
        promote(session, **asked)
    return 0
