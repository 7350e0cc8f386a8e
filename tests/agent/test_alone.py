"""The programs that reach a host as their text: whole, small, and functions that can be called here."""

from __future__ import annotations

import ast
import base64
import builtins
import json
import os
import re
import subprocess
import symtable
import sys
import zlib
from pathlib import Path

import pytest

from provision.agent import loader
from provision.agent.alone import boot, control, guarded, program

PROGRAMS = {
    "conversation": ("alone/begin", "trust"),
    "command": ("alone/execute", "trust"),
    "follower": ("alone/follow", "trust"),
    "boot hook": ("alone/boot", "trust"),
    "deploy-ctl": ("alone/control", "trust"),
    "backup": ("alone/backup", "trust"),
    "budget guard": ("alone/budget", "alone/activity", "trust"),
    "launcher": ("sockets", "attend"),
}


@pytest.fixture(params=PROGRAMS)
def modules(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return PROGRAMS[request.param]


def _defined(text: str) -> list[str]:
    return [
        node.name
        for node in ast.parse(text, feature_version=(3, 8)).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]


def _globals(scope: symtable.SymbolTable) -> set[str]:
    """The names that `scope` and what is in it take from the program, or from Python."""
    used = {name.get_name() for name in scope.get_symbols() if name.is_referenced() and name.is_global()}
    return used.union(*map(_globals, scope.get_children()))


def test_a_program_has_every_name_that_it_uses(modules: tuple[str, ...]) -> None:
    text = program(*modules)
    compile(text, "program", "exec")
    whole = symtable.symtable(text, "program", "exec")
    defined = {name.get_name() for name in whole.get_symbols() if name.is_assigned() or name.is_imported()}
    assert _globals(whole) - defined - set(dir(builtins)) <= {"__file__"}


def test_no_module_of_a_program_takes_another_s_name(modules: tuple[str, ...]) -> None:
    names = _defined(program(*modules))
    assert sorted(names) == sorted(set(names))
    assert not re.search(r"^from \.", program(*modules), re.MULTILINE)


def _unpacked() -> str:
    (packed,) = re.findall(r'b64decode\("(.*?)"', loader.command("python3")[-1])
    return zlib.decompress(base64.b64decode(packed)).decode()


def _without_docstrings(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            node.body = [each for each in node.body if _acts(each)]
    return ast.unparse(tree)


def _acts(statement: ast.stmt) -> bool:
    return not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))


def test_what_begins_a_conversation_is_packed_unharmed() -> None:
    whole = program("alone/begin", "trust", call="main()")
    assert ast.unparse(ast.parse(_unpacked())) == _without_docstrings(whole)


def test_what_begins_a_conversation_leaves_half_of_the_first_window_to_the_first_request() -> None:
    assert sum(len(word) + 1 for word in loader.command("python3")) <= 10 * 1460 / 2  # RFC 6928


def test_an_agent_that_arrives_damaged_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    header = {"path": str(tmp_path / "project"), "agent": "0" * 64, "install": True}
    package = loader.package()
    lines = [json.dumps(header), json.dumps({"op": "facts"}), json.dumps({"size": len(package)})]
    done = subprocess.run(
        loader.command(sys.executable),
        input="".join(line + "\n" for line in lines).encode() + package,
        capture_output=True,
        check=False,
    )
    asked, refused = map(json.loads, done.stdout.splitlines())
    assert asked == {"event": "need-agent"}
    assert refused["what"] == "the agent arrived damaged."
    assert done.returncode == 1
    assert list((tmp_path / "project" / ".deploy" / "agents").iterdir()) == []


def test_a_conversation_that_ends_before_it_began_says_nothing() -> None:
    done = subprocess.run(loader.command(sys.executable), input=b'{"path":', capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_guard_lets_a_command_run_where_only_we_can_write(tmp_path: Path) -> None:
    command = loader.guarded(sys.executable, str(tmp_path), ["echo", "it ran"])
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"it ran\n"
    tmp_path.chmod(0o777)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stdout.startswith(
        f"what lies at {tmp_path} cannot be trusted: {tmp_path} may be written to by everybody"
    )


def test_the_guard_is_a_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded.main(str(tmp_path)) == 0
    assert capsys.readouterr().out == ""


def test_the_boot_hook_names_a_project_whose_agent_is_gone_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    gone = [sys.executable, "-I", str(tmp_path / "agents" / "0" / "deploy_agent" / "__main__.py"), "recover", "/srv/x"]
    for name in ("a", "b"):
        (projects / f"{name}.json").write_text(json.dumps({"recover": gone}))
    boot.main(str(tmp_path), {})
    assert capsys.readouterr().err == "".join(f"deploy: {projects}/{name}.json: its agent is gone\n" for name in "ab")


def test_the_boot_hook_believes_no_list_that_others_can_write(tmp_path: Path) -> None:
    (tmp_path / "projects").mkdir(mode=0o777)
    (tmp_path / "projects").chmod(0o777)
    with pytest.raises(SystemExit, match=r"may be written to by everybody.*; no project is recovered"):
        boot.main(str(tmp_path), {})


@pytest.mark.parametrize("words", [[], ["start"], ["start", "a", "b"], ["start", "a b"], ["start", "a\nb"]])
def test_deploy_ctl_shows_how_it_is_used(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    project = control.Project("root", os.geteuid(), "/x/deploy-ctl", "/run/x", "/run/y", ["false"], "/x", {})
    assert control.main(words, project) == 2
    assert "deploy-ctl start|stop|status SERVICE" in capsys.readouterr().err


def test_deploy_ctl_runs_no_agent_that_others_can_change(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    folder = str(tmp_path / ("0" * 64))
    project = control.Project("root", os.geteuid(), "/x/deploy-ctl", "/run/x", "/run/y", ["false"], folder, {})
    with pytest.raises(SystemExit, match=r"may be written to by everybody.* next: deploy host mend"):
        control.main(["start", "web"], project)
