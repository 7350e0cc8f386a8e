"""What a rented machine has to show before it is kept, and what becomes of one that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.cli.main import main
from provision.errors import Refused
from provision.project import load
from provision.providers.face import ProviderFailed, Unfit
from provision.providers.notes import Notes
from provision.targets import Deployment
from provision.targets.machines import Machines
from provision.targets.supplies import CantBeSupplied
from tests.providers.books import agree, of_target
from tests.providers.conftest import CLOCK, KEY, Rental, offer
from tests.providers.laptop import boot
from tests.providers.test_machines import host, machines, project
from tests.testbed import TestHost

__all__ = ["host", "project"]
Market = Callable[..., Rental]


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return []


def warned(events: list[dict[str, Any]]) -> str:
    return "\n".join(str(each["text"]) for each in events if each["event"] == "warning")


@pytest.mark.root
def test_a_machine_that_is_no_good_is_given_back_and_the_next_offer_tried(
    project: Path,
    host: TestHost,
    market: Market,
    events: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rental = market(
        None,
        boot(host, gpu="NVIDIA GeForce RTX 3090", fault="miscounts"),
        boot(host, log="lies"),
        boot(host, log_after=25),
    )

    ((machine, is_new),) = machines(project, rental, events).rent()

    assert (machine.id, is_new, rental.alive) == (7002, True, [7002])
    assert "its GPU is NVIDIA GeForce RTX 3090, and RTX 4090 was offered" in warned(events)
    assert "printed another host key than the one that answers" in warned(events)
    assert any("7002 is as it was offered: NVIDIA GeForce RTX 4090" in str(each.get("text")) for each in events)
    agree(rental, of_target(machines(project, rental)))
    # Who failed is left out, and said.
    assert sorted(Notes().failed("Vast.ai")) == [101, 102]
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_URL", rental.url)
    assert main(["machine", "offers", "-C", str(project)]) == 0
    said = capsys.readouterr().err
    assert "left out, since it failed: 101: " in said
    assert "left out, since it failed: 102: " in said


@pytest.mark.root
def test_where_all_that_fit_have_failed_it_is_said_why_and_how_they_are_tried_again(
    project: Path, host: TestHost, market: Market, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rental = market([offer(1), offer(2), offer(3, gpu_name="RTX 3090")], boot(host))
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_URL", rental.url)
    for number in (101, 102, 103):
        Notes().has_failed("Vast.ai", number, f"machine {number} is no good: it miscounts.")
    here = ["-C", str(project)]

    assert main(["machine", "rent", *here]) == 1
    said = capsys.readouterr().err
    assert "all 2 machines that fit [targets.gpu.needs] failed of late; nothing was rented." in said
    assert "101: machine 101 is no good: it miscounts. 102: " in said
    assert "next: deploy machine forget 101 102" in said
    assert rental.known()["machines"] == []

    assert main(["machine", "forget", "101", *here]) == 0
    assert main(["machine", "rent", *here]) == 0
    assert rental.alive == [7000]
    assert main(["machine", "forget", "101", *here]) == 0
    assert capsys.readouterr().out.endswith("nothing was remembered of them\n")
    assert main(["machine", "forget", *here]) == 2


def test_where_nothing_fits_that_is_said_and_not_that_none_of_0_could_be_rented(project: Path, market: Market) -> None:
    rental = market([offer(1, gpu_name="RTX 3090")])
    with pytest.raises(ProviderFailed, match=r"nothing that fits \[targets\.gpu\.needs\] can be rented now") as failed:
        list(machines(project, rental).rent())
    assert failed.value.why == ""


@pytest.mark.root
def test_one_that_never_starts_is_followed_by_the_next_offer(
    project: Path, host: TestHost, market: Market, events: list[dict[str, Any]]
) -> None:
    rental = market(None, {"becomes": "offline", "start": 100}, boot(host))

    ((machine, is_new),) = machines(project, rental, events).rent()

    assert (machine.id, is_new, rental.alive) == (7001, True, [7001])
    agree(rental, of_target(machines(project, rental)))
    assert "does not recover" in "".join(str(each.get("text")) for each in events)


@pytest.mark.root
@pytest.mark.slow
def test_after_three_bad_machines_nothing_is_left_and_nothing_more_is_paid_for(
    project: Path, host: TestHost, market: Market, events: list[dict[str, Any]]
) -> None:
    rental = market(None, boot(host, closed=[8000]))

    with pytest.raises(Unfit, match="port 8000 can't be reached from outside"):
        list(machines(project, rental, events).rent())

    assert rental.alive == []
    assert rental.known()["calls"].count("rent") == 3
    assert not (project / "known_hosts").exists()


@pytest.mark.root
@pytest.mark.slow
def test_one_that_was_kept_unproven_is_judged_by_the_next_command(
    project: Path, host: TestHost, market: Market, events: list[dict[str, Any]]
) -> None:
    rental = market(None, boot(host, fault="forgets"), boot(host))
    with pytest.raises(Unfit, match="forgets what was written"):
        list(machines(project, rental).rent(keep=True))
    assert rental.alive == [7000]

    ((machine, is_new),) = machines(project, rental, events).rent()

    assert (machine.id, is_new, rental.alive) == (7001, True, [7001])


@pytest.mark.root
def test_one_that_something_is_deployed_to_is_left_alone(project: Path, host: TestHost, market: Market) -> None:
    """Its GPU is taken by what serves there, and its pin may only be missing on this laptop."""
    rental = market(None, boot(host, fault="shared"))
    with pytest.raises(Unfit, match="can be had"):
        list(machines(project, rental).rent(keep=True))
    host.exec(["mkdir", "-p", "/workspace/cres/.deploy"])
    host.write("/workspace/cres/.deploy/state.json", "{}")

    ((machine, is_new),) = machines(project, rental).rent()

    assert (is_new, rental.alive) == (False, [machine.id])


@pytest.mark.root
def test_an_image_without_python_is_refused_and_the_next_time_before_it_is_paid_for(
    project: Path, host: TestHost, market: Market
) -> None:
    rental = market(None, boot(host))
    toml = project / "deploy.toml"
    toml.write_text(toml.read_text().replace('path = "/work', 'python = "/opt/no/python3"\npath = "/work'))

    with pytest.raises(Refused, match="the image has no /opt/no/python3"):
        list(machines(project, rental).rent())
    assert (rental.alive, rental.known()["calls"].count("rent")) == ([], 1)

    with pytest.raises(Refused, match="as a machine of it has shown; nothing was rented"):
        list(machines(project, rental).rent())
    assert rental.known()["calls"].count("rent") == 1


@pytest.mark.root
def test_ctrl_c_while_a_machine_is_judged_gives_it_back(project: Path, host: TestHost, market: Market) -> None:
    rental = market(None, boot(host))
    loaded = load(project, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="gpu")

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Machines(loaded, "gpu", lambda _: None, CLOCK, interrupted).rent())

    assert rental.alive == []


def test_what_was_learned_is_forgotten_in_time_and_harms_nobody(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    notes = Notes(tmp_path / "state", lambda: now[0])
    notes.has_failed("Vast.ai", 101, "it miscounts")
    notes.lacks("app@sha256:00", ["rsync"])
    notes.lacks("app:latest", ["rsync"])
    notes.gave("work", "RTX 4090", 90.0)

    assert notes.failed("Vast.ai") == {101: "it miscounts"}
    assert notes.failed("another") == {}
    notes.has_failed("Vast.ai", 102, "slow")
    assert (notes.forget("Vast.ai", [102, 103]), notes.failed("Vast.ai")) == ([102], {101: "it miscounts"})
    assert (notes.lacking("app@sha256:00"), notes.lacking("app:latest")) == (("rsync",), ())
    assert notes.rates("work") == {"RTX 4090": 90.0}
    assert (notes.forget("Vast.ai", []), notes.lacking("app@sha256:00")) == ([101], ())
    assert notes.rates("work") == {"RTX 4090": 90.0}
    notes.has_failed("Vast.ai", 101, "it miscounts")
    now[0] += 31 * 86400
    assert (notes.failed("Vast.ai"), notes.lacking("app@sha256:00")) == ({}, ())
    (tmp_path / "state/rented.json").write_text("{")
    assert notes.failed("Vast.ai") == {}
    (tmp_path / "state/rented.json").write_text('{"machines": {"Vast.ai x": {"at": 1e99}, "y": 7}, "images": []}')
    assert notes.failed("Vast.ai") == {}


@pytest.mark.root
def test_what_an_image_lacks_is_brought_by_content(
    project: Path, host: TestHost, market: Market, events: list[dict[str, Any]]
) -> None:
    rental = market(None, boot(host))
    host.exec(["sh", "-c", "rm -rf /usr/bin/rsync /usr/bin/supervisor* /usr/lib/python3/dist-packages/supervisor*"])
    assert host.exec(["sh", "-c", "! command -v rsync && ! command -v supervisord"]).returncode == 0

    list(machines(project, rental, events).rent())

    assert "rsync" in host.exec(["rsync", "--version"]).stdout
    assert any(each.get("text") == "supervisord, which the image lacks, was brought" for each in events)
    loaded = load(project, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="gpu")
    (outcome,) = rollout.up(Deployment(loaded, "gpu"))
    assert outcome.outcome == "committed"
    assert rollout.up(Deployment(loaded, "gpu"))[0].outcome == "unchanged"


@pytest.mark.root
@pytest.mark.slow
def test_an_image_that_lacks_what_can_t_be_brought_is_refused_once(
    project: Path, host: TestHost, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    rental = market(None, boot(host))
    host.exec(["rm", "/usr/bin/rsync"])
    monkeypatch.setattr("platform.machine", lambda: "arm64")

    with pytest.raises(CantBeSupplied, match="no rsync, and this machine has none"):
        list(machines(project, rental).rent())
    with pytest.raises(Refused, match="has no rsync, as a machine of it has shown"):
        list(machines(project, rental).rent())

    assert (rental.alive, rental.known()["calls"].count("rent")) == ([], 1)


# As llama-server answers.
_COMPLETION = """
    def do_POST(self):
        body = b'{"tokens_predicted": 4, "timings": {"predicted_per_second": 50.0}, "content": "x"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message"""


@pytest.mark.root
@pytest.mark.slow
def test_the_price_of_a_million_tokens_is_shown_once_a_check_has_counted_them(
    project: Path,
    host: TestHost,
    market: Market,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rental = market(None, boot(host))
    monkeypatch.setenv("VAST_API_KEY", KEY)
    monkeypatch.setenv("VAST_URL", rental.url)
    toml, server = project / "deploy.toml", project / "server.py"
    counted = 'checks = [{ completion = "Hello", tokens = 4, passes = 1 }]\ncheck = { http'
    toml.write_text(toml.read_text().replace("check = { http", counted))
    server.write_text(server.read_text().replace("    def log_message", _COMPLETION))

    assert main(["machine", "offers", "-C", str(project)]) == 0
    assert "$/Mtokens" not in capsys.readouterr().out
    assert main(["up", "-C", str(project)]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["machine", "offers", "-C", str(project)]) == 0

    # $0.32 an hour, at 50 tokens a second
    assert "$/Mtokens" in (told := capsys.readouterr().out)
    assert "0.320  1.78" in told
