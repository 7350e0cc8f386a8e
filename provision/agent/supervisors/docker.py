"""The host's Docker Engine.

A program is a container of the same name; its manifest is the body of the "create" request, without what only this
host knows. A container is made anew whenever its program changes: it holds its secrets and its release for good.
"""

from __future__ import annotations

import json
import os
import time
from typing import Dict, List, Mapping, Sequence, Set, Tuple
from urllib.parse import quote

from ...contract.failure import FAILED, REFUSED, Failure
from ...contract.layout import OF_HOST, PROJECT_LABEL, Layout
from .. import files, processes, strays
from ..together import side_by_side
from . import docker_engine as engine
from . import docker_ours
from .base import Activity, Observed, Own, Supervisor, last_lines
from .docker_container import give_secret_files, inspect, observed, request
from .log_file import tail
from .unix_http import is_listening

_LINES_KEPT = 1000  # of a container that is removed
_KEPT_UP, _UNLESS_STOPPED = "always", "unless-stopped"
_PULL_SECONDS = 4 * 3600.0  # all in all, of some tens of GB


def on_this_host(layout: Layout, options: Mapping[str, object]) -> Supervisor:  # noqa: ARG001  an engine has none
    """The engine, for one project."""
    return Docker(layout)


class Docker(Supervisor):
    """The containers of one project."""

    kind = "docker"
    in_containers = True

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.folder = layout.containers
        self._pulled = os.path.join(layout.private, "images.json")
        self._seen: Dict[str, Tuple[int, int]] = {}  # container -> its process when it was last looked at, its start

    # What it is

    def gone(self) -> bool:
        return not is_listening(engine.SOCKET)

    def ready(self) -> None:
        self.usable()
        files.make_folder(self.folder)

    def usable(self) -> None:
        try:
            engine.ask("GET", "/_ping")
        except PermissionError:
            raise Failure(
                REFUSED,
                "this user may not talk to the Docker Engine of the host.",
                next_step="deploy as root or with sudo = true, or add the user to the group docker",
            ) from None
        except (OSError, engine.NoAnswer) as error:
            raise Failure(
                REFUSED,
                "no Docker Engine runs on this host.",
                why=getattr(error, "why", "") or f"{engine.SOCKET}: {error}",
                next_step="start docker there",
            ) from None

    def facts(self) -> Dict[str, object]:
        try:
            version = engine.ask("GET", "/version")["Version"]
            state = "running"
        except (Failure, OSError) as error:
            state, version = str(error), ""
        return {"kind": self.kind, "state": state, "version": version, "include": self.folder}

    def manifest_path(self, manifest: str) -> str:
        return os.path.join(self.folder, manifest)

    def ours(self) -> Dict[str, str]:
        wanted = quote(json.dumps({"label": [f"{PROJECT_LABEL}={self.layout.root}"]}))
        listed = engine.ask("GET", f"/containers/json?all=true&filters={wanted}")
        return {found["Names"][0].lstrip("/"): "" for found in listed}

    def foreign(self, manifests: Mapping[str, str]) -> Dict[str, str]:
        taken = {}
        for program in manifests:
            found = inspect(program)
            if found and (found["Config"].get("Labels") or {}).get(PROJECT_LABEL) != self.layout.root:
                taken[program] = f"a container of that name, of image {found['Config']['Image']}, is not this project's"
        return taken

    def own(self, name: str, command: str, folders: Sequence[str]) -> Own:
        files.make_folder(self.folder)
        body = docker_ours.alone(self.layout, command, folders)
        return Own(name, f"{name}.json", json.dumps(body, indent=1, sort_keys=True) + "\n")

    def is_seen_by_own(self, name: str, folder: str) -> bool:
        binds = ((inspect(name) or {}).get("HostConfig") or {}).get("Binds") or []
        places = (folder, os.path.realpath(folder))  # there, and here
        return any(
            all(f"{place}/".startswith(f"{seen}/") for place, seen in zip(places, reversed(bind.split(":")[:2])))
            for bind in binds
        )

    # Before anything is disturbed

    def fetch(self, manifest: str) -> None:
        """Have the image that a manifest names, by digest, unless it is here: pull it, or make ours."""
        image = json.loads(manifest)["Image"]
        if engine.find("GET", f"/images/{quote(image, safe='')}/json") is not None:
            return
        if image == OF_HOST:
            docker_ours.provide()
        else:
            self._pull(image)
        files.write_json(self._pulled, sorted({*self._images_pulled(), image}))

    def _pull(self, image: str) -> None:
        name, _, digest = image.partition("@")
        path = f"/images/create?fromImage={quote(name, safe='')}&tag={quote(digest, safe='')}"
        login = self.logins.get(name.partition("/")[0], "")
        any_ = (200, 401, 403, 404, 500)
        said = engine.read("POST", path, accept=any_, seconds=_PULL_SECONDS, login=login, reader=engine.last)
        if engine.find("GET", f"/images/{quote(image, safe='')}/json") is None:
            raise Failure(
                FAILED,
                f"the engine could not pull {image}.",
                why=engine.last_words(said),
                next_step="deploy image inspect shows whether it is there; docker login, here, lets the host pull it",
            )

    def labels(self, manifest: str) -> Mapping[str, str]:
        image = engine.ask("GET", f"/images/{quote(json.loads(manifest)['Image'], safe='')}/json")
        return (image.get("Config") or {}).get("Labels") or {}

    # Programs

    def load(self, changed: Sequence[str], removed: Sequence[str]) -> None:
        for program in [*removed, *changed]:
            if inspect(program) is not None:
                if program in removed:  # its log goes with it, and it may have failed
                    said = "\n".join(self.log_tail(program, _LINES_KEPT))
                    files.write(self._kept_log(program), said, 0o600)
                engine.ask("DELETE", f"/containers/{quote(program)}?force=true&v=true")
        for program in changed:
            body = request(self.layout, program, self.manifest_path(f"{program}.json"))
            if body["Image"] == OF_HOST:
                docker_ours.provide()  # another project may have been the last one here to need it
            engine.ask("POST", f"/containers/create?name={quote(program)}", body)
            if body["Image"] != OF_HOST:
                give_secret_files(self.layout, program)

    def _start(self, programs: Sequence[str]) -> None:
        for program in programs:
            engine.ask("POST", f"/containers/{quote(program)}/start", accept=(204, 304))
            self._restart(program, _KEPT_UP)

    def stop(self, timeouts: Mapping[str, float]) -> None:
        side_by_side(lambda name: self._stop(name, f"?t={max(1, round(timeouts[name]))}", timeouts[name]), timeouts)

    def end(self, programs: Sequence[str], timeout: float) -> None:
        # What is told here would count in place of the container's own.
        side_by_side(lambda name: self._stop(name, "", timeout), programs)

    def _stop(self, program: str, seconds: str, timeout: float) -> None:
        if inspect(program) is None:
            return
        self._restart(program, _UNLESS_STOPPED)
        path = f"/containers/{quote(program)}/stop{seconds}"
        engine.ask("POST", path, accept=(204, 304), seconds=timeout + 30.0)
        self._await_end([program])

    @staticmethod
    def _restart(program: str, policy: str) -> None:
        """Let the engine start it anew by this policy, where its manifest says that it does in any case.

        An engine that was killed ends containers when it comes back, and takes them for stopped by somebody: only those
        that are always started it starts again (Moby's daemon.restore, 20.10). And these it starts with the host,
        whoever stopped them. So what runs has the one policy, and what was stopped the other.
        """
        has = ((inspect(program) or {}).get("HostConfig") or {}).get("RestartPolicy") or {}
        if has.get("Name") in (_KEPT_UP, _UNLESS_STOPPED) and has["Name"] != policy:
            engine.ask("POST", f"/containers/{quote(program)}/update", {"RestartPolicy": {"Name": policy}})

    def observe(self, programs: Sequence[str]) -> Dict[str, Observed]:
        try:
            found = {program: observed(inspect(program)) for program in programs}
        except engine.NoAnswer as failure:
            return dict.fromkeys(programs, Observed(Activity.ABSENT, detail=failure.what.rstrip(".")))
        self._seen.update({name: (seen.pid, processes.start_time(seen.pid)) for name, seen in found.items()})
        return found

    def restarts(self, counts: Mapping[str, int], seconds: float) -> Dict[str, List[float]]:
        """As the engine remembers: its last 256 events, of all containers together."""
        again = [name for name, count in counts.items() if count]
        if not again:
            return {}
        now = time.time()
        only = json.dumps({"type": ["container"], "event": ["start"], "container": again})
        path = f"/events?since={now - seconds:.0f}&until={now:.3f}&filters={quote(only)}"
        try:
            events = [json.loads(line) for line in engine.read("GET", path).splitlines()]
            starts = [(str(event["Actor"]["Attributes"]["name"]), now - event["timeNano"] / 1e9) for event in events]
        except (Failure, OSError, ValueError, KeyError, TypeError):
            return {}
        found = {name: sorted(ago for started, ago in starts if started == name) for name in again}
        return {name: ago[: counts[name]] for name, ago in found.items()}  # those of before were by hand

    def strays(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        """Containers outlive an engine that was killed; nothing outlives its container."""
        if not self.gone():
            return super().strays(programs)
        known, written = processes.table(), strays.remembered(self.layout)
        found = {}
        for program in programs:
            pid, began = self._seen.get(program, (written.get(program, 0), -1))
            same = pid and began in (-1, processes.start_time(pid))
            found[program] = known.family([pid]) if same else set()
        return found

    def families(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        seen, known = self.observe(programs), processes.table()
        return {name: {pid for pid in known.family([seen[name].pid]) if processes.alive(pid)} for name in programs}

    def log_tail(self, program: str, lines: int = 20, *, exact: bool = False) -> List[str]:
        since = f"&since={self._marks[program]:.3f}" if program in self._marks else ""
        path = f"/containers/{quote(program)}/logs?stdout=true&stderr=true&tail={lines}{since}"
        try:
            return last_lines(engine.read("GET", path, reader=engine.frames), lines, exact)
        except (Failure, OSError):
            return last_lines(tail(self._kept_log(program)), lines, exact) if program not in self._marks else []

    def _kept_log(self, program: str) -> str:
        """What is kept of the log of a container that was removed."""
        return os.path.join(self.folder, f"{program}.log")

    def tidy(self, manifests: Sequence[str]) -> None:
        """Images that this project pulled and needs no more; one that somebody else's container is of stays."""
        needed = {json.loads(text)["Image"] for text in manifests}
        gone = [image for image in self._images_pulled() if image not in needed]
        for image in gone:
            engine.find("DELETE", f"/images/{quote(image, safe='')}")
        if gone:
            files.write_json(self._pulled, sorted(set(self._images_pulled()) - set(gone)))

    def _images_pulled(self) -> List[str]:
        try:
            with open(self._pulled, encoding="utf-8") as stream:
                return list(json.load(stream))
        except (OSError, ValueError):
            return []
