"""What runs in containers: which image, how many copies, and how many may be away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from provision.project.production.rule import Finding, Rule, Severity, Subject

_DIGEST = "@sha256:"


def _digest(subject: Subject) -> Iterator[Finding]:
    """Hosts are given the digest that a tag stands for; whoever reads what is rendered gets the tag."""
    project = subject.project
    if subject.targets and all(each.can.over_ssh and not each.can.on_host for each in subject.targets.values()):
        return
    if project.image and _DIGEST not in project.image:
        yield Finding(("project", "image"), "a tag can stand for another image tomorrow.")
    for name, service in project.services.items():
        if service.image and _DIGEST not in service.image:
            yield Finding(("services", name, "image"), "a tag can stand for another image tomorrow.")


def _unsigned(subject: Subject) -> Iterator[Finding]:
    for name in subject.unsigned:
        yield Finding((name, "unsigned"), f"{name} may be promoted although nothing proved it.", "promotion.toml")


def _single(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.serving.items():
        in_container = service.image or subject.project.image
        # What keeps data in a volume for one, such as a store, can have no second copy.
        alone = any(not (volume.shared or volume.of) for volume in service.volumes.values())
        if in_container and service.port is not None and service.replicas == 1 and not alone:
            which = "the fewest copies, when there is little to do, are one" if service.scale else "there is one copy"
            yield Finding(("services", name, "scale" if service.scale else "image"), f"{which}.")


def _disruption(subject: Subject) -> Iterator[Finding]:
    """A budget that lets no copy go, compared with the fewest copies that its Deployment may have."""
    for file, objects in _by_file(subject):
        deployments = [each for each in objects if each["kind"] == "Deployment"]
        least = {
            each["spec"]["scaleTargetRef"]["name"]: each["spec"].get("minReplicas", 1)
            for each in objects
            if each["kind"] == "HorizontalPodAutoscaler"
        }
        for budget in (each for each in objects if each["kind"] == "PodDisruptionBudget"):
            for each in (each for each in deployments if _selector(each) == _selector(budget)):
                name = each["metadata"]["name"]
                copies = least.get(name, each["spec"].get("replicas", 1))
                if copies and _left(budget["spec"], copies) <= 0:
                    message = f"{file}: no copy of {name} may be moved while there are {copies}."
                    own = (template for template in subject.overrides if template.startswith("templates/kubernetes/"))
                    yield Finding(("services", name), message, next(own, ""))


def _by_file(subject: Subject) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for file, text in subject.kubernetes.items():
        if "PodDisruptionBudget" in text:
            yield file, [each for each in yaml.load_all(text, loader) if isinstance(each, dict) and "spec" in each]


def _selector(each: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = each["spec"].get("selector", {}).get("matchLabels", {})
    return found


def _left(budget: dict[str, Any], copies: int) -> int:
    """How many of `copies` may be away. Kubernetes rounds a share up, of both kinds."""
    if "maxUnavailable" in budget:
        return _count(budget["maxUnavailable"], copies)
    return copies - _count(budget.get("minAvailable", 0), copies)


def _count(value: int | str, copies: int) -> int:
    return -(-int(value.rstrip("%")) * copies // 100) if isinstance(value, str) else value


RULES = (
    Rule(
        "image-digest",
        Severity.FAIL,
        "Images are named by digest.",
        "What was proven is what runs, also when a node fetches it again.",
        "`deploy image inspect IMAGE` says the digest: `NAME@sha256:…`.",
        _digest,
    ),
    Rule(
        "unsigned-promotion",
        Severity.FAIL,
        "No image is promoted without evidence.",
        "Nobody can tell what was tried, by whom, nor who moved what users get.",
        "`deploy image keys init`, and remove `unsigned` from promotion.toml.",
        _unsigned,
    ),
    Rule(
        "single-copy",
        Severity.WARN,
        "A service in containers has more than one copy at any time.",
        "A node that is emptied takes the only copy away; users wait until another one serves.",
        "`replicas = 2`; it is also the minimum of `scale`.",
        _single,
    ),
    Rule(
        "disruption-budget",
        Severity.FAIL,
        "A disruption budget lets a copy go, also at the autoscaler's minimum.",
        "One that does not blocks every drain of a node, and so every upgrade of the cluster.",
        "`maxUnavailable: 1`, as our template has it, or more `replicas` than minAvailable.",
        _disruption,
    ),
)
