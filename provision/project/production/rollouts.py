"""Rollout servers: whoever may ask one has it call trainers, and load what trainers name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from provision.project.production.rule import OLDEST_KEY_DAYS, Finding, Rule, Severity, Subject, old_keys, said

PRESET = "rollout-server"
_KEY = "ROLLOUT_API_KEY"
_ON = ("1", "true", "yes")


def _servers(subject: Subject) -> Iterator[str]:
    for name, service in subject.project.services.items():
        if service.preset == PRESET:
            yield name


def _open(subject: Subject) -> Iterator[Finding]:
    for name in _servers(subject):
        if _KEY not in subject.project.services[name].every_secret:
            yield Finding(("services", name), "whoever reaches it from a private network may start rollouts.")


def _anywhere(subject: Subject) -> Iterator[Finding]:
    for name in _servers(subject):
        if said(subject.project.services[name], "ROLLOUT_CALLBACKS").split() == ["any"]:
            yield Finding(("services", name), "a request decides which host is called, wherever that is.")


def _tokenizers(subject: Subject) -> Iterator[Finding]:
    consents = {
        "TOKENIZER_TRUST_REMOTE_CODE": "a tokenizer brings code, which runs with the service's keys.",
        "TOKENIZER_DOWNLOADS": "a request decides what is fetched, and hosts may count differently.",
    }
    for name in _servers(subject):
        for variable, message in consents.items():
            if said(subject.project.services[name], variable).lower() in _ON:
                yield Finding(("services", name, "env", variable), f"{variable}: {message}")


RULES = (
    Rule(
        "rollout-api-key",
        Severity.FAIL,
        "rollout-server: who asks for rollouts has a key.",
        "Without one it answers private networks alone; behind a published port or a proxy everybody looks private.",
        f'`secrets = ["{_KEY}"]`, and a value in .env: `openssl rand -hex 32`.',
        _open,
    ),
    Rule(
        "rollout-callbacks",
        Severity.WARN,
        "rollout-server: rollouts call back to networks that are named.",
        "It sends a key, and what it is told to, to any host; from where it stands it may reach more than who asks.",
        'env: `ROLLOUT_CALLBACKS = "10.20.0.0/16"`, the networks of the trainers.',
        _anywhere,
    ),
    Rule(
        "rollout-tokenizers",
        Severity.WARN,
        "rollout-server: tokenizers are pinned, and bring no code.",
        "Who owns a model at the hub decides otherwise what runs here.",
        'env: `TOKENIZERS = "owner/model@COMMIT"`, without TOKENIZER_TRUST_REMOTE_CODE and TOKENIZER_DOWNLOADS.',
        _tokenizers,
    ),
    Rule(
        "rollout-key-rotation",
        Severity.WARN,
        f"rollout-server: keys are replaced every {OLDEST_KEY_DAYS} days.",
        "A key that leaked unnoticed is worth as long as it lives.",
        "Make new ones (`openssl rand -hex 32`), put them in .env, `deploy up`, and tell the trainers.",
        partial(old_keys, preset=PRESET),
    ),
)
