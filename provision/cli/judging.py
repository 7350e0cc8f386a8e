"""What `deploy rollout watch` shows, until there is a verdict.

Each host takes its steps, whoever watches. Of several, who watches lets those begin whose turn has come.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from provision import rollout
from provision.cli.github.forks import is_fork
from provision.cli.looking import wait
from provision.cli.render.traffic import rollout_lines
from provision.contract.rollout import ABORTED, HELD, PASSED, PROMOTED, WAITING
from provision.errors import DeployError, Exit, Refused
from provision.rollout import HostTraffic, Unreached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provision.cli.session import Session
    from provision.contract.rollout import RolloutNote
    from provision.contract.seen import RolloutSeen

_VERDICTS = {PROMOTED: Exit.DONE, PASSED: Exit.DONE, HELD: Exit.FAILED, ABORTED: Exit.FAILED}
_NEXT = {
    PASSED: "next: deploy rollout promote, which signs where evidence is required, and lets everybody to it",
    HELD: "next: deploy rollout resume asks for more requests; or deploy rollout promote, or abort",
    ABORTED: "next: deploy logs --channel canary, which runs on without requests; deploy down --channel canary ends it",
}
_NEXT_OF_SEVERAL = "next: deploy up with what was mended; or deploy rollback {}, which takes it back there as well"
_AGAIN_SECONDS = 30.0  # until those that wait are looked at again, where nothing has changed
_AWAY_SECONDS = 600.0  # after which nobody waits for a host that is away when nothing else goes on
_TOLD_EVERY_SECONDS = 60.0  # where lines stay, as in a log of CI, and nothing has changed but the time


def watch(session: Session, every: float) -> Exit:
    """Show what comes, until every host has a verdict, or waits for one that has a bad one.

    Raises:
        Refused: there is no rollout on any host.
        Unreachable: none can be reached; later on it is asked again.
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
    if not any(isinstance(item, HostTraffic) and item.answer["rollout"] for item in found):
        for item in found:
            if isinstance(item, Unreached):
                raise item.error
        host = found[0].host if len(found) == 1 else ""
        raise Refused("no rollout is under way here.", host=host, next_step="deploy up, which begins one")
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
        self._away: dict[str, float] = {}  # host -> since when
        self._stood: dict[str, str] = {}  # host -> status, when those that wait were last let begin
        self._moved = 0.0
        self._left = 0.0  # since when a host has not let its turn come, as it can't be reached, say
        self._told = ""
        self._at = 0.0

    def take(self, found: Sequence[HostTraffic | Unreached], draw: Callable[[str], None]) -> bool:
        """Show what a look gave; whether there is more to come."""
        lines: list[str] = []
        for item in found:
            if isinstance(item, Unreached):
                lines.append(f"{item.host}: is away, and asked again: {item.error.what}")
                self._away.setdefault(item.host, time.monotonic())
                continue
            self._away.pop(item.host, None)
            seen, before = item.answer["rollout"], self._seen.get(item.host)
            if before is not None and (seen is None or seen["record"]["id"] != before["record"]["id"]):
                self._end(item.host, before)
                seen = before
            elif seen is not None:
                self._seen[item.host] = seen
                self._ended.pop(item.host, None)  # somebody may have resumed what was held
                if seen["record"]["status"] in _VERDICTS:
                    self._ended[item.host] = seen["record"]["status"], seen["record"]["why"]
            if seen is not None:
                lines += rollout_lines(item.host, seen)
                if self._session.console.as_json:
                    self._session.console.answer(_event(item.host, seen))
        if not self._session.console.as_json:
            self._draw(lines, draw)
        return self._goes_on(found)

    def _goes_on(self, found: Sequence[HostTraffic | Unreached]) -> bool:
        """Whether there is more to come, once those have begun whose turn has come."""
        stands = {host: seen["record"]["status"] for host, seen in self._seen.items()}
        waiting = [host for host, status in stands.items() if status == WAITING]
        now = time.monotonic()
        if waiting and not is_fork() and (stands != self._stood or now - self._moved >= _AGAIN_SECONDS):
            self._stood, self._moved = stands, now
            with self._session.console.live():
                moved = rollout.move_on(self._session.deployment, self._session.hosts)
            if moved.done:
                return True
            self._left = (self._left or now) if moved.left else 0.0
        if waiting and self._left and now - self._left < _AWAY_SECONDS:
            return True
        if any(host not in self._ended and host not in waiting for host in self._seen.keys() - self._away.keys()):
            return True
        patient = len(found) == 1
        return any(patient or now - since < _AWAY_SECONDS for since in self._away.values())

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
        away = dict.fromkeys(self._away, ("away", "it can't be reached, so nobody knows"))
        waits = {host: (seen["record"]["status"], seen["record"]["why"]) for host, seen in self._seen.items()}
        ends = {**waits, **away, **self._ended}
        several = len(ends) > 1
        for host, (status, why) in ends.items():
            release = self._seen[host]["record"]["release"] if host in self._seen else ""
            event = {"event": "result", "host": host, "outcome": status, "why": why, "release": release}
            event["next"] = _NEXT.get(status, "").removeprefix("next: ")
            lines = [f"{host}: {status}: {why}", *([_NEXT[status]] if status in _NEXT and not several else [])]
            self._session.console.answer(event, lines)
        good = [host for host, (status, _) in ends.items() if _VERDICTS.get(status) is Exit.DONE]
        if several:
            for text in _next_of(ends):
                self._session.console.note(text)
        if len(good) == len(ends):
            return Exit.DONE
        return Exit.SOME_HOSTS_FAILED if good else Exit.FAILED


def _next_of(ends: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """What to do now, of several hosts."""
    found = {status for status, _ in ends.values()}
    has_it = " ".join(f"--host {host}" for host, (status, _) in ends.items() if status == PROMOTED)
    if ABORTED in found and has_it:
        yield _NEXT_OF_SEVERAL.format(has_it)
    elif found & {ABORTED, HELD, PASSED}:
        yield _NEXT[next(status for status in (ABORTED, HELD, PASSED) if status in found)]


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
        "waits_for": record.get("waits_for", []) if record["status"] == WAITING else [],
        "findings": seen["findings"],
        "says": seen["says"],
        "time": int(time.time()),
    }
