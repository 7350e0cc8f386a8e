"""One transaction in a cluster: begin, apply, wait, prove, commit, prune; or put back what was before, proven again.

What was begun is in the inventory before anything is applied, with all that may come of it; `commit` is one write of
it. So whoever comes after a laptop that died sees a release whole, or that it was cut short, and the next `up`,
`rollback` or `down` of anybody ends it. Nothing of ours runs in the cluster for that (docs/decisions.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from provision.agent.checks import event as checked
from provision.cluster.asked import Asked, Ended
from provision.cluster.changing import changes
from provision.cluster.changing.applying import apply_each, prune
from provision.cluster.changing.filled import as_known, filled, placed
from provision.cluster.changing.widened import for_both
from provision.cluster.kept.book import Book
from provision.cluster.kept.inventory import Begun, Inventory
from provision.cluster.kept.lease import Held, held
from provision.cluster.kept.wanted import Rendered
from provision.cluster.room import room
from provision.cluster.server.client import Api
from provision.cluster.server.forward import kubectl
from provision.cluster.server.lean import lean
from provision.cluster.server.objects import KEPT, Member, Name, Node, labels_of, name_of
from provision.cluster.server.unbroken import unbroken
from provision.cluster.server.watching import Watched
from provision.cluster.traffic import sharing
from provision.cluster.traffic.own_routes import demand_taken
from provision.cluster.traffic.weighing import Weighing
from provision.cluster.waiting.prove import prove
from provision.cluster.waiting.standing import deployment
from provision.cluster.waiting.standings import WATCHED
from provision.cluster.waiting.wait import LISTED, NotReady, wait
from provision.contract.slots import CANARY
from provision.errors import Degraded, DeployError, Interrupted, PutBack, Refused
from provision.events import OnEvent

if TYPE_CHECKING:
    from provision.contract.events import Checked


@dataclass
class Transaction:
    """One that runs, under the lock."""

    api: Api
    book: Book
    asked: Asked
    lock: Held
    tell: OnEvent
    began: float = field(default_factory=time.monotonic)
    saw: list[Checked] = field(default_factory=list)  # by the checks of the release that is brought
    touched: bool = False  # whether anything was applied

    def run(self) -> Ended:
        """Bring the release to its channel.

        Raises:
            Refused: nothing was changed.
            PutBack, Interrupted: it failed, or Ctrl-C; what was before serves, proven again.
            Degraded: what was before could not be proven either.
        """
        asked, before = self.asked, self.book.read()
        sharing.demand(before, asked.kind, asked.channel, asked.release.id, asked.sharing)
        lane = asked.release.lanes[asked.channel]
        read = filled(self.api, asked.project.services, lane, asked.kind, asked.channel, before, asked.secrets)
        release = placed(asked.release, asked.channel, read)
        wanted = self.book.labelled(release.lanes[asked.channel], before)
        planned = changes.demand(self.api, wanted, self.book.applyset, asked.take_over, self._told)
        room.demand(self.api, wanted, planned, self.book.applyset)
        if (share := asked.sharing.first()) is not None:
            stable, canary = before.channels.get("stable", ""), asked.release.lanes[CANARY]
            self._weighing.demand(share, stable, canary, finely=asked.sharing.steps is not None)
        channels = {**before.channels, asked.channel: asked.release.id}
        if self._is_there(before, planned):
            self.book.keep(asked.release)  # where somebody deleted that
            new = sharing.after(before, asked.kind, channels, asked.who, asked.sharing, asked.target.keep)
            if new == before:
                return Ended("unchanged", self._weighing.place(before))
            note = sharing.note(before, new)
            new = new.ended(asked.kind, asked.channel, "committed", asked.who, note=note)
            return Ended("committed", self._weighing.place(self.book.write(new)))
        if asked.target.require and asked.channel == "stable" and asked.kind != "rollback" and not asked.rests_on:
            raise Refused(f"target {asked.host} requires evidence.", next_step="deploy up --channel canary")
        for kind in LISTED:
            self.api.demand_listing(kind)  # whoever waits looks at these
        if release.checks[asked.channel]:
            kubectl(self.api)  # who proves it asks by that, and who puts back does
        for text in changes.warnings(planned):
            self._told({"event": "warning", "text": text})
        self.book.keep(asked.release)
        self._warn_of(before.channels.get(asked.channel, ""))
        with unbroken() as late:
            begun = self._begin(before, wanted)
        try:
            late.demand()
            if asked.channel == CANARY:
                self._weighing.hide(begun)
            members = self._bring(release, wanted)
        except (NotReady, DeployError, KeyboardInterrupt) as error:
            if isinstance(error, Refused) and self._lost:
                raise self._left(error) from None
            checks = list(self.saw)
            ended = self._put_back(before, begun, error)
            if not isinstance(error, KeyboardInterrupt):
                asked.proven(asked.release, checks)
            raise ended from None
        done = sharing.after(begun, asked.kind, channels, asked.who, asked.sharing, asked.target.keep)
        note = sharing.note(begun, done)
        secrets = {**before.secrets, asked.channel: dict(read.names)}
        done = replace(done, degraded=before.degraded_beside(asked.channel), secrets=secrets).ended(
            asked.kind, asked.channel, "committed", asked.who, "", note, asked.rests_on
        )
        asked.proven(asked.release, self.saw)
        with unbroken():
            known = self._committed(replace(done, begun=before.left(asked.channel)))
            new = self._weighing.place(self._pruned(known, asked.channel, members))
            self._forget(new)
        return Ended("committed", new)

    def _committed(self, done: Inventory) -> Inventory:
        """Write down that the release is there. Where that fails all runs, and what was begun stands there still."""
        try:
            return self.book.write(done)
        except DeployError as error:
            id_, channel = self.asked.release.id[:12], self.asked.channel
            raise Degraded(
                f"release {id_} runs and was proven, and the cluster could not be told that it is {channel}.",
                why="\n".join(filter(None, (error.what, error.why))),
                next_step="deploy status; when the cause is gone: deploy up, or deploy rollback",
                host=self.asked.host,
            ) from None

    @property
    def _weighing(self) -> Weighing:
        return Weighing(self.api, self.book, self.asked.project.name, self._told)

    def _warn_of(self, old: str) -> None:
        """Somebody may have deleted what would be put back; what mends it may be this very release."""
        if old and self.book.find(old) is None:
            text = f"Secret {self.book.secret(old)} is gone: should this release fail, nothing can be put back"
            self._told({"event": "warning", "text": text})

    def _forget(self, known: Inventory) -> None:
        """Let go of what older releases were. The release is committed, whatever comes of this."""
        try:
            self.book.forget(known, self.asked.target.keep)
        except Refused as error:
            self._told({"event": "warning", "text": f"what older releases were stays: {error.what} {error.why}"})

    @property
    def _lost(self) -> bool:
        try:
            self.lock.demand()
        except Refused:
            return True
        return False

    def _left(self, lost: Refused) -> DeployError:
        """Whoever has the lock now may have begun, so nothing is put back; what was begun is in the inventory."""
        if not self.touched:
            return lost
        coming = f"{self.asked.release.id[:12]} was on its way to {self.asked.channel}"
        return Degraded(
            f"{lost.what} It is between two releases: {coming}.",
            why="Nothing was put back, as somebody else may be at it.",
            next_step="deploy status; where nobody is deploying: deploy up, or deploy rollback",
            host=self.asked.host,
        )

    def _is_there(self, before: Inventory, planned: Sequence[changes.Change]) -> bool:
        """Whether the channel has this very release, whole, and all of it runs: what has crashed is not unchanged."""
        lane = self.asked.channel
        if before.channels.get(lane) != self.asked.release.id or before.begun or before.degraded:
            return False
        names = {each.name for each in planned}
        of_before = {each.named for each in before.members[lane] if each.kind not in KEPT}  # those outlive releases
        if any(each.do != "keep" for each in planned) or of_before - names:
            return False
        labels = labels_of(self.asked.project.name)
        nodes, _ = self.api.list("Deployment", labels, lean)
        return all(deployment(node).ready for node in nodes if name_of(node) in names)

    def _begin(self, before: Inventory, wanted: Sequence[Node]) -> Inventory:
        """All that was and will be ours is in the books before it is there."""
        asked, known = self.asked, before.every_member
        coming = [Member(*name_of(node), known.get(name_of(node), "")) for node in wanted]
        lane = {each.named: each for each in (*coming, *before.members.get(asked.channel, ()))}
        begun = Begun(asked.kind, asked.channel, asked.release.id, asked.who, time.time())
        members = {**before.members, asked.channel: tuple(lane.values())}
        return self.book.write(replace(before, members=members, begun=begun))

    def _bring(self, release: Rendered, wanted: Sequence[Node]) -> list[Member]:
        """Apply, wait, prove: by the checks that the release itself has."""
        wide = for_both(self.api, wanted, self.book.applyset)
        with self._phase("transaction"):
            applied = apply_each(self.api, wide, self.book.applyset, self.asked.take_over, self._demand_lock)
        with Watched(self.api, WATCHED, labels_of(self.asked.project.name)) as seen:
            wait(self.api, seen, applied, self._told, self.lock.demand)
        demand_taken(self.api, applied, self.lock.demand)
        for outcome in prove(self.api, release, self.asked.channel, self._told):
            self.lock.demand()
            self.saw.append(checked(outcome, ""))
            if not outcome.passed:
                raise NotReady(Name("check", outcome.name), outcome.sentence)
        exact = [node for node, each in zip(wanted, wide, strict=True) if each is not node]
        apply_each(self.api, exact, self.book.applyset, self.asked.take_over, self._demand_lock)
        return [Member(*name_of(node), node["metadata"]["uid"]) for node in applied]

    def _demand_lock(self) -> None:
        """Before anything is applied."""
        self.lock.demand()
        self.touched = True

    def _put_back(self, before: Inventory, begun: Inventory, error: BaseException) -> DeployError:
        """Make it what `before` says; the error to raise."""
        asked, old = self.asked, before.channels.get(self.asked.channel, "")
        why, log = _why(error)
        flag = "" if asked.channel == "stable" else f" --channel {asked.channel}"
        interrupted = isinstance(error, KeyboardInterrupt)
        outcome = "interrupted" if interrupted else "put back"
        self._told({"event": "step", "step": "undo", "program": old[:12] or "nothing was there", "detail": ""})
        try:
            members = self._bring_back(old, before)
            ended = replace(begun, degraded=before.degraded_beside(asked.channel))
            ended = ended.ended(asked.kind, asked.channel, outcome, asked.who, why)
            ended = replace(ended, begun=before.left(asked.channel))
            with unbroken():
                new = self._weighing.place(self._pruned(self.book.write(ended), asked.channel, members))
        except (NotReady, DeployError, KeyboardInterrupt) as failure:
            undone = _why(failure)[0]
            both = f"{why}\nputting back: {undone}"
            with suppress(DeployError):  # where it can't be written down either, what was begun stands there
                ended = replace(begun, degraded=both).ended(asked.kind, asked.channel, "degraded", asked.who, both)
                self.book.write(ended)
            return Degraded(
                f"release {asked.release.id[:12]} failed, and what was before could not be proven either.",
                why=both,
                next_step=f"deploy status; when the cause is gone: deploy up{flag}",
                host=asked.host,
                log=log,
            )
        serves = f"Release {old[:12]} serves, proven again."
        if not old:
            left = any(each.kind not in KEPT for each in new.members.get(asked.channel, ()))
            serves = "What is left of it: deploy down." if left else "As before, nothing of it is there."
        if interrupted:
            return Interrupted("interrupted, and put back.", why=serves, host=asked.host)
        if isinstance(error, Refused):
            return PutBack(f"{error.what} {serves}", why=error.why, next_step=error.next_step, host=asked.host)
        return PutBack(
            f"release {asked.release.id[:12]} failed: {why.splitlines()[0]}. {serves}",
            why="\n".join(why.splitlines()[1:]),
            next_step=f"deploy logs; deploy up{flag}",
            host=asked.host,
            log=log,
        )

    def _bring_back(self, old: str, before: Inventory) -> list[Member]:
        if not old:
            return []
        channel = self.asked.channel
        release = as_known(self.book.release(old), channel, before)
        wanted = self.book.labelled(release.lanes[channel], before)
        return self._bring(release, wanted)

    def _pruned(self, known: Inventory, channel: str, members: Sequence[Member]) -> Inventory:
        """End what was ours and is in no channel any more. It stays in the books until it is gone."""
        names = {each.named for each in members}
        kept = [each for each in known.members.get(channel, ()) if each.kind in KEPT and each.named not in names]
        new = replace(known, members={**known.members, channel: (*members, *kept)})
        stay = new.every_member
        gone = [Member(*name, uid) for name, uid in known.every_member.items() if name not in stay]
        try:
            prune(self.api, self.book.applyset, gone, self._told)
            return self.book.write(new) if new.members != known.members else known
        except DeployError as error:  # what serves is written down already
            text = f"what is in no release any more stays for now: {error.what} {error.why}".strip()
            self._told({"event": "warning", "text": f"{text} next: deploy up, which tries it again"})
            return known

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self._told({"event": "phase", "phase": name, "state": "begin"})
        yield
        self._told({"event": "phase", "phase": name, "state": "end", "seconds": round(time.monotonic() - began, 3)})

    def _told(self, event: dict[str, object]) -> None:
        self.tell({**event, "host": self.asked.host})


def bring(api: Api, asked: Asked, tell: OnEvent) -> Ended:
    """`Transaction.run`, under the project's lock."""
    with held(api, asked.project.name, asked.who, lambda event: tell({**event, "host": asked.host})) as lock:
        return Transaction(api, Book(api, asked.project.name), asked, lock, tell).run()


def _why(error: BaseException) -> tuple[str, tuple[str, ...]]:
    if isinstance(error, NotReady):
        return (error.why if error.named.kind == "check" else str(error)), error.log
    if isinstance(error, DeployError):
        return "\n".join(filter(None, (error.what, error.why))), error.log
    return "interrupted", ()
