"""One conversation with a toolkit over one SSH channel.

Most conversations ask for facts alone, so what only others need is imported when one comes.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Iterator, List, Mapping, Optional

from ..contract import names
from ..contract.failure import FAILED, INTERRUPTED, USAGE, Failure, of_system
from ..contract.host_view import HostView
from ..contract.layout import BUDGET_GUARD, Layout
from . import facts, files, gpus, guard, moved, whose
from . import state as states
from .folders import create, host_folder
from .lines import Lines
from .locks import Lock, refuse
from .supervisors import open_supervisor

if TYPE_CHECKING:
    from ..contract.answers import Facts
    from ..contract.events import Event
    from ..contract.requests import FactsRequest, Header, Request
    from .lend import Lending

    Answer = Mapping[str, object]

# Operations that change the project's folder, or are about to.
_CHANGES = (
    "seal",
    "incoming",
    "adopt-model",
    "fetch-model",
    "incoming-engine",
    "adopt-engine",
    "incoming-haproxy",
    "adopt-haproxy",
    "incoming-environment",
    "find-python",
    "build-environment",
    "discard",
    "transaction",
    "weigh",
    "rollout",
    "recover",
    "unlock",
    "keep-evidence",
    "preview",
    "forget-preview",
)


class Conversation:
    """Answers requests until its input ends. While it lives it may hold the project's claim."""

    def __init__(self, header: Header, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.header = header
        self.layout = Layout(header["path"])
        self.input = Lines(stdin)
        self.pending: List[Request] = header.get("pending", [])  # requests that came before this agent did
        self.claim = Lock(self.layout.claim)
        self.lending: Optional[Lending] = None  # what other hosts may have of a model here, while this lives
        self.fault = guard.fault(self.layout)  # then only what goes by the supervisor's word is done: `outside`
        self._output = stdout
        self._writing = threading.Lock()

    def serve(self) -> None:
        for request in itertools.chain(self.pending, map(json.loads, self.input)):
            with self._heart():
                try:
                    answer: Answer = self._answer(request)
                except Failure as failure:
                    answer = failure.message()
                except OSError as error:
                    answer = of_system(str(request.get("op")), error).message()
                except (ValueError, KeyError) as error:
                    kind = type(error).__name__
                    answer = Failure(FAILED, f"{request.get('op')} failed on the host: {kind}: {error}").message()
            if answer:
                self.tell(answer)
            if request.get("claim"):
                from . import operations  # noqa: F401  read while files arrive, so that the transaction begins at once

    @contextmanager
    def _heart(self) -> Iterator[None]:
        """Say now and then that a request is being worked on: one may wait for minutes, and has no other news."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.header["heartbeat"]):
                try:
                    self.tell({"event": "alive"})
                except OSError:
                    return  # nobody listens; the request itself decides what that means

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def tell(self, message: Answer) -> None:
        with self._writing:
            text = json.dumps(message, ensure_ascii=False) + "\n"
            self._output.write(text.encode("utf-8", "backslashreplace"))  # half of a character as JSON has it
            self._output.flush()

    def emit(self, event: Event) -> None:
        self.tell(event)

    def stop_if_asked(self) -> None:
        """While something runs that is not in the worker yet: nobody waits for it, or somebody wants it to end."""
        came_early = any(request["op"] == "abort" for request in self.pending)
        if came_early or self.input.over() or self.input.holds("abort"):
            raise Failure(INTERRUPTED, "interrupted while the release was being prepared.", "Nothing was disturbed.")

    def _answer(self, request: Any) -> Answer:
        """What `contract.requests` asks, as `contract.answers` has it; nothing where there is nothing to say.

        Who asks is the toolkit that this agent is a part of; names that become paths are judged all the same.
        """
        operation = self._operation(request["op"])
        names.judge(request)
        if self.fault is not None and not (request.get("outside") or request["op"] == "abort"):
            raise guard.refusal(self.layout.root, self.fault)
        if request["op"] in _CHANGES or request.get("claim") or request.get("ahead"):
            whose.check(self.layout, self.header["project"], self.header["take_over"])
        return operation(request)

    def _operation(self, op: str) -> Callable[[Any], Answer]:
        if op == "facts":
            return self._facts
        if op == "abort":
            return lambda _: {}  # came too late
        from . import operations

        if op not in operations.BY_NAME:
            raise Failure(USAGE, f"this agent does not know {op!r}")
        return lambda request: operations.BY_NAME[op](self, request)

    def _facts(self, request: FactsRequest) -> Facts:
        if request.get("claim"):
            self._take_claim(request)
            if os.path.exists(self.layout.journal):
                from . import work

                work.recover_for_claim(self)
        answer: Facts = {"event": "result"}
        if request.get("host"):
            answer["host"] = facts.host()
        asked = supervisor = open_supervisor(self.layout, request["platform"], request["supervisor"])
        if self.fault is not None:
            from . import outside

            answer["project"] = outside.facts(supervisor, guard.refusal(self.layout.root, self.fault))
        else:
            state = states.read_state(self.layout)
            supervisor = moved.serving(self.layout, state, asked)
            elsewhere = self._elsewhere(request)
            answer["project"] = facts.project(self.layout, supervisor, request)
            answer["project"]["models"] += elsewhere
            if os.path.isdir(self.layout.previews):
                from . import previews

                answer["project"]["previews"] = previews.there(self.layout, asked.observe)
            if request.get("ahead"):
                from . import ahead

                seen = HostView.of(answer["project"]["view"])
                make_room = self._made_room if self.claim.is_taken else None
                answer["ahead"] = ahead.judge(self.layout, asked, state, seen, request["ahead"], make_room)
        if os.path.isdir(BUDGET_GUARD):
            from . import rented

            for text in rented.warnings(time.time()):
                self._warn(text)
        if request.get("gpus"):
            seen_ = answer["project"]["view"].get("gpus")
            answer["gpus"] = gpus.found() if seen_ is None else seen_
        if request.get("host"):
            answer["supervisor"] = supervisor.facts()
        return answer

    def _elsewhere(self, request: FactsRequest) -> List[str]:
        """Models of the release in question that another project here has; in a deploy they are taken from it now."""
        document = request["ahead"]["document"] if "ahead" in request else None
        if document is None or not document["models"]:
            return []
        from . import common  # of releases with models alone

        wanted = [model["sha256"] for model in document["models"].values()]
        if not self.claim.is_taken:
            return common.elsewhere(self.layout, wanted)
        common.take(self.layout, wanted, self.emit)
        return []

    def _made_room(self, path: str) -> None:
        self._warn(f"{path} was removed to make room; nothing needed it")

    def _warn(self, text: str) -> None:
        if text:
            self.emit({"event": "warning", "text": text})

    def _take_claim(self, request: FactsRequest) -> None:
        create(self.layout)
        files.make_folder(host_folder())
        holder = Lock(self.layout.lock).holder()
        if holder:
            raise refuse("a transaction of this project is running.", holder)
        if not self.claim.take({"who": self.header["who"], "doing": "shipping", "nonce": request.get("nonce", "")}):
            raise refuse("somebody else is deploying this project.", self.claim.holder() or {})
