"""What is rendered as it was meant and is worth a word: tags, and what a platform has a way of its own for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from provision.manifests.containers import UNCOUNTED, declared_image, rendered_image
from provision.manifests.kubernetes.routed import left_to_others
from provision.project.platforms import PLATFORMS
from provision.project.rules.restarts import without
from provision.project.schema import Project
from provision.project.target import Target


class Remark(NamedTuple):
    """A sentence about the value that `subject` names, as `services.web.image`."""

    subject: str
    text: str


Built = Callable[[str], str]  # the digest of what was built here under a repository's name; empty for nothing


def remarks(platform: str, project: Project, target: Target | None, built: Built) -> list[Remark]:
    """What to say of the services that `target` runs, or of all, as containers of `platform`; each thing once."""
    chosen = project.services if target is None or target.services is None else target.services
    found: dict[Remark, None] = {}
    for name in filter(project.services.__contains__, chosen):
        found |= dict.fromkeys(_of_service(platform, project, name, built))
    for name in project.once if target is None or target.once else ():
        text = "nothing runs it here: run its command in the image before what serves is replaced"
        found[Remark(f"once.{name}", text)] = None
    if PLATFORMS[platform].in_cluster:
        found |= dict.fromkeys(Remark(*each) for each in left_to_others(project, target))
    return list(found)


def _of_service(platform: str, project: Project, name: str, built: Built) -> Iterator[Remark]:
    service = project.services[name]
    yield from _image(project, name, built)
    if service.engine == "wheel":
        text = "the wheel engine is for hosts; here the image has to bring build/bin/llama-server"
        yield Remark(f"services.{name}.engine", text)
    if any(ref.name == "cpus" for text in (*service.command, *service.env.values()) for ref in text.refs):
        text = f"${{cpus}} is counted on a host, so {UNCOUNTED} is written; say it: threads = {UNCOUNTED}"
        yield Remark(f"services.{name}.threads", text)
    if service.starts:
        text = "there is no deploy-ctl in a container, so it starts nothing; whoever runs them does"
        yield Remark(f"services.{name}.starts", text)
    if service.data and not service.volumes:
        text = f"is for hosts; here a volume keeps what is written there: add volumes to services.{name}"
        yield Remark(f"services.{name}.data", text)
    if service.group and not PLATFORMS[platform].groups:
        text = f"in {platform} an account has the group of its own number, project.user_id; it is left out"
        yield Remark(f"services.{name}.group", text)
    for key, why in without(service, PLATFORMS[platform]):
        yield Remark(f"services.{name}.restart.{key}", f"{platform} {why}; it is left out")


def _image(project: Project, name: str, built: Built) -> Iterator[Remark]:
    image, declared = rendered_image(project, name), declared_image(project, name)
    own = not project.services[name].image
    if "@sha256:" in image or (own and project.build):
        return
    subject = f"services.{name}.image" if not own else "project.image" if declared else "project"
    said = "may be another image tomorrow" if declared else "is written, because no image is named"
    yield Remark(subject, f'"{image}" {said}; {_instead(image, built, own=own)}')


def _instead(image: str, built: Built, *, own: bool) -> str:
    """What has a digest: the image that was built here, else what a registry has, or will have."""
    repository = image.rpartition(":")[0] if ":" in image.rpartition("/")[2] else image
    if digest := built(repository):
        return f'what was built here is "{repository}@{digest}"'
    if own and "/" not in repository:
        return "it gets a digest in a registry: write what `deploy image push` says"
    return f'write "{repository}@sha256:…", with the digest that `deploy image inspect {image}` says'
