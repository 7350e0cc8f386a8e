"""What the front of a target's machines knows of them, and what it is told of those that come, go or are lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from provision.errors import DeployError
from provision.targets import Deployment, HostConversation, open_session
from provision.targets.front import front_of, known

if TYPE_CHECKING:
    from provision.hosts import HostSpec

_POLL_SECONDS = 1.0
_WORDS = {
    True: "{} gives it requests",
    False: "{} gives it nothing new; deploy up does",
    None: "{} does not know it yet; deploy up tells it",
}


class Places:
    """How the machines of a target stand with the front that leads to them, as that says; asked again and again."""

    def __init__(self, deployment: Deployment) -> None:
        self._target = deployment.target_name
        self._before = deployment.before
        self._open = contextlib.ExitStack()
        self._sessions: list[HostConversation] | None = None
        self._lock = threading.Lock()

    def of(self, host: str) -> str:
        """One of them, in words; empty where no front leads there."""
        if self._before is None:
            return ""
        with self._lock:
            try:
                if self._sessions is None:
                    self._sessions = [
                        self._open.enter_context(open_session(self._before, spec)) for spec in self._before.hosts
                    ]
                found = [known(session, self._target) for session in self._sessions]
            except DeployError as error:
                self.close()
                return f"whether requests come to it is not known: {error}"
        name = f"the front of targets.{self._before.target_name}"
        return "; ".join(_WORDS[each.takes(host)].format(f"{name} ({each.host})") for each in found)

    def close(self) -> None:
        """The next one who asks connects anew."""
        self._sessions = None
        self._open.close()


def follow(deployment: Deployment, there: Sequence[HostSpec], serving: Sequence[HostSpec] = ()) -> None:
    """Tell the front which machines there are: others are known no more, and those that serve take requests.

    One that serves and is not known is introduced: it was lost, and is back.

    Raises:
        DeployError: the front can't be told.
    """
    with front_of(deployment) as front:
        if front is None:
            return
        front.tell(only=[spec.name for spec in there])
        for spec in serving:
            if not all(each.takes(spec.name) for each in front.behind()):
                with open_session(deployment, spec, install=True) as session:
                    front.lead_to(session, front.introduce(session))
        if serving:
            names = {spec.name for spec in serving}
            front.tell(drain=[spec.name for spec in there if spec.name not in names])


def forget(deployment: Deployment, specs: Sequence[HostSpec]) -> None:
    """Let the front lead no more to machines that are about to go; what they have begun ends first, within its drain.

    The front's own looks tell it, where it can't be told.
    """
    names = [spec.name for spec in specs]
    try:
        with front_of(deployment) as front:
            if front is None:
                return
            front.tell(rest=names)
            until = time.monotonic() + front.drain
            while (left := front.in_flight(names)) and time.monotonic() < until:
                text = f"{left} requests left, for {until - time.monotonic():.0f} s at most"
                step = {"event": "step", "host": ", ".join(names), "step": "drain", "program": "", "detail": text}
                deployment.on_event(step)
                time.sleep(_POLL_SECONDS)
            front.tell(leave=names)
    except DeployError as error:
        text = f"the front of these machines can't be told that they go; it sees that by itself: {error}"
        deployment.on_event({"event": "warning", "host": "", "text": text})
