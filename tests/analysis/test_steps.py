"""What comes next in a rollout, from what users saw."""

from __future__ import annotations

import copy
import json
import random

import pytest

from benchmarks import verdicts
from provision.agent.analysis import Lane, Move, Seen, Sketch, Tokens, Verdict, decide, forecast
from provision.agent.front.listening import Minutes
from provision.agent.front.log import Served
from provision.agent.keeper.rings import Counts
from provision.contract.rollout import LimitsDocument, RolloutDocument

ALL: LimitsDocument = {"errors": 0.02, "slower": 0.25, "ttft_p95": 2.0, "tokens_per_second": -0.2}


def rollout(abort: LimitsDocument = ALL, undecided: str = "hold") -> RolloutDocument:
    return {"steps": [0.01, 0.1, 0.5], "each": 600.0, "at_most": 3600.0, "undecided": undecided, "abort": abort}


def lane(requests: int, errors: int = 0, seconds: float = 0.3) -> Lane:
    chance, found = random.Random(1), Lane()
    for number in range(requests):
        found.add(number < errors, seconds * chance.lognormvariate(0.0, 0.3))
    return found


def seen(canary: Lane, stable: Lane | None = None, pace: float = 1.0, paces: int = 40) -> dict[str, Seen]:
    chance, ratios = random.Random(1), Sketch()
    for _ in range(paces):
        ratios.add(pace * chance.lognormvariate(0.0, 0.05))
    return {"llama": Seen(canary, stable or lane(9000, 9), ratios)}


FINE = seen(lane(1000))
FEW = seen(lane(30), lane(2970, 3), paces=2)


@pytest.mark.parametrize(
    ("step", "seconds", "what", "move", "why"),
    [
        (0, 480, FINE, Move.WAIT, "step 1 of 3 (1 %): 2 min left."),
        (0, 570, FINE, Move.WAIT, "step 1 of 3 (1 %): 30 s left."),
        (0, 600, FINE, Move.ADVANCE, "0.0 % (0 of 1000) of the canary's requests failed"),
        (2, 600, FINE, Move.PROMOTE, "step 3 of 3 (50 %)"),
        (0, 600, FEW, Move.WAIT, "the canary had 30 requests in 10 min, too few to say; at most 50 min left."),
        (0, 3600, FEW, Move.HOLD, 'nothing can be said after 60 min: llama: 0.0 % (0 of 30)'),
        (0, 15, seen(lane(8, 8)), Move.ABORT, "100.0 % (8 of 8) of the canary's requests failed, 0.1 % (9 of 9000)"),
        (1, 15, seen(lane(200, seconds=0.6)), Move.ABORT, "half of the canary's answers began within 0."),
        (1, 15, seen(lane(200, seconds=2.2), lane(9000, seconds=1.2)), Move.ABORT, "95 of 100 of the canary's answers"),
        (1, 600, seen(lane(1000, seconds=3.0), lane(9000, seconds=3.0)), Move.ADVANCE, "of stable's within 4."),
        (2, 15, seen(lane(200), pace=0.5), Move.ABORT, "the canary makes 0.50 of stable's tokens a second; 0.8 is"),
        (0, 600, {}, Move.ADVANCE, "its time is over"),
    ],
)  # fmt: skip
def test_a_step_ends_when_all_limits_are_kept_and_at_once_when_one_is_not(step, seconds, what, move, why):
    decision = decide(rollout(), step, seconds, what)

    assert decision.move is move
    assert why in decision.why


@pytest.mark.parametrize(
    ("undecided", "step", "move"),
    [
        ("hold", 2, Move.HOLD),
        ("abort", 0, Move.ABORT),
        ("promote", 0, Move.ADVANCE),
        ("promote", 2, Move.PROMOTE),
    ],
)
def test_what_nothing_can_be_said_of_ends_as_declared(undecided, step, move):
    decision = decide(rollout(undecided=undecided), step, 3600, FEW)

    assert decision.move is move
    assert f'undecided = "{undecided}"' in decision.why


def test_without_limits_the_time_alone_counts():
    assert decide(rollout({}), 0, 599, FEW).move is Move.WAIT
    assert decide(rollout({}), 0, 600, FEW).move is Move.ADVANCE


def test_one_service_that_is_worse_ends_it_for_all():
    both = {**FINE, "web": Seen(lane(300, 60), lane(900))}
    decision = decide(rollout(), 0, 60, both)

    assert decision.move is Move.ABORT
    assert decision.why.startswith("step 1 of 3 (1 %): web: 20.0 % (60 of 300)")
    assert [each.verdict for each in decision.findings if each.service == "llama"] == [Verdict.FINE] * 4


def test_a_service_that_makes_no_tokens_is_not_waited_for_to_make_some():
    only_web = {"web": Seen(lane(1000), lane(9000, 9))}

    assert [each.limit for each in decide(rollout(), 0, 600, only_web).findings] == ["errors", "slower", "ttft_p95"]
    assert decide(rollout(), 0, 600, only_web).move is Move.ADVANCE


def test_with_few_requests_it_says_how_many_would_do_and_when():
    said = forecast(rollout(), 600, FEW)

    assert said.startswith("the canary had 30 requests in 10 min, too few to say; should it go on like this, ")
    assert said.endswith(", and this step ends in 50 min.")
    needed = int(said.split("like this, ")[1].split(" ")[0])
    assert decide(rollout(), 0, 600, {"llama": FEW["llama"].times(needed // 30)}).move is Move.ADVANCE
    assert decide(rollout(), 0, 600, {"llama": FEW["llama"].times(needed // 60)}).move is Move.WAIT


def test_a_canary_that_nobody_asks_is_waited_for():
    nobody = {"llama": Seen(Lane(), lane(9000), Sketch())}

    assert decide(rollout(), 0, 600, nobody).move is Move.WAIT
    assert "the canary had 0 requests in 10 min" in forecast(rollout(), 600, nobody)


def test_times_that_differ_by_what_the_log_rounds_are_no_slowness():
    quick = Seen(Lane(500, 0, Sketch()), Lane(500, 0, Sketch()))
    for _ in range(500):
        quick.canary.first_byte.add(0.002)
        quick.stable.first_byte.add(0.001)

    assert decide(rollout({"slower": 0.25}), 0, 600, {"web": quick}).move is Move.ADVANCE


def test_paces_are_compared_only_while_both_lanes_make_tokens():
    what = Seen(paces=Sketch())
    what.compare_paces(Tokens(150, 3), Tokens(100, 2), Tokens(900, 9), Tokens(800, 8))
    what.compare_paces(Tokens(150, 3), Tokens(150, 3), Tokens(900, 9), Tokens(800, 8))
    what.compare_paces(Tokens(10, 1), Tokens(150, 3), Tokens(900, 9), Tokens(800, 8))

    assert what.paces is not None
    assert what.paces.total == 1
    assert what.paces.quantile(0.5) == pytest.approx(0.5, rel=0.02)


def test_what_a_front_says_of_each_request_is_judged_a_minute_at_a_time():
    """A canary that takes no connection fails nobody, since stable stands in; it failed all the same."""
    minutes = Minutes(Counts)
    for second in range(120):
        for lane_, moved in (("stable", False), ("canary", True)):
            minutes.add(Served(60_000.0 + second, "web", "web", lane_, 200, 0.1, 0.2, 5, moved, broken=False))
    what = Seen()
    for _, _, name, each in minutes.taken():
        (what.canary if name == "canary" else what.stable).include(each)

    assert (what.canary.requests, what.canary.errors) == (120, 120)
    assert (what.stable.requests, what.stable.errors) == (120, 0)
    assert decide(rollout(), 0, 120, {"web": what}).move is Move.ABORT


def test_what_was_seen_survives_its_file_in_bounded_room():
    chance, what = random.Random(1), Seen(paces=Sketch())
    for _ in range(50_000):
        what.canary.add(chance.random() < 0.1, chance.lognormvariate(0, 4))
        what.stable.add(False, chance.lognormvariate(-3, 2))
    text = json.dumps(what.as_dict())
    again = Seen.from_dict(json.loads(text))

    assert again.as_dict() == what.as_dict()
    assert len(text) < 25_000
    assert decide(rollout(), 0, 60, {"llama": again})[:2] == decide(rollout(), 0, 60, {"llama": what})[:2]


def test_judging_changes_nothing():
    before = copy.deepcopy(FEW["llama"].as_dict())
    decide(rollout(), 0, 600, FEW)
    forecast(rollout(), 600, FEW)

    assert FEW["llama"].as_dict() == before


@pytest.mark.parametrize("case", verdicts.CASES, ids=lambda case: case.name)
def test_simulated_rollouts_end_with_the_right_word(case):
    found = verdicts.simulate(case, 3, seed=7)

    assert [run.end for run in found] == [case.right] * 3


@pytest.mark.slow
@pytest.mark.parametrize("case", verdicts.CASES, ids=lambda case: case.name)
def test_of_a_thousand_rollouts_ten_at_most_end_with_the_wrong_word(case):
    found = verdicts.simulate(case, 1000, seed=1)

    assert verdicts.wrong(case, found) <= 10
    assert sum(run.end is case.right for run in found) >= 900
