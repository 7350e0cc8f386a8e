"""What ssh's configuration says about a host: ssh itself is asked, where there is one (ssh(1), `-G`).

So every line counts as it does for ssh, and `Match exec` runs its command as each ssh does. Our own reading
(`ssh_config_alone`) is for machines without ssh, and for accounts that ssh does not serve: those without a name.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from provision.errors import UsageError
from provision.hosts import ssh_config_alone
from provision.hosts.spec import SSH_CONFIG, HostSpec

Options = dict[str, list[str]]  # by keyword, in small letters; `%` and `~` as they are written

_SECONDS = 30.0  # `Match exec` may run anything, canonical names are looked up


def options(spec: HostSpec) -> Options:
    """What holds for `spec`; the declared port and user stand first, and the first value wins.

    Raises:
        UsageError: the configuration cannot be read, or not in time.
    """
    declared = {name: [str(value)] for name, value in (("port", spec.port), ("user", spec.user)) if value}
    if not spec.ssh_config:
        return declared
    program = shutil.which("ssh")
    home = _home()
    if program is None or home is None:
        files = [path for file in spec.ssh_config if (path := ssh_config_alone.path_of(str(file))).is_file()]
        return ssh_config_alone.read_settings(files, spec.address, declared)
    with _only(spec.ssh_config, home) as words:
        said = _ask([program, "-G", *words, *_flags(spec), "--", spec.address], spec)
    found: Options = {}
    for line in said.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword.lower(), []).append(value)
    return found


def default_known_hosts() -> Path:
    """The file that ssh names where its configuration names none."""
    return (_home() or Path("~")) / ".ssh" / "known_hosts"


def _home() -> Path | None:
    """Where ssh looks for this account's files, whatever $HOME is; None for an account without a name."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def _flags(spec: HostSpec) -> list[str]:
    return [*(["-p", str(spec.port)] if spec.port else []), *(["-l", spec.user] if spec.user else [])]


@contextlib.contextmanager
def _only(files: Sequence[Path], home: Path) -> Iterator[list[str]]:
    """The words that make ssh read `files`. By itself it reads its own, and of $HOME it knows nothing."""
    if tuple(files) == SSH_CONFIG and home.resolve() == Path.home().resolve():
        yield []
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="deploy-ssh-config-") as one:
        texts = [ssh_config_alone.standalone(path) for file in files if (path := file.expanduser()).is_file()]
        one.write("Match all\n".join(texts))
        one.flush()
        try:
            yield ["-F", one.name]
        except UsageError as error:
            named = " and ".join(map(str, files))
            raise UsageError(error.what, why=error.why.replace(one.name, named), next_step=error.next_step) from None


def _ask(command: list[str], spec: HostSpec) -> str:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        process_group=0,  # what `Match exec` runs ends with it
    )
    try:
        output, said = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"ssh does not say within {_SECONDS:.0f} s what its configuration means for {spec.name}",
            why="A command of `Match exec` does not end, or a name is not found.",
            next_step=f"ssh -G {spec.address}",
        ) from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise UsageError(
            f"cannot read ssh's configuration for {spec.name}",
            why=" ".join(said.split()),
            next_step=f"ssh -G {spec.address}",
        )
    return output
