"""`deploy report` and `deploy history --csv`: what was deployed, as files."""

from __future__ import annotations

import csv
import json
import re

from tests.cli.conftest import Project


def _release(project: Project) -> str:
    entries = project.events("history", "--target", "sandbox")
    return str(next(entry for entry in entries if entry.get("outcome") == "put back")["channels"]["stable"])


def test_a_report_of_a_release_is_one_file_that_loads_nothing(project: Project) -> None:
    file = project.root.parent / "report.html"
    project.ok("report", _release(project)[:8], "--target", "sandbox", "--html", str(file))
    text = file.read_text()
    assert "HTTP 500" in text
    assert "<caption>Plan</caption>" in text
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["'](?!#)(?!/host/)""", text)
    assert "&lt;script&gt;alert" in text  # the last lines of what failed
    assert file.stat().st_mode & 0o777 == 0o600  # which are for nobody else to read


def test_the_markdown_of_a_week_has_each_transaction_and_no_markup_of_others(project: Project) -> None:
    said = project.ok("report", "--since", "1h", "--target", "sandbox", "--markdown")
    assert said.count("- `sandbox`") >= 2
    assert "from binaries to host" in said
    assert "`deploy image keys init" in said  # what is missing, and what makes it
    outside = re.sub(r"```.*?```", "", said, flags=re.DOTALL)
    assert "<script>" not in outside


def test_a_host_that_is_gone_is_named_and_the_others_are_told_of(project: Project) -> None:
    said = project.ok("report", "--since", "1h", "--target", "half", "--markdown")
    assert "| `127.0.0.1:1` | unreachable: " in said
    assert said.count("by ") >= 2


def test_a_release_that_nobody_knows_is_refused_with_the_next_command(project: Project) -> None:
    done = project.run("report", "ffff", "--target", "sandbox")
    assert done.returncode == 2
    assert "next: deploy history" in done.stderr


def test_history_as_a_table_has_what_its_events_have(project: Project) -> None:
    rows = list(csv.DictReader(project.ok("history", "--csv", "--target", "sandbox").splitlines()))
    events = [json.loads(line) for line in project.ok("history", "--json", "--target", "sandbox").splitlines()]
    events = [event for event in events if event["event"] == "history"]
    assert [row["transaction"] for row in rows] == [event["transaction"] for event in events]
    assert [row["outcome"] for row in rows] == [event["outcome"] for event in events]
    assert rows[0]["time"].endswith("Z")
