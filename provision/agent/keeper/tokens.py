"""How many tokens engines made, by their own count.

Asked in a child that ends: it imports much that the keeper needs for nothing else, and an engine may take long.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from typing import Dict, List, Tuple

from ...contract.failure import Failure
from ...contract.layout import Layout
from .. import prove
from .. import state as states
from ..documents import read_documents, service_of
from ..sockets import Guarded, Withheld
from ..supervisors import open_supervisor, options

Counters = Dict[str, Dict[str, List[float]]]  # service -> lane -> made, and seconds

_MADE, _SECONDS = "llamacpp:tokens_predicted_total", "llamacpp:tokens_predicted_seconds_total"
_ANSWER_SECONDS = 3.0
_ALL_SECONDS = 12  # less than a pace
_LARGEST = 1 << 20


def tell(layout: Layout, to: int) -> None:
    """Write what they say to a descriptor, as JSON; nothing where nobody can be asked. For a child: it ends there."""
    signal.alarm(_ALL_SECONDS)
    try:
        os.write(to, json.dumps(_counters(layout)).encode())
    except (Failure, OSError, ValueError, KeyError) as error:
        print(f"engines are not asked: {error}", file=sys.stderr, flush=True)  # noqa: T201  the keeper's log
    finally:
        os._exit(0)


def _counters(layout: Layout) -> Counters:
    """Summed over the programs of each lane; an engine that does not answer now is there without."""
    found: Counters = {}
    state = states.read_state(layout)
    documents = read_documents(layout, {record.release for record in state.programs.values()})
    supervisor = open_supervisor(layout, state.platform, options(layout))
    for name, record in state.programs.items():
        service = service_of(documents, name, record)
        asked = service.get("tokens")
        if asked is None or not record.is_to_run:
            continue
        lanes = found.setdefault(record.service, {})
        bearer = prove.bearer(supervisor, name, asked)
        connection = Guarded("127.0.0.1", service["ports"][0], _ANSWER_SECONDS, bearer)
        try:
            answer, content = connection.ask("GET", asked["path"], _LARGEST)
            made, seconds = _read(content if answer.status == http.client.OK else b"")
        except (OSError, http.client.HTTPException, Withheld, ValueError):
            continue  # it loads, or is on its way out
        finally:
            connection.close()
        lane = lanes.setdefault(record.lane, [0.0, 0.0])
        lane[0] += made
        lane[1] += seconds
    return found


def _read(content: bytes) -> Tuple[float, float]:
    """Both counters, in Prometheus' text format."""
    found = {_MADE: 0.0, _SECONDS: 0.0}
    for line in content.decode("utf-8", "replace").splitlines():
        name, _, value = line.rpartition(" ")
        if name in found:
            found[name] = float(value)
    return found[_MADE], found[_SECONDS]
