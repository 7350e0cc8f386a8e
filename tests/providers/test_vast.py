"""What the provider answers, and what it means; whatever happens, nothing is rented that nobody knows of."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from provision.errors import DeployError, Refused, UsageError
from provision.providers import provider
from provision.providers.face import Kind, Machine, Needs, NotRented, Order, ProviderFailed, State
from provision.providers.renting import Budget, Renter, of_place, place
from provision.providers.vast import Vast
from provision.providers.vast_records import machine_of, offer_of
from tests.providers.books import Known, agree
from tests.providers.conftest import CLOCK, Rental, offer

Market = Callable[..., Rental]
LABEL = place("cres", "gpu", 1)
BUDGET = Budget(per_hour=0.60, total=25.0, seconds=8 * 3600)


def order(**more: Any) -> Order:
    return Order(label=f"{LABEL} n0nce", image="app@sha256:0", disk=60 << 30, ports=(8000,), **more)


def renter(rental: Rental, events: list[dict[str, Any]] | None = None) -> Renter:
    return Renter(rental.vast, (events if events is not None else []).append, CLOCK)


def rent(rental: Rental, budget: Budget = BUDGET, **more: Any) -> Machine:
    vast = rental.vast
    kind: Kind = "interruptible" if more.get("bid") else "on-demand"
    return renter(rental).rent(vast.offers(Needs(kind=kind)), order(**more), budget, [])


def test_needs_are_one_query_and_the_cheapest_comes_first(market: Market) -> None:
    offers = [offer(2), offer(1), offer(3, gpu_name="RTX 3090"), offer(4, gpu_ram=11000), offer(5, inet_down=90.0)]
    needs = Needs(gpu=("RTX 4090",), vram=24_000_000_000, disk=60 << 30, down=200_000_000, reliability=0.98, ports=2)

    found = market(offers).vast.offers(needs)

    assert [(each.id, each.per_hour) for each in found] == [(1, 0.31), (2, 0.32)]
    assert (found[0].vram, found[0].down, found[0].where) == (24_564_000_000, 800_000_000, "Quebec, CA")


def test_what_binaries_need_is_a_part_of_the_query(market: Market) -> None:
    offers = [offer(1, has_avx=0), offer(2, compute_cap=750), offer(3, cuda_max_good=12.2), offer(4)]
    needs = Needs(features=frozenset({"avx2", "fma"}), capability=8.6, cuda=12.4)

    assert [(each.id, each.cuda) for each in market(offers).vast.offers(needs)] == [(4, 12.8)]


def test_a_machine_that_failed_before_is_left_out(market: Market) -> None:
    assert [each.id for each in market().vast.offers(Needs(avoid=frozenset({101})))] == [2, 3]


def test_what_is_ordered_is_what_the_provider_is_told(market: Market) -> None:
    rental = market()

    machine = rent(rental, start="echo started", env={"MODE": "a b"})

    assert rental.known()["orders"] == [
        {
            "client_id": "me",
            "image": "app@sha256:0",
            "disk": 60,
            "label": "deploy/cres/gpu/1 n0nce",
            "onstart": "echo started",
            "runtype": "ssh_direct",
            "env": {"MODE": "a b", "-p 8000:8000": "1"},
            "cancel_unavail": True,
        }
    ]
    assert (machine.id, machine.label, machine.per_hour) == (7000, "deploy/cres/gpu/1 n0nce", 0.31)


def test_a_second_rent_is_the_same_machine(market: Market) -> None:
    rental = market()
    assert rent(rental).id == rent(rental).id == 7000
    assert rental.alive == [7000]


@pytest.mark.parametrize(
    "fault", ["drop", "drop after", "429", "429 after", "500", "500 after", "no success", "no json"]
)
def test_whatever_is_answered_one_rent_is_one_machine(fault: str, market: Market) -> None:
    rental = market()
    rental.fail(rent=[fault])

    machine = rent(rental)

    assert rental.alive == [machine.id]


def test_an_order_that_took_effect_and_is_never_answered_is_found(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provision.providers.api._SECONDS", 0.5)
    rental = market()
    rental.fail(rent=["hold after"])

    machine = rent(rental)

    assert (rental.alive, rental.known()["held"]) == ([machine.id], ["rent"])
    assert rental.known()["calls"].count("rent") == 1
    rental.release("rent")


def test_through_a_storm_of_refusals_one_machine_is_rented_and_given_back(market: Market) -> None:
    rental = market([offer(n) for n in range(1, 7)])
    rental.fail(**dict.fromkeys(("search", "list", "show", "destroy", "rent"), ["429"] * 4))

    machine = rent(rental)
    assert rental.alive == [machine.id]
    renter(rental).give_back(renter(rental).wait(machine))

    assert rental.known()["calls"].count("rent") == 5
    assert rental.alive == []


def test_an_order_that_takes_effect_a_minute_later_is_found(market: Market) -> None:
    rental = market()
    rental.fail(rent=[{"late": 60}])

    machine = rent(rental)

    assert rental.alive == [machine.id]
    assert rental.known()["calls"].count("rent") == 1


def test_an_offer_that_somebody_else_took_is_followed_by_the_next(market: Market) -> None:
    rental = market([offer(1), offer(2)])
    offers = rental.vast.offers(Needs())
    rental.vast.rent(offers[0], Order("somebody else's", "x", 1))

    machine = renter(rental).rent(offers, order(), BUDGET, [])

    assert machine.per_hour == 0.32
    assert len(rental.alive) == 2


def test_two_at_once_keep_the_oldest_and_give_back_the_rest(market: Market) -> None:
    rental = market([offer(n) for n in range(1, 9)])
    found: list[int] = []
    both = [Thread(target=lambda: found.append(rent(rental).id)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()

    later = rent(rental)

    assert rental.alive == [later.id] == [min(found)]


def test_what_is_unknown_and_a_sum_that_is_off_are_noticed(market: Market) -> None:
    """Each test with a provider ends with a look into its books: of what has been wrong there until now."""
    rental = market()
    given = rent(rental).id
    renter(rental).give_back(rental.vast.machines()[0])
    left = rent(rental).id
    spent = rental.known()["machines"][0]["cost"]
    agree(rental, Known([left], {given: spent}))

    for wrong in (
        Known([], {given: spent}),
        Known([left, given], {given: spent}),
        Known([left], {given: spent + 1e-7}),
        Known([left], {}),
    ):
        with pytest.raises(AssertionError):
            agree(rental, wrong)
    renter(rental).give_back(rental.vast.machines()[0])


def test_a_bid_is_read_back_and_what_is_no_bid_is_given_back(market: Market) -> None:
    rental = market(None, {"on_demand": True})

    with pytest.raises(ProviderFailed, match=r"a bid was made, and .* rented on demand"):
        rent(rental, bid=0.2)

    assert rental.alive == []


def test_a_bid_that_is_too_low_leaves_nothing_stopped_behind(market: Market) -> None:
    rental = market()

    with pytest.raises(ProviderFailed, match="none of 3 offers could be rented"):
        rent(rental, bid=0.01)

    assert len(rental.known()["machines"]) == 3
    assert rental.alive == []


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(0.30, 25.0, 3600), r"costs \$0.310 an hour, and budget.per_hour is \$0.300"),
        (Budget(0.60, 2.0, 8 * 3600), r"8.0 h of \$0.310 are \$2.48.*more than budget.total, \$2.00"),
    ],
)
def test_what_the_budget_does_not_allow_is_never_asked_for(budget: Budget, said: str, market: Market) -> None:
    rental = market()

    with pytest.raises(Refused, match=said):
        rent(rental, budget)

    assert "rent" not in rental.known()["calls"]


def test_what_is_bid_counts_for_the_budget(market: Market) -> None:
    rental = market()
    with pytest.raises(Refused, match=r"what is bid is \$32\.000 an hour, and budget\.per_hour is \$0\.600"):
        rent(rental, bid=32.0)
    assert "rent" not in rental.known()["calls"]


def test_an_account_without_credit_is_told_so_at_once(market: Market) -> None:
    rental = market(credit=0.0)

    with pytest.raises(NotRented, match="rents nothing to this account") as refused:
        rent(rental)

    assert "no credit" in refused.value.why
    assert rental.known()["calls"].count("rent") == 1


def test_it_is_waited_for_until_ssh_answers_and_progress_is_told(market: Market) -> None:
    events: list[dict[str, Any]] = []
    rental = market(None, {"start": 90, "address": "192.0.2.9", "port": 40022})

    machine = renter(rental, events).wait(rent(rental))

    assert machine.state is State.RUNNING
    assert machine.address == ("192.0.2.9", 40022)
    assert machine.ports[8000] == ("192.0.2.9", 8000)
    assert any("pulling: " in event["text"] for event in events)


@pytest.mark.parametrize(
    ("boot", "said"),
    [
        ({"fatal": "OCI runtime create failed: no such device"}, "it does not recover"),
        ({"becomes": "offline"}, "it does not recover"),
        ({"stuck": True}, "nothing new for 15 minutes"),
        ({"outbid_after": 5, "start": 400}, "somebody bid more"),
    ],
    ids=["fatal", "offline", "stuck", "outbid"],
)
def test_one_that_does_not_start_is_given_back_with_its_log(boot: dict[str, Any], said: str, market: Market) -> None:
    rental = market(None, {**boot, "printed": "last words\n"})
    machine = rent(rental, bid=0.2)

    with pytest.raises(ProviderFailed, match=said) as failed:
        renter(rental).wait(machine)

    assert "It was given back." in failed.value.why
    assert rental.alive == []
    assert rental.known()["leaked"] == []


def test_it_is_kept_where_that_was_asked_for(market: Market) -> None:
    rental = market(None, {"becomes": "exited"})
    machine = rent(rental)

    with pytest.raises(ProviderFailed, match="does not start") as failed:
        renter(rental).wait(machine, keep=True)

    assert failed.value.next_step == "deploy machine destroy 7000"
    assert rental.alive == [7000]


@pytest.mark.parametrize("faults", [["500"] * 3, ["429"] * 4, ["drop"] * 2, ["drop after"], ["no json"]])
def test_giving_back_goes_on_until_it_is_seen(faults: list[str], market: Market) -> None:
    rental = market()
    machine = rent(rental)
    rental.fail(destroy=faults, show=["500"])

    renter(rental).give_back(machine)

    assert rental.alive == []


def test_every_page_of_a_long_list_is_read(market: Market) -> None:
    rental = market([offer(n, dph_total=0.1) for n in range(1, 61)])
    vast = rental.vast
    for each in vast.offers(Needs()):
        vast.rent(each, Order(f"other/{each.id}", "x", 1))

    machines = vast.machines()

    assert len({each.id for each in machines}) == 60
    assert [each.label for each in of_place(machines, "other/7")] == ["other/7"]


@pytest.mark.parametrize(
    "odd",
    [
        {"ports": {"22/tcp": [{}], "8000/tcp": "8000", "x/tcp": [{"HostPort": "1"}]}, "public_ipaddr": "192.0.2.1"},
        {"ssh_host": "ssh4.vast.ai", "ssh_port": "soon"},
        {"dph_total": "unknown", "machine_id": "m", "start_date": "yesterday"},
        {"dph_total": float("nan"), "start_date": float("inf")},
    ],
)
def test_a_machine_of_which_not_all_can_be_understood_is_known(odd: dict[str, Any]) -> None:
    found = machine_of({"id": 7, "label": LABEL, "actual_status": "running", **odd}, 1000.0)
    assert found is not None
    assert (found.id, found.label, found.address) == (7, LABEL, None)


@pytest.mark.parametrize("price", [float("nan"), float("inf"), -0.5, 0])
def test_an_offer_without_a_price_is_none(price: float) -> None:
    assert offer_of(offer(1, dph_total=price)) is None


def test_what_a_machine_printed_is_read_where_the_provider_keeps_it_without_the_key(market: Market) -> None:
    rental = market(None, {"printed": "a line\n", "start": 1, "log_after": 8})
    machine = renter(rental).wait(rent(rental))
    while not (text := rental.vast.log(machine.id, 100)):
        time.sleep(0.01)

    assert text == "a line\n"
    assert rental.known()["leaked"] == []


def test_a_key_that_is_there_is_not_attached_again(market: Market) -> None:
    rental = market()
    machine = rent(rental)
    for _ in range(2):
        rental.vast.admit(machine.id, "ssh-ed25519 AAAAkey me@laptop")

    assert rental.known()["calls"].count("admit") == 1


@pytest.mark.parametrize("ask", [Vast.machines, Vast.credit, lambda vast: vast.offers(Needs())])
def test_a_wrong_key_is_named_and_never_shown(ask: Callable[[Vast], object], market: Market) -> None:
    with pytest.raises(UsageError, match="does not take the account's key") as refused:
        ask(Vast(market().url, "a-wrong-key", CLOCK))

    assert "VAST_API_KEY" in refused.value.next_step
    assert "a-wrong-key" not in str(refused.value)


def test_the_key_goes_over_tls_or_nowhere() -> None:
    with pytest.raises(UsageError, match="would go there in the open"):
        provider("vast", {"VAST_API_KEY": "k", "VAST_URL": "http://vast.example.net"})


def test_without_a_key_it_is_said_where_one_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="there is no key of a"):
        provider("vast", {})
    (tmp_path / ".vast_api_key").write_text("kept\n")
    assert provider("vast", {}).name == "Vast.ai"


def test_a_provider_that_is_away_is_waited_for_and_then_named(market: Market) -> None:
    rental = market()
    rental.fail(list=["500", "drop", "429", "no json"])
    assert rental.vast.machines() == []
    rental.fail(list=["500"] * 9)
    with pytest.raises(DeployError, match="does not answer"):
        rental.vast.machines()
