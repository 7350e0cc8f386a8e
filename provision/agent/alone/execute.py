"""Runs a command in a release, with what one of its services is started with, and as the account that it runs as.

Arguments: the project's folder; the channel; the program whose launcher sets the environment, or empty; the command.
Of several programs, with `:` between them, it is the one that has the channel's role for now.
What stands in the way is said on the error stream, as JSON where nobody sees it on a terminal; the exit status is that
of a refusal then.
"""

from __future__ import annotations

import json
import os
import pwd
import sys

from ..trust import fault

_REFUSED = 4
_NOT_FOUND = 127
_LENDS = 'if [ "${1-}" = exec ]; then\n'  # of a launcher that runs other commands, too


def main(root: str, channel: str, name: str, *words: str) -> int:
    folder = os.path.join(root, channel)
    wrong = fault(folder)
    if wrong:
        return _refuse(f"what lies at {folder} can't be trusted: {wrong}.", "deploy host mend")
    if not os.path.isdir(folder):
        return _refuse(f"nothing is deployed as {channel} on this host.", "deploy up, or deploy status")
    os.chdir(folder)
    os.chdir(os.getcwd())  # the release itself, not the link that moves on to the next one
    os.environ["PWD"] = os.getcwd()
    if not name:
        return _become(words)
    name = _having(root, channel, name.split(":"))
    base = os.path.join(root, ".deploy", "run", name)
    wrong = fault(base)
    launched = os.path.realpath(os.path.join(base, "current"))
    if wrong or os.path.dirname(launched) != os.path.realpath(base) or not os.path.isdir(launched):
        said = f"what lies at {base} can't be trusted: {wrong}." if wrong else f"{name} is not deployed on this host."
        return _refuse(said, "deploy host mend" if wrong else "deploy up, or --plain")
    uid = os.stat(launched).st_uid
    account = _account(uid)
    if uid != os.geteuid():
        if os.geteuid() or account is None:
            theirs, me = (_account(each) for each in (uid, os.geteuid()))
            runs, may = (each.pw_name if each else "an account without a name" for each in (theirs, me))
            said = f"{name} runs as {runs}, and {may} may not run anything as that account."
            return _refuse(said, "--plain, or sudo = true for the target in deploy.toml")
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    # Only from here on is anything read that the account of the service could have written: as that account.
    launcher = os.path.join(launched, "launch")
    with open(launcher, encoding="utf-8", errors="replace") as stream:
        if _LENDS not in stream.read():
            _say(
                f"{name} was deployed by an earlier version of deploy, or with a launcher of the project's own: its "
                "environment can't be had, so this runs without.",
                "deploy up, or --plain, which says so",
            )
            return _become(words)
    if account is not None:  # an image may have made our own without a name
        os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    files = os.path.join(launched, "secret-files")
    if os.path.isdir(files):
        os.environ["CREDENTIALS_DIRECTORY"] = files  # as systemd has it for the service
    return _become([launcher, "exec", *words])


def _having(root: str, channel: str, names: list[str]) -> str:
    if len(names) > 1 and not fault(os.path.join(root, ".deploy")):
        with open(os.path.join(root, ".deploy", "state.json"), encoding="utf-8") as stream:
            programs = json.load(stream)["programs"]
        names = [each for each in names if each in programs and programs[each]["lane"] == channel] or names
    return names[0]


def _account(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def _become(words: list[str] | tuple[str, ...]) -> int:
    os.dup2(1, 2)
    try:
        os.execvp(words[0], words)  # noqa: S606  no shell is what is wanted
    except OSError as error:
        print(f"{words[0]}: {error.strerror}", flush=True)  # noqa: T201
        return _NOT_FOUND


def _refuse(what: str, next_step: str) -> int:
    _say(what, next_step)
    return _REFUSED


def _say(what: str, next_step: str) -> None:
    told = f"{what}\nnext: {next_step}" if os.isatty(2) else json.dumps({"what": what, "next": next_step})
    sys.stderr.write(told + "\n")
    sys.stderr.flush()
