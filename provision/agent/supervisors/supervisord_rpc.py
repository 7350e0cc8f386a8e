"""Calls to a supervisord by XML-RPC on its unix socket (supervisord.org, "XML-RPC API").

`supervisorctl` waits in whole seconds and starts a Python each time; the interface under it does neither.
"""

from __future__ import annotations

import http.client
import xmlrpc.client
from typing import Any, Dict, List, Optional, Sequence, Tuple
from xml.parsers.expat import ExpatError

from ...contract.failure import FAILED, REFUSED, Failure
from ..sockets import cut_after
from .base import ABSENT, Activity, Observed
from .supervisord_config import Instance
from .unix_http import UnixConnection

# supervisor/xmlrpc.py, class Faults
BAD_NAME, ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED = 10, 60, 70, 90
NO_ANSWER = "supervisord does not answer"
Fault = xmlrpc.client.Fault

_ACTIVITY = {
    "STARTING": Activity.RUNNING,
    "RUNNING": Activity.RUNNING,
    "STOPPING": Activity.STOPPING,
    "STOPPED": Activity.STOPPED,
    "BACKOFF": Activity.EXITED,
    "EXITED": Activity.EXITED,
    "FATAL": Activity.EXITED,
    "UNKNOWN": Activity.EXITED,
}

_SECONDS = 30.0
_LARGEST = 16 << 20  # bytes of an answer: a program is told in 1 KiB
_AT_ONCE = 100  # calls in one question: while it answers, supervisord looks after nothing
_UNANSWERED = (OSError, xmlrpc.client.Error, http.client.HTTPException, ExpatError)


class Rpc:
    """One connection, opened when it is needed; for one thread."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._proxy: Optional[Any] = None

    def _call(self, method: str, *arguments: Any) -> Any:
        if self._proxy is None:
            self._proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.instance))
        return getattr(self._proxy, method)(*arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        """What supervisord answers.

        Raises:
            Fault: it refused.
            Failure: it did not answer.
        """
        return self._ask(f"supervisor.{method}", *arguments)

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            return self._call(method, *arguments)
        except Fault:
            raise
        except _UNANSWERED as error:
            self._proxy = None
            why = f"{self.instance.socket}: {error}."
            raise Failure(FAILED, f"{NO_ANSWER}.", why=why, next_step="deploy unlock") from None

    def each(self, method: str, calls: Sequence[Tuple[Any, ...]]) -> List[Any]:
        """What supervisord answers to each of many calls; one that it refused has its Fault as the answer.

        A call by itself costs supervisord a look at every program that it has.

        Raises:
            Failure: it did not answer.
        """
        told: List[Any] = []
        for at in range(0, len(calls), _AT_ONCE):
            asked = [{"methodName": f"supervisor.{method}", "params": list(call)} for call in calls[at : at + _AT_ONCE]]
            told += self._ask("system.multicall", asked)
        return [
            Fault(each["faultCode"], each["faultString"]) if isinstance(each, dict) and "faultCode" in each else each
            for each in told
        ]

    def reread(self) -> Tuple[List[str], List[str]]:
        """Let supervisord read its files, without doing anything about them: what is new, what differs."""
        try:
            added, differing, _ = self.ask("reloadConfig")[0]
        except Fault as fault:
            raise Failure(
                REFUSED,
                "supervisord can't read its configuration.",
                why=f"{fault.faultString}. Files of other programs are never touched by a deploy.",
                next_step=f"mend the file that is named, then: supervisorctl -c {self.instance.config} reread",
            ) from None
        return list(added), list(differing)

    def settle(self, method: str, names: Sequence[str], done: int, what: str) -> None:
        """Have it done with programs; the fault `done` says that it is so already."""
        for name, told in zip(names, self.each(method, [(name,) for name in names])):
            if isinstance(told, Fault) and told.faultCode != done:
                raise Failure(FAILED, f"supervisord does not {what} {name}: {told.faultString}")

    def answers(self) -> bool:
        """Whether it is alive: the socket file outlives the daemon, so ask."""
        try:
            return bool(self._call("supervisor.getState")["statecode"] == 1)
        except _UNANSWERED:
            self._proxy = None
            return False


def observed(info: Optional[Dict[str, Any]]) -> Observed:
    """A program, as `getProcessInfo` tells of it; None where it is not known."""
    if info is None:
        return ABSENT
    activity = _ACTIVITY.get(info["statename"], Activity.EXITED)
    detail = ""
    if activity is Activity.EXITED:
        detail = info["spawnerr"] or f"exited with status {info['exitstatus']}"
    if info["statename"] == "STOPPED" and not info["start"]:
        detail = "not started"
    return Observed(activity, info["pid"], detail)


class _UnixTransport(xmlrpc.client.Transport):
    accept_gzip_encoding = False

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self._instance = instance
        if instance.username:
            import base64

            token = base64.b64encode(f"{instance.username}:{instance.password}".encode()).decode("ascii")
            self._headers = [("Authorization", "Basic " + token)]

    def single_request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        connection = self.make_connection(host)
        if connection.sock is None:
            connection.connect()
        try:
            with cut_after(connection.sock, _SECONDS):
                return super().single_request(host, handler, request_body, verbose)
        except BaseException:
            self.close()
            raise

    def parse_response(self, response: Any) -> Any:
        content = response.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise http.client.HTTPException(f"more than {_LARGEST >> 20} MiB")
        parser, read = self.getparser()
        parser.feed(content)
        parser.close()
        try:
            return read.close()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise xmlrpc.client.ResponseError(f"what is no answer: {error}") from None

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        if self._connection and self._connection[1]:
            return self._connection[1]
        opened = UnixConnection(self._instance.socket, _SECONDS, self._instance.own)
        self._connection = host, opened
        return opened
