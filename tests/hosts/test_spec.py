from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import UsageError
from provision.hosts import parse_hosts
from provision.hosts.spec import USER_KNOWN_HOSTS, declared_hosts

READABLE = {
    "host": ("", "host", 0),
    "root@host": ("root", "host", 0),
    "root@host:2222": ("root", "host", 2222),
    "203.0.113.7:40022": ("", "203.0.113.7", 40022),
    "[::1]:22": ("", "::1", 22),
    "me@[2001:db8::7]": ("me", "2001:db8::7", 0),
    "ssh://root@203.0.113.7:40022": ("root", "203.0.113.7", 40022),
    "ssh://host/": ("", "host", 0),
    "first.last@gpu_1.example.net": ("first.last", "gpu_1.example.net", 0),
}

UNREADABLE = {
    "": "is not a host",
    "a b": "is not a host",
    "root@": "is not a host",
    "host:ssh": "is not a host",
    "host:0": "0 is not a port",
    "host:65536": "65536 is not a port",
    "::1": "is not a host",
    "host/": "is not a host",
    "http://host": "is not a host",
    "[nonsense]:22": "neither an IPv6 address nor a range",
    "gpu-[16:01]": "ends before it begins",
    "gpu-[1:99999999999]": "more than 10000 hosts",
    "[1:200]-[1:200]": "more than 10000 hosts",
    "-oProxyCommand=x": "cannot start with a dash",
}


@pytest.mark.parametrize("entry", READABLE)
def test_an_entry_is_user_host_and_port(entry: str) -> None:
    (spec,) = parse_hosts([entry])
    assert (spec.user, spec.address, spec.port) == READABLE[entry]


@pytest.mark.parametrize("entry", UNREADABLE)
def test_what_is_no_host_is_refused_with_a_reason(entry: str) -> None:
    with pytest.raises(UsageError, match=UNREADABLE[entry]):
        parse_hosts([entry])


def test_a_range_names_each_host_with_its_zeros() -> None:
    names = [spec.address for spec in parse_hosts(["gpu-[08:11].example.net", "cpu-[8:10]"])]
    assert names == [
        *(f"gpu-{number}.example.net" for number in ("08", "09", "10", "11")),
        *("cpu-8", "cpu-9", "cpu-10"),
    ]


def test_several_ranges_multiply() -> None:
    assert [spec.name for spec in parse_hosts(["r[1:2]-n[1:2]"])] == ["r1-n1", "r1-n2", "r2-n1", "r2-n2"]


def test_a_host_named_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="gpu-02 is named twice"):
        parse_hosts(["gpu-[01:03]", "gpu-02"])


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 5))
def test_a_range_has_as_many_hosts_as_numbers(first: int, more: int, width: int) -> None:
    specs = parse_hosts([f"h[{first:0{width}}:{first + more}]"])
    assert [int(spec.address[1:]) for spec in specs] == list(range(first, first + more + 1))


def test_the_projects_own_known_hosts_come_before_the_users() -> None:
    ours = Path("known_hosts")
    assert parse_hosts(["a"], known_hosts=[ours])[0].known_hosts == (ours, *USER_KNOWN_HOSTS)
    assert parse_hosts(["a"], known_hosts=[ours], user_known_hosts=False)[0].known_hosts == (ours,)


@pytest.mark.parametrize(
    ("identity", "path"), [("keys/a", "/srv/project/keys/a"), ("/keys/a", "/keys/a"), ("~/a", f"{Path.home()}/a")]
)
def test_a_key_file_is_named_from_the_project_s_folder(identity: str, path: str) -> None:
    (spec,) = declared_hosts(["host"], Path("/srv/project"), identity=identity, known_hosts=None, sudo=False)
    assert spec.identity == Path(path)
