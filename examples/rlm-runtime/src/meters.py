"""What the worker counts, for /metrics."""

from prometheus_client import Counter, Gauge

COMPLETIONS = Counter("rlm_completions", "Completions by how they ended.", ["status"])
TOKENS = Counter("rlm_tokens", "Tokens of prompts (in) and answers (out).", ["direction"])
COST = Counter("rlm_cost_usd", "What the completions cost, as the runtime estimates it.")
WAITING = Gauge("rlm_queue_depth", "Prompts that wait.")
RUNNING = Gauge("rlm_running", "Prompts in work.")
