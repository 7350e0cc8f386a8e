"""What runs on hosts: as whom, how often it is started anew, and where its log goes.

Restarts and logs are a matter of the files that a supervisor reads, so those are judged as they are rendered: a
template of the project's own can lose what ours have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from provision.project.production.rule import Finding, Rule, Severity, Subject, literal
from provision.project.target import Target

_MANY = 100  # each try of supervisord comes a second later than the one before: more than an hour


def _root(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.user == "root":
            yield Finding(("services", name, "user"), f"{name} runs as root.")
    for place, target in subject.targets.items():
        if not target.can.on_host:
            continue
        root = next((at for at, host in enumerate(target.hosts) if literal(host).startswith("root@")), None)
        unnamed = [name for name, service in subject.project.services_on(target).items() if service.user is None]
        if root is not None and unnamed:
            message = f"root deploys here, and {', '.join(unnamed)} would run as who deploys."
            yield Finding(("targets", place, "hosts", root), message)


def _docker(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.starts_containers:
            yield Finding(("services", name, "docker"), f"{name} may start containers, and so do what root may.")
        if service.docker_group is not None:
            message = f"the containers of {name} are given their machine's engine, and so all that root may there."
            yield Finding(("services", name, "docker_group"), message)


def _restarts(subject: Subject) -> Iterator[Finding]:
    def unlimited(file: str, text: str) -> bool:
        if file.endswith(".service"):
            restarts = _setting(text, "Restart") not in (None, "no")
            # By default five starts in ten seconds, which one that takes longer to fail never reaches.
            limited = _number(text, "StartLimitBurst") > 0 and _number(text, "StartLimitIntervalSec") > 0
            return restarts and not limited
        # supervisord counts only the starts that fail within startsecs.
        counted = _setting(text, "startsecs") != "0" and _number(text, "startretries") <= _MANY
        return _setting(text, "autorestart") != "false" and not counted

    yield from _in_manifests(subject, unlimited, "nothing ends starting it again and again")


def _logs(subject: Subject) -> Iterator[Finding]:
    def grows(file: str, text: str) -> bool:
        if file.endswith(".service"):  # the journal has a limit of its own
            outputs = (_setting(text, "StandardOutput") or "", _setting(text, "StandardError") or "")
            return any(output.startswith(("file:", "append:")) for output in outputs)
        return _number(text, "stdout_logfile_maxbytes") <= 0 or _number(text, "stdout_logfile_backups") <= 0

    yield from _in_manifests(subject, grows, "its log grows until the disk is full")


def _in_manifests(subject: Subject, is_wrong: Callable[[str, str], bool], message: str) -> Iterator[Finding]:
    for place, target in subject.targets.items():
        if not target.can.on_host:
            continue
        wrong = [
            file
            for file, text in subject.rendered.get(place, {}).items()
            if file.endswith((".service", ".conf")) and is_wrong(file, text)
        ]
        if wrong:
            yield Finding(("targets", place), f"{message}: {', '.join(wrong)}.", _template(subject, target))


def _template(subject: Subject, target: Target) -> str:
    """The project's own template that can be the reason."""
    return next((file for file in subject.overrides if file.startswith(f"templates/{target.platform}/")), "")


def _setting(text: str, key: str) -> str | None:
    """The last value of `key` in an INI file, as both supervisors take it."""
    found = re.findall(rf"^{key}[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return found[-1] if found else None


def _number(text: str, key: str) -> int:
    """The number that a value begins with; 0 for none."""
    leading = re.match(r"[0-9]+", _setting(text, key) or "")
    return int(leading[0]) if leading else 0


RULES = (
    Rule(
        "not-root",
        Severity.FAIL,
        "No service runs as root.",
        "Whoever takes over one of its requests has the whole host, and the other services.",
        'Give the service an account: `user = "NAME"` (made with `useradd --system NAME`).',
        _root,
    ),
    Rule(
        "docker-engine",
        Severity.WARN,
        "No service may use its machine's Docker Engine.",
        "A container can be given the whole host, so whoever takes the service over has that.",
        'rlm-runtime: `RLM_ENVIRONMENT = "wasm"`. Else give it hosts that do nothing else, and have no secrets.',
        _docker,
    ),
    Rule(
        "restart-limit",
        Severity.FAIL,
        "A service that keeps failing stays down in the end.",
        "One that is started for ever takes the processor from the others, and nobody hears of it.",
        "Lower `restart.limit`; in your own template, keep StartLimitBurst and StartLimitIntervalSec, or startretries.",
        _restarts,
    ),
    Rule(
        "log-rotation",
        Severity.FAIL,
        "Logs are rotated.",
        "A full disk ends all services of a host, and the next deploy.",
        "In your own template, keep stdout_logfile_maxbytes and stdout_logfile_backups, or the journal.",
        _logs,
    ),
)
