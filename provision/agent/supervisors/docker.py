"""The host's Docker Engine, over its socket (Docker Engine API 1.41, which every engine since 20.10 speaks).

A program is a container of the same name; its manifest is the body of the "create" request, without what only this
host knows. A container is made anew whenever its program changes: it holds its secrets and its release for good.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import tarfile
import time
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Sequence, Set, Tuple
from urllib.parse import quote

from .. import files, launch, processes, strays
from ..layout import Layout
from ..protocol import FAILED, OF_SECRETS, REFUSED, AgentError
from . import ABSENT, LOG_BYTES, Activity, Observed, Supervisor, last_lines

_SOCKET = "/var/run/docker.sock"
_VERSION = "/v1.41"
_LABEL = "bitnet-provision.path"
_SECONDS = 60.0
_CONNECT_SECONDS = 5.0
_PULL_SECONDS = 1800.0
_POLL = 0.03
_FRAME = 8  # bytes before each piece of a log: stream, three zeros, length


class Docker(Supervisor):
    """The containers of one project."""

    kind = "docker"

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.folder = os.path.join(layout.private, "containers")
        self._pulled = os.path.join(layout.private, "images.json")
        self._seen: Dict[str, Tuple[int, int]] = {}  # container -> its process when it was last looked at, its start

    def twin(self) -> Docker:
        other = Docker(self.layout)
        other._marks, other._seen = self._marks, self._seen
        return other

    # What it is

    def gone(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_SECONDS)
            try:
                probe.connect(_SOCKET)
            except (FileNotFoundError, ConnectionRefusedError):
                return True
            except OSError:
                pass  # it is there, and has no time, or not for this user
        return False

    def ready(self) -> None:
        self.usable()
        files.make_folder(self.folder)

    def usable(self) -> None:
        try:
            self._ask("GET", "/_ping")
        except PermissionError:
            raise AgentError(
                REFUSED,
                "this user may not talk to the Docker Engine of the host.",
                next_step="deploy as root or with sudo = true, or add the user to the group docker",
            ) from None
        except (OSError, _NoAnswer) as error:
            raise AgentError(
                REFUSED,
                "no Docker Engine runs on this host.",
                why=getattr(error, "why", "") or f"{_SOCKET}: {error}",
                next_step="start docker there",
            ) from None

    def facts(self) -> Dict[str, object]:
        try:
            version = self._ask("GET", "/version")["Version"]
            state = "running"
        except (AgentError, OSError) as error:
            state, version = str(error), ""
        return {"kind": self.kind, "state": state, "version": version, "include": self.folder}

    def manifest_path(self, manifest: str) -> str:
        return os.path.join(self.folder, manifest)

    def ours(self) -> Dict[str, str]:
        wanted = quote(json.dumps({"label": [f"{_LABEL}={self.layout.root}"]}))
        listed = self._ask("GET", f"/containers/json?all=true&filters={wanted}")
        return {found["Names"][0].lstrip("/"): "" for found in listed}

    def foreign(self, program: str, manifest: str) -> str:  # noqa: ARG002  containers are told by their names
        found = self._inspect(program)
        if found is None or (found["Config"].get("Labels") or {}).get(_LABEL) == self.layout.root:
            return ""
        return f"a container of that name, of image {found['Config']['Image']}, is not this project's"

    # Before anything is disturbed

    def fetch(self, manifest: str) -> None:
        """Pull the image that a manifest names, by digest, unless it is here."""
        image = json.loads(manifest)["Image"]
        if self._try("GET", f"/images/{quote(image, safe='')}/json") is not None:
            return
        name, _, digest = image.partition("@")
        path = f"/images/create?fromImage={quote(name, safe='')}&tag={quote(digest, safe='')}"
        login = self.logins.get(name.partition("/")[0], "")
        said = self._raw("POST", path, accept=(200, 401, 403, 404, 500), seconds=_PULL_SECONDS, login=login)
        if self._try("GET", f"/images/{quote(image, safe='')}/json") is None:
            raise AgentError(
                FAILED,
                f"the engine could not pull {image}.",
                why=_last_words(said),
                next_step="deploy image inspect shows whether it is there; docker login, here, lets the host pull it",
            )
        files.write_json(self._pulled, sorted({*self._images_pulled(), image}))

    # Programs

    def load(self, changed: Sequence[str], removed: Sequence[str]) -> None:
        for program in [*removed, *changed]:
            if self._inspect(program) is not None:
                self._ask("DELETE", f"/containers/{quote(program)}?force=true&v=true")
        for program in changed:
            self._ask("POST", f"/containers/create?name={quote(program)}", self._body(program))
            self._give_secret_files(program)

    def _body(self, program: str) -> Dict[str, Any]:
        with open(self.manifest_path(f"{program}.json"), encoding="utf-8") as stream:
            body: Dict[str, Any] = json.load(stream)
        current = launch.current(self.layout, program)
        folder = os.path.realpath(os.path.join(self.layout.launchers(program), current))
        secrets = launch.exported_secrets(folder)
        release = os.path.realpath(os.path.join(self.layout.launchers(program), current, "release"))
        data = os.path.join(self.layout.shared, "data")
        if not os.path.isdir(data):
            files.make_folder(data)
        # At the same places as on the host: links between them keep their meaning.
        binds = [
            *body["HostConfig"]["Binds"],
            f"{release}:{release}:ro",
            f"{self.layout.models}:{self.layout.models}:ro",
            *(f"{path}:/run/secrets/{name}:ro" for name, path in launch.secret_files(folder).items()),
        ]
        for name, parts in body.pop(OF_SECRETS, {}).items():
            secrets[name] = "".join(part if isinstance(part, str) else secrets[part["secret"]] for part in parts)
        body["Env"] = [*body["Env"], *(f"{name}={value}" for name, value in sorted(secrets.items()))]
        body["WorkingDir"] = release
        body["HostConfig"]["Binds"] = binds
        return body

    def _give_secret_files(self, program: str) -> None:
        """Let the account that the container runs as, and nobody else, read the files of its secrets."""
        current = launch.current(self.layout, program)
        paths = launch.secret_files(os.path.join(self.layout.launchers(program), current)).values()
        if paths:
            uid = self._uid(program)
            for path in paths:
                os.chown(path, uid, -1, follow_symlinks=False)

    def _uid(self, program: str) -> int:
        """The number of the account that a container runs as: of a name, its own /etc/passwd knows it."""
        account = str((self._inspect(program) or {})["Config"]["User"]).partition(":")[0] or "0"
        if account.isdigit():
            return int(account)
        packed = self._raw("GET", f"/containers/{quote(program)}/archive?path=/etc/passwd", accept=(200, 404))
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                stream = archive.extractfile(archive.getmembers()[0])
                lines = stream.read().decode("utf-8", "replace").splitlines() if stream else []
        except tarfile.TarError:
            lines = []
        for line in lines:
            name, _, uid = line.split(":")[:3] if line.count(":") > 2 else ("", "", "")
            if name == account and uid.isdigit():
                return int(uid)
        raise AgentError(FAILED, f"the image of {program} has no account {account!r} in its /etc/passwd.")

    def start(self, program: str) -> None:
        self._marks[program] = time.time()
        self._ask("POST", f"/containers/{quote(program)}/start", accept=(204, 304))

    def stop(self, program: str, timeout: float) -> None:
        self._stop(program, f"?t={max(1, round(timeout))}", timeout)

    def end(self, program: str, timeout: float) -> None:
        self._stop(program, "", timeout)  # what is told here would count in place of the container's own

    def _stop(self, program: str, seconds: str, timeout: float) -> None:
        if self._inspect(program) is None:
            return
        path = f"/containers/{quote(program)}/stop{seconds}"
        self._ask("POST", path, accept=(204, 304), seconds=timeout + 30.0)
        until = time.monotonic() + 5.0
        while self.members(program):
            if time.monotonic() > until:
                raise AgentError(FAILED, f"{program} did not stop.")
            time.sleep(_POLL)

    def observe(self, programs: Sequence[str]) -> Dict[str, Observed]:
        try:
            found = {program: _observed(self._inspect(program)) for program in programs}
        except _NoAnswer as failure:
            return dict.fromkeys(programs, Observed(Activity.ABSENT, detail=failure.what.rstrip(".")))
        self._seen.update({name: (seen.pid, processes.start_time(seen.pid)) for name, seen in found.items()})
        return found

    def strays(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        """Containers outlive an engine that was killed; nothing outlives its container."""
        if not self.gone():
            return super().strays(programs)
        known, written = processes.table(), strays.remembered(self.layout)
        found = {}
        for program in programs:
            pid, began = self._seen.get(program, (written.get(program, 0), -1))
            same = pid and began in (-1, processes.start_time(pid))
            found[program] = processes.family([pid], known) if same else set()
        return found

    def members(self, program: str) -> Set[int]:
        pid = self.observe([program])[program].pid
        return {member for member in processes.family([pid]) if processes.alive(member)} if pid else set()

    def how_it_ended(self, program: str, seen: Observed) -> str:  # noqa: ARG002  the engine told all
        return seen.detail or f"is {seen.activity.value}"

    def log_tail(self, program: str, lines: int = 20, *, exact: bool = False) -> List[str]:
        since = f"&since={self._marks[program]:.3f}" if program in self._marks else ""
        path = f"/containers/{quote(program)}/logs?stdout=true&stderr=true&tail={lines}{since}"
        try:
            return last_lines(self._raw("GET", path, read=_frames), lines, exact)
        except (AgentError, OSError):
            return []

    def tidy(self, manifests: Sequence[str]) -> None:
        """Images that this project pulled and needs no more; one that somebody else's container is of stays."""
        needed = {json.loads(text)["Image"] for text in manifests}
        gone = [image for image in self._images_pulled() if image not in needed]
        for image in gone:
            self._try("DELETE", f"/images/{quote(image, safe='')}")
        if gone:
            files.write_json(self._pulled, sorted(set(self._images_pulled()) - set(gone)))

    def _images_pulled(self) -> List[str]:
        try:
            with open(self._pulled, encoding="utf-8") as stream:
                return list(json.load(stream))
        except (OSError, ValueError):
            return []

    # The socket

    def _inspect(self, program: str) -> Optional[Dict[str, Any]]:
        return self._try("GET", f"/containers/{quote(program)}/json")

    def _try(self, method: str, path: str) -> Optional[Dict[str, Any]]:
        """The answer; None where there is no such thing, or it is in use."""
        found = self._ask(method, path, accept=(200, 204, 404, 409))
        return found if not isinstance(found, dict) or set(found) != {"message"} else None

    def _ask(
        self,
        method: str,
        path: str,
        body: Optional[Dict[str, Any]] = None,
        accept: Sequence[int] = (200, 201, 204),
        seconds: float = _SECONDS,
    ) -> Any:
        content = self._raw(method, path, body, accept, seconds)
        try:
            return json.loads(content) if content else {}
        except ValueError:
            return {}  # "OK", of a ping

    def _raw(
        self,
        method: str,
        path: str,
        body: Optional[Dict[str, Any]] = None,
        accept: Sequence[int] = (200, 201, 204),
        seconds: float = _SECONDS,
        login: str = "",
        read: Callable[[http.client.HTTPResponse], bytes] = http.client.HTTPResponse.read,
    ) -> bytes:
        connection = _Connection(seconds)
        try:
            data = json.dumps(body).encode() if body is not None else None
            headers = {"Content-Type": "application/json"} if data else {}
            if login:
                headers["X-Registry-Auth"] = login
            connection.request(method, _VERSION + path, data, headers)
            answer = connection.getresponse()
            content = read(answer) if answer.status in accept else answer.read(LOG_BYTES)
        except (ConnectionError, FileNotFoundError) as error:
            why, what_now = f"{_SOCKET}: {error}", "start docker there, then: deploy up"
            raise _NoAnswer(FAILED, "the Docker Engine does not answer.", why, what_now) from None
        except http.client.HTTPException as error:
            raise AgentError(
                FAILED, "the Docker Engine answered in a way that can't be read.", why=str(error)
            ) from None
        except socket.timeout:
            raise AgentError(FAILED, f"the Docker Engine did not answer in {seconds:.0f} s.") from None
        finally:
            connection.close()
        if answer.status not in accept:
            raise AgentError(FAILED, f"the Docker Engine refused ({answer.status}): {_message(content)}")
        return content


class _NoAnswer(AgentError):
    """The engine is not there, or ended while it was asked."""


class _Connection(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(_SOCKET)


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace")[:300]


def _last_words(content: bytes) -> str:
    """Why a pull failed: at once as a message, or on the way as the last line of its progress."""
    lines = [line for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    try:
        last = json.loads(lines[-1])
        return str(last.get("error") or last.get("message") or "")
    except (ValueError, IndexError, AttributeError):
        return lines[-1][:300] if lines else ""


def _observed(found: Optional[Dict[str, Any]]) -> Observed:
    if found is None:
        return ABSENT
    state, restarts = found["State"], int(found.get("RestartCount") or 0)
    if state["Restarting"]:
        return Observed(Activity.EXITED, 0, _ending(state), restarts)
    if state["Running"]:
        return Observed(Activity.RUNNING, int(state["Pid"]), "", restarts)
    if state["Status"] == "created":
        return Observed(Activity.STOPPED, 0, "", restarts)
    return Observed(Activity.EXITED, 0, _ending(state), restarts)


def _ending(state: Dict[str, Any]) -> str:
    if state["OOMKilled"]:
        return "was killed because it used more memory than it may"
    return state["Error"] or f"exited with status {state['ExitCode']}"


def _frames(answer: BinaryIO) -> bytes:
    """The last of a log without the heads of its pieces (Engine API, "Attach", stream format).

    A line has no longest length, and a program may write faster than it is read.
    """
    text, until = b"", time.monotonic() + _SECONDS
    head = answer.read(_FRAME)
    while len(head) == _FRAME and time.monotonic() < until:
        left = int.from_bytes(head[4:], "big")
        while left > 0 and time.monotonic() < until:
            block = answer.read(min(left, LOG_BYTES))
            if not block:
                return text
            left -= len(block)
            text = (text + block)[-LOG_BYTES:]
        head = answer.read(_FRAME)
    return text
