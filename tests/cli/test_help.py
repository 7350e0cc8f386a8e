"""Help is there at once, and the same everywhere."""

import resource
import subprocess
import sys

import click
import pytest

from provision.cli.commands import _VERBS, deploy
from provision.cli.main import main
from provision.installed import installed

HEAVY = {"fabric", "paramiko", "docker", "cryptography", "pydantic", "rich", "jinja2", "invoke", "tenacity", "dotenv"}
HEAVY |= {"lightkube", "httpx2"}  # a cluster's client


def _commands(group, *words):
    """Every verb, those of groups included, by the words that run it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, *words, name)
        else:
            yield " ".join([*words, name]), command


COMMANDS = dict(_commands(deploy))


@pytest.mark.parametrize("words", [(), *(tuple(name.split()) for name in COMMANDS)], ids=" ".join)
def test_help_names_no_page_that_only_a_checkout_has(words, capsys):
    assert main([*words, "--help"]) == 0
    assert "docs/" not in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from provision.cli.main import main\n"
        "code = main(['--help'])\n"
        "print('IMPORTED', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.rpartition("IMPORTED")[2].split())
    assert "click" in imported
    assert not imported & HEAVY


def test_where_only_the_runtime_is_installed_it_says_what_is_missing():
    program = "import sys; sys.modules['click'] = None; from provision.cli.program import run; run()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"click is not installed: this is the on-host runtime alone.\nnext: {installed().add_toolkit()}\n"
    )


def test_help_costs_at_most_a_tenth_of_a_second_more_than_python_itself():
    """In processor time, which other work on the machine does not stretch."""

    def cheapest(*arguments):
        costs = []
        for _ in range(10):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(costs)

    assert cheapest("-m", "provision.cli", "--help") - cheapest("-c", "pass") < 0.1


def test_help_lists_every_verb_of_the_design():
    wanted = "init check plan up status smoke promote rollback history logs exec tunnel unlock down native host demo"
    listed = {verb.name for verbs in _VERBS.values() for verb in verbs}
    assert set(wanted.split()) <= listed
    assert {"native build", "host trust", "host facts", "host bootstrap"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", deploy.verbs)
def test_the_summary_in_the_list_is_the_first_sentence_of_the_verb_s_own_help(name):
    command = deploy.get_command(click.Context(deploy), name)
    assert command.help.partition("\n")[0] == deploy.verbs[name].summary


@pytest.mark.parametrize("words", COMMANDS)
def test_a_verb_shows_an_example_that_can_be_run(words):
    command = COMMANDS[words]
    for line in command.example.splitlines():
        assert line.startswith("deploy ")
    assert f"deploy {words}" in command.example
    context = click.Context(command, info_name=f"deploy {words}")
    assert "Example:\n  deploy" in command.get_help(context)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_verb_tells_events_as_json(words):
    assert "--json" in {option for param in COMMANDS[words].params for option in param.opts}
