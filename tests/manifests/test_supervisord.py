"""What is rendered for supervisord, read by a real one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given

from provision.errors import UnencodableValue
from provision.manifests.encoders import ini_value, supervisor_arg
from provision.manifests.value import Value
from provision.project.service import Lane
from tests.manifests.projects import dollars_doubled, install, lane, project, service
from tests.manifests.supervisors import Supervisord, supervisord
from tests.manifests.values import BATCH, ECHO, ECHO_AND_STAY, Echo, batches, examples, texts

_numbers = itertools.count()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisord]:
    with supervisord(tmp_path_factory.mktemp("supervisord")) as running:
        yield running


@examples(20)
@given(values=batches(texts(line_ends=False)))
@example(values=["%(here)s", "100%", " ;", "a #b", "'", '"', "", "\u2028;", "\x1c#x"])
def test_every_argument_in_command_reaches_the_program(daemon: Supervisord, values: list[str]) -> None:
    number = next(_numbers)
    log = daemon.folder / f"args-{number}.log"
    # The program's text has lines, which `command` can't hold.
    script = daemon.folder / "echo.py"
    script.write_text(ECHO[-1])
    command = " ".join(supervisor_arg(Value("test", (word,))) for word in [*ECHO[:-2], str(script), *values])

    daemon.load({f"args-{number}.conf": _once(f"args-{number}", f"command = {command}\nstdout_logfile = {log}")})

    assert Echo.of(daemon.first_line(log)).argv == values


def _once(name: str, keys: str) -> str:
    """A program that may end at once."""
    return f"[program:{name}]\n{keys}\nautorestart = false\nstartsecs = 0\n"


@examples(4)
@given(values=batches(texts()), others=batches(texts()))
def test_every_env_value_and_argument_reaches_the_program_through_its_launcher(
    daemon: Supervisord, values: list[str], others: list[str]
) -> None:
    path = daemon.folder / f"project-{next(_numbers)}"
    batches_ = [values, others, values[::-1], others[::-1]]
    declared = project(
        {
            f"s{at}": {
                "command": [*ECHO_AND_STAY, *map(dollars_doubled, batch)],
                "env": {f"V{number}": dollars_doubled(value) for number, value in enumerate(batch)},
            }
            for at, batch in enumerate(batches_)
        },
        path=path,
        name_prefix=f"p{next(_numbers)}-",
    )
    documents = lane(declared)["services"]
    for document in documents:
        install(document, path)

    daemon.load({document["manifest"]["name"]: document["manifest"]["text"] for document in documents})

    for document, batch in zip(documents, batches_, strict=True):
        told = Echo.of(daemon.first_line(path / "shared" / "logs" / f"{document['program']}.log"))
        assert told.argv == batch
        assert [told.env[f"V{number}"] for number in range(BATCH)] == batch


def test_a_value_of_100_kb_reaches_the_program(daemon: Supervisord) -> None:
    path = daemon.folder / "long"
    long = "'\"%;# \n🦙$" * 10_000
    declared = project({"long": {"command": ECHO_AND_STAY, "env": {"LONG": dollars_doubled(long)}}}, path=path)
    document = service(declared, "long")
    install(document, path)

    daemon.load({"long.conf": document["manifest"]["text"]})

    assert len(long.encode()) > 100_000
    assert Echo.of(daemon.first_line(path / "shared" / "logs" / "long.log")).env["LONG"] == long


def test_the_process_that_supervisord_knows_is_the_program_itself(daemon: Supervisord) -> None:
    path = daemon.folder / "pid"
    document = service(project({"pid": {"command": ECHO_AND_STAY}}, path=path), "pid")
    install(document, path)

    daemon.load({"pid.conf": document["manifest"]["text"]})

    told = Echo.of(daemon.first_line(path / "shared" / "logs" / "pid.log"))
    assert daemon.rpc.getProcessInfo("pid")["pid"] == told.pid


def test_on_demand_and_on_trial_programs_wait_to_be_started(daemon: Supervisord) -> None:
    path = daemon.folder / "waiting"
    declared = project(
        {"worker": {"command": ECHO_AND_STAY, "on_demand": True}, "web": {"command": ECHO_AND_STAY}}, path=path
    )
    documents = [*lane(declared)["services"], *lane(declared, Lane.CANDIDATE)["services"]]
    for document in documents:
        install(document, path)

    daemon.load({document["manifest"]["name"]: document["manifest"]["text"] for document in documents})
    daemon.first_line(path / "shared" / "logs" / "web.log")

    states = {entry["name"]: entry["statename"] for entry in daemon.rpc.getAllProcessInfo()}
    assert states["web"] in ("STARTING", "RUNNING")
    assert {states[name] for name in ("worker", "worker.candidate", "web.candidate")} == {"STOPPED"}


def test_a_program_on_trial_that_ends_is_not_tried_again(daemon: Supervisord) -> None:
    path = daemon.folder / "trial"
    document = service(project({"trial": {"command": ["false"]}}, path=path), "trial", Lane.CANDIDATE)
    install(document, path)
    daemon.load({"trial.conf": document["manifest"]["text"]})

    daemon.rpc.startProcess("trial.candidate", False)

    until = time.monotonic() + 10
    while daemon.rpc.getProcessInfo("trial.candidate")["statename"] != "FATAL":
        assert time.monotonic() < until, daemon.rpc.getProcessInfo("trial.candidate")
        time.sleep(0.02)


def test_stopping_a_wrapper_stops_what_it_started(daemon: Supervisord) -> None:
    path = daemon.folder / "group"
    command = ["sh", "-c", '"$@" & wait', "sh", *ECHO_AND_STAY]
    document = service(project({"group": {"command": command}}, path=path), "group")
    install(document, path)
    daemon.load({"group.conf": document["manifest"]["text"]})
    child = Echo.of(daemon.first_line(path / "shared" / "logs" / "group.log")).pid
    assert child != daemon.rpc.getProcessInfo("group")["pid"]

    daemon.rpc.stopProcess("group")

    until = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < until, "the wrapped process still runs"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("encode", "text", "reason"),
    [
        (supervisor_arg, "a\nb", "line's end"),
        (supervisor_arg, "a\rb", "line's end"),
        (supervisor_arg, "a\0b", "NUL"),
        (supervisor_arg, "\ud800", "half a character"),
        (ini_value, "a\nb", "line's end"),
        (ini_value, " a", "blank at the edge"),
        (ini_value, "a ;b", "before ; or #"),
        (ini_value, "#a", "before ; or #"),
        (ini_value, "100%", "once in some keys and twice in others"),
    ],
)
def test_what_supervisord_cannot_hold_is_refused(encode: object, text: str, reason: str) -> None:
    with pytest.raises(UnencodableValue, match=f"services.web.env.A: .*{reason}"):
        encode(Value("services.web.env.A", (text,)))  # type: ignore[operator]


@pytest.mark.parametrize("name", ["plain", "with space", "a;b#c", "it's", "é🦙"])
def test_other_keys_hold_text_too(daemon: Supervisord, name: str) -> None:
    number = next(_numbers)
    log = daemon.folder / f"{number} {name}.log"
    key = f"stdout_logfile = {ini_value(Value('test', (str(log),)))}"

    daemon.load({f"keys-{number}.conf": _once(f"keys-{number}", f"command = echo hello\n{key}")})

    assert daemon.first_line(log) == "hello"
