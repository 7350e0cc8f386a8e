"""What services wrote, of all that are meant on all hosts, and what they write from now on."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision import errors
from provision.agent import loader
from provision.contract import roles
from provision.contract.answers import Logs
from provision.contract.layout import Layout
from provision.contract.slots import FIRST, named, services_of
from provision.hosts import HostResult, HostSpec, run_on_hosts
from provision.project.fault import nearest
from provision.rollout.hosts import chosen, values
from provision.targets import Deployment, open_session

if TYPE_CHECKING:
    from provision.contract.requests import Logs as LogsRequest
    from provision.hosts import HostConnection

LINES = 100  # where nobody says how many
_ALL = 100_000  # where it is said since when; a host tells the last 64 KiB
_FOLLOW_SECONDS = 24 * 3600.0
_NUMBER = re.compile(rb"[0-9]{1,6}")
_WAITING = 10_000  # lines that nobody has looked at yet; then hosts wait, as before any full pipe
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class LogLine:
    """One line; what is no UTF-8 in it is there as `surrogateescape` has it."""

    host: str
    service: str
    line: str


def programs(deployment: Deployment, services: Sequence[str], channel: str) -> dict[str, str]:
    """Program -> what a person calls it who has named the channel, of the programs that `services` mean.

    Args:
        services: `api` with all of its copies, or one as `api.2`; a program as its supervisor calls it will do, too.
            None: all.
        channel: stable, canary or candidate. Where traffic comes to a service, a program has any role: all are meant.

    Raises:
        UsageError: there is no such service.
    """
    document = deployment.release.document
    declared = [each for each in services_of(document, channel) if not roles.is_fronted(document, each["name"])]
    fronted = document["traffic"]["services"] if "traffic" in document else ()
    declared += [each for name in fronted for each in roles.slots_of(document, name).values()]
    called = {each["program"]: named(each["name"], each.get("slot", FIRST)) for each in declared}
    found: dict[str, str] = {}
    for name in services:
        meant = [
            each["program"] for each in declared if name in (each["name"], each["program"], called[each["program"]])
        ]
        if not meant:
            raise no_service(name, dict.fromkeys(called.values()))
        found.update((program, called[program]) for program in meant)
    return found if services else called


def no_service(name: str, known: Iterable[str]) -> errors.UsageError:
    return errors.UsageError(f'there is no service "{name}". {nearest(name, known, "services")}'.rstrip())


def logs(
    deployment: Deployment,
    services: Sequence[str] = (),
    *,
    lines: int | None = None,
    ago: float = 0.0,
    follow: bool = False,
    channel: str = "stable",
    hosts: Sequence[str] | None = None,
) -> Iterator[LogLine]:
    """The last lines of services, host by host; with `follow`, also those to come, as they come, until interrupted.

    Args:
        services: as `programs` takes them.
        lines: of each service, at most; `LINES` by default, and all that a host tells where `ago` is given.
        ago: seconds; nothing that is older.
        channel: stable, canary; or candidate: the copy that was last proven beside the old one, also where it failed.

    Raises:
        UsageError: there is no such service or host.
        SomeHostsFailed: of some hosts nothing came; after what came from the others.
    """
    called = programs(deployment, services, channel)
    specs = chosen(deployment, hosts)
    most = lines or (_ALL if ago else LINES)
    if follow:
        yield from _followed(deployment, called, specs, most, ago)
        return
    told = run_on_hosts(specs, lambda spec: _ask(deployment, spec, called, most, ago))
    for result in told:
        for program, found in (result.value or {}).items():
            yield from (LogLine(result.spec.name, called[program], line) for line in found)
    values(told)


def _ask(
    deployment: Deployment, spec: HostSpec, called: dict[str, str], lines: int, ago: float
) -> dict[str, list[str]]:
    request: LogsRequest = {
        "op": "logs",
        "outside": True,
        "programs": list(called),
        "lines": lines,
        "ago": ago,
        "platform": str(deployment.target.platform),
        "supervisor": deployment.supervisor,
    }
    with open_session(deployment, spec) as session:
        answer = session.conversation.ask(request, Logs)
    if answer["untimed"]:
        _without_times(deployment, spec, [called[program] for program in answer["untimed"]])
    return {program: answer["logs"].get(program, []) for program in called}


def _without_times(deployment: Deployment, spec: HostSpec, services: Sequence[str]) -> None:
    text = f"the lines of {', '.join(services)} tell no time, so older ones are among them"
    deployment.on_event({"event": "warning", "host": spec.name, "text": text})


def _followed(
    deployment: Deployment, called: dict[str, str], specs: Sequence[HostSpec], lines: int, ago: float
) -> Iterator[LogLine]:
    came = _Came()
    connections: list[HostConnection] = []

    def work(spec: HostSpec) -> None:
        try:
            _follow(deployment, spec, called, lines, ago, came, connections)
        except BaseException as error:
            if len(specs) > 1:
                deployment.on_event({"event": "warning", "host": spec.name, "text": f"nothing more comes: {error}"})
            came.put(HostResult(spec, error=error))
        else:
            came.put(HostResult(spec))

    for spec in specs:
        threading.Thread(target=work, args=(spec,), daemon=True, name=f"logs of {spec.name}").start()
    ended: list[HostResult[None]] = []
    try:
        while len(ended) < len(specs):
            item = came.get()
            if isinstance(item, LogLine):
                yield item
            else:
                ended.append(item)
    finally:
        came.nobody_listens = True
        for connection in connections:
            connection.close()
    values(ended)


class _Came:
    """What came of all hosts, no more at a time than somebody may look at."""

    def __init__(self) -> None:
        self.nobody_listens = False
        self._queue: queue.Queue[LogLine | HostResult[None]] = queue.Queue(_WAITING)

    def get(self) -> LogLine | HostResult[None]:
        return self._queue.get()

    def put(self, item: LogLine | HostResult[None]) -> None:
        while not self.nobody_listens:
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=_LOOK_SECONDS)
                return


def _follow(
    deployment: Deployment,
    spec: HostSpec,
    called: dict[str, str],
    lines: int,
    ago: float,
    came: _Came,
    connections: list[HostConnection],
) -> None:
    platform, target = deployment.platform, deployment.target
    has_times = not platform.logs_in_project
    if ago and not has_times:
        _without_times(deployment, spec, list(called.values()))
    first = None if ago and has_times else min(lines, LINES) if ago else lines
    asked = {
        "trusted": "" if has_times else Layout(target.path).logs,
        "ago": ago,
        "programs": [
            [platform.follow(target, program, first), platform.follow(target, program, None)] for program in called
        ],
    }
    names = list(called.values())
    with deployment.connect(spec) as connection:
        connections.append(connection)
        with connection.session([*target.as_root, *loader.following(target.python)]) as channel:
            channel.send_line(json.dumps(asked).encode())
            while (line := channel.read_line(_FOLLOW_SECONDS)) is not None:
                number, _, text = line.partition(b" ")
                if not _NUMBER.fullmatch(number) or int(number) >= len(names):
                    raise _refused(spec, line)
                came.put(LogLine(spec.name, names[int(number)], text.decode("utf-8", "surrogateescape")))
            if channel.exit_status():
                said = channel.stderr_tail().decode(errors="replace").strip().splitlines()
                raise errors.DeployError(
                    "its logs can't be followed.",
                    why=said[-1] if said else "",
                    next_step=f"deploy logs --host {spec.name}",
                    host=spec.name,
                )


def _refused(spec: HostSpec, line: bytes) -> errors.DeployError:
    try:
        said = json.loads(line)
        what, by_hand = str(said["what"]), str(said["next"])
    except (ValueError, TypeError, KeyError, RecursionError):
        what = f"what follows its logs said {line[:200].decode(errors='replace')!r}"
        return errors.DeployError(what, next_step="deploy logs, without --follow", host=spec.name)
    next_step = f"by hand: {by_hand}; deploy host mend" if by_hand else "deploy host mend"
    return errors.Untrusted(what, next_step=next_step, host=spec.name)
