"""Findings as SARIF 2.1.0 (OASIS), for code scanning.

An alert there is recognised by its fingerprint, so this one is made of what stays when lines move: the rule, the file,
and the key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from provision import __version__
from provision.errors import Problem
from provision.project.production.rule import Rule, Severity

_LEVELS = {Severity.FAIL: "error", Severity.WARN: "warning"}


@dataclass(frozen=True)
class Result:
    """One finding of `rule`, with its place."""

    rule: Rule
    problem: Problem


def text(rules: Sequence[Rule], results: Iterable[Result]) -> str:
    """The file: a run with all `rules` and its `results`. Paths are relative to the current folder."""
    numbers = {rule.id: number for number, rule in enumerate(rules)}
    driver = {"name": "deploy check --production", "semanticVersion": __version__}
    run = {
        "tool": {"driver": {**driver, "rules": [_descriptor(rule) for rule in rules]}},
        "invocations": [{"executionSuccessful": True}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(result, numbers[result.rule.id]) for result in results],
    }
    schema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.split("-")),
        "shortDescription": {"text": rule.demands},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.fix, "markdown": rule.fix},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"tags": ["production"], "precision": "high"},
    }


def _result(result: Result, number: int) -> dict[str, Any]:
    problem, place = result.problem, result.problem.location
    mark = "\0".join((result.rule.id, place.file, problem.key))
    subject = f"{problem.key}: " if problem.key else ""
    return {
        "ruleId": result.rule.id,
        "ruleIndex": number,
        "level": _LEVELS[result.rule.severity],
        "message": {"text": f"{subject}{problem.message} {problem.hint}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(Path(place.file).as_posix())},
                    "region": {"startLine": place.line, "startColumn": place.column},
                }
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": hashlib.sha256(mark.encode()).hexdigest()},
    }
