"""Names that come over the wire and become paths, judged in one place before anything is done with them.

The toolkit has judged them too. But whoever speaks to the agent speaks to an account that may be root, and a name such
as `../../etc/cron.d/x` must not depend on the other side's care.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, Tuple

from .failure import REFUSED, Failure

if TYPE_CHECKING:
    from .release import EnvironmentDocument, ReleaseDocument

RELEASE_DOCUMENT = "release.json"
PARTIAL = ".deploy"  # where rsync keeps what was cut, in each folder of an upload: a name that no project ships
ENVIRONMENT = ".venv"  # the link of a release to its Python environment
OURS = (RELEASE_DOCUMENT, ".complete", PARTIAL)  # at the top of a release, or of what a step has prepared
_SHA256 = re.compile(r"[0-9a-f]{64}")


def begun(prefix: str, releases: Iterable[str]) -> List[str]:
    """The releases that `prefix` may mean: those whose ids begin with it."""
    return [release for release in releases if release.startswith(prefix)]


def judge(request: Mapping[str, Any]) -> None:
    """Refuse a request with a name that leads elsewhere than its kind of name may.

    Raises:
        Failure: it has one.
    """
    for key, rule in _RULES.items():
        if request.get(key):
            rule(key, request[key])
    if request.get("program") and request.get("op") != "adopt-engine":  # whose program is a text
        component("program", request["program"])
    for key, (what, rule) in _EACH.items():
        for name in request.get(key, ()):
            rule(what, name)
    for wheel in request.get("wheels", {}).values():
        component("wheel", wheel["file"])
    for wheel in [*request.get("uv", {}).values(), *request.get("haproxy", {}).values()]:
        component("wheel", wheel["file"])
        _sha256("wheel", wheel["sha256"])
    if request.get("environment"):
        _environment(request["environment"])
    if request.get("document"):
        _document(request["document"])
    if request.get("seal"):
        judge(request["seal"])


def below(path: str, folders: Iterable[str]) -> bool:
    """Whether `path` lies in one of `folders`."""
    return any(path.startswith(folder + "/") for folder in folders)


def component(what: str, name: Any) -> None:
    """One step of a path, and not one up."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name or len(name) > 255:
        raise Failure(REFUSED, f"{what} {name!r} can't be the name of a file.")


def inside(what: str, path: Any) -> None:
    """A path that stays below where it begins, as far as its words say."""
    if (
        not isinstance(path, str)
        or "\0" in path
        or path.startswith("/")
        or path in ("", ".")
        or posixpath.normpath(path) != path
        or ".." in path.split("/")
    ):
        raise Failure(REFUSED, f"{what} {path!r} is not a path inside the release.")


def path_below(folder: str, what: str, path: str) -> str:
    """Where `path` lies below `folder`, once no link on the way there leads out of it. What it names may be a link.

    Raises:
        Failure: one does.
    """
    inside(what, path)
    full = os.path.join(folder, path)
    base, parent = os.path.realpath(folder), os.path.realpath(os.path.dirname(full))
    if parent != base and not parent.startswith(base + "/"):
        raise Failure(REFUSED, f"{what} {path!r} leads out of the release: a link on its way goes to {parent}.")
    return full


def outputs(paths: Any) -> None:
    """What a prepare step makes, or programs write to: apart from each other and from our own files."""
    paths = list(paths)
    for at, path in enumerate(paths):
        inside("output", path)
        if path.split("/")[0] in OURS:
            raise Failure(REFUSED, f"output {path!r} is a name of our own.")
        for other in paths[:at]:
            if (path + "/").startswith(other + "/") or (other + "/").startswith(path + "/"):
                raise Failure(REFUSED, f"output {path!r} and output {other!r} lie in each other.")


def _sha256(what: str, name: Any) -> None:
    if not isinstance(name, str) or not _SHA256.fullmatch(name):
        raise Failure(REFUSED, f"{what} {name!r} is no sha256.")


_RULES: Dict[str, Callable[[str, Any], None]] = {
    "nonce": component,
    "release": component,
    "channel": component,
    "name": component,
    "engine": component,
    "sha256": _sha256,
}
# Keys with several, what sentences call one, and its rule.
_EACH: Dict[str, Tuple[str, Callable[[str, Any], None]]] = {
    "models": ("model", _sha256),
    "engines": ("engine", component),
    "remove": ("remove", inside),
    "secrets": ("secrets", component),
    "documents": ("documents", component),
    "programs": ("programs", component),
}


def _environment(environment: EnvironmentDocument) -> None:
    _sha256("environment", environment["id"])
    layer = environment.get("layer")
    if layer is None:
        return
    _sha256("environment", layer["id"])
    for source in layer["sources"]:
        if source != ".":
            inside("source", source)
    for name in [*layer["scripts"], *(each["name"] + each["version"] for each in layer["distributions"])]:
        component("script", name)


def _document(document: ReleaseDocument) -> None:
    for path in document.get("links", ()):
        inside("link", path)
    for path in document.get("texts", ()):
        inside("text", path)
    for path, model in document.get("models", {}).items():
        inside("model", path)
        _sha256("model", model["sha256"])
    for engine in document.get("engines", ()):
        component("engine", engine)
    if "environment" in document:
        _environment(document["environment"])
    step = document.get("prepare")
    if step:
        for path in step["inputs"]:
            inside("input", path)
        outputs(step["outputs"])
    outputs(document.get("data", ()))
    for lane, content in document.get("lanes", {}).items():
        component("lane", lane)
        for service in content["services"]:
            component("program", service["program"])
            component("manifest", service["manifest"]["name"])
            for secret in service["secrets"]:
                component("secret", secret)
