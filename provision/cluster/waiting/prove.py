"""The checks of a project, asked of its pods: the same as on a host, through a forwarded port.

Each service is asked at one ready pod of its newest revision; that all of them are ready is the cluster's word. What is
a command runs in that pod. A secret that a check sends is read from where the pod has it.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.parse
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, cast

from provision.agent import checks
from provision.agent.checks.check import Answer, Failed
from provision.agent.checks.here import BODY_LIMIT, Here
from provision.cluster.kept.wanted import Rendered, service_of
from provision.cluster.server.client import Api
from provision.cluster.server.forward import Forward, forwarded, run_in
from provision.cluster.server.objects import Node, at, name_of
from provision.cluster.server.refusals import Invalid
from provision.cluster.waiting.below import Below, below
from provision.cluster.waiting.standing import is_ready, newest_pods
from provision.errors import Unreachable, UsageError
from provision.events import OnEvent

if TYPE_CHECKING:
    from provision.contract.checks import CheckDocument

_ADDRESS = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*):([0-9]{1,5})\b")
# What runc says, and crun; kubectl then ends as a command that failed does.
_NOT_THERE = re.compile(
    r"^error: Internal error.*executable file (`.*` )?not found in \$PATH", re.DOTALL | re.MULTILINE
)
_OPEN = 8  # forwards at a time
_SECONDS = 2.0  # that a pod which was ready is taken for it
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def prove(api: Api, release: Rendered, channel: str, tell: OnEvent, *, once: bool = False) -> Iterator[checks.Outcome]:
    """Ask every check that a release has for a channel, and say what came of it.

    Args:
        once: a check is asked as long as one attempt may take, not as long as a start may.
    """
    with _Pods(api, release.lanes[channel]) as pods:
        for each in release.checks[channel]:
            check = dict(each["check"])
            if once:
                check["timeout"] = min(check["timeout"], check["attempt_timeout"] * check["passes"] + 1)
            reach = _InPod(pods, each["service"], _token(api, check["name"], each["token"]))
            began = time.monotonic()
            outcome = checks.prove(cast("CheckDocument", check), reach)
            if not outcome.passed and api.was_away(began):
                # Nobody could ask it meanwhile, so that says nothing: once more, when the server is back.
                api.demand_listing("Pod")
                outcome = checks.prove(cast("CheckDocument", check), reach)
            tell({**checks.event(outcome, each["service"])})
            yield outcome


class _Pods:
    """A pod of each service that is asked, and its port here: a forward each, opened when it is first needed.

    Each is a program of tens of megabytes, so of hundreds of services only the last few stay open.
    """

    def __init__(self, api: Api, lane: Sequence[Node]) -> None:
        self.api = api
        self._deployments = {service_of(node): node for node in lane if node["kind"] == "Deployment"}
        self._chosen: dict[str, tuple[str, float]] = {}  # a pod of a service, and when it was chosen
        self._forwards: dict[tuple[str, int], tuple[Forward, ExitStack]] = {}

    def __enter__(self) -> _Pods:
        return self

    def __exit__(self, *_error: object) -> None:
        with ExitStack() as every:
            for _, opened in self._forwards.values():
                every.push(opened)

    def pod(self, service: str) -> str:
        name, asked = self._chosen.get(service, ("", 0.0))
        if not name or time.monotonic() - asked > _SECONDS:
            name = self._ready(self._deployments[service])
            self._chosen[service] = name, time.monotonic()
        return name

    def _ready(self, declared: Node) -> str:
        node = self.api.get(*name_of(declared))
        found = below(self.api, node) if node else Below()
        ready = [pod for pod in newest_pods(node, found.sets, found.pods) if is_ready(pod)] if node else []
        if not ready:
            raise Failed("none of its pods is ready")
        return str(max(ready, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))["metadata"]["name"])

    def local(self, host: str, port: int | None, service: str) -> tuple[str, int | None]:
        """Where an address that a check names is here."""
        whose = self.whose(host, port, service)
        if not whose or port is None:
            return host, port
        pod = self.pod(whose)
        forward, opened = self._forwards.get((pod, port)) or (None, ExitStack())
        if forward is None or forward.has_ended:  # the API server went away, and is back
            opened.close()
            while len(self._forwards) >= _OPEN:
                self._forwards.pop(next(iter(self._forwards)))[1].close()
            try:
                forward = opened.enter_context(forwarded(self.api, pod, port))
            except Unreachable as error:  # the pod has just gone, and another one comes
                raise Failed(f"{error.what} {error.why}") from None
            self._forwards[pod, port] = forward, opened
        return "127.0.0.1", forward.local

    def whose(self, host: str, port: int | None, service: str = "") -> str:
        """The service at an address that a check names; "" where it is none of the project's."""
        names = (name for name, node in self._deployments.items() if node["metadata"]["name"] == host)
        return next(names, "") or (service or self._with(port) if host in _LOOPBACK else "")

    def _with(self, port: int | None) -> str:
        path = ("spec", "template", "spec", "containers", 0, "ports", 0, "containerPort")
        return next((name for name, node in self._deployments.items() if port and at(node, *path) == port), "")


class _InPod(Here):
    """How a check gets at a service in a cluster."""

    def __init__(self, pods: _Pods, service: str, token: str) -> None:
        super().__init__(at=lambda host, port: pods.local(host, port, service))
        self._pods = pods
        self._service = service
        self._token = token

    def ask(self, url: str, seconds: float, body: bytes | None = None) -> Answer:
        """As on a host; a secret goes through the forwarded port, to the service's own pod alone."""
        if not self._token:
            return super().ask(url, seconds, body)
        parts = urllib.parse.urlsplit(url)
        host, port = self._pods.local(parts.hostname or _LOOPBACK[0], parts.port, self._service)
        if host not in _LOOPBACK or parts.scheme != "http":
            raise Failed("it would send its secret elsewhere than to its own service")
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        headers = {"Authorization": f"Bearer {self._token}", "User-Agent": "deploy-check"}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            text = response.read(BODY_LIMIT).decode("utf-8", "replace").replace(self._token, "…")
            told = {name.lower(): value.replace(self._token, "…") for name, value in response.getheaders()}
            return Answer(response.status, text, told)
        except TimeoutError:
            raise Failed(f"no answer in {seconds:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{type(error).__name__}".rstrip(": ")) from None
        finally:
            connection.close()

    def run(self, argv: Sequence[str], seconds: float, env: Mapping[str, str] | None = None) -> str:
        """In the service's own container, which has its environment; of the project's checks, in that of the service
        whose address stands first in the words, for nothing else is there by that address; else here.

        A pod is at 127.0.0.1 to itself: no policy lets it out to the name that others call it by.
        """
        service = self._service or next(filter(None, map(self._named, argv)), "")
        if not service:
            return super().run(argv, seconds, env)
        words = [_ADDRESS.sub(partial(self._from_within, service), word) for word in argv]
        status, said = run_in(self._pods.api, self._pods.pod(service), service, words, seconds)
        if status is None:
            raise Failed(f"did not end in {seconds:.0f} s")
        if status and _NOT_THERE.search(said):
            raise Failed(f"could not start {argv[0]}: it is not in the image")
        if status:
            raise Failed(f"exit status {status}: {said.splitlines()[-1] if said else 'no output'}")
        return said

    def _from_within(self, service: str, address: re.Match[str]) -> str:
        is_own = self._pods.whose(address[1], int(address[2])) == service
        return f"{_LOOPBACK[0]}:{address[2]}" if is_own else address[0]

    def _named(self, word: str) -> str:
        found = (self._pods.whose(host, int(port)) for host, port in _ADDRESS.findall(word))
        return next(filter(None, found), "")

    def said(self) -> str:
        try:
            return "\n".join(self._pods.api.log(self._pods.pod(self._service), self._service, 2000))
        except Invalid as error:
            raise Failed(f"{error.what} {error.why}".strip()) from None


def _token(api: Api, check: str, keyed: Sequence[str] | None) -> str:
    """The secret that a check sends, from the Secret that the pod has it from.

    Raises:
        UsageError: there is none.
    """
    if not keyed:
        return ""
    secret, key = keyed
    value = at(api.get("Secret", secret) or {}, "data", key)
    if not value:
        raise UsageError(
            f"{check}: Secret {secret} has no {key}.",
            next_step=f"kubectl create secret generic {secret} --from-env-file=FILE",
        )
    return b64decode(value).decode()
