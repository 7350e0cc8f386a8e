import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import UsageError
from provision.hosts.known_hosts import HostKey, Verdict, judge, lookup_name, names_host, parse_line, pinned, read_pins

GOOD = HostKey("ssh-ed25519", b"good")
EVIL = HostKey("ssh-ed25519", b"evil")
RSA = HostKey("ssh-rsa", b"rsa")

NAMES = [  # first field, host, does it mean the host
    ("gpu", "gpu", True),
    ("gpu", "gpu2", False),
    ("gpu,cpu", "cpu", True),
    ("GPU.Example.net", "gpu.example.net", True),
    ("*.example.net", "a.example.net", True),
    ("*.example.net,!b.example.net", "b.example.net", False),
    ("!b.example.net,*.example.net", "b.example.net", False),
    ("gpu-?", "gpu-1", True),
    ("[gpu]:2222", "[gpu]:2222", True),
    ("[gpu]:2222", "gpu", False),
    ("gpu", "[gpu]:2222", False),
    ("[g]pu", "gpu", False),
    ("|1|broken", "gpu", False),
    ("|1|AAAA|BBBB", "gpu", False),
]


@pytest.mark.parametrize(("names", "host", "meant"), NAMES)
def test_names_mean_hosts_as_ssh_reads_them(names: str, host: str, meant: bool) -> None:
    assert names_host(names, host) is meant


def written(folder: Path, name: str, *lines: str) -> Path:
    file = folder / name
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_a_pinned_key_is_accepted_and_another_is_not(tmp_path: Path) -> None:
    files = read_pins([written(tmp_path, "a", "# comment", "", f"gpu {GOOD.line} comment")])
    assert judge(files, "gpu", GOOD) is Verdict.PINNED
    assert judge(files, "gpu", EVIL) is Verdict.CHANGED
    assert judge(files, "cpu", GOOD) is Verdict.UNKNOWN


def test_a_host_may_have_several_keys(tmp_path: Path) -> None:
    files = read_pins([written(tmp_path, "a", f"gpu {GOOD.line}", f"gpu {RSA.line}")])
    assert judge(files, "gpu", GOOD) is Verdict.PINNED
    assert judge(files, "gpu", RSA) is Verdict.PINNED


def test_a_key_of_another_type_than_the_pinned_one_is_a_changed_key(tmp_path: Path) -> None:
    assert judge(read_pins([written(tmp_path, "a", f"gpu {RSA.line}")]), "gpu", EVIL) is Verdict.CHANGED


def test_the_first_file_that_names_the_host_decides(tmp_path: Path) -> None:
    files = read_pins([written(tmp_path, "project", f"gpu {GOOD.line}"), written(tmp_path, "user", f"gpu {EVIL.line}")])
    assert judge(files, "gpu", EVIL) is Verdict.CHANGED


def test_a_revocation_counts_in_any_file(tmp_path: Path) -> None:
    files = read_pins(
        [written(tmp_path, "project", f"gpu {GOOD.line}"), written(tmp_path, "user", f"@revoked * {GOOD.line}")]
    )
    assert judge(files, "gpu", GOOD) is Verdict.REVOKED


def test_an_authority_pins_nothing(tmp_path: Path) -> None:
    files = read_pins([written(tmp_path, "a", f"@cert-authority * {GOOD.line}")])
    assert judge(files, "gpu", GOOD) is Verdict.UNKNOWN
    assert pinned(files, "gpu") == []


def test_a_file_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert read_pins([tmp_path / "none"]) == []
    with pytest.raises(UsageError, match="cannot read the pinned host keys"):
        read_pins([tmp_path])


@pytest.mark.parametrize("line", ["gpu", "gpu ssh-ed25519", "gpu ssh-ed25519 not*base64", "@what gpu ssh-ed25519 QUJD"])
def test_lines_that_are_no_entries_are_passed_over(line: str) -> None:
    assert parse_line(line) is None


@given(
    st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True).filter(lambda name: name[0] not in "-."), st.integers(1, 65535)
)
def test_names_that_ssh_keygen_hashed_are_found(tmp_path_factory: pytest.TempPathFactory, host: str, port: int) -> None:
    name = lookup_name(host, port)
    key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)).decode()
    file = written(tmp_path_factory.mktemp("hashed"), "known_hosts", f"{name} ssh-ed25519 {key}")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    (entries,) = read_pins([file])
    assert name not in file.read_text().split()
    assert [names_host(entry.names, name) for entry in entries] == [True]
    assert not names_host(entries[0].names, "x" + name)


def test_fingerprints_are_written_as_ssh_keygen_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    said = subprocess.run(["ssh-keygen", "-lf", file], check=True, capture_output=True, text=True).stdout
    kind, blob = file.with_suffix(".pub").read_text().split()[:2]
    assert HostKey(kind, base64.b64decode(blob)).fingerprint == said.split()[1]
