"""python -P -m provision.cli.github: run what DEPLOY_COMMAND says, and tell it the way GitHub shows it.

The command comes in through the environment and is taken apart here, so no shell ever reads it. What hosts and
registries say goes to the log while workflow commands are switched off, so none of it can give the runner orders.
Without -P, Python would import what lies in the folder that is deployed, which may be a fork's, in place of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from provision.cli.github.comment import comment
from provision.cli.github.comments import NoComment, PullRequest
from provision.cli.github.summary import annotate, data, summary
from provision.cli.milestones import Milestones
from provision.shown import shown, shown_event

_COMMAND = "DEPLOY_COMMAND"
_COMMENT = "DEPLOY_COMMENT"
_TOKEN = "DEPLOY_COMMENT_TOKEN"  # noqa: S105  (a variable's name)
_REPORT = "DEPLOY_REPORT"
_REPORT_SECONDS = 300.0
_USAGE = 2


def main(environ: Mapping[str, str]) -> int:
    """Run it; its exit code."""
    try:
        words = shlex.split(environ.get(_COMMAND, ""))
    except ValueError as error:
        words, reason = [], f"{error}"
    else:
        reason = "it is empty"
    if not words:
        sys.stdout.write(f"::error::the input `command` cannot be run: {reason}\n")
        return _USAGE
    stop = secrets.token_hex(16)
    sys.stdout.write(f"::stop-commands::{stop}\n")
    events: list[dict[str, Any]] = []
    milestones = Milestones()
    # What is deployed may run commands of its own here; they are not given what writes comments.
    child = {name: value for name, value in environ.items() if name not in (_COMMAND, _COMMENT, _REPORT, _TOKEN)}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "provision.cli", *_as_json(words)],
        stdout=subprocess.PIPE,
        text=True,
        env=child,
    ) as running:
        for event in _events(running.stdout or ()):
            events.append(event)
            if said := milestones.tell(event):
                sys.stdout.write(said + "\n")
                sys.stdout.flush()
    text = summary(words, events)
    sys.stdout.write(f"{text}\n::{stop}::\n")
    sys.stdout.writelines(f"{line}\n" for line in annotate(events))
    if name := environ.get(_COMMENT):
        sys.stdout.write(f"{_comment(name, words, events, environ)}\n")
    _append(environ.get("GITHUB_STEP_SUMMARY"), text + "\n")
    if target := environ.get(_REPORT):
        markdown, why_not = _report(target, child)
        _append(environ.get("GITHUB_STEP_SUMMARY"), f"\n{markdown}\n" if markdown else "")
        if why_not:
            sys.stdout.write(f"::warning::there is no report of {data(target)} in the summary. {data(why_not)}\n")
    results = [event for event in events if event["event"] == "result"]
    _append(environ.get("GITHUB_OUTPUT"), f"result={json.dumps(results[-1] if results else {})}\n")
    return running.returncode


def _comment(name: str, words: Sequence[str], events: Sequence[Mapping[str, Any]], environ: Mapping[str, str]) -> str:
    """Say it on the pull request; what the log is told of that. It changes nothing of how the command ended."""
    body = comment(name, shlex.join(["deploy", *words]), events)
    try:
        return f"::notice::the comment is {data(PullRequest(environ, environ.get(_TOKEN, '')).say(body))}"
    except NoComment as why:
        return f"::warning::there is no comment on the pull request, but a summary of this job. {data(str(why))}"


def _report(target: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """What `deploy report` says of a target, as Markdown; or why it says nothing, which fails no job."""
    words = ["report", "--since", "1d", "--target", target, "--json"]
    program = [sys.executable, "-P", "-m", "provision.cli", *words]
    try:
        done = subprocess.run(
            program, env=environ, capture_output=True, text=True, timeout=_REPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"It took more than {_REPORT_SECONDS:.0f} s."
    why_not = "It said nothing."
    for line in done.stdout.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("event") == "report":
            return shown(event["markdown"]), ""
        if event.get("event") == "error":
            why_not = shown(f"{event['what']} next: {event['next']}" if event.get("next") else event["what"])
    return "", why_not


def _as_json(words: Sequence[str]) -> list[str]:
    """With `--json`, which stands before the words of somebody else's command."""
    at = words.index("--") if "--" in words else len(words)
    return [*words[:at], "--json", *words[at:]]


def _events(lines: Any) -> Iterator[dict[str, Any]]:
    """What was said as events; what was not (a help text) is passed on."""
    for line in lines:
        try:
            event = shown_event(json.loads(line))
            event["event"]
        except (ValueError, KeyError, AttributeError, RecursionError):
            sys.stdout.write(shown(line))
            continue
        yield event


def _append(file: str | None, text: str) -> None:
    if file:
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.write(text)


if __name__ == "__main__":
    sys.exit(main(os.environ))
