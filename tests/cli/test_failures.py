"""Whatever goes wrong is a sentence and an exit code, never a traceback."""

import json
import tempfile

import pytest

from provision import errors
from provision.cli.failures import tell
from provision.cli.main import main

CODES = [
    (errors.DeployError("failed"), 1),
    (errors.PutBack("failed"), 1),
    (errors.Unreachable("no route"), 1),
    (errors.UsageError("no such target"), 2),
    (errors.DeclarationError([errors.Problem(errors.Location("deploy.toml", 3, 1), "project.nam", "unknown key.")]), 2),
    (errors.SomeHostsFailed("1 of 2 hosts failed."), 3),
    (errors.Refused("locked"), 4),
    (errors.HostKeyUnknown("not known"), 4),
    (errors.HostKeyChanged("changed"), 4),
    (errors.Degraded("failed"), 5),
    (errors.Interrupted("interrupted"), 130),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=[type(error).__name__ for error, _ in CODES])
@pytest.mark.parametrize("as_json", [False, True], ids=["sentences", "json"])
def test_each_kind_of_failure_has_its_exit_code(error, code, as_json, capsys):
    assert tell(error, as_json=as_json) == code
    told = capsys.readouterr()
    if as_json:
        assert told.err == ""
        event = json.loads(told.out)
        assert (event["event"], event["exit"], event["what"]) == ("error", code, error.what)
    else:
        assert told.out == ""
        assert error.what in told.err


def test_a_failure_says_what_why_the_last_lines_and_what_now(capsys):
    failure = errors.PutBack(
        "web did not pass", why="The old one serves.", next_step="deploy logs web", host="gpu-1", log=["boom"]
    )
    tell(failure, as_json=False)
    assert capsys.readouterr().err == (
        "gpu-1: web did not pass\nThe old one serves.\n  | boom\nnext: deploy logs web\n"
    )


def test_problems_of_a_declaration_keep_their_places_in_json(capsys):
    problem = errors.Problem(errors.Location("deploy.toml", 14, 9), "services.web.prot", "unknown key.", "port?")
    tell(errors.DeclarationError([problem]), as_json=True)
    assert json.loads(capsys.readouterr().out)["problems"] == [
        {
            "file": "deploy.toml",
            "line": 14,
            "column": 9,
            "key": "services.web.prot",
            "message": "unknown key.",
            "hint": "port?",
        }
    ]


def test_a_bug_is_a_sentence_and_its_traceback_is_in_a_file_of_one_s_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("DEPLOY_TRACEBACK", raising=False)
    try:
        raise KeyError("surprise")
    except KeyError as error:
        assert tell(error, as_json=False) == 1
    told = capsys.readouterr().err
    log = tmp_path / "bitnet-provision" / "traceback.log"
    assert "Traceback" not in told
    assert str(log) in told
    assert "DEPLOY_TRACEBACK=1" in told
    assert "KeyError: 'surprise'" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_traceback_of_a_bug_is_shown_where_it_was_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("DEPLOY_TRACEBACK", "1")
    try:
        raise KeyError("surprise")
    except KeyError as error:
        tell(error, as_json=False)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


MISTAKES = [  # those whose answer names all that there is; the others are in tests/cli/mistakes
    (["chekc"], 'no command "chekc". Did you mean "check"?'),
    (["frobnicate"], 'no command "frobnicate". One of: demo, init, check'),
    (["host", "frob"], "frob"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistyped_command_line_is_explained(words, said, capsys):
    assert main(words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert "next: deploy" in told.err
    assert told.out == ""


def test_a_mistyped_command_line_is_an_event_with_json(capsys):
    assert main(["up", "--channel", "beta", "--json"]) == 2
    told = capsys.readouterr()
    assert told.err == ""
    assert json.loads(told.out)["kind"] == "usage"


def test_a_folder_without_a_project_is_told_what_to_do(tmp_path, capsys):
    assert main(["status", "-C", str(tmp_path)]) == 2
    assert "next: deploy init" in capsys.readouterr().err


def test_which_target_is_asked_for_where_there_are_two(tmp_path, capsys):
    (tmp_path / "deploy.toml").write_text(
        '[project]\nname = "p"\n[services.a]\ncommand = ["true"]\n'
        '[targets.one]\nhosts = ["sandbox"]\npath = "/tmp/p"\n[targets.two]\nhosts = ["sandbox"]\npath = "/tmp/p"\n'
    )
    assert main(["status", "-C", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "which target?" in said
    assert "one, two" in said
    assert "--target one" in said


def test_a_bug_s_traceback_goes_to_a_temporary_file_where_the_home_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "state").write_text("a file, where a folder belongs")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DEPLOY_TRACEBACK", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tell(KeyError("surprise"), as_json=False)
    (log,) = tmp_path.glob("deploy-traceback-*.log")
    assert f"the details are in {log}." in capsys.readouterr().err
    assert "KeyError: 'surprise'" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
