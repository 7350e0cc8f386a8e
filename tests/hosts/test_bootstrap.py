import dataclasses
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.errors import DeployError, UsageError
from provision.hosts import HostConnection, connect
from provision.hosts.bootstrap import HAPROXY, MANAGERS, TOOLS, Bootstrap, Tools, bootstrap, look, plan
from provision.hosts.sandbox import Sandbox

BARE = Tools(frozenset(), "apt-get", root=True, sudo_works=False, python=None)


def test_nothing_is_done_where_nothing_is_missing() -> None:
    assert plan(dataclasses.replace(BARE, present=frozenset(TOOLS), manager="")) == Bootstrap((), ())


@pytest.mark.parametrize("manager", MANAGERS)
def test_each_package_manager_installs_what_is_missing_without_asking(manager: str) -> None:
    todo = plan(dataclasses.replace(BARE, manager=manager, present=frozenset({"rsync"})))
    assert todo.missing == ("python3", "supervisord")
    assert todo.commands[-1][-1] == "supervisor"
    assert todo.commands[-1][-2] in ("python3", "python")


def test_a_user_who_is_not_root_uses_sudo_where_it_works() -> None:
    todo = plan(dataclasses.replace(BARE, root=False, sudo_works=True), ["rsync"])
    assert [command[:3] for command in todo.commands] == [("sudo", "-n", "apt-get"), ("sudo", "-n", "env")]


def test_a_user_who_may_not_install_is_told_the_command_for_root() -> None:
    with pytest.raises(UsageError, match="may not install") as caught:
        plan(dataclasses.replace(BARE, root=False), ["rsync"])
    assert caught.value.next_step.startswith("on the host, as root: env DEBIAN_FRONTEND=noninteractive apt-get install")


def test_haproxy_is_asked_of_nobody_who_may_not_install_because_it_is_sent() -> None:
    assert plan(BARE, [HAPROXY]).missing == (HAPROXY,)
    assert not plan(dataclasses.replace(BARE, root=False), [HAPROXY]).missing
    assert not plan(dataclasses.replace(BARE, manager=""), [HAPROXY]).missing


def test_a_host_without_a_known_package_manager_is_said_to_be_one() -> None:
    with pytest.raises(UsageError, match="no package manager is known"):
        plan(dataclasses.replace(BARE, manager=""))


def test_a_python_too_old_for_the_agent_is_named() -> None:
    with pytest.raises(UsageError, match=r"its python3 is 3.6; 3.8 is needed"):
        plan(dataclasses.replace(BARE, present=frozenset(TOOLS), python=(3, 6)))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[tuple[HostConnection, Path]]:
    """A host with few programs, whose package manager is a script of ours that writes down what it is told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "id", "env", "chmod", "rsync"):
        (programs / name).symlink_to(shutil.which(name) or name)
    (programs / "python3").symlink_to(sys.executable)
    manager = programs / "apt-get"
    manager.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n'
        f"[ \"$1\" != install ] || [ -e {tmp_path}/broken ] || {{ echo '#!/bin/sh' > {programs}/supervisord; "
        f"chmod 755 {programs}/supervisord; }}\n"
        f"[ ! -e {tmp_path}/refuse ] || {{ echo 'E: no network' >&2; exit 100; }}\n"
    )
    manager.chmod(0o755)
    with Sandbox(tmp_path / "host", path=[programs]) as sandbox:
        entry = sandbox.root / "entry"
        lines = [line for line in entry.read_text().splitlines() if not line.startswith("export PATH=")]
        entry.write_text("\n".join([f"export PATH={programs}", *lines, ""]))
        with connect(sandbox.spec) as host:
            yield host, tmp_path


def test_the_host_is_looked_at_in_one_command(machine: tuple[HostConnection, Path]) -> None:
    host, _ = machine
    before = host.round_trips.by_phase()["connect"].get("exec", 0)
    tools = look(host)
    assert host.round_trips.by_phase()["connect"]["exec"] == before + 1
    assert {"rsync", "python3"} <= tools.present
    assert tools.manager == "apt-get"
    assert tools.python is not None
    assert tools.python >= (3, 8)


def test_what_is_missing_is_installed_after_somebody_agreed(machine: tuple[HostConnection, Path]) -> None:
    host, folder = machine
    shown: list[str] = []

    def agree(todo: Bootstrap) -> bool:
        shown.append(str(todo))
        return True

    with pytest.raises(UsageError, match="nothing was installed"):
        bootstrap(host, lambda _: False)
    assert not (folder / "told").exists()
    assert bootstrap(host, agree).missing == ("supervisord",)
    assert "apt-get install -y -q --no-install-recommends supervisor" in shown[0]
    assert (folder / "told").read_text() == "update -q\ninstall -y -q --no-install-recommends supervisor\n"
    assert bootstrap(host, agree).missing == ()


@pytest.mark.parametrize(("fault", "said"), [("refuse", "E: no network"), ("broken", "another name")])
def test_an_installation_that_fails_is_said_in_its_words(
    machine: tuple[HostConnection, Path], fault: str, said: str
) -> None:
    host, folder = machine
    (folder / fault).touch()
    with pytest.raises(DeployError) as caught:
        bootstrap(host, lambda _: True)
    assert said in caught.value.why
