"""Which program has which GPUs: nothing is given twice, nothing moves that need not, and what is gone is said."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.contract import devices
from provision.contract.decide import decide
from provision.contract.devices import Want
from provision.contract.facts import Gpu
from provision.contract.failure import FORMAT_OF_COPIES, NewerHost, check_format
from provision.contract.host_view import HostView
from provision.contract.release import ReleaseDocument
from provision.contract.state import Program, State, from_dict
from provision.contract.steps import Do, How

_GIB = 1 << 30
_SHARES = (250, 333, 500, 1000)


def gpu(number: int, *, free: int = 24, total: int = 24, **more: str) -> Gpu:
    found = {"name": "RTX", "uuid": f"GPU-{number:08x}", "driver": "550", **more}
    return cast(Gpu, {**found, "memory_total": total * _GIB, "memory_free": free * _GIB})


def whole(program: str, number: int = 1, vram: int = 0) -> Want:
    return Want(program, number, 1000, vram * _GIB)


def shared(program: str, thousandths: int, vram: int = 0) -> Want:
    return Want(program, 1, thousandths, vram * _GIB)


GPUS = st.lists(
    st.builds(
        lambda free, part: gpu(0, free=free, **({"part_of": "GPU-x"} if part else {})),
        st.integers(0, 24),
        st.booleans(),
    ),
    max_size=6,
).map(lambda found: [cast(Gpu, {**each, "uuid": f"GPU-{at}"}) for at, each in enumerate(found)])
WANTS = st.lists(
    st.one_of(
        st.builds(whole, st.just(""), st.integers(1, 3), st.integers(0, 24)),
        st.builds(shared, st.just(""), st.sampled_from(_SHARES), st.integers(0, 12)),
    ),
    max_size=8,
).map(lambda found: [each._replace(program=f"p{at}") for at, each in enumerate(found)])
HELD = st.dictionaries(
    st.integers(0, 9).map("p{}".format), st.lists(st.integers(0, 7).map("GPU-{}".format), unique=True, max_size=3)
)


@given(WANTS, HELD, GPUS)
def test_no_gpu_is_given_twice_whoever_had_it(wants: list[Want], held: dict[str, list[str]], gpus: list[Gpu]) -> None:
    seats = devices.assign(wants, held, gpus)

    used = dict.fromkeys((each["uuid"] for each in gpus), 0)
    for want in wants:
        has = seats.taken[want.program]
        assert len(has) == len(set(has)) <= want.number
        for uuid in has:
            used[uuid] += want.share  # KeyError: one that is not there
    assert all(share <= 1000 for share in used.values())
    assert seats.left == {uuid: 1000 - share for uuid, share in used.items()}


@given(WANTS, HELD, GPUS)
def test_who_has_what_stays_so_while_nothing_changes(
    wants: list[Want], held: dict[str, list[str]], gpus: list[Gpu]
) -> None:
    first = devices.assign(wants, held, gpus)
    full = [cast(Gpu, {**each, "memory_free": 0}) for each in gpus]  # by now they use it

    again = devices.assign(wants, first.taken, full)

    assert {name: has for name, has in again.taken.items() if has} == {n: has for n, has in first.taken.items() if has}


@given(WANTS, HELD, GPUS)
def test_a_second_copy_takes_nothing_that_anybody_has(
    wants: list[Want], held: dict[str, list[str]], gpus: list[Gpu]
) -> None:
    seats = devices.assign(wants, held, gpus)
    for want in wants:
        before = seats.left
        trial, seats = devices.beside(want, seats, held, gpus)

        for uuid in trial:
            assert before[uuid] >= want.share
            assert not [name for name, has in held.items() if uuid in has and uuid not in seats.taken.get(name, ())]


ASKED: dict[str, tuple[list[Want], dict[str, list[int]], list[Gpu], dict[str, list[int]]]] = {
    "four copies on four": (
        [whole(f"api.{n}") for n in range(4)],
        {},
        [gpu(n) for n in range(4)],
        {f"api.{n}": [n] for n in range(4)},
    ),
    "two share one, and fill it up before the next": (
        [shared(f"api.{n}", 500) for n in range(3)],
        {},
        [gpu(0), gpu(1)],
        {"api.0": [0], "api.1": [0], "api.2": [1]},
    ),
    "whole ones first, though they come last": (
        [shared("small", 500), whole("large", 2)],
        {},
        [gpu(0), gpu(1), gpu(2)],
        {"large": [0, 1], "small": [2]},
    ),
    "one that somebody else uses is given last": ([whole("api")], {}, [gpu(0, free=3), gpu(1)], {"api": [1]}),
    "one without the room is not given": ([whole("api", vram=8)], {}, [gpu(0, free=3)], {"api": []}),
    "two that need room on one need it together": (
        [shared("a", 500, vram=8), shared("b", 500, vram=8)],
        {},
        [gpu(0, free=12), gpu(1, free=9)],
        {"a": [0], "b": [1]},
    ),
    "what is kept needs no room again": ([whole("api", vram=20)], {"api": [0]}, [gpu(0, free=1)], {"api": [0]}),
    "what is given up has its room again": ([whole("new", vram=20)], {"old": [0]}, [gpu(0, free=1)], {"new": [0]}),
    "one that is gone is replaced, the others stay": (
        [whole("a"), whole("b")],
        {"a": [7], "b": [0]},
        [gpu(0), gpu(1)],
        {"a": [1], "b": [0]},
    ),
    "more than there are": ([whole("a"), whole("b")], {}, [gpu(0)], {"a": [0], "b": []}),
    "parts are given one by one": (
        [whole("two", 2), whole("one")],
        {},
        [gpu(0, part_of="GPU-x"), gpu(1, part_of="GPU-x")],
        {"two": [], "one": [0]},
    ),
}


@pytest.mark.parametrize("asked", ASKED)
def test_who_gets_which(asked: str) -> None:
    wants, held, gpus, meant = ASKED[asked]
    named = {name: [f"GPU-{number:08x}" for number in has] for name, has in held.items()}

    taken = devices.assign(wants, named, gpus).taken

    assert taken == {name: tuple(f"GPU-{number:08x}" for number in has) for name, has in meant.items()}


def test_what_a_program_is_told_is_what_its_driver_reads() -> None:
    nvidia, amd = gpu(0), gpu(1, vendor="amd")

    assert devices.variables([], [nvidia]) == {}
    assert devices.variables([nvidia["uuid"]], [nvidia]) == {"CUDA_VISIBLE_DEVICES": "GPU-00000000"}
    assert devices.variables([amd["uuid"], "GPU-2"], [amd]) == {
        "ROCR_VISIBLE_DEVICES": "GPU-00000001,GPU-2",
        "HIP_VISIBLE_DEVICES": "0,1",
    }


# --- decisions -----------------------------------------------------------------------------------------------------


def _document(copies: int, needs: dict[str, Any], mark: str = "one") -> ReleaseDocument:
    def service(slot: str, port: int) -> dict[str, Any]:
        return {
            "name": "api",
            "program": f"api.{slot}" if slot else "api",
            "fingerprint": mark,
            "on_demand": False,
            "secrets": [],
            "ports": [port],
            "after": [],
            "switch": "auto",
            "needs": {"memory_bytes": 0, "vram_bytes": 0, "cpus": 0.0, **needs},
        }

    more = [{**service(str(copy), 8000 + copy), "slot": str(copy)} for copy in range(2, copies + 1)]
    lanes = {"stable": [service("", 8000), *more], "canary": [service("canary", 18000)]}
    lanes["candidate"] = [service("candidate", 28000)]
    return cast(ReleaseDocument, {"lanes": {lane: {"services": found, "checks": []} for lane, found in lanes.items()}})


def _state(given: dict[str, list[int]], mark: str = "one") -> State:
    programs = {
        name: Program(
            "api",
            "stable",
            name[4:],
            "old",
            "1-a",
            mark,
            manifest=f"{name}.conf",
            devices=tuple(f"GPU-{number:08x}" for number in has),
        )
        for name, has in given.items()
    }
    return State(channels={"stable": "old"}, programs=programs)


def _view(state: State, gpus: list[Gpu] | None) -> HostView:
    seen: dict[str, Any] = {"activity": "running", "pid": 7, "detail": "", "restarts": 0, "memory_bytes": 0}
    names = list(state.programs)
    launches, manifests = dict.fromkeys(names, "1-a"), dict.fromkeys(names, "")
    return HostView(dict.fromkeys(names, seen), manifests, launches, {}, 64 * _GIB, gpus=gpus)


def _steps(
    state: State, document: ReleaseDocument, gpus: list[Gpu] | None
) -> list[tuple[str, str, str, list[int], str]]:
    view = _view(state, gpus)
    steps = decide(state, {"stable": "new"}, {"new": document}, view, set())
    assert decide(state, {"stable": "new"}, {"new": document}, view, set()) == steps
    return [
        (step.program, str(step.do), str(step.how), [int(each[4:], 16) for each in step.devices], step.why)
        for step in steps
    ]


def test_each_copy_is_started_on_a_gpu_of_its_own() -> None:
    steps = _steps(State(), _document(3, {"gpus": 1}), [gpu(n) for n in range(4)])

    assert steps == [
        ("api", "start", "in-place", [0], "new"),
        ("api.2", "start", "in-place", [1], "new"),
        ("api.3", "start", "in-place", [2], "new"),
    ]


def test_copies_that_did_not_change_stay_and_those_that_are_not_declared_go() -> None:
    state = _state({"api": [3], "api.2": [2], "api.3": [1], "api.4": [0]})

    steps = _steps(state, _document(2, {"gpus": 1}), [gpu(n) for n in range(4)])

    assert [step[:4] for step in steps] == [
        ("api", "keep", "", [3]),
        ("api.2", "keep", "", [2]),
        ("api.3", "remove", "", []),
        ("api.4", "remove", "", []),
    ]


def test_a_gpu_that_is_gone_moves_its_program_alone_and_by_name() -> None:
    state = _state({"api": [0], "api.2": [1]})

    steps = _steps(state, _document(2, {"gpus": 1}), [gpu(0), gpu(2)])

    assert [step[:4] for step in steps] == [("api", "keep", "", [0]), ("api.2", "restart", "in-place", [2])]
    assert steps[1][4].startswith("GPU-00000001 is gone")


def test_where_nobody_looked_nothing_is_taken_for_gone() -> None:
    state = _state({"api": [0], "api.2": [1]})

    assert [step[1] for step in _steps(state, _document(2, {"gpus": 1}), None)] == ["keep", "keep"]


def test_the_first_copy_is_proven_beside_where_a_gpu_is_free_and_the_others_follow() -> None:
    state, document = _state({"api": [0], "api.2": [1]}), _document(2, {"gpus": 1}, "two")

    free = _steps(state, document, [gpu(0), gpu(1), gpu(2)])
    full = _steps(state, document, [gpu(0), gpu(1)])

    assert [step[2:4] for step in free] == [("beside", [0]), ("in-place", [1])]
    assert [step[2:4] for step in full] == [("in-place", [0]), ("in-place", [1])]
    assert full[0][4] == "changed; no GPU is free for a second copy"


def test_a_canary_takes_nothing_from_those_that_serve() -> None:
    state = _state({"api": [1]})
    document = _document(1, {"gpus": 1})
    channels = {"stable": "new", "canary": "new"}

    steps = decide(state, channels, {"new": document}, _view(state, [gpu(0), gpu(1)]), set())
    alone = decide(state, channels, {"new": document}, _view(state, [gpu(1)]), set())

    assert [(step.program, step.do, step.devices) for step in steps] == [
        ("api.canary", Do.START, ("GPU-00000000",)),
        ("api", Do.KEEP, ("GPU-00000001",)),
    ]
    assert [step.devices for step in alone] == [(), ("GPU-00000001",)]


def test_what_asks_for_memory_of_a_gpu_alone_or_comes_and_goes_is_given_none() -> None:
    document = _document(1, {"vram_bytes": _GIB})
    on_demand = _document(1, {"gpus": 1})
    for lane in on_demand["lanes"].values():
        lane["services"][0]["on_demand"] = True

    assert [step[3] for step in _steps(State(), document, [gpu(0)])] == [[]]
    assert [step[3] for step in _steps(State(), on_demand, [gpu(0)])] == [[]]
    assert not devices.decides({"a": document, "b": on_demand})
    assert devices.decides({"a": _document(1, {"gpu_fraction": 0.5})})


def test_a_step_beside_says_on_what_its_second_copy_is_tried() -> None:
    state = _state({"api": [0]})

    step = decide(
        state, {"stable": "new"}, {"new": _document(1, {"gpus": 1}, "two")}, _view(state, [gpu(0), gpu(1)]), set()
    )[0]

    assert (step.how, step.devices, step.trial) == (How.BESIDE, ("GPU-00000000",), ("GPU-00000001",))
    assert step.as_dict().get("devices") == ["GPU-00000000"]


@pytest.mark.parametrize("state", [_state({"api.2": []}), _state({"api": [0]})], ids=["copies", "GPUs"])
def test_a_state_that_earlier_versions_would_misread_is_refused_by_them_and_read_back(state: State) -> None:
    written = state.as_dict()

    assert from_dict(written) == state
    assert written["format"] == FORMAT_OF_COPIES
    with pytest.raises(NewerHost):
        check_format(written, "the state", 2)
