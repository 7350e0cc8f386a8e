"""Fixtures of every test, and their order."""

import os
import signal
import tempfile

from hypothesis import HealthCheck, settings

from tests.order import pytest_collection_modifyitems
from tests.testbed.fixtures import make_host, place, slot, supervisord_host, systemd_host

__all__ = ["make_host", "place", "pytest_collection_modifyitems", "slot", "supervisord_host", "systemd_host"]

# A shell lets what it starts in the background ignore Ctrl-C, and what that starts inherits it: the programs that the
# tests interrupt would not hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a runner of GitHub says of itself is about the run of these tests, not about the projects that they deploy.
for name in [name for name in os.environ if name.startswith("GITHUB_")]:
    del os.environ[name]

# What commands of tests tell while they run is not kept beside what this user deploys.
_state = tempfile.TemporaryDirectory(prefix="state-")
os.environ["XDG_STATE_HOME"] = _state.name

# A busy machine is no failure: what is fast is shown by benchmarks, and not by tests.
settings.register_profile("unhurried", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("unhurried")
