"""Rollouts: what a target declares of how a release reaches its hosts, and how a canary gets its share of requests."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from provision.contract.rollout import LimitsDocument, RolloutDocument
from provision.project.section import Section
from provision.project.units import percent
from provision.project.values import (
    HostString,
    PrometheusUrl,
    Seconds,
    Share,
    ShareLess,
    ShareMore,
    String,
    Variable,
    Whole,
    either_count_or_share,
)

_AT_MOST = 6  # times `each`: what a service with few requests at night takes to have enough of them


class Limits(Section):
    """What a canary's users may see, compared with stable's in the same minutes; one that is not kept ends it."""

    errors: Share | None = None
    """The share of requests that may fail beyond stable's, such as "2%"."""
    slower: ShareMore | None = None
    """How much longer half of all answers may take to their first byte than stable's, such as "25%"."""
    ttft_p95: Seconds | None = None
    """How long 95 of 100 answers may take to their first byte, where stable's keep that themselves."""
    tokens_per_second: ShareLess | None = None
    """How far an engine's tokens a second may lie below stable's, such as "-20%"."""

    def document(self) -> LimitsDocument:
        """As a host is told; what is left out ends nothing."""
        document = LimitsDocument()
        if self.errors is not None:
            document["errors"] = self.errors
        if self.slower is not None:
            document["slower"] = self.slower
        if self.ttft_p95 is not None:
            document["ttft_p95"] = self.ttft_p95
        if self.tokens_per_second is not None:
            document["tokens_per_second"] = self.tokens_per_second
        return document


# Traefik's, as Gateway: it names what it counts after the route, the namespace and the Service.
_OF_TRAEFIK = 'service=~"httproute-$namespace-($routes)-gw-.+-svc-$namespace-$service-[0-9]+@kubernetesgateway"'

_OF_ENGINES = 'namespace="$namespace",service="$service"'


class Figures(Section):
    """Kubernetes: the series of Prometheus that count what a canary's users see, as a name and labels in braces; in
    them $namespace is the project's, $service a lane's Service, and $routes the HTTPRoutes that lead to it, as a|b."""

    requests: String = f"traefik_service_requests_total{{{_OF_TRAEFIK}}}"
    """A counter of the requests (default: Traefik's)."""
    failed: String = f'traefik_service_requests_total{{{_OF_TRAEFIK},code=~"5.."}}'
    """A counter of those that failed (default: Traefik's with status 5xx)."""
    seconds: String = f'traefik_service_request_duration_seconds_bucket{{{_OF_TRAEFIK},code!~"5.."}}'
    """The buckets of a histogram of how long the others took (default: Traefik's, to the end of an answer)."""
    tokens: String = f"llamacpp:tokens_predicted_total{{{_OF_ENGINES}}}"
    """A counter of the tokens that an engine made (default: llama-server's, as a ServiceMonitor labels it)."""
    token_seconds: String = f"llamacpp:tokens_predicted_seconds_total{{{_OF_ENGINES}}}"
    """A counter of the seconds that this took it."""


def _growing(steps: tuple[float, ...]) -> tuple[float, ...]:
    for before, after in itertools.pairwise(steps):
        if after <= before:
            raise ValueError(f"each step is more than the one before, and {percent(after)} follows {percent(before)}.")
    return steps


class Rollout(Section):
    """How a release reaches many hosts, and a canary the users of each."""

    canary: Whole = Field(default=1, ge=0)
    """How many hosts go first."""
    batch: Annotated[Whole | str, either_count_or_share] = "100%"
    """How many of the others at a time: a number, or a share of all."""
    on_failure: Literal["stop", "revert"] = "stop"
    """When a host fails: leave the others as they are, or bring those done back too."""
    steps: Annotated[tuple[Share, ...], Field(max_length=20), AfterValidator(_growing)] = ()
    """Traffic: shares of the clients that come to a canary, one after another, such as ["1%", "10%", "50%"]; the host
    judges each by `abort`, and promotes the canary after the last."""
    each: Seconds = 600.0
    """steps: how long each takes at least."""
    at_most: Seconds | None = None
    """steps: how long one may take of which nothing can be said, for want of requests (default: six times `each`)."""
    abort: Limits = Field(default_factory=Limits)
    """steps: what ends it: stable then has all requests again."""
    undecided: Literal["hold", "promote", "abort"] = "hold"
    """steps: what follows where nothing can be said after `at_most`; hold: the share stays until somebody decides."""

    prometheus: PrometheusUrl | None = None
    """Kubernetes, steps: the Prometheus that counts requests, as this machine reaches it: "https://…"."""
    prometheus_token: Variable | None = None
    """Kubernetes, steps: the variable with the token that it wants to see, from .env; no cluster is given it."""
    prometheus_ca: HostString | None = None
    """Kubernetes, steps: what its certificate is judged by, a file of the project (default: as this machine)."""
    figures: Figures = Field(default_factory=Figures)
    """Kubernetes, steps: what it calls them."""

    @property
    def longest(self) -> float:
        """Seconds that a step takes at most."""
        return self.each * _AT_MOST if self.at_most is None else self.at_most

    def document(self) -> RolloutDocument:
        """As a host is told."""
        return RolloutDocument(
            steps=list(self.steps),
            each=self.each,
            at_most=self.longest,
            undecided=self.undecided,
            abort=self.abort.document(),
        )
