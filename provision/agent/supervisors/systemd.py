"""systemd, the system's manager or the user's own: one unit a program, and a target that groups those of a project."""

from __future__ import annotations

import glob
import os
import pwd
import re
from typing import TYPE_CHECKING, Dict, List, Mapping, Sequence, Set

from ...contract.failure import FAILED, REFUSED, Failure
from ...contract.grouping import target_unit
from ...contract.layout import Layout
from .. import files, processes
from .base import ABSENT, LAUNCHERS, LOG_BYTES, Activity, Observed, Own, Supervisor, last_lines, manifests_of
from .systemctl import Systemctl, family, observed
from .systemd_log import tail

if TYPE_CHECKING:
    from ...contract.records import Taken

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


def on_this_host(layout: Layout, options: Mapping[str, object]) -> Supervisor:
    """The system's manager, or the account's own."""
    return Systemd(layout, user_units=bool(options.get("user_units")))


class Systemd(Supervisor):
    """The systemd manager that this project's units belong to."""

    kind = "systemd"

    def __init__(self, layout: Layout, user_units: bool = False) -> None:
        super().__init__(layout)
        self.user_units = user_units
        self.systemctl = Systemctl(user_units)
        if user_units:
            self.folder = os.path.join(os.path.expanduser("~"), ".config", "systemd", "user")
            os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        else:
            self.folder = "/etc/systemd/system"

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
            shown = self.systemctl.show(programs)
        except Failure:
            return dict.fromkeys(programs, ABSENT)
        return {name: observed(shown.get(name, {})) for name in programs}

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
        for program, values in self.systemctl.show(new).items():
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
            self.systemctl("reset-failed", "--", *removed, check=False)
        shown = self.systemctl.show([*changed, *removed])
        if any(values.get("NeedDaemonReload") == "yes" for values in shown.values()) or any(
            shown.get(name, {}).get("LoadState") != "loaded" for name in changed
        ):
            self.systemctl("daemon-reload")
            shown = self.systemctl.show(changed)
        for name in changed:
            values = shown.get(name, {})
            if values.get("LoadState") != "loaded":
                reason = values.get("LoadError") or values.get("LoadState") or "unknown"
                raise Failure(FAILED, f"systemd does not take {name}: {reason}")

    def _start(self, programs: Sequence[str]) -> None:
        # A unit that failed too often within StartLimitIntervalSec would be refused without trying.
        self.systemctl("reset-failed", "--", *programs, check=False)
        self.systemctl("start", "--no-block", "--", *programs)

    def stop(self, timeouts: Mapping[str, float]) -> None:
        if timeouts:
            self.systemctl("stop", "--", *timeouts, check=False, timeout=max(timeouts.values()) + 30.0)
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
            self.systemctl("enable", "--quiet", "--", *new)  # and read everything anew, which takes it a while
        if groups:
            # Only the group itself, so that stopping it stops its parts: those start in their own order.
            self.systemctl("start", "--no-block", "--job-mode=ignore-dependencies", "--", *groups)

    def disable(self, programs: Sequence[str]) -> None:
        if not programs:
            return
        groups = self._groups(programs)
        linked = [name for name in programs if glob.glob(self.manifest_path(f"*/{name}"))]
        if linked:
            self.systemctl("disable", "--quiet", "--", *linked, check=False)  # reads everything anew, too
        for group in groups:
            if not glob.glob(self.manifest_path(group) + ".wants/*"):
                self.systemctl("disable", "--quiet", "--", group, check=False)
                self.systemctl("stop", "--no-block", "--job-mode=ignore-dependencies", "--", group, check=False)
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
        shown, known = self.systemctl.show(programs), processes.table()
        return {name: family(shown.get(name, {}), known) for name in programs}

    def theirs(self, names: Sequence[str]) -> List[Taken]:
        units = [name if "." in name else f"{name}.service" for name in names]
        found: List[Taken] = []
        for unit, values in self.systemctl.show(units).items():
            path = values.get("FragmentPath", "")
            if not path or not unit.endswith(".service") or _is_of_a_deploy(path):
                continue
            enabled = self.systemctl("is-enabled", "--", unit, check=False).strip() == "enabled"
            ran = observed(values).activity is Activity.RUNNING
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
                self.systemctl("disable", "--quiet", "--", each["name"], check=False)
            self.systemctl("stop", "--", each["name"])

    def start_again(self, taken: Sequence[Taken]) -> None:
        for each in taken:
            if each.get("enabled"):
                self.systemctl("link", "--quiet", "--", each["path"], check=False)
                self.systemctl("enable", "--quiet", "--", each["name"])
            if each.get("ran"):
                self.systemctl("start", "--", each["name"])

    def log_tail(self, program: str, lines: int = 20, *, exact: bool = False) -> List[str]:
        unit = ["--user-unit" if self.user_units else "--unit", program]
        return last_lines(tail(unit, lines, self._marks.get(program))[-LOG_BYTES:], lines, exact)

    def facts(self) -> Dict[str, object]:
        try:
            self.ready()
            state = "running"
        except Failure as error:
            state = error.what
        version = self.systemctl("--version", check=False).split("\n", 1)[0] if state == "running" else ""
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
