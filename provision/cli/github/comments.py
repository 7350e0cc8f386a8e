"""The comments of a pull request, over GitHub's REST API: one of ours is made once, and updated from then on.

"REST API endpoints for issue comments". Ours are known by their first line, and by who wrote them: somebody else may
copy that line. Whatever GitHub says, the deploy has ended by then and its exit status stays what it is.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any, NamedTuple

from provision.cli.github.forks import event

_TRIES = 4
_PAGES = 30  # of a hundred comments; an older one of ours than that is not looked for
_SECONDS = 20.0  # for one request
_PATIENCE = 90.0  # seconds, for all that is waited
_LARGEST = 64 * 1024 * 1024  # bytes of an answer: a hundred comments of the greatest length, written as escapes
_OF_AN_APP = "ghs_"  # how a token begins that a job, or another app, was given; what it writes is a bot's


class NoComment(Exception):
    """There is no comment; the message is a sentence that says why."""


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    value: Any


class _Same(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer as others are: the token is shown to nobody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class PullRequest:
    """One pull request, as the runner's variables name it.

    Args:
        wait: lets seconds pass.

    Raises:
        NoComment: the run is about none.
    """

    def __init__(self, environ: Mapping[str, str], token: str, wait: Callable[[float], None] = time.sleep) -> None:
        said = event(environ)
        number = next((_number(said.get(key)) for key in ("pull_request", "issue") if _number(said.get(key))), 0)
        repository = environ.get("GITHUB_REPOSITORY", "")
        if not number or not re.fullmatch(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", repository):
            raise NoComment("the event that started this run is about no pull request.")
        self._api = environ.get("GITHUB_API_URL") or "https://api.github.com"
        self._comments = f"/repos/{repository}/issues/{number}/comments"
        self._one = f"/repos/{repository}/issues/comments/"
        self._token = token
        self._wait = wait
        self._patience = _PATIENCE
        self._opener = urllib.request.build_opener(_Same)

    def say(self, body: str) -> str:
        """Bring `body`, whose first line is its marker, into the comment with that line; the comment's address.

        Raises:
            NoComment: GitHub does not take it.
        """
        mark = body.partition("\n")[0]
        who = None if self._token.startswith(_OF_AN_APP) else self._ask("GET", "/user").value.get("login")
        ours = next((each["id"] for each in self._all() if _is_ours(each, mark, who)), None)
        answer = self._ask("PATCH", f"{self._one}{ours}", body) if ours is not None else None
        if answer is None or answer.status == 404:  # somebody has removed it meanwhile
            answer = self._ask("POST", self._comments, body)
        if answer.status == 404:
            raise NoComment(f"GitHub answered 404: {self._comments} is not there for this token.")
        return str(answer.value.get("html_url", "")) if isinstance(answer.value, dict) else ""

    def _all(self) -> Iterator[dict[str, Any]]:
        for page in range(1, _PAGES + 1):
            answer = self._ask("GET", f"{self._comments}?per_page=100&page={page}")
            if not isinstance(answer.value, list):
                return
            yield from (each for each in answer.value if isinstance(each, dict) and isinstance(each.get("id"), int))
            if 'rel="next"' not in answer.headers.get("link", ""):
                return

    def _ask(self, method: str, path: str, body: str | None = None) -> _Answer:
        """The answer, if it is one of success, or 404."""
        said, pause = "", None  # type: str, float | None
        for _ in range(_TRIES):
            try:
                answer = self._once(method, path, body)
            except (OSError, HTTPException, ValueError) as error:
                said, pause = f"GitHub could not be asked: {error}.", 1.0
            else:
                if answer.status < 300 or answer.status == 404:
                    return answer
                said, pause = _refusal(answer)
            if pause is None or pause > self._patience:
                break
            self._patience -= pause
            self._wait(pause)
        raise NoComment(said)

    def _once(self, method: str, path: str, body: str | None) -> _Answer:
        request = urllib.request.Request(  # noqa: S310  (the runner says where its API is)
            self._api + path,
            data=None if body is None else json.dumps({"body": body}).encode(),
            method=method,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "User-Agent": "deploy",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        end = time.monotonic() + _SECONDS
        with contextlib.ExitStack() as stack:
            try:
                response = stack.enter_context(self._opener.open(request, timeout=_SECONDS))
            except urllib.error.HTTPError as error:
                response = stack.enter_context(error)
            content = bytearray()
            while part := response.read1(64 * 1024):
                content += part
                if len(content) > _LARGEST or time.monotonic() > end:
                    raise ValueError("its answer does not end")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return _Answer(response.status, headers, _parsed(bytes(content)))


def _number(of: Any) -> int:
    number = of.get("number") if isinstance(of, dict) else None
    return number if isinstance(number, int) else 0


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}


def _is_ours(comment: Mapping[str, Any], mark: str, who: str | None) -> bool:
    """Whether it is one that this token may have written. Nobody but an app can write as a bot."""
    body, user = comment.get("body"), comment.get("user")
    if not isinstance(body, str) or not isinstance(user, dict) or body.splitlines()[:1] != [mark]:
        return False
    return user.get("type") == "Bot" if who is None else user.get("login") == who


def _refusal(answer: _Answer) -> tuple[str, float | None]:
    """What is wrong, and after how many seconds it may be no more; None: never.

    "Rate limits for the REST API": `retry-after` counts first, then the time at which a used-up limit begins anew.
    """
    said = answer.value.get("message") if isinstance(answer.value, dict) else None
    words = f" ({str(said)[:200]})" if said else ""
    headers = answer.headers
    if answer.status >= 500:
        return f"GitHub answered {answer.status}{words}.", 2.0
    if answer.status in (403, 429) and ("retry-after" in headers or headers.get("x-ratelimit-remaining") == "0"):
        return f"GitHub answered {answer.status}: the limit of requests is used up{words}.", _pause(headers)
    if answer.status == 403:
        needs = "The job needs `permissions: pull-requests: write`, which a fork's pull request is never given."
        return f"GitHub answered 403{words}. {needs}", None
    return f"GitHub answered {answer.status}{words}.", None


def _pause(headers: Mapping[str, str]) -> float:
    try:
        if "retry-after" in headers:
            return max(1.0, float(headers["retry-after"]))
        return max(1.0, float(headers.get("x-ratelimit-reset", "inf")) - time.time())
    except ValueError:
        return 60.0
