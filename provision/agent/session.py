"""One conversation with a toolkit over one SSH channel.

Most conversations ask for facts alone, so what only a transaction needs is imported when one comes.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import select
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from . import facts, files, guard, models, moved, names, sockets, trust, whose
from . import state as states
from .decide import View
from .layout import Layout, host_folder
from .locks import Lock, refuse
from .protocol import ALIVE, DEGRADED, FAILED, INTERRUPTED, REFUSED, RESULT, USAGE, AgentError, Message
from .supervisors import Supervisor, open_supervisor, options

if TYPE_CHECKING:
    from .worker import Work


# Operations that change the project's folder, or are about to.
_CHANGES = (
    "seal",
    "incoming",
    "adopt-model",
    "incoming-engine",
    "adopt-engine",
    "discard",
    "transaction",
    "recover",
    "unlock",
)


class Session:
    """Answers requests until its input ends. While it lives it may hold the project's claim."""

    def __init__(self, header: Message, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.layout = Layout(header["path"])
        self.agent = str(header["agent"])
        self.who = str(header.get("who", "somebody"))
        self.version = str(header["version"])  # of the toolkit
        self.project = str(header.get("project", ""))
        self.take_over = str(header.get("take_over", ""))  # the project whose place this one takes
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
                except OSError as error:
                    answer = _on_host(str(request.get("op")), error).message()
                except (ValueError, KeyError) as error:
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
            text = json.dumps(message, ensure_ascii=False) + "\n"
            self._output.write(text.encode("utf-8", "backslashreplace"))  # half of a character as JSON has it
            self._output.flush()

    def _answer(self, request: Message) -> Optional[Message]:
        operations: Dict[str, Callable[[Message], Optional[Message]]] = {
            "facts": self._facts,
            "seal": self._seal,
            "incoming": self._incoming,
            "discard": self._discard,
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
        names.judge(request)
        if self._fault is not None and not (request.get("outside") or request["op"] == "abort"):
            raise guard.refusal(self.layout.root, self._fault)
        if request["op"] in _CHANGES or request.get("claim") or request.get("ahead"):
            whose.check(self.layout, self.project, self.take_over)
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
            asked = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
            supervisor = asked
            if self._fault is not None:
                from . import outside

                answer["project"] = outside.facts(supervisor, guard.refusal(self.layout.root, self._fault))
            else:
                state = states.read(self.layout)
                supervisor = moved.serving(self.layout, state, asked)
                answer["project"] = facts.project(self.layout, supervisor, request)
            if request.get("ahead"):
                from . import ahead

                seen = View(**answer["project"]["view"])
                make_room = self._made_room if self._claim.is_taken else None
                answer["ahead"] = ahead.judge(self.layout, asked, state, seen, request["ahead"], make_room)
            if request.get("host"):
                answer["supervisor"] = supervisor.facts()
        return answer

    def _made_room(self, path: str) -> None:
        self.emit({"event": "warning", "text": f"{path} was removed to make room; nothing needed it"})

    def _serving(self, request: Message) -> Supervisor:
        """The supervisor of what runs here; a target may name another one by now."""
        asked = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
        return moved.serving(self.layout, states.read(self.layout), asked)

    def _take_claim(self, request: Message) -> None:
        self.layout.create()
        files.make_folder(host_folder())
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
                self._stop_if_asked,
            )
        except seal.Mismatch as mismatch:
            return {"event": RESULT, "sealed": False, "entries": mismatch.entries}
        return {"event": RESULT, "sealed": True}

    def _stop_if_asked(self) -> None:
        """While something runs that is not in the worker yet: nobody waits for it, or somebody wants it to end."""
        came_early = any(request["op"] == "abort" for request in self._pending)
        if came_early or self.input.over() or self.input.holds("abort"):
            raise AgentError(INTERRUPTED, "interrupted while the release was being prepared.", "Nothing was disturbed.")

    def _incoming(self, request: Message) -> Message:
        """A folder that rsync may write to, which runs as the login user even where the agent runs under sudo."""
        sha256 = request.get("sha256")
        folder = models.receive(self.layout, sha256) if sha256 else self.layout.incoming(request["nonce"])
        files.make_folder(folder)
        _give_to_login(folder)
        return {"event": RESULT, "folder": folder}

    def _discard(self, request: Message) -> Message:
        """Remove an upload that filled the disk: what runs there needs the room."""
        folder = os.path.normpath(request["folder"])
        parent, name = os.path.split(folder)
        if parent in (self.layout.releases, self.layout.models, self.layout.engines) and name.startswith(".incoming-"):
            files.remove_tree(folder)
        return {"event": RESULT}

    def _adopt_model(self, request: Message) -> Message:
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
        request = dict(request, who=self.who, version=self.version, project=self.project, take_over=self.take_over)
        request.pop("seal", None)
        return self._in_worker(
            transaction,
            lambda emit, aborted: activate.perform(self.layout, self.agent, transaction, request, emit, aborted),
            [(name, secret["value"]) for name, secret in request["secrets"].items() if "value" in secret],
        )

    def _in_worker(self, transaction: str, work: Work, secrets: Sequence[Tuple[str, str]] = ()) -> Message:
        """Have it done; nothing that is told of it holds one of `secrets`, nor of those that programs here have."""
        from . import launch, worker
        from .masks import Masks

        masks = Masks([*secrets, *launch.every_secret(self.layout)])
        running = worker.start(self.layout, transaction, work, masks)

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
                who = f"{trust.account(uid)} holds it (pid {pid}, {sockets.name(pid)})."
                raise AgentError(
                    REFUSED, "the lock is another account's.", why=who, next_step=f"end it there, as root: kill {pid}"
                ) from None
        if not os.path.isdir(self.layout.private):
            return {"event": RESULT, "holder": None, "outcome": "nothing to recover"}
        answer = self._recover({})
        return dict(answer, holder=holder)

    def _probe(self, request: Message) -> Message:
        from . import checks, launch, prove
        from .checks.here import Here
        from .masks import Masks

        check, program = request["check"], request["program"]
        platform = states.read(self.layout).platform
        bearer = None
        if check.get("token") and platform:
            bearer = prove.bearer(open_supervisor(self.layout, platform, options(self.layout)), program, check)
        outcome = checks.prove(check, Here(self.layout.channel(request["channel"]), bearer))
        masks = Masks(launch.every_secret(self.layout))
        return {"event": RESULT, "check": masks.message(checks.event(outcome, ""))}

    def _down_outside(self, request: Message) -> Message:
        from . import outside

        supervisor = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
        return outside.down(self.layout, supervisor, self.project, self._fault, self.emit)

    def _mend(self, request: Message) -> Message:
        from . import mend

        supervisor = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
        answer = mend.mend(self.layout, supervisor, self._fault, self.emit)
        self._fault = None
        return answer

    def _logs(self, request: Message) -> Message:
        if self._fault is not None:
            from . import outside

            supervisor = open_supervisor(self.layout, request["platform"], request.get("supervisor"))
            outside.demand_no_link(self.layout, supervisor)
        else:
            supervisor = self._serving(request)
        lines = supervisor.log_tail(request["program"], int(request.get("lines", 100)), exact=True)
        return {"event": RESULT, "lines": lines}


def _on_host(op: str, error: OSError) -> AgentError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f": {error.filename}" if error.filename else ""
        return AgentError(
            REFUSED,
            f"there is no room left on the host ({error.strerror}{where}).",
            why="Nothing that runs was touched.",
            next_step="make room there, then deploy up again",
        )
    return AgentError(FAILED, f"{op} failed on the host: {type(error).__name__}: {error}")


def _recover_here(layout: Layout, agent: str, who: str, emit: Callable[[Message], None]) -> Message:
    from . import recover

    return recover.recover_project(layout, agent, who, emit)


def _give_to_login(folder: str) -> None:
    """rsync writes as the login user, also where the agent runs under sudo."""
    from .takeover import give_back, login

    give_back(folder, login())


class _Lines:
    """Lines of a raw stream; keeps what came too early, and can be waited for with select."""

    def __init__(self, stream: BinaryIO) -> None:
        self._fd = stream.fileno()
        self._buffer = b""

    def fileno(self) -> int:
        return self._fd

    def pending(self) -> bool:
        return b"\n" in self._buffer

    def over(self) -> bool:
        """Whether the other side has gone; reads what has come, and does not wait."""
        while select.select([self._fd], [], [], 0)[0]:
            if not self.fill():
                return True
        return False

    def holds(self, op: str) -> bool:
        """Whether this is among the requests that have come and were not taken yet."""
        return any(json.loads(line).get("op") == op for line in self._buffer.split(b"\n")[:-1] if line.strip())

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
