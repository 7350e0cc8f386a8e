"""`deploy model`: what the declared models are, and writing that down."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import click

from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import Exit, UsageError
from provision.events import progress
from provision.project import load
from provision.project.fault import did_you_mean
from provision.project.units import size

if TYPE_CHECKING:
    from provision.contract.answers import KeptModel
    from provision.project.loaded import LoadedProject
    from provision.project.models import Model
    from provision.release import ModelFile
    from provision.release.model_lock import LockedModel, LockedSnapshot


@click.group("model")
def command() -> None:
    """Find the models of [models], lock what they are, and look after those that hosts have."""


@verb("lock", example="deploy model lock\ndeploy model lock bitnet", hosts=False)
@click.argument("names", nargs=-1)
def lock(session: Session, names: tuple[str, ...]) -> None:
    """Write into models.lock which files each model is, with their digests; keep it in version control.

    Of each file some megabytes are read. A repository is asked which commit its revision is today: that one stays
    until this is run again.
    """
    from provision.release import model_lock

    refuse_fork("nothing is looked up")
    loaded = load(session.directory, without_targets=True, demand_secrets=False)
    chosen = _chosen(loaded, names)
    before = model_lock.read(loaded.root).entries
    after = {name: each for name, each in before.items() if name in _declared(loaded)}
    for name, model in chosen.items():
        found = _find(loaded, name, model)
        news = "as before" if before.get(name) == found else "moved" if name in before else "new"
        after[name] = found
        revision = f" at {found.revision[:12]}" if found.revision else ""
        files = f"{len(found.files)} files" if len(found.files) > 1 else found.files[0].sha256[:12]
        session.console.answer(
            {"event": "locked", "name": name, "news": news, **asdict(found)},
            [f"{name}: {news}{revision}, {found.bytes / 1e9:.2f} GB, {files}"],
        )
    model_lock.write(loaded.root, after)


@verb("show", example="deploy model show bitnet\ndeploy model show bitnet --json", hosts=False)
@click.argument("names", nargs=-1)
def show(session: Session, names: tuple[str, ...]) -> None:
    """Say what a model is made of, and what it needs for each service that has it. Its weights are not read."""
    from provision.cli.shown_models import of_model, of_snapshot

    refuse_fork("nothing is looked up")
    loaded = load(session.directory, without_targets=True, demand_secrets=False)
    for name, model in _chosen(loaded, names).items():
        token = loaded.token_of(model)
        if model.is_snapshot:
            event, lines = of_snapshot(name, model, token, loaded.project)
        else:
            event, lines = of_model(name, model, token, loaded)
        session.console.answer(event, lines)


@verb("push", example="deploy model push bitnet oci://ghcr.io/acme/models:bitnet", hosts=False)
@click.argument("name")
@click.argument("to", metavar="oci://REGISTRY/REPOSITORY:TAG")
def push(session: Session, name: str, to: str) -> None:
    """Put a locked model into a registry, from where hosts fetch it by `source = "oci://…"`.

    It is fetched here first, once, and each file is a blob by its own digest: what the registry has is not sent again.
    """
    from provision.models import artifact, relay
    from provision.project.models import place
    from provision.release.models import declared_files

    refuse_fork("nothing is pushed")
    loaded = load(session.directory, without_targets=True, demand_secrets=False)
    model = _chosen(loaded, (name,))[name]
    variables, files = loaded.environment.variables, []
    with session.console.live():
        for each in declared_files(place(name, model), model, loaded.root):
            here = relay.here(each, loaded.token_of(model), variables, partial(_tell, session, each))
            files.append((PurePosixPath(each.relative).name, here, each.sha256))
        digest = artifact.push(to, files, variables)
    session.console.answer(
        {"event": "pushed", "name": name, "to": to, "digest": digest}, [f"{name}: pushed to {to}, {digest}"]
    )


@verb("list", example="deploy model list\ndeploy model list --json | jq .sha256")
def list_(session: Session) -> None:
    """Show the models that each host has: how large, which releases have them, and until when they served.

    Of a cluster it shows the volume claims that models were fetched into.
    """
    from provision import rollout

    with session.console.live():
        found = rollout.kept_models(session.deployment, session.hosts)
    for each in found:
        for model in each.models:
            session.console.answer({"event": "model", "host": each.host, **model}, _line(each.host, model))
        if not each.models:
            session.console.note(f"{each.host}: no models")


@verb("fetch", example="deploy model fetch\ndeploy model fetch --host gpu-03", secrets=True)
def fetch(session: Session) -> None:
    """Bring each host the models that `deploy up` would bring, now: nothing that serves is touched.

    They are kept for a week without a release; `deploy up` finds them there.
    """
    from provision import rollout

    refuse_fork("nothing is fetched")
    with session.console.live():
        lacked = rollout.fetch_models(session.deployment, session.hosts)
    for host, count in lacked.items():
        text = f"{host}: fetched {size(count)}" if count else f"{host}: has them all"
        session.console.answer({"event": "fetched", "host": host, "bytes": count}, [text])


@verb("verify", example="deploy model verify --host gpu-03")
def verify(session: Session) -> int:
    """Compare the models on each host with their digests, which reads them whole. Exit status 1: one is damaged."""
    from provision import rollout

    with session.console.live():
        found = rollout.kept_models(session.deployment, session.hosts, verify=True)
    damaged = False
    for each in found:
        for model in each.models:
            damaged |= model["damaged"]
            mend = f"remove shared/models/sha256-{model['sha256'][:12]}… there, then: deploy up, and deploy restart"
            text = f"damaged; {mend}" if model["damaged"] else "whole"
            line = f"{each.host}: {model['names'][0]} {model['sha256'][:12]} is {text}"
            session.console.answer({"event": "model", "host": each.host, **model}, [line])
    return Exit.FAILED if damaged else Exit.DONE


@verb("prune", example="deploy model prune --host gpu-03\ndeploy model prune --target k8s --all")
@click.option("--all", "everything", is_flag=True, help="On a cluster: also what only releases to go back to have.")
@click.option("--yes", is_flag=True, help="On a cluster: without asking.")
def prune(session: Session, everything: bool, yes: bool) -> None:
    """Remove the models that no release on a host has. What a release has that is kept to go back to stays.

    On a cluster it ends the volume claims that such models were fetched into, and asks first. Who goes back to a
    release whose claim has ended fetches its model again.
    """
    from provision import rollout

    del yes  # what a host lacks comes with the next `deploy up`, so nobody is asked
    if everything:
        raise UsageError(
            "--all is for a cluster.", next_step="deploy model prune; keep in the target says for how long"
        )
    refuse_fork("nothing is removed")
    with session.console.live():
        found = rollout.kept_models(session.deployment, session.hosts, prune=True)
    for each in found:
        freed = sum(model["bytes"] for model in each.removed)
        names = ", ".join(model["names"][0] for model in each.removed)
        text = f"{each.host}: removed {names}, {size(freed)}" if each.removed else f"{each.host}: nothing to remove"
        session.console.answer({"event": "pruned", "host": each.host, "removed": each.removed}, [text])


def _find(loaded: LoadedProject, name: str, model: Model) -> LockedModel | LockedSnapshot:
    if model.is_snapshot:
        from provision.models import snapshot

        return snapshot.find(name, model, loaded.token_of(model)).locked
    from provision.models.found import find

    return find(name, model, loaded.token_of(model), loaded.environment.variables).locked


def _line(host: str, model: KeptModel) -> list[str]:
    used = f"of {', '.join(release[:12] for release in model['releases'])}" if model["releases"] else "of no release"
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(model["last"]))
    last = f", served until {until}" if model["last"] else ""
    state = ", serves" if model["serves"] else last
    return [f"{host}: {', '.join(model['names'])} {model['sha256'][:12]}, {size(model['bytes'])}, {used}{state}"]


def _tell(session: Session, file: ModelFile, done: int, total: int) -> None:
    name = PurePosixPath(file.relative).name
    session.console.event({**progress("download", done, total, unit="bytes"), "file": name})


def _chosen(loaded: LoadedProject, names: tuple[str, ...]) -> dict[str, Model]:
    declared = _declared(loaded)
    if not declared:
        source = 'source = "hf://ORG/REPOSITORY/FILE.gguf"'
        raise UsageError("deploy.toml declares no models.", next_step=f"add [models.NAME] with {source}")
    for name in names:
        if name not in declared:
            why = did_you_mean(name, declared) or f"There is {', '.join(declared)}."
            raise UsageError(f"there is no models.{name}.", why=why)
    return {name: declared[name] for name in names or declared}


def _declared(loaded: LoadedProject) -> dict[str, Model]:
    from provision.project.models import name_of

    return {name_of(place): model for place, model in loaded.project.models.items()}


command.add_command(list_)
command.add_command(fetch)
command.add_command(verify)
command.add_command(prune)
command.add_command(lock)
command.add_command(push)
command.add_command(show)
