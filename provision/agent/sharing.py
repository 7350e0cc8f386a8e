"""Strangers come to a project by its names, at ports that it may share with others of its account (`host_front`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Mapping, Optional

from ..contract import roles
from ..contract.layout import Layout
from ..contract.state import State
from . import public, traffic
from . import state as states
from .documents import read_documents
from .supervisors import options

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument, TrafficDocument
    from .front.values import Front
    from .host_front.book import Claim


def own(layout: Layout, document: ReleaseDocument, service: ServiceDocument) -> ServiceDocument:
    """What stands before the programs of a release, without the ports that it shares.

    Raises:
        Failure: one is another project's, and can't be shared.
    """
    from .host_front import moving  # of hosts with traffic alone, as all that speaks with HAProxy

    taken = moving.shared(layout, _wanted(document["traffic"]), _front_of) if "traffic" in document else []
    return {**service, "ports": [port for port in service["ports"] if port not in taken]}


def demand(layout: Layout, state: State, documents: Mapping[str, ReleaseDocument]) -> None:
    """Refuse what `settle` could not do.

    Raises:
        Failure: a port is another project's, and can't be shared.
    """
    declared = roles.front(documents, state.channels) if roles.stands_before(state) else None
    if declared is not None:
        from .host_front import moving

        moving.shared(layout, _wanted(declared), _front_of)


def settle(layout: Layout, state: State, documents: Mapping[str, ReleaseDocument]) -> None:
    """Let strangers come by the names of a state, whose front stands; by none where it has no front. May be repeated.

    Raises:
        Failure: they can't.
    """
    front = traffic.front_of(layout, state, documents)
    if front is None:
        return leave(layout)
    from .host_front import moving

    settings, haproxy = options(layout), traffic.haproxy(layout)
    moving.join(layout, front, state.platform, settings, haproxy, _front_of, traffic.runtime)
    return None


def leave(layout: Layout) -> None:
    """They come no more. May be repeated."""
    from .host_front import moving

    moving.leave(layout, _front_of, traffic.runtime)


def hurt() -> List[str]:
    """What is wrong with the front that projects of this account share, in sentences."""
    from .host_front import mending

    return mending.hurt(_front_of)


def mend(layout: Layout) -> List[str]:
    """Put that right, with the help of a project's supervisor; what was wrong.

    Raises:
        Failure: it can't be.
    """
    state = states.read_state(layout)
    if roles.stands_before(state) is None:
        return []
    from .host_front import mending

    starter = mending.Starter(state.platform, options(layout), traffic.haproxy(layout))
    return mending.mend(_front_of, traffic.runtime, starter)


def _wanted(declared: TrafficDocument) -> Dict[int, Claim]:
    from .host_front import claims

    services = declared["services"]
    timeouts = {name: public.limits(each).timeout for name, each in services.items()}
    return claims.wanted(public.binds(services), timeouts)


def _front_of(layout: Layout) -> Optional[Front]:
    """That of another project of this account, as it is committed."""
    state = states.read_state(layout)
    return traffic.front_of(layout, state, read_documents(layout, state.releases()))
