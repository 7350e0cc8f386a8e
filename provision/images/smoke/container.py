"""A container of an image, as it would run in production: its own entrypoint, limits, nothing to write to, no network.

Requests are made inside it by the image's own probe, so that it needs no network and the engine may be far away.
"""

from __future__ import annotations

import io
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar

from docker.errors import APIError, DockerException, NotFound
from docker.types import Healthcheck

from provision.agent.checks.check import Answer, Failed
from provision.errors import DeployError, UsageError
from provision.images.build.labels import DRAINS_LABEL, PORT_LABEL, PROBE_LABEL, SECRETS_LABEL, SERVES_LABEL

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.images import Image

_SECOND = 10**9  # durations of the API are nanoseconds
_NAME = "deploy-smoke"
_LOG_LINES = 20
_POLL = 0.05
_GRACE = 5  # seconds: a probe that waits says better than we what is missing
_SAID = 300  # characters of what a command says that are kept, the last ones
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Limits:
    """What it may use, and is told."""

    memory: int = 1 << 30
    cpus: float = 2.0
    network: str = "none"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Booted:
    """One that was started, as checks reach it: each fails where the container does not do as it should."""

    container: Container
    probe: tuple[str, ...]
    serves: str  # "llama", "http" or "stdin"
    drains: bool

    def ask(self, url: str, seconds: float = 5, body: bytes | None = None) -> Answer:
        """`url` is a path. Any answer but 2xx fails."""
        patience = max(1, round(seconds))  # for each piece of the answer
        words = ["-t", str(patience), url, *([body.decode()] if body is not None else [])]
        return Answer(0, self._probe(words, patience), {})

    def connect(self, host: str, port: int, seconds: float) -> None:  # noqa: ARG002  # it has one address
        self._probe(["-p", str(port)], seconds)

    def run(self, argv: Sequence[str], seconds: float, env: Mapping[str, str] | None = None) -> str:
        return self.exec(argv, seconds, env)[-_SAID:]

    def said(self) -> str:
        return "\n".join(self.log())

    def _probe(self, words: list[str], seconds: float) -> str:
        if not self.probe[0]:
            raise Failed(f"the image has no probe to ask with (label {PROBE_LABEL})")
        return self.exec([*self.probe, *words], seconds + _GRACE)

    def exec(self, argv: Sequence[str], seconds: float = 60, env: Mapping[str, str] | None = None) -> str:
        """What a command inside says. One that is too slow goes with the container."""
        outcome: Future[str] = Future()

        def run() -> None:
            try:
                done = self.container.exec_run(list(argv), demux=True, environment=dict(env or {}))
                parts: tuple[bytes | None, bytes | None] = done.output  # type: ignore[assignment]  # because of demux
                out, err = ((part or b"").decode(errors="replace") for part in parts)
                if done.exit_code:
                    raise Failed((err or out).strip()[-_SAID:] or f"exit status {done.exit_code}")
                outcome.set_result(out)
            except Exception as error:  # of that thread, for this one
                outcome.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            return outcome.result(seconds)
        except TimeoutError:
            raise Failed(f"it did not end within {seconds:.0f} s") from None
        except APIError as error:
            raise Failed(str(error.explanation or error)) from None

    @property
    def hostname(self) -> str:
        return str(self.container.attrs["Config"]["Hostname"])

    def until(self, limit: float, attempt: Callable[[], _Found]) -> tuple[float, _Found]:
        """Repeat `attempt` until it passes: how long that took, and what it found.

        Raises:
            Failed: it did not pass within `limit` seconds, or the container ended.
        """
        began = time.monotonic()
        while True:
            try:
                found = attempt()
                return round(time.monotonic() - began, 3), found
            except Failed as failure:
                state = self.state()
                if not state["Running"]:
                    raise Failed(f"it ended with status {state['ExitCode']} {state['Error']}".rstrip()) from None
                if time.monotonic() - began > limit:
                    raise Failed(f"not within {limit:.0f} s: {failure}") from None
            time.sleep(_POLL)

    def state(self) -> dict[str, Any]:
        self.container.reload()
        found: dict[str, Any] = self.container.attrs["State"]
        return found

    def log(self) -> list[str]:
        with suppress(DockerException):
            return bytes(self.container.logs(tail=_LOG_LINES)).decode(errors="replace").splitlines()
        return []

    def terminate(self, limit: float) -> tuple[float, int]:
        """Send SIGTERM; how long it took to end, and its exit status.

        Raises:
            Failed: it did not end in time.
        """
        began = time.monotonic()
        self.container.kill("SIGTERM")
        while (state := self.state())["Running"]:
            if time.monotonic() - began > limit:
                raise Failed(f"it still runs {limit:.0f} s after SIGTERM")
            time.sleep(_POLL)
        return time.monotonic() - began, int(state["ExitCode"])


@contextmanager
def booted(client: DockerClient, image: Image, model: Path | None, limits: Limits) -> Iterator[Booted]:
    """Start a container of `image`; it and its model are gone afterwards.

    Args:
        model: a GGUF file for $LLAMA_ARG_MODEL, where that is what the image serves; None where it has its own.

    Raises:
        UsageError: the image has no probe.
        DeployError: the engine does not start it.
    """
    labels = image.labels
    serves = labels.get(SERVES_LABEL, "llama")
    if serves != "stdin" and not labels.get(PROBE_LABEL):
        raise UsageError(
            "the image does not say how it is asked.",
            why=f"It has no label {PROBE_LABEL}, which names a program that makes a request to the image itself.",
            next_step="images/probe.c is one; images/bitnet-cpu-min/Dockerfile shows how it is used",
        )
    name = f"{_NAME}-{uuid.uuid4().hex[:12]}"
    undo: list[Callable[[], object]] = []
    try:
        place = _place_of_model(image)
        volumes = {}
        if model is not None and serves == "llama":
            volume = client.volumes.create(name)
            undo.append(partial(volume.remove, force=True))
            _fill(client, image, volume.name, place, model)
            volumes = {volume.name: {"bind": str(place.parent), "mode": "ro"}}
        container = client.containers.create(
            image,
            name=name,
            network_mode=limits.network,
            read_only=True,
            tmpfs={"/tmp": "rw,noexec,nosuid,size=64m"},  # noqa: S108  # the container's own
            volumes=volumes,
            environment={name: token_hex(16) for name in labels.get(SECRETS_LABEL, "").split()}
            | dict(limits.environment),
            # Its own on the host's network as well: workers name themselves after it.
            hostname=None if limits.network.startswith("container:") else name,
            stdin_open=serves == "stdin",
            mem_limit=limits.memory,
            memswap_limit=limits.memory,
            nano_cpus=int(limits.cpus * _SECOND),
            pids_limit=512,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            # The image's own test, asked more often.
            healthcheck=Healthcheck(interval=_SECOND, timeout=_patience(image), retries=3, start_period=120 * _SECOND),
        )
        undo.append(partial(container.remove, v=True, force=True))  # with the volumes that its image declares
        container.start()
        container.reload()
        port = ("-p", labels[PORT_LABEL]) if labels.get(PORT_LABEL) else ()
        yield Booted(container, (labels.get(PROBE_LABEL, ""), *port), serves, labels.get(DRAINS_LABEL) == "true")
    except DockerException as error:
        said = error.explanation if isinstance(error, APIError) else None
        raise DeployError("the engine could not run the image.", why=str(said or error)) from None
    finally:
        for remove in reversed(undo):
            with suppress(NotFound):
                remove()


def _patience(image: Image) -> int:
    """How long the image lets its own test take, in nanoseconds."""
    declared = image.attrs["Config"].get("Healthcheck") or {}
    return int(declared.get("Timeout") or 5 * _SECOND)


def _place_of_model(image: Image) -> Path:
    environment = dict(entry.partition("=")[::2] for entry in image.attrs["Config"].get("Env") or [])
    return Path(environment.get("LLAMA_ARG_MODEL", "/models/model.gguf"))


def _fill(client: DockerClient, image: Image, volume: str, place: Path, model: Path) -> None:
    """Put the model into a volume, through a container that is never started: the engine may be on another machine."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = archive.gettarinfo(model, arcname=place.name)
        entry.mode, entry.uid, entry.gid = 0o444, 0, 0
        with model.open("rb") as data:
            archive.addfile(entry, data)
    loader = client.containers.create(image, volumes={volume: {"bind": str(place.parent), "mode": "rw"}})
    try:
        loader.put_archive(str(place.parent), content.getvalue())
    finally:
        loader.remove(v=True, force=True)
