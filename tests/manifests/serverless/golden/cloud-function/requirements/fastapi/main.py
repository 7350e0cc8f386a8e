"""fastapi of cres as a Cloud Function. Written by deploy render; the next one replaces it."""

import asyncio
import importlib
import inspect
import json
import logging
import sys
import uuid
from pathlib import Path

# deploy.sh puts the project there.
sys.path.insert(0, str(Path(__file__).resolve().parent / "app"))

log = logging.getLogger("cres.fastapi")

# Once for each copy that is started, before it gets a request. What goes wrong is for the log, not for callers.
try:
    _entry = importlib.import_module("src.functions").answer
except Exception:
    log.exception("fastapi cannot start")
    raise RuntimeError("fastapi cannot start; its log says why") from None


def _called(*given):
    """What the service answers, waited for where it is a coroutine."""
    answer = _entry(*given)
    return asyncio.run(answer) if inspect.iscoroutine(answer) else answer


class NotJson(Exception):
    caller_status = 400


def _parsed(body):
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        raise NotJson("the body is not JSON") from None


def _answer(read, number):
    """The status and the JSON for what `read` gives. A caller learns of a failure what was written for it, no more."""
    try:
        return 200, json.dumps(_called(read()), allow_nan=False)
    except Exception as error:
        status = getattr(error, "caller_status", None)
        if isinstance(status, int) and 400 <= status <= 499:
            return status, json.dumps({"error": str(error), "request": number})
        log.exception("request %s failed", number)
        late = isinstance(error, TimeoutError)
        said = {"error": "it took too long" if late else "internal error", "request": number}
        return 504 if late else 500, json.dumps(said)


def handle(request):
    status, text = _answer(lambda: _parsed(request.get_data()), uuid.uuid4().hex)
    return text, status, {"content-type": "application/json"}
