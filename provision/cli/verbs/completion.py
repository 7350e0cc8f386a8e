"""`deploy completion`: what a shell needs to complete this program's words, where that shell looks for it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError

SHELLS = ("bash", "zsh", "fish")
_BASH_COMPLETION = (
    "/usr/share/bash-completion/bash_completion",
    "/etc/profile.d/bash_completion.sh",
    "/usr/local/etc/profile.d/bash_completion.sh",
    "/opt/homebrew/etc/profile.d/bash_completion.sh",
)


@verb("completion", example="deploy completion bash\ndeploy completion zsh --print", project=False, hosts=False)
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--print", "printed", is_flag=True, help="Only print the script, and write nothing.")
def command(session: Session, shell: str, printed: bool) -> None:
    """Let the shell complete verbs, options, services, targets, hosts and releases.

    The script goes where the shell looks for it by itself, in your own folders; its start-up file is not touched, and
    what is missing there is said. Completing asks no host: services, targets and hosts are read from deploy.toml and
    .env, and releases are those that `deploy history`, `up`, `promote` and `rollback` saw from this machine.
    """
    from click.shell_completion import get_completion_class

    from provision.cli.commands import deploy

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  click knows all three
    script = found(deploy, {}, "deploy", "_DEPLOY_COMPLETE").source()
    if printed:
        session.console.answer({"event": "result", "shell": shell, "script": script}, script.rstrip("\n"))
        return
    place = _place(shell)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(script, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{place} cannot be written.", why=f"{error.strerror}.", next_step=f"deploy completion {shell} --print"
        ) from None
    session.console.answer({"event": "result", "shell": shell, "file": str(place)}, f"wrote {place}")
    session.console.note(_rest(shell, place))


def _place(shell: str) -> Path:
    data = os.environ.get("XDG_DATA_HOME", "")
    share = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    config = os.environ.get("XDG_CONFIG_HOME", "")
    settings = Path(config) if config.startswith("/") else Path.home() / ".config"
    return {
        "bash": share / "bash-completion" / "completions" / "deploy",
        "zsh": share / "zsh" / "site-functions" / "_deploy",
        "fish": settings / "fish" / "completions" / "deploy.fish",
    }[shell]


def _rest(shell: str, place: Path) -> str:
    """What a person still has to do."""
    if shell == "zsh":
        return f"In ~/.zshrc, before compinit, where it is not there yet: fpath=({place.parent} $fpath)"
    if shell == "bash" and not any(map(os.path.exists, _BASH_COMPLETION)):
        return f"The package bash-completion, which would find it, is not here. In ~/.bashrc: source {place}"
    return f"It works in a new {shell}."
