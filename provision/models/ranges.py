"""Parts of a file that is elsewhere, by HTTP's ranges (RFC 9110, section 14).

A token is shown to the host that was named and to no other: where it sends us on, nobody gets it.
"""

from __future__ import annotations

import re
import ssl
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from provision.connections import Answer, Connections, Deadline, Peer, asked_wait, is_loopback
from provision.errors import DeployError, UsageError

_SECONDS = 60.0
_TRIES = 4
_REDIRECTS = 5
_LONGEST_WAIT = 30.0
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class Part(NamedTuple):
    """What came, and how long all of it is."""

    content: bytes
    whole: int


class Ranges:
    """Reads parts of one file.

    Args:
        url: where it is.
        authorization: the header that is shown there.
    """

    def __init__(self, url: str, authorization: str = "") -> None:
        self._url = url
        self._authorization = authorization
        self._host = urlsplit(url).netloc
        self._shown = url.partition("?")[0]  # what is behind it may be a signature
        self._connections = Connections(ssl.create_default_context, Peer(self._host, DeployError))

    def read(self, begin: int, end: int) -> Part:
        """The bytes from `begin` to before `end`, or to where the file ends.

        Raises:
            DeployError: they can't be had.
            UsageError: nobody may, or there is no such file.
        """
        deadline = Deadline(_SECONDS)
        for attempt in range(_TRIES):
            try:
                answer = self._ask(begin, end, deadline)
                if answer.status == 206:
                    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("content-range", ""))
                    if not found or int(found[1]) != begin:
                        raise DeployError(f"{self._host} does not say which part it sends.")
                    return Part(answer.read(end - begin), int(found[3]))
                if answer.status == 200 and begin == 0 and self._is_whole(answer, end):
                    content = answer.read(end)  # of a small one a server need not send parts
                    return Part(content, len(content))
                self._refuse(answer)
                answer.drop()
                if attempt + 1 < _TRIES:
                    deadline.wait(max(0.0, min(asked_wait(answer, 2.0**attempt), _LONGEST_WAIT)))
            except OSError as error:
                if attempt + 1 == _TRIES or deadline.is_over:
                    raise DeployError(f"{self._host} can't be reached.", why=str(error)) from None
        raise DeployError(f"{self._host} does not answer: HTTP {answer.status}, {_TRIES} times.")

    @staticmethod
    def _is_whole(answer: Answer, end: int) -> bool:
        length = answer.headers.get("content-length", "")
        return length.isdecimal() and int(length) <= end

    def _ask(self, begin: int, end: int, deadline: Deadline) -> Answer:
        url = self._url
        for _ in range(_REDIRECTS):
            parts = urlsplit(url)
            if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc)):
                raise UsageError(f"{parts.scheme}://{parts.netloc} is not asked: who is between could change a model.")
            sent = {"Range": f"bytes={begin}-{end - 1}"}
            if self._authorization and parts.netloc == self._host:
                sent["Authorization"] = self._authorization
            answer = self._connections.ask("GET", url, sent, None, deadline)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            answer.drop()
            url = urljoin(url, answer.headers.get("location", ""))
        raise DeployError(f"{self._host} sends us on and on.")

    def _refuse(self, answer: Answer) -> None:
        if answer.status in (401, 403):
            of_the_hub = "name the variable with your token: token, and ask for access where the model is gated"
            of_a_store = "look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and at what their account may read"
            raise UsageError(
                f"{self._shown} may not be read: HTTP {answer.status}.",
                next_step=of_a_store if "X-Amz-Signature=" in self._url else of_the_hub,
            )
        if answer.status == 200:
            answer.drop()
            raise UsageError(
                f"{self._host} sends no parts of a file.", why="A model is judged by its header, and fetched in pieces."
            )
        if answer.status not in _AGAIN:
            raise UsageError(f"{self._shown} is not there: HTTP {answer.status}.")
