"""What a project owes to production, beyond being sound: rules as data, each judged by a small pure function.

A rule that finds nothing passes; what it finds has the severity of the rule. docs/production.md lists all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from provision.project.production import containers, hosts, network, rlm, rollouts, secrets, services, traffic
from provision.project.production.rule import EnvFile, Finding, Rule, Severity, Subject
from provision.project.production.secrets import in_the_release

__all__ = ["RULES", "EnvFile", "Finding", "Rule", "Severity", "Subject", "Verdict", "in_the_release", "judge"]

RULES: tuple[Rule, ...] = (
    *secrets.RULES,
    *hosts.RULES,
    *network.RULES,
    *traffic.RULES,
    *services.RULES,
    *containers.RULES,
    *rlm.RULES,
    *rollouts.RULES,
)


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a project."""

    rule: Rule
    findings: tuple[Finding, ...]

    @property
    def word(self) -> str:
        """pass, warn or fail."""
        return self.rule.severity.value if self.findings else "pass"


def judge(subject: Subject) -> list[Verdict]:
    """The verdict of every rule, in the order of `RULES`."""
    return [Verdict(rule, tuple(rule.judge(subject))) for rule in RULES]
