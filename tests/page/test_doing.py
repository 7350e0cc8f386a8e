"""What `deploy ui --allow` lets a browser do, and what attackers get: tried on a real server and a real host."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.cli.conftest import Project
from tests.page.conftest import Ui, served, shows

TOKEN = re.compile(r'name="token" value="([\w-]+)"')


@pytest.fixture(scope="module")
def allowed(project: Project) -> Iterator[Ui]:
    with served(project, "--allow", "rollback,traffic") as found:
        yield found


@pytest.fixture
def mine(allowed: Ui) -> Iterator[httpx.Client]:
    with allowed.browser() as client:
        yield client


def _post(ui: Ui, client: httpx.Client, path: str, token: str, **headers: str) -> httpx.Response:
    ours = {"Origin": ui.base, "Sec-Fetch-Site": "same-origin"}
    return client.post(path, data={"token": token}, headers={**ours, **headers})


def _token(client: httpx.Client, path: str) -> str:
    found = TOKEN.search(client.get(path).text)
    assert found
    return found[1]


def begin(ui: Ui, client: httpx.Client, path: str) -> httpx.Response:
    """Ask for it, and confirm."""
    return _post(ui, client, path, _token(client, path))


def test_nothing_can_be_done_unless_it_was_allowed(ui: Ui, client: httpx.Client) -> None:
    assert client.get("/do/up/sandbox").status_code == 404
    assert _post(ui, client, "/do/up/sandbox", "x").status_code == 404
    assert "/do/" not in client.get("/deploys").text


def test_what_was_not_allowed_is_refused_and_has_no_button(allowed: Ui, mine: httpx.Client) -> None:
    for verb in ("up", "promote", "down", "exec", "..%2frollback"):
        assert mine.get(f"/do/{verb}/sandbox").status_code in (403, 404)
        assert _post(allowed, mine, f"/do/{verb}/sandbox", "x").status_code in (403, 404)
    assert set(re.findall(r"/do/(\w+)/sandbox", mine.get("/deploys").text)) == {"rollback", "traffic"}


def test_asking_shows_the_command_and_does_nothing(project: Project, mine: httpx.Client) -> None:
    before = project.ok("history", "--target", "sandbox")
    assert "<pre>deploy rollback --target sandbox</pre>" in mine.get("/do/rollback/sandbox").text
    assert "<pre>deploy traffic --target sandbox canary=25%</pre>" in mine.get("/do/traffic/sandbox?share=25").text
    assert project.ok("history", "--target", "sandbox") == before


@pytest.mark.parametrize("share", ["", "101", "-1", "5%20--host%20x", "nan", "1e9", "5%25;id"])
def test_a_share_that_is_none_is_refused(mine: httpx.Client, share: str) -> None:
    assert mine.get(f"/do/traffic/sandbox?share={share}").status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_page_that_has_a_token_begins_nothing(allowed: Ui, mine: httpx.Client, headers: dict[str, str]) -> None:
    token = _token(mine, "/do/rollback/sandbox")
    assert _post(allowed, mine, "/do/rollback/sandbox", token, **headers).status_code == 403


@pytest.mark.parametrize("token", ["", "x", "a" * 5000])
def test_who_was_not_asked_begins_nothing(allowed: Ui, mine: httpx.Client, token: str) -> None:
    assert _post(allowed, mine, "/do/rollback/sandbox", token).status_code in (403, 413)


def test_a_token_is_for_the_command_that_was_shown(allowed: Ui, mine: httpx.Client) -> None:
    token = _token(mine, "/do/traffic/sandbox?share=5")
    assert _post(allowed, mine, "/do/rollback/sandbox", token).status_code == 403
    assert _post(allowed, mine, "/do/traffic/sandbox", token).status_code == 403  # and is worth nothing now


@pytest.mark.slow  # two deploys; that a button runs its command is seen below, of one that is refused
def test_the_button_does_what_its_command_does_and_shows_its_record(
    project: Project, allowed: Ui, mine: httpx.Client
) -> None:
    web = project.root / "web.py"
    broken = web.read_text()
    web.write_text(broken.replace("STATUS = 500", "STATUS = 200").replace("one", "two"))
    project.ok("up", "--target", "sandbox")
    web.write_text(broken)
    token = _token(mine, "/do/rollback/sandbox")
    begun = _post(allowed, mine, "/do/rollback/sandbox", token)
    assert begun.status_code == 303
    assert re.fullmatch(r"/deploys/\d+-\d+", begun.headers["location"])
    page = shows(mine, begun.headers["location"], "took")
    assert "<code>deploy rollback --target sandbox</code>" in page
    assert "rollback" in project.ok("history", "--target", "sandbox")
    assert "✔ done" in shows(mine, "/deploys", "✔ done")
    again = _post(allowed, mine, "/do/rollback/sandbox", token)  # pressed twice: run once
    assert (again.status_code, again.headers["location"]) == (303, begun.headers["location"])
    assert page.count("rollback") and project.ok("history", "--target", "sandbox").count("rollback") == 1


def test_what_is_refused_is_told_with_the_next_command(allowed: Ui, mine: httpx.Client) -> None:
    """No traffic stands before this target."""
    _post(allowed, mine, "/do/traffic/sandbox", _token(mine, "/do/traffic/sandbox?share=5"))
    page = shows(mine, "/deploys", "exit code")
    assert "next: <code>" in page[page.index("exit code") :]


def test_a_button_that_there_is_not_is_named_with_the_nearest(project: Project) -> None:
    done = project.run("ui", "--no-open", "--allow", "promot")
    assert done.returncode == 2
    assert 'Did you mean "promote"?' in done.stderr
