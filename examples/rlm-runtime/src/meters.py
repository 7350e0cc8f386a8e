"""What is counted, for /metrics."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("rlm_requests_total", "Completions by how they ended: ok or failed.", ["status"])
for _status in ("ok", "failed"):
    REQUESTS.labels(_status)  # there from the start, so that a first failure is an increase
SECONDS = Histogram(
    "rlm_request_duration_seconds",
    "How long completions take.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
TOKENS = Histogram(
    "rlm_tokens_used_total",
    "Tokens of one completion, prompts and answers together.",
    buckets=(50, 100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000),
)
COST = Counter("rlm_cost_usd_total", "What the completions cost, as the runtime estimates it.")
RUNNING = Gauge("rlm_running", "Completions in work.")
WAITING = Gauge("rlm_queue_depth", "Prompts that wait in the queue.")
UNSHIPPED = Gauge("rlm_logs_unshipped", "Trajectory logs that are not in the store yet.")
