import base64
import dataclasses
import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.errors import HostKeyChanged, HostKeyUnknown, Unreachable, UsageError
from provision.hosts import ConnectEvent, HostSpec, connect, fetch_key, run_on_hosts, trust
from provision.hosts.known_hosts import HostKey, lookup_name
from provision.hosts.sandbox import Sandbox
from provision.hosts.sandbox.layout import Server
from provision.hosts.ssh_program import talk
from tests.hosts.lines import black_hole, silent_port

OTHER_KEY = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32))


@pytest.fixture
def pins(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A copy of the sandbox's known_hosts that a test may change."""
    return Path(shutil.copy(sandbox.spec.known_hosts[0], tmp_path / "known_hosts"))


@pytest.fixture
def spec(sandbox: Sandbox, pins: Path) -> HostSpec:
    return dataclasses.replace(sandbox.spec, known_hosts=(pins,))


def works(spec: HostSpec, **options: object) -> bool:
    with connect(spec, **options) as host:  # type: ignore[arg-type]
        return host.run(["echo", "a  b"]).stdout == b"a  b\n"


def test_a_pinned_host_is_connected_to_in_four_round_trips(spec: HostSpec) -> None:
    with connect(spec) as host:
        assert host.run(["true"]).rc == 0
        steps = host.round_trips.by_phase()["connect"]
    assert {step: steps[step] for step in ("tcp", "version", "key exchange", "authentication", "exec")} == {
        "tcp": 1,
        "version": 1,
        "key exchange": 1,
        "authentication": 1,
        "exec": 1,
    }


def test_an_unknown_host_stops_with_its_fingerprint_and_the_command_to_trust_it(spec: HostSpec, pins: Path) -> None:
    key = fetch_key(spec)
    pins.write_text("")
    with pytest.raises(HostKeyUnknown) as caught:
        connect(spec)
    assert key.fingerprint in str(caught.value)
    assert caught.value.next_step == "deploy host trust sandbox"
    assert caught.value.exit == 4


def test_a_changed_key_stops_loudly_with_what_was_expected_and_what_came(spec: HostSpec, pins: Path) -> None:
    key = fetch_key(spec)
    pins.write_text(f"{lookup_name(spec.address, spec.port)} {OTHER_KEY.line}\n")
    with pytest.raises(HostKeyChanged) as caught:
        connect(spec)
    assert f"HOST KEY CHANGED. Expected {OTHER_KEY.fingerprint}, got {key.fingerprint}" in str(caught.value)
    assert f"{pins}:1" in str(caught.value)
    assert caught.value.next_step.endswith("deploy host trust sandbox --replace")


def test_a_revoked_key_is_refused_though_it_is_pinned(spec: HostSpec, pins: Path) -> None:
    pins.write_text(pins.read_text() + f"@revoked * {fetch_key(spec).line}\n")
    with pytest.raises(HostKeyChanged, match="revoked"):
        connect(spec)


def test_hashed_pins_are_found(spec: HostSpec, pins: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", pins], check=True, capture_output=True)
    assert pins.read_text().startswith("|1|")
    assert works(spec)


def test_the_server_is_asked_for_a_key_of_the_pinned_type(tmp_path: Path) -> None:
    rsa = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa], check=True)
    with Sandbox(tmp_path / "host", server=Server.SSHD, settings=[f"HostKey {rsa}"]) as host:
        known = host.spec.known_hosts[0]
        known.write_text(f"{lookup_name('127.0.0.1', host.spec.port)} {rsa.with_suffix('.pub').read_text()}")
        assert works(host.spec)


def test_trusting_a_host_makes_it_known(spec: HostSpec, tmp_path: Path) -> None:
    file = tmp_path / "project" / "known_hosts"
    spec = dataclasses.replace(spec, known_hosts=(file,))
    key = trust(spec, file)
    before = file.read_text()
    assert key == trust(spec, file)
    assert file.read_text() == before
    assert [path.name for path in file.parent.iterdir()] == ["known_hosts"]
    assert works(spec)


def test_a_changed_key_is_trusted_only_when_told_to_replace_the_old_one(spec: HostSpec, pins: Path) -> None:
    name = lookup_name(spec.address, spec.port)
    pins.write_text(f"# kept\nother,{name} {OTHER_KEY.line} comment\n{name} {OTHER_KEY.line}\n")
    with pytest.raises(HostKeyChanged, match="already pinned"):
        trust(spec, pins)
    trust(spec, pins, replace=True)
    assert pins.read_text() == f"# kept\nother {OTHER_KEY.line} comment\n{name} {fetch_key(spec).line}\n"
    assert works(spec)


def test_trust_demands_the_fingerprint_that_is_known_from_elsewhere(spec: HostSpec, tmp_path: Path) -> None:
    with pytest.raises(HostKeyChanged, match="Nothing was pinned"):
        trust(spec, tmp_path / "new", fingerprint=OTHER_KEY.fingerprint)
    assert not (tmp_path / "new").read_text() if (tmp_path / "new").exists() else True
    trust(spec, tmp_path / "new", fingerprint=fetch_key(spec).fingerprint)


# Keys of ours


def new_key(file: Path, sandbox: Sandbox, passphrase: str = "", kind: str = "ed25519") -> Path:
    """A new key that the sandbox accepts."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", file], check=True)
    with (sandbox.root / "ssh" / "authorized_keys").open("a") as accepted:
        accepted.write(file.with_name(file.name + ".pub").read_text())
    return file


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_kinds_of_keys_work(spec: HostSpec, sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    key = new_key(tmp_path / "key", sandbox, kind=kind)
    assert works(dataclasses.replace(spec, identity=key))


def test_a_passphrase_is_asked_for_once_however_many_hosts_need_it(
    spec: HostSpec, sandbox: Sandbox, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "locked", sandbox, "open sesame")
    locked = dataclasses.replace(spec, identity=key)
    answers = iter(["wrong", "open sesame"])
    asked: list[Path] = []

    def ask(path: Path) -> str:
        asked.append(path)
        return next(answers)

    results = run_on_hosts([locked] * 4, lambda one: works(one, ask_passphrase=ask))
    assert [result.value for result in results] == [True] * 4
    assert asked == [key, key]


def test_a_locked_key_and_nobody_to_ask_names_ssh_add(spec: HostSpec, sandbox: Sandbox, tmp_path: Path) -> None:
    key = new_key(tmp_path / "locked", sandbox, "open sesame")
    with pytest.raises(Unreachable, match="locked by a passphrase") as caught:
        connect(dataclasses.replace(spec, identity=key))
    assert caught.value.next_step == f"ssh-add {key}"


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    while not socket.exists():
        time.sleep(0.01)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield socket
    process.terminate()
    process.wait()


@pytest.mark.usefixtures("agent")
def test_the_agent_opens_a_locked_key(spec: HostSpec, sandbox: Sandbox, tmp_path: Path) -> None:
    key = new_key(tmp_path / "locked", sandbox, "open sesame")
    answer = tmp_path / "answer"
    answer.write_text("#!/bin/sh\necho open sesame\n")
    answer.chmod(0o700)
    with_answer = {**os.environ, "SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", key], check=True, env=with_answer, stdin=subprocess.DEVNULL)
    assert works(dataclasses.replace(spec, identity=key, use_agent=True))
    key.with_name("locked.pub").unlink()  # the private file alone tells its public half
    assert works(dataclasses.replace(spec, identity=key, use_agent=True))


@pytest.mark.usefixtures("agent")
def test_without_an_identity_the_agents_keys_are_tried(spec: HostSpec, sandbox: Sandbox, tmp_path: Path) -> None:
    key = new_key(tmp_path / "free", sandbox)
    subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True)
    key.unlink()
    assert works(dataclasses.replace(spec, identity=None, use_agent=True))


@pytest.fixture
def held(sandbox: Sandbox, tmp_path: Path, agent: Path) -> Path:
    """A key that the host accepts and the agent alone has; its public half lies there."""
    key = new_key(tmp_path / "held", sandbox)
    subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True)
    key.unlink()
    return key.with_name("held.pub")


def test_the_agent_that_sshs_configuration_names_is_asked(
    spec: HostSpec, held: Path, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 13, 13: IdentityAgent, as 1Password has it, and a `.pub` with IdentitiesOnly."""
    monkeypatch.delenv("SSH_AUTH_SOCK")
    config = tmp_path / "config"
    configured = dataclasses.replace(spec, identity=None, use_agent=True, ssh_config=(config,))
    config.write_text(f"Host *\n IdentityAgent {agent}\n IdentitiesOnly yes\n IdentityFile {held}\n")
    assert works(configured)
    config.write_text(f"Host *\n IdentityAgent {agent}\n IdentitiesOnly yes\n IdentityFile {held.with_suffix('')}\n")
    assert works(configured)
    config.write_text(f"Host *\n IdentityAgent {agent}.gone\n IdentitiesOnly yes\n IdentityFile {held}\n")
    with pytest.raises(Unreachable, match="accepts none of our keys"):
        connect(configured)


def test_a_declared_identity_may_be_the_public_half(spec: HostSpec, held: Path) -> None:
    assert works(dataclasses.replace(spec, identity=held, use_agent=True))
    with pytest.raises(UsageError, match="public half of a key whose other half is not at hand"):
        connect(dataclasses.replace(spec, identity=held, use_agent=False))


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Path]]:
    """A host that accepts what a certificate authority signed, and a key with its certificate elsewhere."""
    folder = tmp_path_factory.mktemp("ca")
    for name in ("ca", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    sign = ["ssh-keygen", "-q", "-s", f"{folder}/ca", "-I", "me", "-n", getpass.getuser(), f"{folder}/key.pub"]
    subprocess.run(sign, check=True)
    (folder / "key-cert.pub").rename(folder / "elsewhere.pub")
    with Sandbox(folder / "host", server=Server.SSHD, settings=[f"TrustedUserCAKeys {folder}/ca.pub"]) as host:
        yield host, folder / "key"


def test_a_key_is_shown_with_its_certificate(certified: tuple[Sandbox, Path], agent: Path, tmp_path: Path) -> None:
    """Issue 13, 13: CertificateFile, with the key in a file or in the agent."""
    host, key = certified
    config = tmp_path / "config"
    configured = dataclasses.replace(host.spec, identity=None, use_agent=True, ssh_config=(config,))
    config.write_text(f"Host *\n IdentityFile {key}\n IdentitiesOnly yes\n")
    with pytest.raises(Unreachable, match="accepts none of our keys"):
        connect(configured)
    config.write_text(config.read_text() + f" CertificateFile {key.parent}/elsewhere.pub\n")
    assert works(configured)
    subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True)
    config.write_text(config.read_text().replace(f"{key}\n", f"{key}.pub\n", 1))
    assert works(configured)


def test_keys_that_the_host_does_not_know_are_named(spec: HostSpec, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with pytest.raises(Unreachable, match="accepts none of our keys") as caught:
        connect(dataclasses.replace(spec, identity=key))
    assert str(key) in caught.value.why
    assert "SHA256:" in caught.value.why


def test_an_identity_that_is_not_there_is_a_usage_error(spec: HostSpec, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no key"):
        connect(dataclasses.replace(spec, identity=tmp_path / "none"))


# The way there


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("jump"), server=Server.SSHD) as host:
        yield host


@pytest.fixture
def behind_jump(sandbox: Sandbox, jump: Sandbox, tmp_path: Path) -> HostSpec:
    """The sandbox, as seen through another one by ssh's configuration."""
    hosts = {"inner": (sandbox, "ProxyJump outer"), "outer": (jump, "")}
    config = tmp_path / "config"
    config.write_text(
        "".join(
            f"Host {name}\n HostName 127.0.0.1\n Port {host.spec.port}\n User {getpass.getuser()}\n {more}\n"
            f" IdentityFile {host.spec.identity}\n"
            for name, (host, more) in hosts.items()
        )
    )
    pins = tmp_path / "both"
    pins.write_text("".join(host.spec.known_hosts[0].read_text() for host, _ in hosts.values()))
    return HostSpec("inner", "inner", "", 0, None, (pins,), ssh_config=(config,), use_agent=False)


def test_a_host_behind_a_jump_host_is_reached(behind_jump: HostSpec, tmp_path: Path) -> None:
    with connect(behind_jump) as host:
        assert host.run(["echo", "hello"]).stdout == b"hello\n"
        (tmp_path / "file").write_text("over the jump")
        assert host.rsync(tmp_path, ["file"], str(tmp_path / "there")).files_sent == 1
    assert talk(behind_jump, "exit 7") == 7, "the user's own ssh gets there as well"


def test_the_jump_hosts_key_is_checked_as_strictly(behind_jump: HostSpec, sandbox: Sandbox, jump: Sandbox) -> None:
    pins = behind_jump.known_hosts[0]
    pins.write_text(sandbox.spec.known_hosts[0].read_text())
    with pytest.raises(HostKeyUnknown) as caught:
        connect(behind_jump)
    assert caught.value.host == "outer"
    pins.write_text(pins.read_text() + f"[127.0.0.1]:{jump.spec.port} {OTHER_KEY.line}\n")
    with pytest.raises(HostKeyChanged) as changed:
        connect(behind_jump)
    assert changed.value.host == "outer"


def test_the_key_of_a_host_behind_a_jump_host_can_be_fetched_and_is_checked(
    behind_jump: HostSpec, jump: Sandbox, sandbox: Sandbox, tmp_path: Path
) -> None:
    behind_jump.known_hosts[0].write_text(jump.spec.known_hosts[0].read_text())
    with pytest.raises(HostKeyUnknown) as caught:
        connect(behind_jump)
    assert caught.value.host == "inner"
    key = trust(behind_jump, tmp_path / "new")
    assert base64.b64encode(key.blob).decode() in sandbox.spec.known_hosts[0].read_text()


def test_a_proxy_command_is_the_line_and_the_key_is_checked_all_the_same(
    spec: HostSpec, jump: Sandbox, pins: Path, tmp_path: Path
) -> None:
    door = jump.spec
    config = tmp_path / "config"
    config.write_text(
        f"Host *\n ProxyCommand ssh -F none -i {door.identity} -p {door.port} -o BatchMode=yes"
        f" -o UserKnownHostsFile={door.known_hosts[0]} -W %h:%p 127.0.0.1\n"
    )
    proxied = dataclasses.replace(spec, ssh_config=(config,))
    assert works(proxied)
    pins.write_text("")
    with pytest.raises(HostKeyUnknown):
        connect(proxied)


# When it does not work


def test_a_black_hole_ends_in_the_connect_time_out(spec: HostSpec) -> None:
    with black_hole() as port:
        start = time.monotonic()
        with pytest.raises(Unreachable, match=r"no answer from 127.0.0.1:\d+ within 0.5 s"):
            connect(dataclasses.replace(spec, port=port, connect_timeout=0.5))
        assert time.monotonic() - start < 3


def test_a_port_that_says_nothing_ends_in_the_connect_time_out(spec: HostSpec) -> None:
    with silent_port() as port:
        start = time.monotonic()
        with pytest.raises(Unreachable, match="takes connections but says nothing"):
            connect(dataclasses.replace(spec, port=port, connect_timeout=0.5))
        assert time.monotonic() - start < 3


def test_a_refused_connection_is_tried_again_and_then_explained(spec: HostSpec) -> None:
    with silent_port() as port:
        pass  # and now nobody listens there
    events: list[ConnectEvent] = []
    with pytest.raises(Unreachable, match="refuses connections"):
        connect(dataclasses.replace(spec, port=port), on_event=events.append, retries=2)
    assert [event.what for event in events] == ["connecting", "retrying", "retrying"]


def test_a_name_that_nobody_knows_is_said_to_be_one(spec: HostSpec) -> None:
    with pytest.raises(Unreachable, match=r"no-such-host.invalid is not a known name|cannot connect"):
        connect(dataclasses.replace(spec, address="no-such-host.invalid"), retries=0)


def test_many_at_once_get_through_a_server_that_drops_connections(tmp_path: Path) -> None:
    with Sandbox(tmp_path, server=Server.SSHD, settings=["MaxStartups 2:60:4"]) as host:
        results = run_on_hosts([host.spec] * 12, lambda spec: works(spec, retries=8), limit=12)
    assert [result.error for result in results if not result.ok] == []


def test_a_server_that_allows_one_session_still_serves(tmp_path: Path) -> None:
    with (
        Sandbox(tmp_path, server=Server.SSHD, settings=["MaxSessions 1"]) as sandbox,
        connect(sandbox.spec) as host,
    ):
        assert [host.run(["echo", str(number)]).stdout for number in range(3)] == [b"0\n", b"1\n", b"2\n"]
