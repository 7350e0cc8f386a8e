"""What a log shows of progress: that it moves, in few lines."""

import pytest

from provision.cli.milestones import Milestones

GB = 1_000_000_000


def compiling(*steps, total=200):
    """One step a second, from the first to the last of `steps`."""
    return [(float(at), {"event": "progress", "phase": "compile", "done": at, "total": total, "unit": "steps"})
            for at in range(steps[0], steps[-1] + 1)]  # fmt: skip


def moved(at, done, total, phase="model", **more):
    return at, {"event": "progress", "phase": phase, "done": done, "total": total, "unit": "bytes", **more}


CASES = {
    "a compile: each tenth": (
        compiling(1, 200),
        [*(f"compiling: {tenth}0 % ({tenth * 20} of 200 steps)" for tenth in range(1, 10)), "compiling: 200 steps"],
    ),
    "a compile of few files: each file": (
        compiling(1, 4, total=4),
        [*(f"compiling: {done * 25} % ({done} of 4 steps)" for done in (1, 2, 3)), "compiling: 4 steps"],
    ),
    "a compile that goes on near its end": (
        compiling(171, 180),
        ["compiling: 85 % (171 of 200 steps)", "compiling: 90 % (180 of 200 steps)"],
    ),
    "slow steps: one a minute, though no tenth is reached": (
        [(at, event) for (_, event), at in zip(compiling(1, 4), (0.0, 50.0, 61.0, 120.0), strict=True)],
        ["compiling: 1 % (3 of 200 steps)"],
    ),
    "a large model: each tenth that takes its time": (
        [moved(float(gb), gb * GB, 50 * GB, host="gpu-1", file="m.gguf") for gb in range(1, 51)],
        [
            *(
                f"gpu-1: shipping the model: {tenth}0 % ({tenth * 5}.0 GB of 50.0 GB, 1.0 GB/s, "
                f"about {50 - tenth * 5} s left)"
                for tenth in range(1, 10)
            ),
            "gpu-1: shipping the model: 50.0 GB",
        ],
    ),
    "a model of which half was there: how fast the rest comes, for who waits": (
        [moved(at * 60.0, (25 + at) * GB, 50 * GB, phase="fetch", host="gpu-1", file="m.gguf") for at in (0, 5)],
        ["gpu-1: fetching the model: 60 % (30.0 GB of 50.0 GB, 16.7 MB/s, about 20 min left)"],
    ),
    "small files: that they are there": (
        [moved(at / 100, at, 90, host="gpu-1", phase="ship") for at in range(1, 91)],
        ["gpu-1: shipping: 90 bytes"],
    ),
    "a download of unknown size": (
        [moved(float(at), at * 1_000_000, 0, phase="download") for at in range(1, 130)],
        ["downloading: 61.0 MB", "downloading: 121 MB"],
    ),
    "models that are read fast: nothing": (
        [moved(at / 100, at, 90, phase="hash", file="m.gguf") for at in range(1, 91)],
        [],
    ),
    "a model on a slow disk": (
        [moved(at * 10.0, at * GB, 3 * GB, phase="hash", file="m.gguf") for at in range(1, 4)],
        ["reading files: 66 % (2.0 GB of 3.0 GB, 100 MB/s, about 10 s left)", "reading files: 3.0 GB"],
    ),
    "two hosts at once: each its own": (
        [moved(float(at), at * GB, 4 * GB, host=host) for at in (0, 3, 4) for host in ("a", "b")],
        [
            *(f"{host}: shipping the model: 75 % (3.0 GB of 4.0 GB, 1.0 GB/s, about 1 s left)" for host in ("a", "b")),
            *(f"{host}: shipping the model: 4.0 GB" for host in ("a", "b")),
        ],
    ),
    "a second compile: from the beginning": (
        compiling(1, 2, total=2) * 2,
        ["compiling: 50 % (1 of 2 steps)", "compiling: 2 steps"] * 2,
    ),
    "other events: as they are": (
        [(0.0, {"event": "warning", "host": "", "text": "no AVX2"}), (0.0, {"event": "blob"})],
        ["warning: no AVX2"],
    ),
}


@pytest.mark.parametrize(("events", "lines"), CASES.values(), ids=CASES)
def test_a_log_shows_that_it_moves_in_few_lines(events, lines):
    times = iter([at for at, event in events if event["event"] == "progress"])
    milestones = Milestones(now=lambda: next(times))

    assert [line for _, event in events if (line := milestones.tell(event))] == lines
