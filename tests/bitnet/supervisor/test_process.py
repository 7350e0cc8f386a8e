from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from bitnet import process
from bitnet.child import LINGER_SECONDS, Child
from bitnet.errors import InvalidInput, LaunchFailed, RuntimeTimeoutError
from bitnet.process import LINES_AHEAD, Finished, Line
from tests.bitnet.supervisor.programs import alive, appears, children, gone, open_files

STUBBORN = "trap '' TERM; echo $$ > $0; while :; do sleep 0.05; done"


async def test_a_program_tells_its_output_its_status_and_its_times() -> None:
    before = time.time()
    finished = await process.run(["sh", "-c", "echo out; echo err >&2; sleep 0.1; exit 3"])
    assert (finished.stdout, finished.stderr, finished.returncode) == ("out\n", "err\n", 3)
    assert before <= finished.started_at <= finished.completed_at <= time.time() + 0.05
    assert 0.1 <= finished.duration < 2
    assert finished.completed_at - finished.started_at == pytest.approx(finished.duration, abs=1e-3)
    assert not finished.ended


async def test_a_signal_is_a_negative_status() -> None:
    assert (await process.run(["sh", "-c", "kill -9 $$"])).returncode == -signal.SIGKILL


async def test_environment_and_folder_are_the_programs_own(tmp_path: Path) -> None:
    finished = await process.run(["/bin/sh", "-c", "echo $A; pwd"], env={"A": "b c"}, cwd=tmp_path)
    assert finished.stdout == f"b c\n{tmp_path.resolve()}\n"


async def test_a_program_reads_nothing_from_our_terminal() -> None:
    assert (await process.run(["cat"], timeout=5)).stdout == ""


async def test_arguments_arrive_unharmed() -> None:
    nasty = ["a b", "", "'\"$HOME`id`", "\n", "ü☃", "-n"]
    code = "import sys; print(ascii(sys.argv[1:]))"
    assert (await process.run([sys.executable, "-S", "-c", code, *nasty])).stdout == f"{nasty!a}\n"


async def test_a_flood_is_cut_and_says_how_much() -> None:
    code = "import sys; sys.stdout.write('a'*5_000_000 + 'z'); sys.stderr.write('e'*3000)"
    finished = await process.run([sys.executable, "-S", "-c", code], capture_bytes=2000)
    assert finished.stdout_cut == 5_000_001 - 2000
    assert finished.stderr_cut == 1000
    assert f"[… {finished.stdout_cut} bytes cut …]" in finished.stdout
    assert finished.stdout.endswith("z")
    assert len(finished.stdout) < 2100


async def test_at_its_deadline_a_program_is_ended_and_its_output_kept() -> None:
    with pytest.raises(RuntimeTimeoutError) as caught:
        await process.run(["sh", "-c", "echo so far; echo bad >&2; exec sleep 30"], timeout=0.2)
    error = caught.value
    assert (error.stdout, error.stderr, error.timeout) == ("so far\n", "bad\n", 0.2)
    assert error.command[0] == "sh"
    assert isinstance(error, TimeoutError)


async def test_one_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeTimeoutError):
        await process.run(["sh", "-c", STUBBORN, str(tmp_path / "pid")], timeout=0.2, grace=0.3)
    assert 0.5 <= time.monotonic() - started < 2
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_one_that_cleans_up_on_sigterm_is_given_the_time(tmp_path: Path) -> None:
    script = "trap 'sleep 0.3; echo clean; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    with pytest.raises(RuntimeTimeoutError) as caught:
        await process.run(["sh", "-c", script], timeout=0.2, grace=5)
    assert caught.value.stdout == "up\nclean\n"


async def test_the_whole_group_ends_at_the_deadline(tmp_path: Path) -> None:
    script = "sleep 60 & echo $! > $0; (sleep 61; true) & wait"
    with pytest.raises(RuntimeTimeoutError):
        await process.run(["sh", "-c", script, str(tmp_path / "pid")], timeout=0.3, grace=1)
    assert await gone(int((tmp_path / "pid").read_text()))
    assert children() == []


async def test_a_stopped_program_is_ended_too() -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeTimeoutError):
        await process.run(["sh", "-c", "kill -STOP $$"], timeout=0.2, grace=20)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("redirect", ["", ">/dev/null 2>&1"], ids=["holding the output", "holding nothing"])
async def test_what_a_program_leaves_behind_ends_with_it(redirect: str, tmp_path: Path) -> None:
    script = f"sleep 60 {redirect} & echo $! > $0; echo bye"
    started = time.monotonic()
    finished = await process.run(["sh", "-c", script, str(tmp_path / "pid")])
    assert finished.stdout == "bye\n"
    assert finished.returncode == 0
    assert time.monotonic() - started < LINGER_SECONDS + 1
    assert await gone(int((tmp_path / "pid").read_text()))


async def test_output_written_by_a_child_shortly_after_its_parents_exit_is_kept() -> None:
    assert (await process.run(["sh", "-c", "(sleep 0.1; echo late) & echo early"])).stdout == "early\nlate\n"


async def test_a_deadline_after_the_exit_is_no_timeout() -> None:
    finished = await process.run(["sh", "-c", "sleep 60 & echo bye"], timeout=LINGER_SECONDS / 2)
    assert (finished.stdout, finished.returncode) == ("bye\n", 0)


async def test_a_process_out_of_reach_that_holds_the_output_does_not_hold_us(tmp_path: Path) -> None:
    script = "setsid sh -c 'echo $$ > $0; exec sleep 60' $0 & while ! test -s $0; do sleep 0.01; done; echo bye"
    finished = await process.run(["sh", "-c", script, str(tmp_path / "pid")])
    pid = int((tmp_path / "pid").read_text())
    try:
        assert finished.stdout == "bye\n"
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    task = asyncio.ensure_future(process.run(["sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid")]))
    pid = int(await appears(tmp_path / "pid"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)


async def test_cancelling_twice_waits_for_no_grace(tmp_path: Path) -> None:
    task = asyncio.ensure_future(process.run(["sh", "-c", STUBBORN, str(tmp_path / "pid")], grace=60))
    pid = int(await appears(tmp_path / "pid"))
    task.cancel()
    await asyncio.sleep(0.1)
    assert alive(pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 2)
    assert not alive(pid)


async def test_a_program_can_be_ended_by_somebody_else() -> None:
    born: list[Child] = []
    task = asyncio.ensure_future(process.run(["sleep", "60"], on_child=born.append))
    await asyncio.sleep(0.05)
    born[0].end()
    finished = await task
    assert finished.ended
    assert finished.returncode == -signal.SIGTERM
    assert await born[0].wait() == -signal.SIGTERM
    born[0].end()
    born[0].kill()


async def test_nothing_is_left_open_after_many_programs() -> None:
    await process.run(["true"])
    before = open_files()
    await asyncio.gather(*(process.run(["sh", "-c", "echo x; exit 1"]) for _ in range(50)))
    assert open_files() <= before
    assert children() == []


async def test_without_pidfd_the_exit_is_seen_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", forbidden)
    finished = await process.run(["sh", "-c", "echo hi; exit 4"])
    assert (finished.stdout, finished.returncode) == ("hi\n", 4)
    with pytest.raises(RuntimeTimeoutError):
        await process.run(["sleep", "60"], timeout=0.1)
    assert children() == []


@pytest.mark.parametrize("command", ["echo hi", [], ["echo", 5], [b"echo"]], ids=repr)
async def test_what_is_no_list_of_strings_is_refused(command: list[str]) -> None:
    with pytest.raises(InvalidInput, match="is no command"):
        await process.run(command)


async def test_an_argument_with_nul_is_refused() -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        await process.run(["echo", "a\0b"])


@pytest.mark.parametrize(
    ("command", "why"),
    [(["no-such-program"], "No such file"), (["/etc/passwd"], "Permission denied"), (["/"], "Permission denied")],
)
async def test_what_cannot_be_started_says_why(command: list[str], why: str) -> None:
    before = open_files()
    with pytest.raises(LaunchFailed, match=why) as caught:
        await process.run(command)
    assert caught.value.command == tuple(command)
    assert open_files() <= before


async def test_a_missing_folder_is_named_and_not_the_program(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="not-there"):
        await process.run(["true"], cwd=tmp_path / "not-there")


async def test_lines_arrive_while_the_program_runs() -> None:
    seen: list[tuple[str, str, float]] = []
    started = time.monotonic()
    async for item in process.stream(["sh", "-c", "echo one; sleep 0.3; echo two >&2; printf three"]):
        if isinstance(item, Line):
            seen.append((item.source, item.text, time.monotonic() - started))
        else:
            assert (item.stdout, item.stderr, item.returncode) == ("one\nthree", "two\n", 0)
    assert [entry[:2] for entry in seen] == [("stdout", "one"), ("stderr", "two"), ("stdout", "three")]
    assert seen[0][2] < 0.2 < seen[1][2]


async def test_a_slow_reader_slows_the_program_down(tmp_path: Path) -> None:
    written = tmp_path / "written"
    code = (
        "import sys\n"
        "for n in range(60_000):\n"
        "    print(n, flush=True)\n"
        "    if n % 1000 == 0: open(sys.argv[1], 'w').write(str(n))\n"
    )
    lines = process.stream([sys.executable, "-S", "-c", code, str(written)])
    async with aclosing(lines):
        assert await anext(lines) == Line("stdout", "0")
        await asyncio.sleep(0.7)
        assert int(written.read_text()) < 60_000 - LINES_AHEAD
        texts = [item.text async for item in lines if isinstance(item, Line)]
    assert texts == [str(n) for n in range(1, 60_000)]


async def test_a_reader_that_pauses_past_the_exit_misses_nothing() -> None:
    lines = process.stream(["sh", "-c", "seq 3000"])
    assert await anext(lines) == Line("stdout", "1")
    await asyncio.sleep(LINGER_SECONDS + 0.3)
    rest = [item async for item in lines]
    assert [item.text for item in rest if isinstance(item, Line)] == [str(n) for n in range(2, 3001)]
    assert isinstance(rest[-1], Finished)


async def test_leaving_a_stream_ends_the_program(tmp_path: Path) -> None:
    script = "echo $$ > $0; echo up; exec sleep 60"
    async with aclosing(process.stream(["sh", "-c", script, str(tmp_path / "pid")])) as lines:
        async for item in lines:
            assert item == Line("stdout", "up")
            break
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_stream_has_a_deadline_even_when_nobody_reads(tmp_path: Path) -> None:
    script = "echo $$ > $0; echo up; exec sleep 60"
    lines = process.stream(["sh", "-c", script, str(tmp_path / "pid")], timeout=0.3)
    assert await anext(lines) == Line("stdout", "up")
    assert await gone(int((tmp_path / "pid").read_text()))
    with pytest.raises(RuntimeTimeoutError) as caught:
        await anext(lines)
    assert caught.value.stdout == "up\n"


async def test_cancelling_a_streams_reader_ends_the_program(tmp_path: Path) -> None:
    async def read() -> None:
        async with aclosing(
            process.stream(["sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid")])
        ) as lines:
            async for _ in lines:
                pass

    task = asyncio.ensure_future(read())
    pid = int(await appears(tmp_path / "pid"))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not alive(pid)
