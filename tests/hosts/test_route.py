import dataclasses
import getpass
from pathlib import Path

import pytest

from provision.errors import UsageError
from provision.hosts import parse_hosts
from provision.hosts.route import Hop, resolve
from provision.hosts.spec import USER_KNOWN_HOSTS


def route(folder: Path, entry: str, config: str, **changes: object) -> tuple[Hop, ...]:
    file = folder / "config"
    file.write_text(config)
    (spec,) = parse_hosts([entry])
    return resolve(dataclasses.replace(spec, ssh_config=(file,), **changes))  # type: ignore[arg-type]


def test_what_is_declared_wins_over_sshs_configuration(tmp_path: Path) -> None:
    (hop,) = route(tmp_path, "me@gpu:77", "Host gpu\n HostName 192.0.2.1\n User you\n Port 88\n")
    assert (hop.user, hop.address, hop.port) == ("me", "192.0.2.1", 77)


def test_what_is_not_declared_comes_from_sshs_configuration_and_then_from_its_defaults(tmp_path: Path) -> None:
    (hop,) = route(tmp_path, "gpu", "Host gpu\n User you\n Port 88\n IdentityFile /keys/gpu\n IdentitiesOnly yes\n")
    assert (hop.user, hop.port, hop.identities, hop.only_identities) == ("you", 88, (Path("/keys/gpu"),), True)
    (hop,) = route(tmp_path, "cpu", "")
    assert (hop.user, hop.port, hop.key_name) == (getpass.getuser(), 22, "cpu")


def test_a_declared_identity_is_the_only_one(tmp_path: Path) -> None:
    (hop,) = route(tmp_path, "gpu", "Host *\n IdentityFile /keys/other\n", identity=Path("/keys/mine"))
    assert (hop.identities, hop.only_identities) == ((Path("/keys/mine"),), True)


def test_each_jump_is_a_hop_of_its_own(tmp_path: Path) -> None:
    config = """
Host gpu
  ProxyJump outer,me@inner:2200
Host outer
  HostName 203.0.113.9
  User door
"""
    hops = route(tmp_path, "root@gpu", config)
    assert [(hop.user, hop.address, hop.port) for hop in hops] == [
        ("door", "203.0.113.9", 22),
        ("me", "inner", 2200),
        ("root", "gpu", 22),
    ]


def test_a_jump_may_need_a_jump(tmp_path: Path) -> None:
    hops = route(tmp_path, "c", "Host c\n ProxyJump b\nHost b\n ProxyJump a\n")
    assert [hop.name for hop in hops] == ["a", "b", "c"]


def test_jumps_in_a_circle_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than 8 jumps"):
        route(tmp_path, "a", "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")


def test_a_proxy_command_is_kept_unless_there_is_a_jump(tmp_path: Path) -> None:
    (hop,) = route(tmp_path, "gpu", "Host gpu\n ProxyCommand nc %h %p\n")
    assert hop.proxy_command == "nc gpu 22"


def test_host_keys_are_looked_up_under_alias_or_name_and_port(tmp_path: Path) -> None:
    (hop,) = route(tmp_path, "gpu:2222", "Host gpu\n HostName Real.Example.net\n")
    assert hop.key_name == "[real.example.net]:2222"
    (hop,) = route(tmp_path, "gpu:2222", "Host gpu\n HostKeyAlias Vault\n")
    assert hop.key_name == "vault"


def test_the_users_known_hosts_file_may_be_named_in_sshs_configuration(tmp_path: Path) -> None:
    config = "Host gpu\n UserKnownHostsFile /etc/hosts_a /etc/hosts_b\n"
    ours = Path("ours")
    (hop,) = route(tmp_path, "gpu", config, known_hosts=(ours, *USER_KNOWN_HOSTS))
    assert hop.known_hosts == (ours, Path("/etc/hosts_a"), Path("/etc/hosts_b"), USER_KNOWN_HOSTS[1])
    (hop,) = route(tmp_path, "gpu", config, known_hosts=(ours,))
    assert hop.known_hosts == (ours,)


def test_included_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "gpu.conf").write_text("Host gpu\n User included\n")
    (hop,) = route(tmp_path, "gpu", "Include conf.d/*.conf\nHost *\n User fallback\n")
    assert hop.user == "included"


def test_a_configuration_that_includes_itself_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read ssh's configuration"):
        route(tmp_path, "gpu", f"Include {tmp_path}/config\n")
