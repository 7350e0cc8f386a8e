"""Which project has which port of a host, and where its own HAProxy listens then: decided as values."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provision.agent.front.render import render
from provision.agent.front.values import Backend, Bind, Certificate, Front, Route, Server
from provision.agent.host_front import claims, placed
from provision.agent.host_front.book import OWN, Book, Claim
from provision.contract.failure import Failure
from provision.contract.layout import Layout

SHOP, BLOG = "/srv/shop", "/srv/blog"


def claim(*names: str, tls: bool = True) -> dict[int, Claim]:
    return {443: Claim(names, tls, 600.0)}


def front(*binds: Bind) -> Front:
    inside = Bind(8000, (Route("web"),), "127.0.0.1", inside=True)
    return Front("/f", "shop", (inside, *binds), (Backend("web", (Server("web", 8001),)),))


PUBLIC = Bind(443, (Route("web", ("shop.example.net",)),), "::", (Certificate("/etc/ssl/a.pem"),))


def test_what_a_project_wants_is_what_strangers_come_in_by() -> None:
    led = Bind(80, (Route("", ("shop.example.net",), to_tls=443), Route("web")), "::")
    assert claims.wanted(front(PUBLIC, led).binds, {"web": 60.0}) == {
        443: Claim(("shop.example.net",), True, 60.0),
        80: Claim((), False, 60.0),
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (claim("a.net", "b.net"), claim("b.net"), "'b.net' at port 443 is that of the project in /srv/shop"),
        (claim(), claim(), "each name at port 443 is that of the project in /srv/shop"),
        (claim("a.net"), claim("b.net", tls=False), "speaks no TLS there, and this one it"),
        (claim("a.net", tls=False), claim("b.net"), "speaks TLS there, and this one none"),
    ],
)
def test_a_name_has_one_project_and_a_port_one_language(
    ours: dict[int, Claim], theirs: dict[int, Claim], said: str
) -> None:
    with pytest.raises(Failure, match=said):
        claims.demand(Book({SHOP: theirs}), BLOG, ours)


@pytest.mark.parametrize(
    ("book", "ports"),
    [
        (Book(), []),
        (Book({BLOG: claim("a.net")}), []),  # its own from before
        (Book({SHOP: claim("b.net")}), [443]),
        (Book({SHOP: claim("b.net")}, {443: OWN}), [443]),
        (Book({SHOP: claim()}, {443: OWN}), [443]),
        (Book({SHOP: {80: Claim((), False, 1.0)}}, {80: OWN}), []),
    ],
)
def test_a_port_is_shared_once_somebody_else_wants_it(book: Book, ports: list[int]) -> None:
    assert claims.demand(book, BLOG, claim("a.net")) == ports


@pytest.mark.parametrize(
    ("book", "itself", "behind", "hands_over"),
    [
        (Book(), True, False, False),
        (Book({SHOP: claim("shop.example.net")}), True, False, False),
        (Book({BLOG: claim("a.net")}), False, True, False),  # who comes does not take what another has
        (Book({SHOP: claim("shop.example.net")}, {443: SHOP}), True, True, True),
        (Book({SHOP: claim("shop.example.net")}, {443: BLOG}), False, True, False),
        (Book({SHOP: claim("shop.example.net"), BLOG: claim("a.net")}, {443: OWN}), False, True, False),
    ],
)
def test_a_project_listens_where_the_book_says_also_to_who_can_not_see_that(
    book: Book, itself: bool, behind: bool, hands_over: bool, tmp_path: Path
) -> None:
    found = claims.placed(book, SHOP, front(PUBLIC))

    inside, public = found.binds
    assert (public.own, bool(public.socket)) == (itself, behind)
    assert found.hands_over is hands_over
    assert inside.own
    assert not inside.socket

    layout = Layout(str(tmp_path))
    Path(layout.traffic).mkdir(parents=True)
    for each in (claims.placed(Book({SHOP: claim()}, {443: SHOP}), SHOP, front(PUBLIC)), found):
        placed.note(layout, each)
    assert placed.again(layout, front(PUBLIC)) == found


def test_haproxy_takes_the_hosts_front_with_names_below_names_and_one_for_all_others(tmp_path: Path) -> None:
    book = Book(
        {
            SHOP: {443: Claim(("*.shop.net", "shop.net"), True, 600.0), 80: Claim(("shop.net",), False, 3.0)},
            BLOG: {443: Claim((), True, 60.0), 80: Claim(("blog.net",), False, 600.0)},
        },
        {443: OWN, 80: SHOP},
    )
    text = render(claims.front_of(book, str(tmp_path), "*", None))
    (tmp_path / "haproxy.cfg").write_text(text)
    subprocess.run(["haproxy", "-c", "-q", "-C", tmp_path, "-f", "haproxy.cfg"], check=True)

    shop, blog = (claims.name(root, 443) for root in (SHOP, BLOG))
    assert f"  use_backend {shop} if {{ req.ssl_sni -i -m str -- 'shop.net' }}\n" in text
    assert f"  use_backend {shop} if {{ req.ssl_sni -i -m end -- '.shop.net' }}\n" in text
    assert f"  default_backend {blog}\n" in text
    assert (
        f"  server project {chr(39)}unix@/srv/shop/.deploy/traffic/behind-80.sock{chr(39)} weight 64 send-proxy-v2\n"
        in text
    )
    assert "stats socket" not in text
