import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from provision.hosts import HostSpec, parse_hosts, run_on_hosts

HOSTS = parse_hosts(["h[1:20]"])


def test_results_stand_in_the_order_of_the_hosts() -> None:
    def work(spec: HostSpec) -> str:
        time.sleep(0.02 if spec.name.endswith("1") else 0)
        return spec.name

    assert [result.value for result in run_on_hosts(HOSTS, work)] == [spec.name for spec in HOSTS]


def test_an_error_stays_with_its_host() -> None:
    def work(spec: HostSpec) -> str:
        if spec.name == "h3":
            raise RuntimeError("broken")
        return spec.name

    results = run_on_hosts(HOSTS, work)
    assert [result.spec.name for result in results if not result.ok] == ["h3"]
    assert str(results[2].error) == "broken"


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_hosts_than_the_limit_at_a_time(limit: int) -> None:
    running = threading.Semaphore(limit)

    def work(spec: HostSpec) -> bool:
        free = running.acquire(blocking=False)
        time.sleep(0.01)
        if free:
            running.release()
        return free

    assert all(result.value for result in run_on_hosts(HOSTS, work, limit=limit))


PROGRAM = """
    import sys, time
    from provision.hosts import parse_hosts, run_on_hosts
    def work(spec):
        print(spec.name, flush=True)
        time.sleep(float(sys.argv[1]))
        return spec.name
    results = run_on_hosts(parse_hosts(["h[1:3]"]), work, limit=1, on_interrupt=lambda: print("stopping", flush=True))
    print([result.value or type(result.error).__name__ for result in results], flush=True)
"""


def started(seconds: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), seconds]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "h1\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopping\n"
    return process


def test_ctrl_c_begins_no_further_host_and_waits_for_the_running_one() -> None:
    process = started("0.5")
    said, _ = process.communicate(timeout=10)
    assert said == "['h1', 'Interrupted', 'Interrupted']\n"


def test_a_second_ctrl_c_waits_for_nobody() -> None:
    process = started("60")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in said


def test_the_first_ctrl_c_waits_for_nobody_where_nobody_can_be_asked_to_stop() -> None:
    """Issue 13, 6: a host that hangs held `status` until its time for an answer was over."""

    def work(spec: HostSpec) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run_on_hosts(HOSTS[:1], work)


def test_ctrl_c_is_seen_though_another_thread_was_given_it() -> None:
    asked = threading.Event()

    def work(spec: HostSpec) -> bool:
        time.sleep(0.3)  # by then the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return asked.wait(10)

    assert [result.value for result in run_on_hosts(HOSTS[:1], work, on_interrupt=asked.set)] == [True]
