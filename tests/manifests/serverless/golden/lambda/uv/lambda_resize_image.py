"""resize-image of cres on AWS Lambda. Written by deploy render; the next one replaces it."""

import asyncio
import base64
import importlib
import inspect
import json
import logging

log = logging.getLogger("cres.resize-image")

# Once for each copy that is started, before it gets a request. What goes wrong is for the log, not for callers.
try:
    _entry = importlib.import_module("src.broken").answer
except Exception:
    log.exception("resize-image cannot start")
    raise RuntimeError("resize-image cannot start; its log says why") from None


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


class Failed(Exception):
    """How a caller that is no HTTP client hears of it: a schedule, a queue, another function."""


def handle(event, context):
    number = context.aws_request_id
    if not _is_http(event):
        status, text = _answer(lambda: event, number)
        if status != 200:
            raise Failed(text)
        return json.loads(text)
    status, text = _answer(lambda: _parsed(_body(event)), number)
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": text}


def _is_http(event):
    """Whether it came through the function's URL: payload format 2.0."""
    return isinstance(event, dict) and event.get("version") == "2.0" and "http" in event.get("requestContext", ())


def _body(event):
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body
