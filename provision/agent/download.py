"""A file by its ranges over HTTP, several pieces at a time, each written where it belongs.

A piece is asked for at the address that was named, each time anew: an address that we are sent on to may be good for
minutes alone. The token is shown to the host that was named, and to nobody that it sends us on to.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import hashlib
import http.client
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from typing import IO, TYPE_CHECKING, Callable, Collection, Mapping, Optional
from urllib.parse import urlsplit

from ..contract.failure import FAILED, REFUSED, Failure
from .pieces import PIECE, Pieces

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.requests import FetchModel

_AT_ONCE = 4
_BLOCK = 256 << 10
_SILENCE = 20.0  # seconds without a byte
_SECONDS = 60.0  # for a piece, and what it takes at a slow pace
_SLOWEST = 50_000  # bytes a second
_FAILURES = 12  # of each that asks, one after another, without a piece that came
_LONGEST_WAIT = 30.0
_UNHEARD = 2 * (_SECONDS + PIECE / _SLOWEST)  # without a piece or a failure: headers drip, where no limit holds
_TELL = 0.5  # seconds between two lines of progress
_ENDING = 1.0  # until those that read have noticed that they are to stop; none of them writes any more


class _Again(Exception):
    """This try came to nothing, and another may not."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> Optional[urllib.request.Request]:
        # Python before 3.11 does not know 308.
        code = 307 if code == 308 else code
        new = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if new is not None:
            fp.close()  # it would be read to its end, which may never come
            before, after = urlsplit(req.full_url), urlsplit(newurl)
            demand_safe(newurl, from_afar=before.scheme == "https")
            if after.netloc != before.netloc:
                new.remove_header("Authorization")
        return new

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


class _Pace:
    """How fast all that ask may read, together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit  # bytes a second; 0 for none
        self._one = threading.Lock()
        self._next = 0.0

    def took(self, size: int) -> None:
        """Wait for as long as these bytes have to take."""
        if not self._limit:
            return
        with self._one:
            begin = max(self._next, time.monotonic())
            self._next = begin + size / self._limit
        time.sleep(max(0.0, begin - time.monotonic()))


class Download:
    """One model on its way into a folder."""

    def __init__(
        self,
        request: FetchModel,
        folder: str,
        emit: Emit,
        stop: Callable[[], None],
        known: Optional[Mapping[int, str]] = None,
    ) -> None:
        self.request = request
        self.host = urlsplit(request["url"]).netloc
        self.path = os.path.join(folder, request["name"])
        self.pieces = Pieces(folder, request["bytes"], known)
        self._emit = emit
        self._stop = stop
        self._over = threading.Event()
        self._arrived = 0
        self._changed = False  # whether a piece came as another than it did before
        self._news: queue.Queue[Optional[BaseException]] = queue.Queue()  # of each piece: it came, or why not
        self._pace = _Pace(request["limit"])
        self._slowest = min(_SLOWEST, request["limit"] / (2 * _AT_ONCE) or _SLOWEST)  # bytes a second
        # Proxies by the environment, as every program of the host finds them.
        self._opener = urllib.request.build_opener(_Redirects())

    def run(self, wanted: Collection[int]) -> bool:
        """Fetch these pieces; raises as `fetch` does.

        Returns:
            Whether one came as another than before.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in wanted:
            waiting.put(index)
        self._arrived = sum(self.pieces.length(index) for index in set(self.pieces.done) - set(wanted))
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        threads = [
            threading.Thread(target=self._work, args=(waiting, descriptor), daemon=True)
            for _ in range(min(_AT_ONCE, len(wanted)))
        ]
        try:
            for thread in threads:
                thread.start()
            self._wait(len(wanted))
        finally:
            self._over.set()
            until = time.monotonic() + _ENDING
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
            if not any(thread.is_alive() for thread in threads):
                os.close(descriptor)  # else both go with this process
                self.pieces.close()
        return self._changed

    def _wait(self, left: int) -> None:
        failures, told, heard = 0, 0.0, time.monotonic()
        most = _FAILURES * min(_AT_ONCE, left)
        while left:
            self._stop()
            try:
                wrong = self._news.get(timeout=0.2)
            except queue.Empty:
                if time.monotonic() - heard < _UNHEARD:
                    wrong = None
                else:
                    wrong, failures = _Again("nothing whole came for a long time"), most
            else:
                heard = time.monotonic()
                if wrong is None:
                    left, failures = left - 1, 0
                elif not isinstance(wrong, _Again):
                    raise wrong
                else:
                    failures += 1
            if failures >= most:
                raise Failure(
                    FAILED,
                    f"model {self.request['name']} can't be fetched from {self.host}: {wrong}.",
                    why="What has arrived of it is kept: the next run goes on from there.",
                    next_step='deploy up again; for a host that can not reach it: models.NAME.fetch = "ship"',
                )
            if time.monotonic() - told > _TELL or not left:
                told = time.monotonic()
                self._emit(
                    {
                        "event": "progress",
                        "phase": "fetch",
                        "file": self.request["name"],
                        "done": self._arrived,
                        "total": self.request["bytes"],
                    }
                )

    def _work(self, waiting: queue.SimpleQueue[int], descriptor: int) -> None:
        tries = 0
        while not self._over.is_set():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                digest = self._piece(index, descriptor)
                if self.pieces.add(index, digest):
                    self._changed = True
                tries = 0
                self._news.put(None)
            except _Again as again:
                waiting.put(index)
                self._news.put(again)
                tries += 1
                self._over.wait(min(max(again.wait, 0.2 * 2**tries), _LONGEST_WAIT))
            except BaseException as error:
                self._news.put(error)
                return

    def _piece(self, index: int, descriptor: int) -> str:
        """Ask for one, and write it where it belongs; its sha256."""
        begin, length = index * PIECE, self.pieces.length(index)
        sent = {"Range": f"bytes={begin}-{begin + length - 1}", "Accept-Encoding": "identity"}
        if self.request["authorization"]:
            sent["Authorization"] = self.request["authorization"]
        until, done = time.monotonic() + _SECONDS + length / self._slowest, 0
        digest = hashlib.sha256()
        try:
            asked = urllib.request.Request(self.request["url"], headers=sent)  # noqa: S310  judged: `demand_safe`
            with self._opener.open(asked, timeout=_SILENCE) as answer:
                self._judge(answer, begin)
                while done < length:
                    block = answer.read1(min(_BLOCK, length - done))
                    if not block:
                        raise _Again("it stopped in the middle of a piece")
                    if self._over.is_set() or time.monotonic() > until:
                        raise _Again(f"less than {self._slowest / 1000:.0f} kB came in a second")
                    if os.pwrite(descriptor, block, begin + done) < len(block):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    digest.update(block)
                    done += len(block)
                    self._arrived += len(block)
                    self._pace.took(len(block))
            os.fdatasync(descriptor)
            return digest.hexdigest()
        except urllib.error.HTTPError as error:
            self._arrived -= done
            with contextlib.closing(error):  # which may be closed: one redirect too many
                raise self._refused(error) from None
        except _Again:
            self._arrived -= done
            raise
        except (http.client.HTTPException, OSError, ValueError) as error:  # the last: an address that is none
            self._arrived -= done
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _Again(_said(error)) from None

    def _judge(self, answer: http.client.HTTPResponse, begin: int) -> None:
        if answer.status == 200 and self.request["bytes"] <= PIECE:
            length = answer.headers.get("Content-Length", "")
            if length != str(self.request["bytes"]):
                raise self._another(f"it has {length} bytes there, and {self.request['bytes']} in models.lock")
            return  # of a small one a server need not send parts
        if answer.status != 206:
            raise Failure(
                REFUSED, f"{self.host} sends no parts of a file.", next_step="name another source of the model"
            )
        found = re.match(r"bytes (\d+)-\d+/(\d+)$", answer.headers.get("Content-Range", ""))
        if not found or int(found.group(1)) != begin:
            raise _Again("it sends another part than was asked for")
        if int(found.group(2)) != self.request["bytes"]:
            raise self._another(f"it has {int(found.group(2))} bytes there, and {self.request['bytes']} in models.lock")

    def _refused(self, answer: urllib.error.HTTPError) -> Exception:
        """What an answer without content means: whether asking again may help."""
        if answer.code in (401, 403) and urlsplit(answer.url or "").netloc not in ("", self.host):
            return _Again(f"HTTP {answer.code} where it sent us on to: such an address runs out")
        if answer.code in (401, 403):
            return Failure(
                REFUSED,
                f"{self.host} does not let this host read model {self.request['name']}: HTTP {answer.code}.",
                next_step="look at what its account may read: that of "
                + (
                    "AWS_ACCESS_KEY_ID, and at its secret"
                    if self._is_signed
                    else "the token that models.NAME.token names"
                ),
            )
        if answer.code in (404, 410, 416):
            return self._another(f"HTTP {answer.code}")
        if answer.code in (408, 429) or answer.code >= 500:
            return _Again(f"HTTP {answer.code}", _asked_wait(answer.headers.get("Retry-After", "")))
        return Failure(FAILED, f"{self.host} does not give model {self.request['name']}: HTTP {answer.code}.")

    @property
    def _is_signed(self) -> bool:
        """Whether a store's key has signed for the address, instead of a token."""
        return "X-Amz-Signature=" in self.request["url"]

    def _another(self, why: str) -> Failure:
        what = f"what {self.host} has is not model {self.request['name']} as it was locked: {why}."
        return Failure(FAILED, what, next_step="deploy model lock, and look at what has changed")


def demand_safe(url: str, *, from_afar: bool = False) -> None:
    """Who is between may read what is fetched in the open, and a token with it; and who is afar asks nothing here."""
    parts = urlsplit(url)
    here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost") and not from_afar
    if parts.scheme != "https" and not here:
        raise Failure(REFUSED, f"{parts.scheme}://{parts.hostname} is not asked: who is between could read along.")


def _asked_wait(said: str) -> float:
    """Seconds, of a number or a date (RFC 9110, section 10.2.3)."""
    try:
        return float(said) if said.isdigit() else email.utils.parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _said(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason or error) or type(error).__name__
    return "".join(letter for letter in text if letter.isprintable())[:200]  # a server says some of it
