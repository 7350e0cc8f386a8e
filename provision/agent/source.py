"""A file by its ranges over HTTP: each piece is asked for at the address that was named, each time anew.

An address that we are sent on to may be good for minutes alone. The token is shown to the host that was named, and to
nobody that it sends us on to.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import http.client
import re
import time
import urllib.error
import urllib.request
from typing import IO, TYPE_CHECKING, Optional
from urllib.parse import urlsplit

from ..contract.failure import FAILED, REFUSED, Failure
from ..contract.layout import SHIPPED
from .pieces import piece_of
from .writing import SILENCE, Again

if TYPE_CHECKING:
    from ..contract.bringing import FetchModel
    from .writing import Writing


class Elsewhere(Again):
    """Whoever hands it out has sent it to another host, which lends it."""


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows them, and takes no token along to another host."""

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


class Source:
    """Where a model is."""

    def __init__(self, request: FetchModel) -> None:
        self._request = request
        self.is_handed_out = request["source"] == SHIPPED  # by who leads the deploy, to this host and others in turn
        self.host = whose(request)
        self._at = urlsplit(request["url"]).netloc
        # Proxies by the environment, as every program of the host finds them; none leads to this host itself.
        is_near = self._at.startswith("127.0.0.1:")
        proxies = [urllib.request.ProxyHandler({})] if is_near else []
        self._opener = urllib.request.build_opener(Redirects(), *proxies)

    def piece(self, begin: int, length: int, writing: Writing) -> str:
        """Ask for one, and write it where it belongs; its sha256.

        Raises:
            Again: it may be had later on.
            Failure: it can't be had.
            OSError: the disk is full.
        """
        sent = {"Range": f"bytes={begin}-{begin + length - 1}", "Accept-Encoding": "identity"}
        if self._request["authorization"]:
            sent["Authorization"] = self._request["authorization"]
        try:
            asked = urllib.request.Request(self._request["url"], headers=sent)  # noqa: S310  judged: `demand_safe`
            with self._opener.open(asked, timeout=SILENCE) as answer:
                self._judge(answer, begin)
                return writing.piece(begin, length, answer.read1)
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):  # which may be closed: one redirect too many
                raise self._refused(error) from None
        except (http.client.HTTPException, OSError, ValueError) as error:  # the last: an address that is none
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Again(_said(error)) from None

    def _judge(self, answer: http.client.HTTPResponse, begin: int) -> None:
        locked = self._request["bytes"]
        if answer.status == 200 and locked <= piece_of(locked):
            length = answer.headers.get("Content-Length", "")
            if length != str(locked):
                raise self._another(f"it has {length} bytes there, and {locked} in models.lock")
            return  # of a small one a server need not send parts
        if answer.status != 206:
            raise Failure(
                REFUSED, f"{self.host} sends no parts of a file.", next_step="name another source of the model"
            )
        found = re.match(r"bytes (\d+)-\d+/(\d+)$", answer.headers.get("Content-Range", ""))
        if not found or int(found.group(1)) != begin:
            raise Again("it sends another part than was asked for")
        there = int(found.group(2))
        if there != locked:
            raise self._another(f"it has {there} bytes there, and {locked} in models.lock")

    def _refused(self, answer: urllib.error.HTTPError) -> Exception:
        """What an answer without content means: whether asking again may help."""
        name = self._request["name"]
        if answer.code in (401, 403) and urlsplit(answer.url or "").netloc not in ("", self._at):
            return Again(f"HTTP {answer.code} where it sent us on to: such an address runs out")
        if answer.code in (401, 403):
            return Failure(
                REFUSED,
                f"{self.host} does not let this host read model {name}: HTTP {answer.code}.",
                next_step="look at what its account may read: that of "
                + (
                    "AWS_ACCESS_KEY_ID, and at its secret"
                    if self._is_signed
                    else "the token that models.NAME.token names"
                ),
            )
        if answer.code in (404, 410, 416):
            return self._another(f"HTTP {answer.code}")
        if answer.code == 409 and self.is_handed_out:
            return Elsewhere("another host is sent it")
        if answer.code in (408, 429) or answer.code >= 500:
            return Again(f"HTTP {answer.code}", asked_wait(answer.headers.get("Retry-After", "")))
        return Failure(FAILED, f"{self.host} does not give model {name}: HTTP {answer.code}.")

    @property
    def _is_signed(self) -> bool:
        """Whether a store's key has signed for the address, instead of a token."""
        return "X-Amz-Signature=" in self._request["url"]

    def _another(self, why: str) -> Failure:
        what = f"what {self.host} has is not model {self._request['name']} as it was locked: {why}."
        return Failure(FAILED, what, next_step=locked_anew(self._request))


def whose(request: FetchModel) -> str:
    """Who has the model, in a sentence."""
    return "the machine that deploys" if request["source"] == SHIPPED else urlsplit(request["url"]).netloc


def locked_anew(request: FetchModel) -> str:
    """What to do where that has become another."""
    if request["source"] == SHIPPED:
        return "deploy up again, once nothing writes to that file"
    return "deploy model lock, and look at what has changed"


def demand_safe(url: str, *, from_afar: bool = False) -> None:
    """Who is between may read what is fetched in the open, and a token with it; and who is afar asks nothing here."""
    parts = urlsplit(url)
    here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost") and not from_afar
    if parts.scheme != "https" and not here:
        raise Failure(REFUSED, f"{parts.scheme}://{parts.hostname} is not asked: who is between could read along.")


def asked_wait(said: str) -> float:
    """Seconds, of a number or a date (RFC 9110, section 10.2.3)."""
    try:
        return float(said) if said.isdigit() else email.utils.parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _said(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason or error) or type(error).__name__
    return "".join(letter for letter in text if letter.isprintable())[:200]  # a server says some of it
