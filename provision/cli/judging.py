"""What `deploy rollout watch` shows, until there is a verdict. The host takes the steps, whoever watches."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from provision import rollout
from provision.cli.looking import wait
from provision.cli.render.traffic import rollout_lines
from provision.contract.rollout import ABORTED, HELD, PASSED, PROMOTED
from provision.errors import DeployError, Exit, Refused
from provision.rollout import HostTraffic, Unreached

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provision.cli.session import Session
    from provision.contract.rollout import RolloutNote
    from provision.contract.seen import RolloutSeen

_VERDICTS = {PROMOTED: Exit.DONE, PASSED: Exit.DONE, HELD: Exit.FAILED, ABORTED: Exit.FAILED}
_NEXT = {
    PASSED: "next: deploy rollout promote, by somebody who has the key",
    HELD: "next: deploy rollout resume asks for more requests; or deploy rollout promote, or abort",
    ABORTED: "next: deploy logs --channel canary, which runs on without requests; deploy down --channel canary ends it",
}
_TOLD_EVERY_SECONDS = 60.0  # where lines stay, as in a log of CI, and nothing has changed but the time


def watch(session: Session, every: float) -> Exit:
    """Show what comes, until every host has a verdict.

    Raises:
        Refused: there is no rollout on a host.
        Unreachable: one can't be reached; later on it is asked again.
    """
    with rollout.watched_traffic(session.deployment, hosts=session.hosts) as hosts:
        return watch_all(
            session,
            every,
            hosts.look,
            lambda id_, host: rollout.ended(session.deployment, id_, host),
            "the rollout goes on; deploy rollout watch shows it again",
        )


def watch_all(
    session: Session,
    every: float,
    look: Callable[[], Sequence[HostTraffic | Unreached]],
    ended: Callable[[str, str], RolloutNote | None],
    after: str,
) -> Exit:
    """The same, of whatever `look` gives.

    Args:
        ended: how a rollout ended of which a host does not speak any more.
        after: what is said at Ctrl-C.
    """
    watching = _Watching(session, ended)
    with session.console.live():
        found = look()
    for item in found:
        if isinstance(item, Unreached):
            raise item.error
        if item.answer["rollout"] is None:
            raise Refused("no rollout is under way here.", host=item.host, next_step="deploy up, which begins one")
    try:
        with session.console.redrawn() as draw:
            while watching.take(found, draw):
                wait(every)
                found = look()
    except KeyboardInterrupt:
        session.console.note(after)
        return Exit.INTERRUPTED
    return watching.verdict()


class _Watching:
    """What was seen so far."""

    def __init__(self, session: Session, ended: Callable[[str, str], RolloutNote | None]) -> None:
        self._session = session
        self._note = ended
        self._seen: dict[str, RolloutSeen] = {}
        self._ended: dict[str, tuple[str, str]] = {}  # host -> status and why
        self._told = ""
        self._at = 0.0

    def take(self, found: Sequence[HostTraffic | Unreached], draw: Callable[[str], None]) -> bool:
        """Show what a look gave; whether there is more to come."""
        lines: list[str] = []
        for item in found:
            if isinstance(item, Unreached):
                lines.append(f"{item.host}: is away, and asked again: {item.error.what}")
                continue
            seen, before = item.answer["rollout"], self._seen.get(item.host)
            if before is not None and (seen is None or seen["record"]["id"] != before["record"]["id"]):
                self._end(item.host, before)
                seen = before
            elif seen is not None:
                self._seen[item.host] = seen
                if seen["record"]["status"] in _VERDICTS:
                    self._ended[item.host] = seen["record"]["status"], seen["record"]["why"]
            if seen is not None:
                lines += rollout_lines(item.host, seen)
                if self._session.console.as_json:
                    self._session.console.answer(_event(item.host, seen))
        if not self._session.console.as_json:
            self._draw(lines, draw)
        return len(self._ended) < len(found)

    def _draw(self, lines: list[str], draw: Callable[[str], None]) -> None:
        """Where lines stay, only what is news, and now and then that it goes on."""
        news = str([(each["record"]["status"], each["record"]["step"], _words(each)) for each in self._seen.values()])
        now = time.monotonic()
        if sys.stdout.isatty() or news != self._told or now - self._at >= _TOLD_EVERY_SECONDS:
            self._told, self._at = news, now
            draw("\n".join(lines))

    def _end(self, host: str, before: RolloutSeen) -> None:
        """Another release came, or another rollout began, since the last look."""
        note = self._note(before["record"]["id"], host)
        if note is None:
            raise DeployError("how the rollout ended is in no history any more.", host=host, next_step="deploy history")
        self._ended[host] = note["status"], note["why"]

    def verdict(self) -> Exit:
        """Tell it; the exit code of all hosts."""
        worst = Exit.DONE
        for host, (status, why) in self._ended.items():
            record = self._seen[host]["record"]
            event = {"event": "result", "host": host, "outcome": status, "why": why, "release": record["release"]}
            lines = [f"{host}: {status}: {why}", *([_NEXT[status]] if status in _NEXT else [])]
            self._session.console.answer(event, lines)
            worst = max(worst, _VERDICTS.get(status, Exit.FAILED))
        return worst


def _words(seen: RolloutSeen) -> list[str]:
    return [f"{each['service']} {each['limit']} {each['verdict']}" for each in seen["findings"]]


def _event(host: str, seen: RolloutSeen) -> dict[str, Any]:
    record = seen["record"]
    return {
        "event": "rollout",
        "host": host,
        "id": record["id"],
        "release": record["release"],
        "status": record["status"],
        "step": record["step"] + 1,
        "steps": record["document"]["steps"],
        "seconds": seen["seconds"],
        "findings": seen["findings"],
        "says": seen["says"],
        "time": int(time.time()),
    }
