"""scripts/install-packages: silent when all is there, else it installs, or says how."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/install-packages"
NEEDED = ("sh", "dirname", "grep", "awk", "mktemp", "rm", "cat", "env", "chmod", "tr")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the script where only the named programs exist; apt-get and sudo note down how they were called."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in NEEDED:
        (bin_ / name).symlink_to(str(shutil.which(name)))

    def run(*groups: str, user: int = 0, programs: str = "", apt: str = "exit 0") -> subprocess.CompletedProcess[str]:
        scripts = dict.fromkeys(programs.split(), "exit 0")
        scripts |= {"id": f"echo {user}", "apt-get": f'echo "apt-get $*" >> {tmp_path}/calls; {apt}'}
        if "sudo" in scripts:
            scripts["sudo"] = f'echo "sudo $*" >> {tmp_path}/calls; [ "$1" = -n ] && shift; exec "$@"'
            scripts["true"] = "exit 0"
        for name, text in scripts.items():
            (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
            (bin_ / name).chmod(0o755)
        environment = {"PATH": str(bin_), "TMPDIR": str(tmp_path), "POLICY_RC_D": str(tmp_path / "policy-rc.d")}
        return subprocess.run(
            [SCRIPT, *groups], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    def calls() -> list[str]:
        file = tmp_path / "calls"
        return file.read_text().splitlines() if file.exists() else []

    return calls


def test_nothing_missing_says_and_does_nothing(run: Run, calls: Callable[[], list[str]]) -> None:
    done = run("build", programs="cmake ninja ccache gcc g++")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert calls() == []


def test_root_installs_what_is_missing_and_says_why(run: Run, calls: Callable[[], list[str]]) -> None:
    done = run("build", programs="cmake gcc g++")
    assert done.returncode == 0
    assert "missing: ninja-build (compiles it and counts the steps)" in done.stdout
    assert calls() == ["apt-get install --yes --no-install-recommends ninja-build ccache"]


def test_a_library_is_there_where_the_loader_knows_it(run: Run, calls: Callable[[], list[str]], tmp_path: Path) -> None:
    knows = tmp_path / "bin" / "ldconfig"
    for library, installed in (("libgomp.so.1", []), ("libgomp.so.2", ["libgomp1"])):
        knows.write_text(f"#!/bin/sh\nprintf '2 libs found\\n\\t{library} (libc6,x86-64) => /lib/{library}\\n'\n")
        knows.chmod(0o755)
        assert run("demo", programs="sshd rsync").returncode == 0
        assert [call.split()[-1] for call in calls()] == installed


def test_stale_package_lists_are_fetched_only_when_installing_fails(run: Run, calls: Callable[[], list[str]]) -> None:
    failing_once = 'case "$1" in update) touch "$TMPDIR/fresh";; install) [ -e "$TMPDIR/fresh" ];; esac'
    done = run("build", programs="cmake gcc g++ ccache", apt=failing_once.replace("touch", ": >"))
    assert done.returncode == 0
    install = "apt-get install --yes --no-install-recommends ninja-build"
    assert calls() == [install, "apt-get update", install]


def test_a_user_with_sudo_installs_through_it(run: Run, calls: Callable[[], list[str]]) -> None:
    done = run("build", user=1000, programs="cmake gcc g++ ccache sudo")
    assert done.returncode == 0
    assert [call for call in calls() if call.startswith("apt-get")] == [
        "apt-get install --yes --no-install-recommends ninja-build"
    ]
    assert any(call.startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get") for call in calls())


def test_no_daemon_starts_because_its_package_is_installed(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    done = run("build", programs="cmake gcc g++ ccache", apt='"$POLICY_RC_D"; echo $? > "$TMPDIR/said"')
    assert done.returncode == 0
    assert (tmp_path / "said").read_text() == "101\n"
    assert not policy.exists()


def test_a_policy_of_the_machine_s_own_stays(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 7\n")
    assert run("build", programs="cmake gcc g++ ccache").returncode == 0
    assert policy.read_text() == "#!/bin/sh\nexit 7\n"


def test_a_user_without_sudo_is_given_the_command(run: Run, calls: Callable[[], list[str]]) -> None:
    done = run("build", user=1000, programs="cmake gcc g++ ccache")
    assert done.returncode == 1
    assert "apt-get update && apt-get install --yes --no-install-recommends ninja-build" in done.stderr
    assert calls() == []


@pytest.mark.parametrize(
    ("knows", "installed"), [("exit 0", ["docker-cli", "docker-buildx"]), ("exit 100", ["docker.io"])]
)
def test_of_two_names_it_is_the_one_that_apt_knows(
    run: Run, calls: Callable[[], list[str]], tmp_path: Path, knows: str, installed: list[str]
) -> None:
    cache = tmp_path / "bin" / "apt-cache"
    cache.write_text(f"#!/bin/sh\n{knows}\n")
    cache.chmod(0o755)

    run("test")

    named = calls()[0].split()
    assert [named.count(name) for name in installed] == [1 for _ in installed]
    assert [word for word in named if "|" in word or "," in word] == []


def test_what_apt_said_is_shown_when_it_fails(run: Run) -> None:
    done = run("build", programs="cmake gcc g++ ccache", apt="echo 'E: no network' >&2; exit 100")
    assert done.returncode == 1
    assert "E: no network" in done.stderr


def test_an_unknown_group_is_refused(run: Run) -> None:
    done = run("biuld")
    assert done.returncode == 2
    assert 'no group "biuld"' in done.stderr


def test_without_a_group_the_groups_are_listed(run: Run) -> None:
    done = run()
    assert done.returncode == 2
    assert "build bitnet demo test" in done.stderr


def test_each_line_of_the_list_has_group_package_command_and_reason() -> None:
    lines = [line for line in (SCRIPT.parent / "packages.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines
    for line in lines:
        assert len(line.split(maxsplit=3)) == 4, line
