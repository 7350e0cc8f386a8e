"""`deploy model prune` on a cluster: ends the claims of models that nothing needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from provision.cli.cluster.model_list import tell_each, waits
from provision.cli.github.forks import refuse_fork
from provision.errors import Refused
from provision.project.units import size

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, everything: bool, yes: bool) -> None:
    from provision.cluster import claims

    refuse_fork("nothing is removed")
    there = session.there
    with session.console.live():
        found = claims.of_models(there, there.book.read()) if there.demand_namespace() else []
    spare = [each for each in found if each.may_end(everything=everything)]
    tell_each(session, spare)
    question = f"End {len(spare)} {'claim' if len(spare) == 1 else 'claims'}, with the models in them?"
    if spare and not (yes or session.console.confirm(question)):
        again = f"deploy model prune{' --all' if everything else ''} --yes"
        raise Refused("nothing was removed: nobody has said yes.", next_step=again)
    with session.console.live():
        ended = claims.prune(there, {each.uid for each in spare}, everything=everything) if spare else []
    gone, ending = [each for each in ended if not each.is_ending], [each for each in ended if each.is_ending]
    freed = sum(each.bytes for each in gone)
    lines = [f"{session.target}: removed {', '.join(each.name for each in gone)}, {size(freed)}"] if gone else []
    lines += [f"{session.target}: {each.name} {waits(each)}" for each in ending]
    told = {"removed": [asdict(each) for each in gone], "ending": [asdict(each) for each in ending]}
    lines = lines or [f"{session.target}: nothing to remove"]
    session.console.answer({"event": "pruned", "host": session.target, **told}, lines)
