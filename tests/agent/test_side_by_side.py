"""Work that the agent does side by side, and who is asked to stop meanwhile."""

import subprocess
import sys

# The signal goes to a thread that waits for an answer, as the kernel may choose; Python acts on it in the main thread.
_ASKED_ELSEWHERE = """
import signal, threading, time
from provision.agent.together import side_by_side

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))

def work(_):
    time.sleep(0.3)  # until the main thread waits
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    until = time.monotonic() + 20
    while not asked and time.monotonic() < until:
        time.sleep(0.01)
    print("heard" if asked else "deaf")

side_by_side(work, [1])
"""


def test_who_is_asked_to_stop_hears_it_whichever_thread_the_signal_reaches() -> None:
    done = subprocess.run([sys.executable, "-c", _ASKED_ELSEWHERE], capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr) == ("heard\n", "")
