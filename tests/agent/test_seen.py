"""What a host says of its programs while they come and go."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from provision.agent import facts
from provision.agent.supervisors.base import Activity, Observed
from provision.agent.supervisors.supervisord import Supervisord
from provision.contract.layout import Layout
from provision.contract.state import Program, State
from tests.faults.hooks import until


class _EndsMeanwhile(Supervisord):
    """Its program finds its port taken, and ends after it was seen and before anybody looks at it."""

    def __init__(self, layout: Layout, program: subprocess.Popen[bytes], stray: int) -> None:
        super().__init__(layout)
        self._program, self._stray = program, stray

    def observe(self, programs: Sequence[str]) -> dict[str, Observed]:
        return dict.fromkeys(programs, Observed(Activity.RUNNING, self._program.pid))

    def strays(self, programs: Sequence[str]) -> dict[str, set[int]]:
        self._program.kill()
        self._program.wait()
        return {name: {self._stray} for name in programs}


def test_a_program_that_ends_while_it_is_looked_at_hides_no_process_that_keeps_its_port(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    state = State(programs={"app-web": Program("web", "stable", "blue", "r1", "l1", "f1", manifest="app.conf")})
    with subprocess.Popen(["sleep", "60"]) as stray, subprocess.Popen(["sleep", "60"]) as program:
        until(lambda: Path(f"/proc/{program.pid}/cmdline").read_bytes().startswith(b"sleep"), "it runs")
        seen = facts.view(layout, _EndsMeanwhile(layout, program, stray.pid), state, with_gpus=False)
        stray.kill()

    assert seen.programs["app-web"]["activity"] == Activity.UNSUPERVISED.value
    assert seen.programs["app-web"]["pid"] == stray.pid
