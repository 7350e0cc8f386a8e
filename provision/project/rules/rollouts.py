"""Rules about canaries whose share of the requests grows by steps."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from provision.project.fault import Fault
from provision.project.fault import Path as KeyPath
from provision.project.fronted import is_fronted
from provision.project.platforms import those
from provision.project.rollout import Rollout
from provision.project.rules.view import Sound
from provision.project.service import Service
from provision.project.target import Target
from provision.project.traffic import counts_tokens, mode_of

_OF_STEPS = ("each", "at_most", "abort", "undecided", "prometheus", "prometheus_token", "prometheus_ca", "figures")
_OF_MANY_HOSTS = ("canary", "batch", "on_failure")
_OF_CLUSTERS = ("prometheus", "prometheus_token", "prometheus_ca", "figures")
_OF_TOKENS = ("tokens", "token_seconds")
_HERE = ("localhost", "127.0.0.1")


def _steps(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        base, rollout = ("targets", name, "rollout"), target.rollout
        yield from _there(name, target)
        if not rollout.steps:
            for key in _OF_STEPS:
                if key in rollout.model_fields_set:
                    hint = 'Add steps = ["1%", "10%", "50%"], or remove it.'
                    yield Fault((*base, key), "it is about steps, and there are none.", hint, at_key=True)
            continue
        if rollout.longest < rollout.each:
            yield Fault((*base, "at_most"), "a step takes as long as `each` at least.", "Make it more than each.")
        if not rollout.abort.document():
            message, hint = "nothing says what a canary is judged by.", 'Add abort = { errors = "2%", slower = "25%" }.'
            yield Fault((*base, "steps"), message, hint, at_key=True)
        if target.can.in_cluster:
            yield from _counted(view, name, target)
            continue
        yield from _traffic(view, name, target)


def _there(name: str, target: Target) -> Iterator[Fault]:
    """What is about hosts alone, or about clusters alone."""
    for key in _OF_MANY_HOSTS if target.can.in_cluster else _OF_CLUSTERS:
        if key in target.rollout.model_fields_set:
            what = "it has no hosts" if target.can.in_cluster else "a host counts by itself what its users see"
            yield Fault(("targets", name, "rollout", key), f"{target.platform}: {what}.", f"Remove {key}.", at_key=True)


def _counted(view: Sound, name: str, target: Target) -> Iterator[Fault]:
    """What says what a canary's users saw in a cluster."""
    base, rollout = ("targets", name, "rollout"), target.rollout
    if not rollout.prometheus:
        hint = 'Add prometheus = "http://…", or remove steps.'
        yield Fault((*base, "steps"), "nothing counts what a canary's users see.", hint, at_key=True)
    yield from _asked(base, rollout)
    said = rollout.figures.model_fields_set & {*_OF_TOKENS}
    if rollout.abort.tokens_per_second is not None:
        if not said and not any(map(counts_tokens, view.chosen(target).values())):
            hint = "Give the one that runs llama-server its preset's metrics, or say in figures.tokens what does."
            yield Fault((*base, "abort", "tokens_per_second"), "no service here counts tokens.", hint, at_key=True)
    elif said:
        hint = 'Add tokens_per_second = "-20%" to abort, or remove it.'
        yield Fault((*base, "figures", min(said)), "no limit asks for it.", hint, at_key=True)
    if len(said) == 1:
        (other,) = {*_OF_TOKENS} - said
        hint = f"Add {other}: of the same engine, and as it counts."
        yield Fault((*base, "figures", min(said)), "a pace is tokens by seconds.", hint, at_key=True)
    if rollout.abort.ttft_p95 is not None and "seconds" not in rollout.figures.model_fields_set:
        message = "what Traefik measures ends with the answer, and not with its first byte."
        hint = "Say in figures.seconds what does, such as an engine's own, or judge by slower."
        yield Fault((*base, "abort", "ttft_p95"), message, hint, at_key=True)


def _asked(base: KeyPath, rollout: Rollout) -> Iterator[Fault]:
    """How Prometheus is told who asks, and is known."""
    url = urlsplit(rollout.prometheus or "")
    if url.scheme == "http" and rollout.prometheus_token and url.hostname not in _HERE:
        message = "a token that goes over http can be read on its way."
        yield Fault((*base, "prometheus_token"), message, "Make prometheus https://…, or remove it.", at_key=True)
    if url.scheme == "http" and rollout.prometheus_ca:
        message = "over http nobody shows a certificate."
        yield Fault((*base, "prometheus_ca"), message, "Make prometheus https://…, or remove it.", at_key=True)


def _traffic(view: Sound, name: str, target: Target) -> Iterator[Fault]:
    """What gives a canary its share, and says what its users saw."""
    base = ("targets", name, "rollout")
    if target.traffic is None:
        message, hint = "nothing gives a canary its share.", f"Add [targets.{name}.traffic], or remove steps."
        yield Fault((*base, "steps"), message, hint, at_key=True)
        return
    if target.traffic.canary is not None:
        message = f"targets.{name}.rollout.steps says what a canary's share is."
        yield Fault(("targets", name, "traffic", "canary"), message, "Remove one of them.", at_key=True)
    fronted = [each for each in view.chosen(target).values() if is_fronted(target, each)]
    if fronted and not any(mode_of(each) == "http" for each in fronted):
        message = "no service here is spoken HTTP with, so nobody sees what its users do."
        yield Fault((*base, "steps"), message, "Declare its check = { http = ... }, or remove steps.", at_key=True)
    if target.rollout.abort.tokens_per_second is None:
        return
    engines = [each for each in fronted if counts_tokens(each)]
    if engines and not target.can.on_host and all(map(_wants_secret, engines)):
        message = (
            f"who counts tokens is a container on {target.platform}, and can't see whom it would send an engine's key; "
            f"on {those('on_host')} it can."
        )
        yield Fault((*base, "abort", "tokens_per_second"), message, "Remove it, or set platform.", at_key=True)
    elif fronted and not engines:
        message = "no service here counts tokens."
        hint = "Give the one that runs llama-server its preset's metrics, or remove it."
        yield Fault((*base, "abort", "tokens_per_second"), message, hint, at_key=True)


def _wants_secret(service: Service) -> bool:
    """Whether its metrics are told to who has a key alone."""
    return service.metrics is not None and service.metrics.token in service.every_secret


RULES = (_steps,)
