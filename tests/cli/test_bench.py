"""What `deploy bench` shows: a line for each service, with a price and with others only where there are any."""

from __future__ import annotations

from typing import Any

from provision.cli.render.bench import bench_lines, wrong_lines
from provision.rollout import Benched

RATES = {"tokens_per_second": 43.12, "ttft_p50": 0.412, "ttft_p95": 1.504}


def benched(host: str, measured: dict[str, Any] | None, wrong: str = "") -> Benched:
    return Benched(host, "llm", "stable", "4f1c", 512, 128, 4, measured, wrong, judged=True)  # type: ignore[arg-type]


def test_a_line_has_what_was_asked_and_what_was_seen() -> None:
    seen = {"short": {}, "full": RATES, "beside": [], "worse": []}

    assert bench_lines([benched("gpu-01", seen)]) == [
        "host    service  prompt  generate  parallel  tokens/s  first token p50  p95",
        "gpu-01  llm      512     128       4         43.1      0.41 s           1.50 s",
    ]


def test_prices_and_who_ran_beside_it_are_there_where_one_host_has_them() -> None:
    seen = {"short": {}, "full": RATES, "beside": ["others used 1.6 of 2 cores"], "dollars_per_million": 0.314}
    found = [benched("gpu-01", seen), benched("gpu-02", None, "it does not run")]

    head, first, second = bench_lines(found)

    assert head.endswith("p95     $ a million tokens  beside it")
    assert first.endswith("1.50 s  0.31                others used 1.6 of 2 cores")
    assert second.split() == ["gpu-02", "llm", "512", "128", "4", "-", "-", "-", "-", "-"]
    assert [*wrong_lines(found)] == ["gpu-02: llm: it does not run"]
