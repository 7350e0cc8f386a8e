"""systemd, the system's manager or the user's own, through systemctl.

systemctl is part of every systemd and its `show` output is a stable interface (systemd's "Interface Portability and
Stability Promise"); D-Bus would need a library.
"""

from __future__ import annotations

import glob
import json
import os
import pwd
import re
import subprocess
import time
from typing import TYPE_CHECKING, Dict, List, Mapping, Sequence, Set

from ...contract.failure import FAILED, REFUSED, Failure
from ...contract.grouping import target_unit
from ...contract.layout import Layout
from .. import commands, files, processes
from .base import ABSENT, LAUNCHERS, LOG_BYTES, Activity, Observed, Own, Supervisor, last_lines, manifests_of

if TYPE_CHECKING:
    from ...contract.records import Taken

_SHOW = (
    "Id,LoadState,LoadError,NeedDaemonReload,ActiveState,SubState,MainPID,ExecMainCode,ExecMainStatus,NRestarts,"
    "Result,ControlGroup,FragmentPath"
)
_RUNNING_STATES = {"active", "activating", "reloading"}
_OWN = """\
# Written by deploy.
[Unit]
Description=deploy: hands connections on to this account's projects, by name
After=network.target
StartLimitIntervalSec=600
StartLimitBurst=30

[Service]
Type=exec
ExecStart={command}
Restart=always
RestartSec=1
TimeoutStopSec=10
SyslogIdentifier={name}
LimitNOFILE=65536
LimitCORE=0
NoNewPrivileges=yes

[Install]
WantedBy={wanted_by}
"""
_CLD_EXITED = "1"  # siginfo_t.si_code, as ExecMainCode shows it
_POLL = 0.03
# What systemctl says where the manager starts itself anew (daemon-reexec, an update of systemd) while it is asked.
_HUNG_UP = re.compile(
    rb"Connection reset by peer|Transport endpoint is not connected|(message bus|Remote peer) ?(without|disconnected)"
)
_REEXEC_SECONDS = 20.0


def on_this_host(layout: Layout, options: Mapping[str, object]) -> Supervisor:
    """The system's manager, or the account's own."""
    return Systemd(layout, user_units=bool(options.get("user_units")))


class Systemd(Supervisor):
    """The systemd manager that this project's units belong to."""

    kind = "systemd"

    def __init__(self, layout: Layout, user_units: bool = False) -> None:
        super().__init__(layout)
        self.user_units = user_units
        if user_units:
            self.folder = os.path.join(os.path.expanduser("~"), ".config", "systemd", "user")
            os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        else:
            self.folder = "/etc/systemd/system"

    def _systemctl(self, *arguments: str, check: bool = True, timeout: float = 100.0) -> str:
        command = ["systemctl", *(["--user"] if self.user_units else []), "--no-pager", "--no-ask-password", *arguments]
        until = time.monotonic() + _REEXEC_SECONDS
        while True:
            try:
                done = commands.ask(command, timeout, apart=True, env={**os.environ, "LC_ALL": "C"})
            except FileNotFoundError:
                raise Failure(REFUSED, "systemctl is not on this host.", next_step="use another platform") from None
            except subprocess.TimeoutExpired:
                raise Failure(FAILED, f"{' '.join(command)} did not end in {timeout:.0f} s") from None
            if done.status == 0 or not _HUNG_UP.search(done.errors) or time.monotonic() > until:
                break
            time.sleep(_POLL)  # all that we ask for may be asked for twice
        if check and done.status != 0:
            why = done.errors.decode("utf-8", "replace").strip()
            raise Failure(FAILED, f"{' '.join(command)} failed", why=why)
        return done.output.decode("utf-8", "replace")

    def ready(self) -> None:
        self.usable()
        files.make_folder(self.folder)

    def usable(self) -> None:
        if self.user_units:
            linger = os.path.exists(f"/var/lib/systemd/linger/{_user()}")
            if not linger or not os.path.exists(os.path.join(os.environ["XDG_RUNTIME_DIR"], "systemd", "private")):
                raise Failure(
                    REFUSED,
                    f"the systemd of user {_user()} runs only while that user is logged in.",
                    why="Services would end with this connection.",
                    next_step=f"let it run without a login, as root on the host: loginctl enable-linger {_user()}",
                )
            return
        if not os.path.isdir("/run/systemd/system"):
            raise Failure(REFUSED, "this host was not booted with systemd.", next_step='use platform = "supervisord"')
        if os.geteuid() != 0:
            raise Failure(
                REFUSED,
                f"user {_user()} may not change system units.",
                next_step="set sudo = true or user_units = true for this target in deploy.toml",
            )

    def observe(self, programs: Sequence[str]) -> Dict[str, Observed]:
        if not programs:
            return {}
        try:
            shown = self._show(programs)
        except Failure:
            return dict.fromkeys(programs, ABSENT)
        return {name: _observed(shown.get(name, {})) for name in programs}

    def _show(self, programs: Sequence[str]) -> Dict[str, Dict[str, str]]:
        found = {}
        for block in self._systemctl("show", "-p", _SHOW, "--", *programs, check=False).split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if "Id" in values:
                found[values["Id"]] = values
        return found

    def manifest_path(self, manifest: str) -> str:
        return os.path.join(self.folder, manifest)

    def ours(self) -> Dict[str, str]:
        return {os.path.basename(path): path for path in manifests_of(self.layout, self.folder, ".service")}

    def foreign(self, manifests: Mapping[str, str]) -> Dict[str, str]:
        found, new = {}, []
        for program, manifest in manifests.items():
            try:
                with open(self.manifest_path(manifest), encoding="utf-8") as stream:
                    if self.layout.run + "/" not in stream.read():
                        found[program] = f"{self.manifest_path(manifest)} belongs to another project"
            except FileNotFoundError:
                new.append(program)
        for program, values in self._show(new).items() if new else ():
            fragment = values.get("FragmentPath", "")
            if fragment and program in new and fragment != self.manifest_path(manifests[program]):
                found[program] = f"{fragment} already describes {program}"
        return found

    def own(self, name: str, command: str, folders: Sequence[str]) -> Own:
        wanted_by = "default.target" if self.user_units else "multi-user.target"
        text = _OWN.format(command=command.replace("%", "%%"), name=name, wanted_by=wanted_by)
        return Own(f"{name}.service", f"{name}.service", text)

    def load(self, changed: Sequence[str], removed: Sequence[str]) -> None:
        if removed:  # what has failed stays in memory until then
            self._systemctl("reset-failed", "--", *removed, check=False)
        shown = self._show([*changed, *removed])
        if any(values.get("NeedDaemonReload") == "yes" for values in shown.values()) or any(
            shown.get(name, {}).get("LoadState") != "loaded" for name in changed
        ):
            self._systemctl("daemon-reload")
            shown = self._show(changed) if changed else {}
        for name in changed:
            values = shown.get(name, {})
            if values.get("LoadState") != "loaded":
                reason = values.get("LoadError") or values.get("LoadState") or "unknown"
                raise Failure(FAILED, f"systemd does not take {name}: {reason}")

    def _start(self, programs: Sequence[str]) -> None:
        # A unit that failed too often within StartLimitIntervalSec would be refused without trying.
        self._systemctl("reset-failed", "--", *programs, check=False)
        self._systemctl("start", "--no-block", "--", *programs)

    def stop(self, timeouts: Mapping[str, float]) -> None:
        if timeouts:
            self._systemctl("stop", "--", *timeouts, check=False, timeout=max(timeouts.values()) + 30.0)
            self._await_end(list(timeouts))

    def apart(self, argv: Sequence[str], variables: Mapping[str, str]) -> List[str]:
        """As a unit of its own: a program's has all that it starts, however it leaves."""
        mine = ["--user"] if self.user_units else []
        given = [f"--setenv={name}={value}" for name, value in variables.items()]
        return [*super().apart(["systemd-run", *mine, "--quiet", "--collect", *given, "--", *argv], variables)]

    def enable(self, programs: Sequence[str]) -> None:
        if not programs:
            return
        groups = self._groups(programs)
        for group in groups:
            if not os.path.exists(self.manifest_path(group)):
                files.write(self.manifest_path(group), target_unit(group, self.user_units), 0o644)
        new = [unit for unit in (*groups, *programs) if not self._is_enabled(unit)]
        if new:
            self._systemctl("enable", "--quiet", "--", *new)  # and read everything anew, which takes it a while
        if groups:
            # Only the group itself, so that stopping it stops its parts: those start in their own order.
            self._systemctl("start", "--no-block", "--job-mode=ignore-dependencies", "--", *groups)

    def disable(self, programs: Sequence[str]) -> None:
        if not programs:
            return
        groups = self._groups(programs)
        linked = [name for name in programs if glob.glob(self.manifest_path(f"*/{name}"))]
        if linked:
            self._systemctl("disable", "--quiet", "--", *linked, check=False)  # reads everything anew, too
        for group in groups:
            if not glob.glob(self.manifest_path(group) + ".wants/*"):
                self._systemctl("disable", "--quiet", "--", group, check=False)
                self._systemctl("stop", "--no-block", "--job-mode=ignore-dependencies", "--", group, check=False)
                files.remove(self.manifest_path(group))

    def _groups(self, programs: Sequence[str]) -> List[str]:
        """The targets that these programs are parts of, as their units say."""
        return sorted({group for program in programs for group in self._targets("PartOf", program)})

    def _is_enabled(self, unit: str) -> bool:
        """Whether each target that is to start a unit of ours has its link."""
        path = self.manifest_path(unit)
        links = [self.manifest_path(f"{target}.wants/{unit}") for target in self._targets("WantedBy", unit)]
        return all(os.path.islink(link) and os.path.realpath(link) == os.path.realpath(path) for link in links)

    def _targets(self, key: str, unit: str) -> List[str]:
        """Those that a unit of ours names for `key`."""
        try:
            with open(self.manifest_path(unit), encoding="utf-8") as stream:
                return re.findall(rf"^{key}=([\w.@-]+\.target)$", stream.read(), re.MULTILINE)
        except FileNotFoundError:
            return []

    def families(self, programs: Sequence[str]) -> Dict[str, Set[int]]:
        shown, known = self._show(programs) if programs else {}, processes.table()
        return {name: _processes(shown.get(name, {}), known) for name in programs}

    def theirs(self, names: Sequence[str]) -> List[Taken]:
        units = [name if "." in name else f"{name}.service" for name in names]
        found: List[Taken] = []
        for unit, values in self._show(units).items() if units else ():
            path = values.get("FragmentPath", "")
            if not path or not unit.endswith(".service") or _is_of_a_deploy(path):
                continue
            enabled = self._systemctl("is-enabled", "--", unit, check=False).strip() == "enabled"
            ran = _observed(values).activity is Activity.RUNNING
            # The file itself: disabling a unit that is a link to it takes the link away.
            found.append({"name": unit, "path": os.path.realpath(path), "ran": ran, "enabled": enabled})
        return found

    def members_of_theirs(self, taken: Sequence[Taken]) -> Set[int]:
        return set().union(*self.families([each["name"] for each in taken]).values()) if taken else set()

    def theirs_with(self, pids: Set[int]) -> str:
        for pid in pids:
            try:
                with open(f"/proc/{pid}/cgroup", encoding="utf-8") as stream:
                    found = re.search(r"/([\w.@-]+\.service)$", stream.read(), re.MULTILINE)
            except OSError:
                continue
            if found and self.theirs([found[1]]):
                return found[1]
        return ""

    def take(self, taken: Sequence[Taken]) -> None:
        for each in taken:
            if each.get("enabled"):
                self._systemctl("disable", "--quiet", "--", each["name"], check=False)
            self._systemctl("stop", "--", each["name"])

    def start_again(self, taken: Sequence[Taken]) -> None:
        for each in taken:
            if each.get("enabled"):
                self._systemctl("link", "--quiet", "--", each["path"], check=False)
                self._systemctl("enable", "--quiet", "--", each["name"])
            if each.get("ran"):
                self._systemctl("start", "--", each["name"])

    def log_tail(self, program: str, lines: int = 20, *, exact: bool = False) -> List[str]:
        scope = ["--user-unit" if self.user_units else "--unit", program]
        how = ["-o", "cat"]
        if program in self._marks:
            # With --since, systemd 252 takes the first lines and not the last, unless it goes backwards; and only as
            # JSON it shows where one that goes backwards ends.
            how = ["-o", "json", "--output-fields=MESSAGE", "--all", "--reverse"]
            scope.append(f"--since=@{self._marks[program]:.3f}")
        try:
            done = commands.ask(
                ["journalctl", "--no-pager", "--quiet", *how, "-n", str(lines), *scope], 15.0, apart=True
            )
        except (OSError, subprocess.TimeoutExpired):
            return []
        said = b"".join(_messages(done.output)[::-1]) if program in self._marks else done.output
        return last_lines(said[-LOG_BYTES:], lines, exact)

    def facts(self) -> Dict[str, object]:
        try:
            self.ready()
            state = "running"
        except Failure as error:
            state = error.what
        version = self._systemctl("--version", check=False).split("\n", 1)[0] if state == "running" else ""
        linger = os.path.exists(f"/var/lib/systemd/linger/{_user()}")
        return {
            "kind": self.kind,
            "state": state,
            "version": version,
            "include": self.folder,
            "user_units": self.user_units,
            "linger": linger,
        }


def _is_of_a_deploy(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return LAUNCHERS in stream.read()
    except OSError:
        return False


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _processes(values: Dict[str, str], known: processes.Table) -> Set[int]:
    pid = int(values.get("MainPID") or 0)
    group = values.get("ControlGroup", "")
    found = known.family([pid]) if pid else set()
    for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
        if group and group != "/":
            for folder, _, _ in os.walk(base + group):
                found |= _cgroup_members(folder)
    return {member for member in found if processes.alive(member)}


def _cgroup_members(folder: str) -> Set[int]:
    try:
        with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as stream:
            return {int(line) for line in stream.read().split()}
    except (OSError, ValueError):
        return set()


def _observed(values: Dict[str, str]) -> Observed:
    if not values or values.get("LoadState") in (None, "", "not-found"):
        return ABSENT
    pid = int(values.get("MainPID") or 0)
    restarts = int(values.get("NRestarts") or 0)
    active = values.get("ActiveState", "")
    detail = _how_it_ended(values)
    if active == "deactivating":
        return Observed(Activity.STOPPING, pid, "", restarts)
    if active in _RUNNING_STATES and values.get("SubState") != "auto-restart":
        return Observed(Activity.RUNNING, pid, "", restarts)
    if active == "failed" or values.get("SubState") == "auto-restart":
        return Observed(Activity.EXITED, 0, detail, restarts)
    # Also what was stopped on purpose, whose last status says nothing about a start that is still queued.
    return Observed(Activity.STOPPED, 0, detail, restarts)


def _messages(output: bytes) -> List[bytes]:
    """What was said, of each entry of `journalctl -o json`: a text, or bytes where it is none."""
    found = []
    for line in output.splitlines():
        try:
            message = json.loads(line)["MESSAGE"]
            said = bytes(message) if isinstance(message, list) else message.encode("utf-8", "surrogatepass")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the first one may be cut
        found.append(said + b"\n")
    return found


def _how_it_ended(values: Dict[str, str]) -> str:
    status = values.get("ExecMainStatus", "0")
    if values.get("ExecMainCode") == _CLD_EXITED:
        return f"exited with status {status}"
    if values.get("ExecMainCode", "0") != "0":
        return f"killed by signal {status}"
    return values.get("Result", "")
