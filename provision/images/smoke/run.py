"""The smoke test: one image, booted as in production, asked, stopped; and what came of it, check by check.

The results are those that evidence holds (`provision.images.promotion.evidence.CheckResult`). A check that fails ends
the run, because what comes after it means nothing, and is part of the results all the same.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.agent.checks import PROBES
from provision.agent.checks.check import Failed
from provision.contract.model_types import COMMIT_LABEL, PROFILE_LABEL, SOURCE_LABEL, TYPES_LABEL
from provision.errors import UsageError
from provision.images.build.checks import LABEL, Declared, of_label
from provision.images.promotion.evidence import CheckResult
from provision.images.smoke import queue
from provision.images.smoke.container import Booted, Limits, booted
from provision.project.checks import IN_IMAGES

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

    from provision.images.build.engine import OnEvent

# What evidence says of an image's programs, and the labels that do.
_PROGRAMS = {"profile": PROFILE_LABEL, "source": SOURCE_LABEL, "commit": COMMIT_LABEL, "reads": TYPES_LABEL}
INSIDE = {**PROBES, "queue": queue.attempt}  # by kind
_STATUS_OF_SIGTERM = 143
_ANSWER_SECONDS = 60.0
_LONG_ANSWER = 200  # tokens, at most: still being written when SIGTERM comes
_SHARE_OF_DRAIN = 6  # one part in so many of the time to drain is what that answer may take
_IN_FLIGHT = re.compile(r"^llamacpp:requests_processing ([1-9]\d*)", re.MULTILINE)
_TOKENS = re.compile(r"^llamacpp:tokens_predicted_total ([1-9]\d*)", re.MULTILINE)


@dataclass(frozen=True)
class Wanted:
    """What is demanded of an image besides booting and answering."""

    limits: Limits = field(default_factory=Limits)
    boot_seconds: float = 120.0
    drain_seconds: float = 30.0
    prompt: str = "The capital of France is"
    tokens: int = 16
    checks: Sequence[Declared] = ()  # besides those of its label
    types: Sequence[str] = ()  # of the model's tensors, for the record


@dataclass(frozen=True)
class Report:
    """How it went; `log` is the container's, where something failed."""

    image: str
    digest: str
    engine: str
    checks: tuple[CheckResult, ...]
    log: tuple[str, ...] = ()

    @property
    def failed(self) -> CheckResult | None:
        return next((check for check in self.checks if not check.passed), None)

    def write(self, file: Path) -> None:
        """As `deploy image attest --report` reads it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps({**vars(self), "checks": [asdict(check) for check in self.checks]}, indent=1) + "\n",
            encoding="utf-8",
        )


def smoke(
    client: DockerClient, image: Image, name: str, digest: str, model: Path | None, wanted: Wanted, on_event: OnEvent
) -> Report:
    """Try `image`, which is `digest`.

    Raises:
        UsageError: it has no probe.
        DeployError: the engine can't run it at all.
    """
    with booted(client, image, model, wanted.limits) as container:
        checks: list[CheckResult] = []
        log: list[str] = []
        for check, attempt in _checks(container, image, wanted):
            result = _try(check, attempt)
            checks.append(result)
            on_event(
                {"event": "check", "check": check, "passed": result.passed, "seconds": result.seconds}
                | {"attempts": [[result.facts.get("why", "passed"), 1]], "facts": dict(result.facts), "program": ""}
            )
            if not result.passed:
                log = container.log()
                break
        engine = f"Docker Engine {client.version()['Version']}"
    return Report(name, digest, engine, tuple(checks), tuple(log))


_Attempt = Callable[[], Mapping[str, Any]]


def _checks(container: Booted, image: Image, wanted: Wanted) -> list[tuple[str, _Attempt]]:
    of_llama: list[tuple[str, _Attempt]] = [
        ("completion", lambda: _completion(container, wanted)),
        ("metrics", lambda: _metrics(container)),
    ]
    return [
        *([] if container.serves == "stdin" else [("boot", lambda: _boot(container, image, wanted.boot_seconds))]),
        ("not root", lambda: _not_root(image)),
        ("healthcheck", lambda: _healthcheck(container, wanted.boot_seconds)),
        *(of_llama if container.serves == "llama" else []),
        *((check.name, partial(_declared, container, check)) for check in all_declared(image, wanted)),
        ("drain", lambda: _drain(container, wanted)),
    ]


def _try(name: str, attempt: _Attempt) -> CheckResult:
    began = time.monotonic()
    try:
        facts, passed = attempt(), True
    except Failed as failure:
        facts, passed = {"why": str(failure)}, False
    return CheckResult(name, passed, round(time.monotonic() - began, 3), facts)


def _boot(container: Booted, image: Image, limit: float) -> dict[str, Any]:
    """Healthy for the first time, with what the image says of its programs; 503 while the model loads is no failure."""
    seconds, _ = container.until(limit, lambda: container.ask("/health"))
    return {"boot_seconds": seconds} | {
        key: image.labels[label] for key, label in _PROGRAMS.items() if label in image.labels
    }


def _healthcheck(container: Booted, limit: float) -> dict[str, Any]:
    """What orchestrators go by: the image's own HEALTHCHECK."""

    def healthy() -> None:
        health = container.state().get("Health")
        if health is None:
            raise Failed("the image has no HEALTHCHECK")
        if health["Status"] != "healthy":
            raise Failed(f"its HEALTHCHECK says {health['Status']}")

    seconds, _ = container.until(limit, healthy)
    return {"healthy_seconds": seconds}


def _not_root(image: Image) -> dict[str, Any]:
    user = str(image.attrs["Config"].get("User") or "")
    if user.partition(":")[0] in ("", "0", "root"):
        raise Failed("the image runs as root")
    return {"user": user}


def _completion(container: Booted, wanted: Wanted) -> dict[str, Any]:
    """A real answer: tokens, and how fast they came."""
    asked = {"url": "", "prompt": wanted.prompt, "tokens": wanted.tokens}
    found = PROBES["completion"](asked, container, _ANSWER_SECONDS)
    facts = {"tokens": found["tokens"], "tokens_per_second": round(found["tokens_per_second"], 1)}
    return facts | ({"model_types": list(wanted.types)} if wanted.types else {})


def _metrics(container: Booted) -> dict[str, Any]:
    found = _TOKENS.search(container.ask("/metrics").text)
    if found is None:
        raise Failed("llamacpp:tokens_predicted_total does not count the tokens of the completion")
    return {"tokens_predicted_total": int(found[1])}


def all_declared(image: Image, wanted: Wanted) -> list[Declared]:
    """What the image demands of itself and what else was asked for; the same twice is tried as the image has it."""
    try:
        labelled = of_label(image.labels.get(LABEL, ""))
    except ValueError as error:
        raise UsageError(f"the label {LABEL} of the image cannot be read.", why=str(error)) from None
    found: dict[str, Declared] = {}
    for check in [*labelled, *wanted.checks]:
        found.setdefault(check.name, check)
    return list(found.values())


def _declared(container: Booted, check: Declared) -> dict[str, Any]:
    """A command may change something, so it is tried once; what else there is may take its time."""
    probe, document = INSIDE[check.kind], IN_IMAGES[check.kind].document(check.value)
    if check.kind == "command":
        return probe(document, container, check.seconds)
    _, found = container.until(check.seconds, lambda: probe(document, container, check.seconds))
    return found


def _drain(container: Booted, wanted: Wanted) -> dict[str, Any]:
    """SIGTERM: how long the end takes. An image that drains is at work meanwhile, and has to finish it.

    One that does not is asked nothing: llama-server alone waits for a client whose answer it has given up.
    """
    answers: list[str] = []
    if container.drains:
        rate = float(_completion(container, wanted)["tokens_per_second"])
        tokens = max(wanted.tokens, round(rate * wanted.drain_seconds / _SHARE_OF_DRAIN))
        body = {"prompt": wanted.prompt, "n_predict": min(tokens, _LONG_ANSWER), "ignore_eos": True}
        request = threading.Thread(target=_ask_long, args=(container, body, answers), daemon=True)
        request.start()
        container.until(30, lambda: _in_flight(container, request))
    seconds, status = container.terminate(wanted.drain_seconds)
    facts = {"drain_seconds": round(seconds, 3), "exit_status": status}
    if status not in (0, _STATUS_OF_SIGTERM):
        raise Failed(f"after SIGTERM it ended with status {status}")
    if container.drains:
        request.join(timeout=5)
        if not answers:
            raise Failed("the request in flight was cut off, and the image says that it drains")
        facts["finished_in_flight"] = len(answers)
    return facts


def _ask_long(container: Booted, body: dict[str, Any], answers: list[str]) -> None:
    try:
        said = container.ask("/completion", 300, json.dumps(body).encode()).text
        json.loads(said)
    except (Failed, ValueError):
        return  # cut off
    answers.append(said)


def _in_flight(container: Booted, request: threading.Thread) -> None:
    """Where the answer was quicker than the look, there is nothing to wait for."""
    if request.is_alive() and not _IN_FLIGHT.search(container.ask("/metrics").text):
        raise Failed("the request did not begin")
