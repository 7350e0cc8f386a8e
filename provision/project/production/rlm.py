"""Programs with the package rlm-runtime: they spend money, and run what a model wrote.

The package reads its settings from `RLM_…`. Unless told otherwise it has a budget of its own, and lets its tools read
the folder it runs in: the release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from provision.project.production.rule import OLDEST_KEY_DAYS, Finding, Rule, Severity, Subject, literal, old_keys, said
from provision.project.service import Service

PRESET = "rlm-runtime"
# Of examples/rlm-runtime: what serves HTTP, and the secret that its clients send.
SERVER = "src.server"
TOKEN = "RLM_SERVER_TOKEN"  # noqa: S105  # its name


def _each(subject: Subject, is_missing: Callable[[Service], bool], message: str) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.preset == PRESET and is_missing(service):
            yield Finding(("services", name), message)


def _unconfined(subject: Subject) -> Iterator[Finding]:
    message = "code that a model wrote may do all that the service's account may: files, commands, network."
    yield from _each(subject, lambda service: said(service, "RLM_TRUST_LEVEL") == "local", message)


def _within(subject: Subject) -> Iterator[Finding]:
    message = "code that a model wrote runs in the service's own process, with its keys, behind RestrictedPython alone."
    yield from _each(subject, lambda service: said(service, "RLM_ENVIRONMENT") == "local", message)


def _networked(subject: Subject) -> Iterator[Finding]:
    def is_missing(service: Service) -> bool:
        return said(service, "RLM_DOCKER_NETWORK_DISABLED").lower() not in ("", "true", "1", "yes", "on")

    yield from _each(subject, is_missing, "code that a model wrote may reach the network from its container.")


def _token(subject: Subject) -> Iterator[Finding]:
    def is_missing(service: Service) -> bool:
        serves = service.expose or service.proxy or any(SERVER in literal(word) for word in service.command)
        return bool(serves) and TOKEN not in service.every_secret

    yield from _each(
        subject, is_missing, "whoever reaches its port spends your money; behind a published one all look private."
    )


def _limits(subject: Subject) -> Iterator[Finding]:
    def is_missing(service: Service) -> bool:
        return not all(said(service, name).isdecimal() for name in ("RLM_MAX_DEPTH", "RLM_MAX_PARALLEL"))

    yield from _each(
        subject, is_missing, "nothing of yours says how deep it goes, and how many tools it calls at once."
    )


def _backup(subject: Subject) -> Iterator[Finding]:
    message = "its trajectory logs are on the disks of its copies alone."
    yield from _each(subject, lambda service: not said(service, "RLM_LOG_BUCKET"), message)


def _budget(subject: Subject) -> Iterator[Finding]:
    def is_missing(service: Service) -> bool:
        budget = said(service, "RLM_TOKEN_BUDGET")
        return not (budget.isdecimal() and int(budget) > 0)

    yield from _each(subject, is_missing, "nothing of yours says how many tokens one completion may take.")


def _paths(subject: Subject) -> Iterator[Finding]:
    def is_missing(service: Service) -> bool:
        return said(service, "RLM_ALLOWED_PATHS") in ("", "[]", '["/"]')

    yield from _each(subject, is_missing, "its tools may read the whole release.")


RULES = (
    Rule(
        "rlm-trust-level",
        Severity.FAIL,
        "rlm-runtime: code that a model wrote is confined.",
        "A prompt decides what is run, and who writes prompts is not who deploys.",
        "Remove RLM_TRUST_LEVEL from env.",
        _unconfined,
    ),
    Rule(
        "rlm-isolation",
        Severity.WARN,
        "rlm-runtime: code that a model wrote runs in a place of its own.",
        "Its authors call the local environment no complete sandbox: for trusted prompts, in development.",
        'env: `RLM_ENVIRONMENT = "docker"`, on hosts that do nothing else; or "wasm", with the extra of that name.',
        _within,
    ),
    Rule(
        "rlm-network",
        Severity.FAIL,
        "rlm-runtime: containers that run code have no network.",
        "What a model wrote would reach your network, and take out what it reads.",
        "Remove RLM_DOCKER_NETWORK_DISABLED from env; the preset says true.",
        _networked,
    ),
    Rule(
        "rlm-token",
        Severity.FAIL,
        "rlm-runtime: a server asks for a bearer token.",
        "Each completion costs money, and MCP runs code.",
        f'`secrets = ["{TOKEN}"]`, and `openssl rand -base64 32` makes one for .env.',
        _token,
    ),
    Rule(
        "rlm-limits",
        Severity.WARN,
        "rlm-runtime: how deep and how wide a completion goes is declared.",
        "Each level asks the model again, and each tool takes memory.",
        'env: `RLM_MAX_DEPTH = "4"`, `RLM_MAX_PARALLEL = "5"`',
        _limits,
    ),
    Rule(
        "rlm-log-backup",
        Severity.WARN,
        "rlm-runtime: trajectory logs are kept in a store.",
        "They say what was asked and done, and a copy that goes takes its own along.",
        'env: `RLM_LOG_BUCKET = "…"`, for programs that ship them, as examples/rlm-runtime does.',
        _backup,
    ),
    Rule(
        "rlm-token-budget",
        Severity.FAIL,
        "rlm-runtime: a token budget is declared.",
        "A completion calls models again and again; what it may cost is a decision, not a default.",
        'env: `RLM_TOKEN_BUDGET = "8000"`',
        _budget,
    ),
    Rule(
        "rlm-allowed-paths",
        Severity.WARN,
        "rlm-runtime: what its tools may read is declared.",
        "A prompt decides what they read; secrets and other projects are files as well.",
        "env: `RLM_ALLOWED_PATHS = '[\"/srv/data\"]'`",
        _paths,
    ),
    Rule(
        "rlm-key-rotation",
        Severity.WARN,
        f"rlm-runtime: keys are replaced every {OLDEST_KEY_DAYS} days.",
        "A key that leaked unnoticed is worth as long as it lives.",
        "Make a new key at the provider, put it in .env, `deploy up`, and revoke the old one.",
        partial(old_keys, preset=PRESET),
    ),
)
