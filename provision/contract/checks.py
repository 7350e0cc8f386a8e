"""Checks as data: what has to be true of a service. Types alone; plain JSON."""

from __future__ import annotations

from typing import Dict, List, Literal, TypedDict, Union


class CheckCommon(TypedDict):
    name: str  # as in "fastapi http /docs"
    timeout: float  # seconds until it must have passed
    interval: float  # seconds between attempts
    passes: int  # in a row
    attempt_timeout: float  # seconds


class HttpCheck(CheckCommon):
    kind: Literal["http"]
    url: str
    token: str  # the secret to send as a bearer token, by its name; or empty
    status: List[int]
    body: str  # regular expression, or empty
    headers: Dict[str, str]  # name -> regular expression


class TcpCheck(CheckCommon):
    kind: Literal["tcp"]
    host: str
    port: int


class CommandCheck(CheckCommon):
    kind: Literal["command"]
    argv: List[str]  # run in the release
    env: Dict[str, str]  # the service's own, without secrets


class CompletionCheck(CheckCommon):
    kind: Literal["completion"]
    url: str
    token: str  # as for http
    prompt: str
    tokens: int
    min_tokens_per_second: float


CheckDocument = Union[HttpCheck, TcpCheck, CommandCheck, CompletionCheck]
