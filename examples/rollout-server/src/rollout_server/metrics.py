"""What Prometheus is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import httpcore
from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rollout_server.tokens import Tokenizers

RUNNING = Gauge("rollouts_running", "Rollouts in work.")
REFUSED = Counter("rollouts_refused", "Rollouts that came while as many as may be were in work.")
REQUESTS = Counter("rollout_requests", "Rollouts by how they ended.", ["status"])
for _status in ("completed", "error"):
    REQUESTS.labels(_status)
LLM_CALLS = Counter("llm_calls", "Turns that trainers were asked for.")
TOOL_CALLS = Counter("tool_calls", "Calls of tools.")
TOKENS = Counter("rollout_tokens", "Tokens that trainers told of.", ["kind"])
for _kind in ("prompt", "response"):
    TOKENS.labels(_kind)

_QUANTILES = (0.5, 0.9, 0.99)


class Durations(Collector):
    """How long rollouts took: quantiles of the last thousand, which the client library has no summary for."""

    def __init__(self) -> None:
        self._count, self._sum = 0, 0.0
        self._last: deque[float] = deque(maxlen=1000)
        REGISTRY.register(self)

    def add(self, seconds: float) -> None:
        self._count, self._sum = self._count + 1, self._sum + seconds
        self._last.append(seconds)

    def collect(self) -> Iterator[Metric]:
        name = "rollout_duration_seconds"
        told = Metric(name, "How long rollouts took, the last thousand of them.", "summary")
        ordered = sorted(self._last)
        for quantile in _QUANTILES:
            value = ordered[int(quantile * (len(ordered) - 1))] if ordered else float("nan")
            told.add_sample(name, {"quantile": str(quantile)}, value)
        told.add_sample(f"{name}_count", {}, self._count)
        told.add_sample(f"{name}_sum", {}, self._sum)
        yield told


class Held(Collector):
    """What is held in memory: tokenizers, and connections to trainers."""

    def __init__(self, tokenizers: Tokenizers, pool: httpcore.AsyncConnectionPool, connections: int) -> None:
        self._tokenizers, self._pool, self._connections = tokenizers, pool, connections
        REGISTRY.register(self)

    def collect(self) -> Iterator[Metric]:
        cache = self._tokenizers.statistics()
        yield GaugeMetricFamily("tokenizer_cache_size", "Tokenizers in memory.", cache["size"])
        yield GaugeMetricFamily("tokenizer_cache_max_size", "How many may be.", cache["max_size"])
        for word in ("hits", "misses"):
            yield CounterMetricFamily(f"tokenizer_cache_{word}", f"Uses of a tokenizer that were {word}.", cache[word])
        idle = [connection.is_idle() for connection in self._pool.connections]
        pool = GaugeMetricFamily("http_client_pool_connections", "Connections to trainers.", labels=["state"])
        pool.add_metric(["idle"], sum(idle))
        pool.add_metric(["active"], len(idle) - sum(idle))
        yield pool
        yield GaugeMetricFamily("http_client_pool_max_connections", "How many there may be.", self._connections)
