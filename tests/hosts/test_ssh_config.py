"""What ssh's configuration says: as ssh has it, and as we have it where there is no ssh."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from provision.errors import UsageError
from provision.hosts import parse_hosts, ssh_config_alone
from provision.hosts.route import Hop, resolve
from provision.hosts.spec import SSH_CONFIG, USER_KNOWN_HOSTS

HOST = "gpu"
# What a line may look like; each stands for `Host gpu`, and both readings have to find the same in it.
READ_ALIKE = {
    "tabs and equal signs": "Host\tgpu\n\tUser=you\n  Port = 77\n",
    "quotes": 'Host "gpu" other\n User "you"\n IdentityFile "~/a key"\n',
    "comments after values": "Host gpu # mine\n User you # not me\n ProxyCommand nc %h %p # kept\n",
    "times": "Host gpu\n ConnectTimeout 1m30s\n",
    "no time": "ConnectTimeout none\n",
    "patterns": "Host !gpu *\n User a\nHost g?u\n User b\nHost *\n User c\n",
    "the first value": "Host gpu\n Port 1\nHost *\n Port 2\n IdentityFile /a\nHost gpu\n IdentityFile /b\n",
    "match all": "Host other\n User a\nMatch all\n User b\n",
    "jumps": "Host gpu\n ProxyCommand none\n ProxyJump a,b\n",
    "the first of both": "Host gpu\n ProxyJump a\n ProxyCommand nc %h %p\n",
    "keys": "Host gpu\n IdentitiesOnly yes\n IdentityFile ~/.ssh/x.pub\n CertificateFile /c\n CertificateFile /d\n",
    "agents": "IdentityAgent $MY_AGENT\nHost gpu\n IdentityAgent none\n",
    "names": "Host gpu\n HostName %h.example.net\n HostKeyAlias vault\n",
    "idle words": "Host *\n SendEnv LANG LC_*\n HashKnownHosts yes\n GSSAPIAuthentication yes\n User you\n",
    "includes": "Include\tINC/one\nHost other\n Include = INC/t*\nHost *\n User last\n",
    "includes in a block": 'Host gpu\n Include "INC/one" INC/two\n User last\n',
}
INCLUDED = {"one": "Port 11\nHost other\n User wrong\n", "two": "Host gpu\n User two\n IdentityFile /two\n"}
# Known to ssh alone, and what it makes of each.
SSH_ALONE = {
    "Match host=gpu\n User you\n": "you",
    "Match host other\n User wrong\nMatch final\n User you\n": "you",
    "Match exec true\n User you\n": "you",
    "Match !exec true\n User wrong\nHost *\n User you\n": "you",
    "Match originalhost gpu user nobody\n User wrong\nMatch all\n User you\n": "you",
}


def hop(folder: Path, config: str, **changes: object) -> Hop:
    file = folder / "config"
    file.write_text(config)
    (spec,) = parse_hosts([HOST])
    return resolve(dataclasses.replace(spec, ssh_config=(file,), **changes))[-1]  # type: ignore[arg-type]


@pytest.fixture
def no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "ssh" else f"/usr/bin/{program}")


@pytest.mark.parametrize("case", READ_ALIKE)
def test_our_own_reading_finds_what_ssh_finds(tmp_path: Path, case: str) -> None:
    """Issue 13, 13: Include with tab, `=`, quotes, nesting and scope; comments; times; patterns."""
    for name, text in INCLUDED.items():
        (tmp_path / name).write_text(text)
    file = tmp_path / "config"
    file.write_text(READ_ALIKE[case].replace("INC", str(tmp_path)))
    said = subprocess.run(["ssh", "-G", "-F", file, HOST], check=True, capture_output=True, text=True).stdout
    ours = ssh_config_alone.read_settings([file], HOST, {})
    theirs: dict[str, list[str]] = {}
    for line in said.splitlines():
        keyword, _, value = line.partition(" ")
        theirs.setdefault(keyword.lower(), []).append(value)
    if ours["identityfile"] == [f"~/.ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa")]:
        del ours["identityfile"]  # the default, of which ssh has more
    ours = {keyword: values for keyword, values in ours.items() if values != ["none"] or keyword in theirs}
    assert ours == {keyword: theirs.get(keyword) for keyword in ours}
    told = {keyword for keyword in ssh_config_alone.TAKEN if keyword + " " in READ_ALIKE[case].lower()}
    assert {keyword for keyword in told if theirs.get(keyword, ["none"]) != ["none"]} <= ours.keys()


@pytest.mark.parametrize("config", SSH_ALONE)
def test_what_ssh_alone_understands_holds_as_it_does_for_ssh(tmp_path: Path, config: str) -> None:
    """Issue 13, 13: `Match` in all its forms; some were applied as if they matched."""
    assert hop(tmp_path, config).user == SSH_ALONE[config]


@pytest.mark.usefixtures("no_ssh")
@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("User me\nMatch host gpu\n User you\n", "config:2: Match host gpu is known to ssh alone"),
        ("CanonicalizeHostname yes\n", "config:1: canonicalizehostname is known to ssh alone"),
        ("Host *\n Bogus yes\n", "config:2: bogus is known to ssh alone"),
        ("ConnectTimeout soon\n", "config:1: soon is no time"),
        ("User\n", "config:1: user wants one value"),
        ('User "you\n', "config:1: a quote is not closed"),
        ("Include INC/config\n", "cannot read ssh's configuration"),
    ],
)
def test_without_ssh_nothing_is_guessed(tmp_path: Path, config: str, named: str) -> None:
    """Issue 13, 13: what our own reading does not know is refused by file, line and keyword."""
    with pytest.raises(UsageError, match=named):
        hop(tmp_path, config.replace("INC", str(tmp_path)))


@pytest.mark.usefixtures("no_ssh")
def test_without_ssh_what_is_not_for_this_host_is_passed_over(tmp_path: Path) -> None:
    assert hop(tmp_path, "Host other\n CanonicalizeHostname yes\nHost *\n User you\n").user == "you"


def test_what_ssh_cannot_read_is_said_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read ssh's configuration for gpu") as caught:
        hop(tmp_path, "User you\nBogus yes\n")
    assert f"{tmp_path / 'config'}: line 2: Bad configuration option: bogus" in caught.value.why


def test_a_match_exec_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provision.hosts.ssh_config._SECONDS", 0.3)
    with pytest.raises(UsageError, match="ssh does not say within"):
        hop(tmp_path, f'Match exec "echo $$ > {tmp_path}/pid; exec sleep 60"\n User you\n')
    left = Path("/proc") / (tmp_path / "pid").read_text().strip() / "cmdline"
    assert not left.exists() or not left.read_bytes()  # gone, or dead and not yet buried


def test_values_are_expanded_as_ssh_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 13, 13: `${HOME}` and the `%` tokens; ssh -G tells neither."""
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("MY_AGENT", "/run/agent")
    (tmp_path / "gpu-cert.pub").touch()
    found = hop(
        tmp_path,
        "Host gpu\n HostName %h.example.net\n User you\n IdentityFile ${HERE}/%n-%r\n IdentityAgent $MY_AGENT\n"
        " CertificateFile ${HERE}/%n-cert.pub\n UserKnownHostsFile ${HERE}/a /b\n ProxyCommand say ${HERE} %h %%\n",
    )
    assert found.identities == (tmp_path / "gpu-you",)
    assert found.certificates == (tmp_path / "gpu-cert.pub",)
    assert found.agent == "/run/agent"
    assert found.known_hosts == (tmp_path / "a", Path("/b"), USER_KNOWN_HOSTS[1])
    assert found.proxy_command == "say ${HERE} gpu.example.net %"
    with pytest.raises(UsageError, match=r"has \$\{NOWHERE_SET\}, which means nothing here"):
        hop(tmp_path, "IdentityFile ${NOWHERE_SET}/key\n")


@pytest.mark.parametrize(("config", "seconds"), [("30s", 30), ("none", 10), ("0", 10), ("1m", 60)])
def test_a_connect_timeout_is_any_time_that_ssh_reads(tmp_path: Path, config: str, seconds: float) -> None:
    """Issue 13, 13: `30s` and `none` ended in "a bug of ours"."""
    assert hop(tmp_path, f"ConnectTimeout {config}\n").connect_timeout == seconds


def test_no_agent_is_asked_where_the_configuration_says_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/other")
    assert hop(tmp_path, "IdentityAgent none\n").agent == ""
    assert hop(tmp_path, "IdentityAgent SSH_AUTH_SOCK\n").agent == "/run/other"
    assert hop(tmp_path, "").agent == "/run/other"


def test_the_files_of_a_home_that_is_set_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh itself looks up the account's; what lies in $HOME counted before it was asked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Include more\nHost gpu\n User you\n")
    (tmp_path / ".ssh" / "more").write_text("Host gpu\n Port 77\n")
    (spec,) = parse_hosts([HOST])
    assert spec.ssh_config == SSH_CONFIG
    (found,) = resolve(spec)
    assert (found.user, found.port, found.known_hosts) == ("you", 77, USER_KNOWN_HOSTS)


def test_an_account_without_a_name_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 13, 15: `docker run --user 1234`; ssh itself serves no such account."""

    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert hop(tmp_path, "Host gpu\n Port 77\n").port == 77
    assert hop(tmp_path, "").user == str(os.getuid())
