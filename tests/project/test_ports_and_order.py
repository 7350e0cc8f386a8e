"""Ports of lanes, and the order in which services start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.project.order import CyclicOrder, start_order
from provision.project.ports import port_of
from provision.project.service import Lane, Service


@pytest.mark.parametrize(
    ("port", "canary", "candidate"),
    [(8000, 18000, 28000), (1, 10001, 20001), (45535, 55535, 65535), (45536, 55536, 25536), (65535, 55535, 45535)],
)
def test_each_lane_has_a_port_of_its_own(port, canary, candidate):
    service = Service(port=port)

    assert [port_of(service, lane) for lane in Lane] == [port, canary, candidate]


@given(st.integers(1, 65535))
def test_every_lane_port_is_a_port_and_differs_from_the_others(port):
    ports = [port_of(Service(port=port), lane) for lane in Lane]

    assert len(set(ports)) == 3
    assert all(1 <= number <= 65535 for number in ports)


def test_a_declared_lane_port_is_taken():
    service = Service(port=8000, canary_port=9, candidate_port=10)

    assert [port_of(service, lane) for lane in Lane] == [8000, 9, 10]


def test_a_service_without_a_port_has_none_in_any_lane():
    assert [port_of(Service(), lane) for lane in Lane] == [None] * 3


def test_services_start_as_declared_unless_they_wait():
    services = {
        "web": Service(after=("api", "elsewhere")),
        "api": Service(after=("db",)),
        "db": Service(),
        "jobs": Service(),
    }

    assert start_order(services) == ["db", "api", "web", "jobs"]


def test_a_circle_is_named():
    services = {"a": Service(), "b": Service(after=("c",)), "c": Service(after=("d",)), "d": Service(after=("c",))}

    with pytest.raises(CyclicOrder) as caught:
        start_order(services)

    assert caught.value.cycle == ["c", "d", "c"]


def test_a_long_chain_is_no_problem():
    chain = {f"s{number}": Service(after=(f"s{number + 1}",)) for number in range(5000)}

    assert start_order(chain)[0] == "s4999"


@given(st.permutations(range(8)), st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7))))
def test_every_service_comes_after_those_it_waits_for(declared, pairs):
    waits = {
        number: {min(pair) for pair in pairs if max(pair) == number and min(pair) != number} for number in range(8)
    }
    services = {f"s{number}": Service(after=tuple(f"s{other}" for other in waits[number])) for number in declared}

    order = start_order(services)

    assert sorted(order) == sorted(services)
    assert all(order.index(other) < order.index(name) for name, service in services.items() for other in service.after)
