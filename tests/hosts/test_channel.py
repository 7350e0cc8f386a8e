from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any, cast

import pytest
from paramiko.common import cMSG_CHANNEL_DATA, cMSG_CHANNEL_EOF
from paramiko.message import Message

from provision.errors import Unreachable
from provision.hosts import HostConnection, login_shell, run_on_hosts
from provision.hosts.channel import Channel
from provision.hosts.transport import PinnedTransport

ECHO = ["sh", "-c", 'while read -r line; do echo "got $line"; done']


def test_lines_go_there_and_back(host: HostConnection) -> None:
    with host.session(ECHO) as channel:
        for text in (b"one", b"two words", "drei ü".encode()):
            channel.send_line(text)
            assert channel.read_line(10) == b"got " + text
        channel.end_input()
        assert channel.read_line(10) is None
        assert channel.exit_status() == 0


def test_words_arrive_as_they_are(host: HostConnection) -> None:
    words = ["", "a b", "$HOME", "`id`", "it's", '"', "\\", "*", ";", "new\nline", "ü🙂", "-n", "~", "!"]
    completed = host.run(["printf", "%s\\0", *words])
    assert completed.stdout == b"".join(word.encode() + b"\0" for word in words)


def test_waiting_for_a_line_has_an_end_and_loses_nothing(host: HostConnection) -> None:
    with host.session(["sh", "-c", "printf ha; sleep 0.6; echo lf"]) as channel:
        with pytest.raises(TimeoutError):
            channel.read_line(0.2)
        assert channel.read_line(10) == b"half"


def test_a_last_line_without_a_newline_is_a_line(host: HostConnection) -> None:
    with host.session(["printf", "a\\n\\nb"]) as channel:
        assert [channel.read_line(10) for _ in range(4)] == [b"a", b"", b"b", None]


def test_status_and_both_outputs_come_back(host: HostConnection) -> None:
    completed = host.run(["sh", "-c", "cat; echo said >&2; exit 7"], input=b"given")
    assert (completed.rc, completed.stdout, completed.stderr) == (7, b"given", b"said\n")


def test_a_command_that_is_not_there_ends_with_127(host: HostConnection) -> None:
    completed = host.run(["no-such-command"])
    assert completed.rc == 127
    assert b"not found" in completed.stderr


def test_much_input_and_much_output_do_not_lock_each_other(host: HostConnection) -> None:
    data = os.urandom(5_000_000)
    noisy = "head -c 5000000 /dev/zero >&2; cat"  # more than any window, before the input is read
    completed = host.run(["sh", "-c", noisy], input=data)
    assert completed.stdout == data
    assert len(completed.stderr) == 65536


def test_input_that_nobody_reads_does_not_stop_a_command(host: HostConnection) -> None:
    assert host.run(["true"], input=bytes(5_000_000)).rc == 0


def test_a_command_that_takes_too_long_is_given_up(host: HostConnection) -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="sleep did not end within"):
        host.run(["sleep", "30"], timeout=0.3)
    assert time.monotonic() - start < 5
    assert host.run(["echo", "next"]).stdout == b"next\n"


def test_the_last_words_of_a_session_are_kept(host: HostConnection) -> None:
    with host.session(["sh", "-c", "echo first >&2; echo last >&2; exit 3"]) as channel:
        assert channel.read_line(10) is None
        assert channel.stderr_tail() == b"first\nlast\n"
        assert channel.exit_status() == 3


@pytest.mark.parametrize("kind", [cMSG_CHANNEL_DATA, cMSG_CHANNEL_EOF], ids=["data", "the end of the input"])
def test_what_is_sent_late_does_not_end_the_connection(
    kind: bytes, host: HostConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd hangs up on whoever speaks of a channel that it has forgotten."""
    ended = threading.Event()
    send = PinnedTransport._send_user_message

    def late(transport: PinnedTransport, message: Message) -> None:
        if message.asbytes().startswith(kind):
            ended.wait(10)
            time.sleep(0.2)  # for the server to hear of the end and forget
        send(transport, message)

    monkeypatch.setattr(PinnedTransport, "_send_user_message", late)
    channel = host.session(["true"])

    def speak() -> None:
        with contextlib.suppress(Unreachable):  # the command may have ended before the thread came to it
            channel.send(b"x") if kind == cMSG_CHANNEL_DATA else channel.end_input()

    sender = threading.Thread(target=speak)
    sender.start()
    with channel:
        assert channel.read_all(10) == b""
        assert channel.exit_status() == 0
    ended.set()
    sender.join()
    monkeypatch.undo()
    assert host.run(["echo", "next"]).stdout == b"next\n"


def test_many_commands_share_a_connection(host: HostConnection) -> None:
    def count(spec: object) -> int:
        return len(host.run(["head", "-c", "300000", "/dev/zero"]).stdout)

    results = run_on_hosts([host.spec] * 20, count, limit=20)
    assert [result.error or result.value for result in results] == [300000] * 20


def test_a_closed_connection_is_said_to_be_gone(host: HostConnection) -> None:
    channel = host.session(ECHO)
    reading: list[BaseException] = []

    def read() -> None:
        try:
            channel.read_line(20)
        except Unreachable as error:
            reading.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.1)
    host.close()
    thread.join(10)
    assert [str(error) for error in reading] == [
        f"{host.name}: the connection broke while reading from it.\nnext: deploy status"
    ]
    with pytest.raises(Unreachable):
        host.run(["true"])


def test_round_trips_are_counted_by_phase(host: HostConnection) -> None:
    with host.round_trips.phase("facts"):
        host.run(["true"])
    assert host.round_trips.by_phase()["facts"]["exec"] == 1
    assert host.round_trips.total >= 5


class _Ended:
    """The library's channel of a command that has ended: its first words are there once, and nothing takes input."""

    closed = eof_received = False
    exit_status = 0

    def __init__(self) -> None:
        self.words = [login_shell.MARK]
        self.status_event = threading.Event()
        self.status_event.set()

    def recv(self, _most: int) -> bytes:
        return self.words.pop() if self.words else b""

    def recv_ready(self) -> bool:
        return bool(self.words)

    def recv_stderr(self, _most: int) -> bytes:
        return b""

    def send(self, _data: bytes) -> int:
        raise OSError("Socket is closed")

    def settimeout(self, _seconds: float) -> None:
        pass

    def get_transport(self) -> _Ended:
        return self

    def is_active(self) -> bool:
        return True


def test_who_sends_and_takes_the_first_words_hides_them_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads meanwhile met the end of the output, and said that the command had never begun."""
    took = threading.Event()
    skip = login_shell.Opening.skip

    def slowly(opening: login_shell.Opening, data: bytes) -> bytes:
        if data:
            took.set()
            time.sleep(0.3)
        return skip(opening, data)

    monkeypatch.setattr(login_shell.Opening, "skip", slowly)
    channel = Channel(cast("Any", _Ended()), "host", lambda: None)
    failures: list[BaseException] = []

    def send() -> None:
        try:
            channel.send(b"more")
        except Unreachable as error:
            failures.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    took.wait(10)

    assert channel.read_all(10) == b""
    sender.join()
    assert "the command ended while sending to it" in str(failures[0])
