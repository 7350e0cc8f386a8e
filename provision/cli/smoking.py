"""An image, booted as in production; `deploy image smoke` and its task."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from provision.cli.session import Session
from provision.contract.failure import Failure
from provision.contract.model_types import TYPES_LABEL, check_image
from provision.errors import DeployError, Refused, UsageError
from provision.images.build.checks import Declared
from provision.images.build.engine import connect
from provision.images.build.layout import OciLayout
from provision.images.smoke.container import Limits
from provision.images.smoke.pull import load, pull
from provision.images.smoke.run import Wanted, smoke
from provision.native.model import write_demo_model
from provision.release.engines import tensor_types

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image


def smoke_image(
    session: Session,
    image: str,
    *,
    report: Path | None = None,
    engine: str = "",
    model: Path | None = None,
    memory: int = 1 << 30,
    cpus: float = 2.0,
    network: str = "none",
    variables: Sequence[str] = (),
    paths: Sequence[str] = (),
    ports: Sequence[int] = (),
    commands: Sequence[str] = (),
    queues: Sequence[str] = (),
    drain: float = 30.0,
) -> None:
    """Boot `image`, ask it for a completion, and tell what passed; the options are those of the verb.

    Args:
        memory: bytes.
        drain: seconds.

    Raises:
        DeployError: a check failed; which, and why.
        UsageError: something given means nothing.
    """
    client = connect(engine)
    checks = [
        *(Declared("http", path) for path in paths),
        *(Declared("tcp", port) for port in ports),
        *(Declared("command", tuple(shlex.split(line))) for line in commands),
        *(Declared("queue", name) for name in queues),
    ]
    limits = Limits(memory, cpus, network, _environment(variables))
    wanted = Wanted(limits, drain_seconds=drain, checks=checks)
    with ExitStack() as stack:
        stack.enter_context(session.console.live())
        given = tensor_types(model) if model else ()
        found, name, digest = _image(session.directory, client, image, str(model), given)
        if model is None:
            model = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "demo.gguf"
            reads = found.labels.get(TYPES_LABEL, "").split()
            given = write_demo_model(model, ternary="I2_S" if "I2_S" in reads else "TQ2_0").tensor_types
        results = smoke(client, found, name, digest, model, replace(wanted, types=given), session.console.event)
    if report is not None:
        results.write(report)
    if failed := results.failed:
        raise DeployError(
            f"{name}@{digest}: {failed.name} failed.",
            why=str(failed.facts.get("why", "")),
            log=results.log,
            details={"image": name, "digest": digest, "check": failed.name, "report": str(report or "")},
        )
    session.console.answer(
        {"event": "result", "image": name, "digest": digest, "passed": True, "report": str(report or "")},
        [
            f"passed: {len(results.checks)} checks of {name}@{digest}",
            *([f"next: deploy image attest {name}@{digest} --report {report}"] if report else []),
        ],
    )


def _environment(variables: Sequence[str]) -> dict[str, str]:
    """As `docker run --env` has it, so that a secret need not stand in an argument."""
    given = dict(item.split("=", 1) for item in variables if "=" in item)
    names = [item for item in variables if "=" not in item]
    if missing := [name for name in names if name not in os.environ]:
        raise UsageError(f"--env {missing[0]}: there is no such variable here.", next_step=f"--env {missing[0]}=VALUE")
    return {name: os.environ[name] for name in names} | given


def _image(root: Path, client: DockerClient, wanted: str, model: str, types: Sequence[str]) -> tuple[Image, str, str]:
    """The image as the engine has it, its name and its digest: pulled by digest, or loaded as it was built.

    Args:
        model: what it is to serve, which holds `types`.

    Raises:
        Refused: its programs can't read those; nothing was pulled.
    """

    def readable(image: str, labels: Mapping[str, str]) -> None:
        try:
            check_image("smoke", model, types, image, labels)
        except Failure as failure:
            raise Refused(failure.what, why=failure.why, next_step=failure.next_step) from None

    built = root / "build" / "images" / wanted / "oci"
    if "/" not in wanted and (built / "index.json").is_file():
        layout = OciLayout(built)
        readable(wanted, layout.config["config"]["Labels"])
        return load(client, layout, wanted), wanted, layout.manifest.digest
    return pull(client, wanted, readable if types else None)
