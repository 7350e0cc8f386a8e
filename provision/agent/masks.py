"""Secrets taken out of what others say. Pure.

A secret shows in many ways: whole, line by line, as JSON or a shell writes it, in base64. Each of these is looked for,
and what two of them cover together is taken out as one, so that no end of the longer one is left.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Tuple, TypeVar, cast
from urllib.parse import quote, quote_plus

_TELLING = 4  # characters: what is shorter, of several lines, gives nothing away and stands everywhere
_ESCAPE = re.compile("%[0-9A-F]{2}")
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")  # public, and long
_COLUMNS = (64, 76)  # where `openssl base64` and `base64` begin a new line
_OF_OTHERS = ("log", "attempts", "facts", "lines")  # of a message: what a program says
_SENTENCES = ("what", "why", "next", "text", "detail")  # ours, which may repeat some of that

Message = TypeVar("Message", bound=Mapping[str, object])
Span = Tuple[int, int, str]  # where, up to where, and the name of the secret


class Masks:
    """What must not be shown: names and values. An empty value is nothing."""

    def __init__(self, secrets: Iterable[Tuple[str, str]], shortest: int = 1) -> None:
        """`shortest`: in characters; what is shorter is left alone."""
        secrets = list(secrets)
        names: Dict[str, str] = {}
        for name, value in secrets:
            for form in _forms(value):
                if len(form) >= shortest:
                    names.setdefault(form, name)
        self._needles: List[Tuple[str, str]] = sorted(names.items(), key=lambda item: -len(item[0]))
        self._for_sentences = self if shortest >= _TELLING else Masks(secrets, _TELLING)

    def mask(self, text: str) -> str:
        """`text` with `<NAME>` for each secret; what looks like the beginning of one at its end counts as one."""
        stream = Stream(self)
        return stream.feed(text) + stream.end()

    def stream(self) -> Stream:
        """The same for a text that comes in pieces."""
        return Stream(self)

    def message(self, message: Message) -> Message:
        """A message of the protocol, without secrets in what may repeat a program's words.

        A value of three characters or less is taken out of those words alone: our own sentences would lose theirs.
        """
        found = {}
        for key, value in message.items():
            masks = self if key in _OF_OTHERS else self._for_sentences if key in _SENTENCES else None
            found[key] = masks._any(value) if masks else value
        return cast("Message", found)

    def _any(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            return {key: self._any(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._any(item) for item in value]
        return value

    def spans(self, text: str, covered: int = 0, at_end: bool = False) -> List[Span]:
        """Where secrets stand, in order and apart from each other; the first `covered` characters are known to be one.

        At the end of a text, half of a secret counts as well.
        """
        found: List[Span] = []
        for needle, name in self._needles:
            at = text.find(needle)
            while at >= 0:
                found.append((at, at + len(needle), name))
                at = text.find(needle, at + 1)
            if at_end:
                at = _beginning(text, needle)
                if len(text) - at >= max(_TELLING, len(needle) / 2):
                    found.append((at, len(text), name))
        merged: List[Span] = [(0, covered, "")] if covered else []
        for start, end, name in sorted(found, key=lambda span: (span[0], -span[1])):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]), merged[-1][2])
            else:
                merged.append((start, end, name))
        return merged

    def open_from(self, text: str) -> int:
        """From where on `text` may be the beginning of a secret whose rest is still to come."""
        return min((_beginning(text, needle) for needle, _ in self._needles), default=len(text))


class Stream:
    """A text that comes in pieces, cut anywhere. Holds back no more than what may turn out to be a secret."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._held = ""
        self._covered = 0  # how many characters of `_held` belong to a secret that was told of already

    def feed(self, text: str) -> str:
        """What may be shown so far."""
        self._held += text
        return self._take(self._masks.open_from(self._held), at_end=False)

    def end(self) -> str:
        """The rest."""
        return self._take(len(self._held), at_end=True)

    def _take(self, upto: int, at_end: bool) -> str:
        shown, at = [], 0
        for start, end, name in self._masks.spans(self._held, self._covered, at_end):
            if name and start >= upto:
                break
            if name:
                shown += [self._held[at:start], f"<{name}>"]
            at = end
        shown.append(self._held[at:upto])
        self._held, self._covered = self._held[upto:], max(0, at - upto)
        return "".join(shown)


def _beginning(text: str, needle: str) -> int:
    """From where on `text` is the beginning of `needle`, and not the whole; its length where it is not."""
    at = text.find(needle[0], max(0, len(text) - len(needle) + 1))
    while at >= 0:
        if needle.startswith(text[at:]):
            return at
        at = text.find(needle[0], at + 1)
    return len(text)


def _forms(value: str) -> Iterator[str]:
    """How a secret may be written."""
    whole = value.strip()
    if not whole:
        if value:
            yield value
        return
    yield value
    yield whole
    private = _CERTIFICATE.sub("", value)
    lines = [line.strip() for line in private.splitlines()] if len(value.splitlines()) > 1 else []
    for piece in [value, whole, *lines]:
        if len(piece) >= _TELLING:
            yield piece
            yield from (form for form in _quoted(piece) if len(form) >= _TELLING)
    for text in {value, whole}:
        yield from (
            form
            for form in _packed(text.encode("utf-8", "surrogatepass"), bool(private.strip()))
            if len(form) >= 2 * _TELLING
        )


def _quoted(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield repr(text.encode("utf-8", "surrogatepass"))[2:-1]
    for form in (
        quote(text, safe="", errors="surrogatepass"),
        quote(text, errors="surrogatepass"),
        quote_plus(text, errors="surrogatepass"),
        quote(text, safe="!'()*~", errors="surrogatepass"),  # encodeURIComponent of JavaScript
    ):
        yield form
        yield _ESCAPE.sub(lambda found: found[0].lower(), form)
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield text.replace("'", "'\\''")
    yield text.replace("'", "'\"'\"'")
    yield "".join("\\" + char if char in '\\"$`' else char for char in text)


def _packed(content: bytes, in_columns: bool) -> Iterator[str]:
    yield content.hex()
    for before in range(3):  # as part of something longer, such as USER:PASSWORD
        encoded = base64.b64encode(bytes(before) + content).decode("ascii")
        tail = (before + len(content)) % 3
        known = encoded[(0, 2, 3)[before] : len(encoded) - (0, 3, 2)[tail]]
        yield known
        yield known.translate({ord("+"): "-", ord("/"): "_"})
        if before == 0 and in_columns:
            for width in _COLUMNS:
                yield from (encoded[at : at + width] for at in range(0, len(encoded), width) if len(encoded) > width)
