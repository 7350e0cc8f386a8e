"""One conversation with a toolkit over one SSH channel.

Most conversations ask for facts alone, so what only a transaction needs is imported when one comes.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Callable, Dict, Iterator, List, Optional

from . import facts, guard, processes, trust
from .layout import Layout, host_folder
from .locks import Lock, refuse
from .protocol import ALIVE, DEGRADED, FAILED, REFUSED, RESULT, USAGE, AgentError, Message
from .supervisors import open_supervisor

if TYPE_CHECKING:
    from .worker import Work


class Session:
    """Answers requests until its input ends. While it lives it may hold the project's claim."""

    def __init__(self, header: Message, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.layout = Layout(header["path"])
        self.agent = str(header["agent"])
        self.who = str(header.get("who", "somebody"))
        self.version = str(header["version"])  # of the toolkit
        self.heartbeat = float(header["heartbeat"])  # how often to say, in seconds, that a request is not forgotten
        self.input = _Lines(stdin)
        self._pending: List[Message] = header.get("pending", [])  # requests that came before this agent did
        self._output = stdout
        self._claim = Lock(self.layout.claim)
        self._writing = threading.Lock()
        self._fault = guard.fault(self.layout)  # then only what goes by the supervisor's word is done: `outside`

    def serve(self) -> None:
        for request in itertools.chain(self._pending, map(json.loads, self.input)):
            with self._heart():
                try:
                    answer = self._answer(request)
                except AgentError as error:
                    answer = error.message()
                except (OSError, ValueError, KeyError) as error:
                    kind = type(error).__name__
                    answer = AgentError(FAILED, f"{request.get('op')} failed on the host: {kind}: {error}").message()
            if answer is not None:
                self.emit(answer)
            if request.get("claim"):
                from . import activate  # noqa: F401  read while files arrive, so that the transaction begins at once

    @contextmanager
    def _heart(self) -> Iterator[None]:
        """Say now and then that a request is being worked on: one may wait for minutes, and has no other news."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.heartbeat):
                try:
                    self.emit({"event": ALIVE})
                except OSError:
                    return  # nobody listens; the request itself decides what that means

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def emit(self, message: Message) -> None:
        with self._writing:
            self._output.write((json.dumps(message, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
            self._output.flush()

    def _answer(self, request: Message) -> Optional[Message]:
        operations: Dict[str, Callable[[Message], Optional[Message]]] = {
            "facts": self._facts,
            "seal": self._seal,
            "incoming": self._incoming,
            "adopt-model": self._adopt_model,
            "incoming-engine": self._incoming_engine,
            "adopt-engine": self._adopt_engine,
            "transaction": self._transaction,
            "recover": self._recover,
            "unlock": self._unlock,
            "logs": self._logs,
            "down-outside": self._down_outside,
            "mend": self._mend,
            "probe": self._probe,
            "abort": lambda _: None,  # came too late
        }
        operation = operations.get(request["op"])
        if operation is None:
            raise AgentError(USAGE, f"this agent does not know {request['op']!r}")
        if self._fault is not None and not (request.get("outside") or request["op"] == "abort"):
            raise guard.refusal(self.layout.root, self._fault)
        return operation(request)

    def _facts(self, request: Message) -> Message:
        if request.get("claim"):
            self._take_claim(request)
            if os.path.exists(self.layout.journal):
                ended = self._recover(request)
                if "newer" in ended:
                    return ended
        answer: Message = {"event": RESULT}
        if request.get("host"):
            answer["host"] = facts.host()
        if request.get("gpus"):
            answer["gpus"] = facts.gpus()
        if request.get("platform"):
            supervisor = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
            if self._fault is not None:
                from . import outside

                answer["project"] = outside.facts(supervisor, guard.refusal(self.layout.root, self._fault))
            else:
                answer["project"] = facts.project(self.layout, supervisor, request)
            if request.get("host"):
                answer["supervisor"] = supervisor.facts()
        return answer

    def _take_claim(self, request: Message) -> None:
        self.layout.create()
        os.makedirs(host_folder(), mode=0o755, exist_ok=True)
        holder = Lock(self.layout.lock).holder()
        if holder:
            raise refuse("a transaction of this project is running.", holder)
        if not self._claim.take({"who": self.who, "doing": "shipping", "nonce": request.get("nonce", "")}):
            raise refuse("somebody else is deploying this project.", self._claim.holder() or {})

    def _seal(self, request: Message) -> Message:
        from . import seal

        try:
            seal.seal(
                self.layout,
                request["nonce"],
                request["release"],
                request["document"],
                request.get("remove", []),
                request.get("secrets", {}),
                self.emit,
            )
        except seal.Mismatch as mismatch:
            return {"event": RESULT, "sealed": False, "entries": mismatch.entries}
        return {"event": RESULT, "sealed": True}

    def _incoming(self, request: Message) -> Message:
        """A folder that rsync may write to, which runs as the login user even where the agent runs under sudo."""
        from . import models

        sha256 = request.get("sha256")
        folder = models.incoming(self.layout, sha256) if sha256 else self.layout.incoming(request["nonce"])
        os.makedirs(folder, mode=0o755, exist_ok=True)
        _give_to_login(folder)
        return {"event": RESULT, "folder": folder}

    def _adopt_model(self, request: Message) -> Message:
        from . import models

        return models.adopt(self.layout, request["sha256"], request["name"], self.emit)

    def _incoming_engine(self, request: Message) -> Message:
        from . import engines

        found = engines.incoming(self.layout, request["engine"], request["wheels"], facts.cpu()["features"])
        _give_to_login(found["folder"])
        return {"event": RESULT, **found}

    def _adopt_engine(self, request: Message) -> Message:
        from . import engines

        return engines.adopt(self.layout, request, self.emit)

    def _transaction(self, request: Message) -> Message:
        from . import activate, worker

        if "seal" in request:
            sealed = self._seal(request["seal"])
            if not sealed["sealed"]:
                return sealed
        transaction = worker.new_transaction()
        self.emit({"event": "transaction", "transaction": transaction})
        request = dict(request, who=self.who, version=self.version)
        request.pop("seal", None)
        return self._in_worker(
            transaction,
            lambda emit, aborted: activate.perform(self.layout, self.agent, transaction, request, emit, aborted),
        )

    def _in_worker(self, transaction: str, work: Work) -> Message:
        from . import worker

        running = worker.start(self.layout, transaction, work)

        def on_command(line: bytes) -> bool:
            command = json.loads(line).get("op")
            if command == "abort":
                running.abort()
            return bool(command != "detach")

        try:
            return worker.forward(running, self.emit, self.input, on_command)
        except worker.Gone:
            sys.exit(0)
        except EOFError:
            raise AgentError(
                DEGRADED if os.path.exists(self.layout.journal) else FAILED,
                "the worker was killed in the middle of the transaction.",
                next_step="deploy status; deploy unlock recovers it now, and so does the next deploy up",
            ) from None

    def _recover(self, request: Message) -> Message:
        from . import worker

        transaction = "recover-" + worker.new_transaction()
        answer = self._in_worker(transaction, lambda emit, _: _recover_here(self.layout, self.agent, self.who, emit))
        if answer["event"] != RESULT and ("newer" in answer or not request.get("claim")):
            return answer
        return {"event": RESULT, "outcome": answer.get("outcome")}

    def _unlock(self, request: Message) -> Message:
        """End a worker that hangs, and recover. Never just removes a file."""
        claim, lock = Lock(self.layout.claim), Lock(self.layout.lock)
        holder = lock.keeper() or claim.keeper()
        if holder and not request.get("yes"):
            return {"event": RESULT, "holder": holder, "outcome": "held"}
        # A claim is held by a conversation, perhaps with a laptop that is long gone: sshd learns of that late.
        for pid, uid in {**claim.holders(), **lock.holders()}.items():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself
            except PermissionError:
                who = f"{trust.account(uid)} holds it (pid {pid}, {processes.name(pid)})."
                raise AgentError(
                    REFUSED, "the lock is another account's.", why=who, next_step=f"end it there, as root: kill {pid}"
                ) from None
        if not os.path.isdir(self.layout.private):
            return {"event": RESULT, "holder": None, "outcome": "nothing to recover"}
        answer = self._recover({})
        return dict(answer, holder=holder)

    def _probe(self, request: Message) -> Message:
        from . import checks, prove

        check = request["check"]
        token = prove.token(self.layout, request["program"], check)
        outcome = checks.prove(check, self.layout.channel(request["channel"]), token=token)
        return {"event": RESULT, "check": checks.event(outcome, "")}

    def _down_outside(self, request: Message) -> Message:
        from . import outside

        supervisor = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
        return outside.down(self.layout, supervisor, self._fault, self.emit)

    def _mend(self, request: Message) -> Message:
        from . import mend

        supervisor = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
        answer = mend.mend(self.layout, supervisor, self._fault, self.emit)
        self._fault = None
        return answer

    def _logs(self, request: Message) -> Message:
        supervisor = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
        if self._fault is not None:
            from . import outside

            outside.demand_no_link(self.layout, supervisor)
        lines = supervisor.log_tail(request["program"], int(request.get("lines", 100)))
        return {"event": RESULT, "lines": lines}


def _recover_here(layout: Layout, agent: str, who: str, emit: Callable[[Message], None]) -> Message:
    from . import recover

    return recover.recover_project(layout, agent, who, emit)


def _give_to_login(folder: str) -> None:
    """rsync writes as the login user, also where the agent runs under sudo."""
    login = int(os.environ.get("SUDO_UID", "-1"))
    if login > 0:
        from .takeover import give_back

        give_back(folder, login)


class _Lines:
    """Lines of a raw stream; keeps what came too early, and can be waited for with select."""

    def __init__(self, stream: BinaryIO) -> None:
        self._fd = stream.fileno()
        self._buffer = b""

    def fileno(self) -> int:
        return self._fd

    def pending(self) -> bool:
        return b"\n" in self._buffer

    def fill(self) -> bool:
        """Read once; False at the end."""
        block = os.read(self._fd, 1 << 16)
        self._buffer += block
        return bool(block)

    def take(self) -> Optional[bytes]:
        if not self.pending():
            return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def __iter__(self) -> Iterator[bytes]:
        while True:
            line = self.take()
            if line is not None:
                if line.strip():
                    yield line
            elif not self.fill():
                return
