"""`bitnet watch`: a llama-server that is polled, judged, and started again when it stops working."""

from bitnet.watchdog.judge import Judge, Patience, Verdict
from bitnet.watchdog.restarts import RestartPolicy, Restarts
from bitnet.watchdog.sample import Health, Sample, take_sample
from bitnet.watchdog.watch import Ended, Watchdog, WatchOptions

__all__ = [
    "Ended",
    "Health",
    "Judge",
    "Patience",
    "RestartPolicy",
    "Restarts",
    "Sample",
    "Verdict",
    "WatchOptions",
    "Watchdog",
    "take_sample",
]
