"""Collected metrics as an OTLP/JSON payload, the body of a POST to a collector's `/v1/metrics`.

OpenTelemetry Protocol, "JSON Protobuf Encoding": protobuf's JSON mapping with lowerCamelCase keys, enums as numbers,
and 64-bit integers as decimal strings. Prometheus counters are cumulative monotonic sums; its histogram buckets are
cumulative too and become counts of their own, the last one for what lies above the largest bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

_CUMULATIVE = 2  # AGGREGATION_TEMPORALITY_CUMULATIVE
_UNITS = {"seconds": "s", "bytes": "By"}  # UCUM, as OpenTelemetry wants units

Json = dict[str, object]


def resource_metrics(
    families: Iterable[Metric], *, resource: dict[str, str], scope: str, started: float, now: float
) -> Json:
    """The payload for `families`.

    Args:
        families: as a Prometheus registry collects them.
        resource: attributes of the whole, such as `service.name`.
        scope: the instrumenting library's name.
        started, now: seconds since 1970: when counting began, and the time of the values.
    """
    times: Json = {"startTimeUnixNano": _nanoseconds(started), "timeUnixNano": _nanoseconds(now)}
    metrics = [_metric(family, times) for family in families if family.samples]
    return {
        "resourceMetrics": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeMetrics": [{"scope": {"name": scope}, "metrics": metrics}],
            }
        ]
    }


def _metric(family: Metric, times: Json) -> Json:
    unit = next((short for word, short in _UNITS.items() if family.name.endswith(word)), "1")
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return {"name": name, "description": family.documentation, "unit": unit, **_data(family, times)}


def _data(family: Metric, times: Json) -> Json:
    if family.type == "histogram":
        return {"histogram": {"aggregationTemporality": _CUMULATIVE, "dataPoints": _histograms(family.samples, times)}}
    points = [
        {**times, "attributes": _attributes(sample.labels), "asDouble": float(sample.value)}
        for sample in family.samples
    ]
    if family.type == "counter":
        return {"sum": {"aggregationTemporality": _CUMULATIVE, "isMonotonic": True, "dataPoints": points}}
    return {"gauge": {"dataPoints": points}}


def _histograms(samples: Iterable[Sample], times: Json) -> list[Json]:
    series: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
        series.setdefault(labels, []).append(sample)
    return [_histogram(dict(labels), members, times) for labels, members in series.items()]


def _histogram(labels: dict[str, str], samples: list[Sample], times: Json) -> Json:
    buckets = sorted((float(sample.labels["le"]), sample.value) for sample in samples if "le" in sample.labels)
    counts = [int(high - low) for low, high in pairwise([0.0, *(count for _, count in buckets)])]
    total = next(sample.value for sample in samples if sample.name.endswith("_sum"))
    return {
        **times,
        "attributes": _attributes(labels),
        "count": str(sum(counts)),
        "sum": float(total),
        "bucketCounts": [str(count) for count in counts],
        "explicitBounds": [bound for bound, _ in buckets if math.isfinite(bound)],
    }


def _attributes(values: dict[str, str]) -> list[Json]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def _nanoseconds(seconds: float) -> str:
    return str(int(seconds * 1_000_000_000))
