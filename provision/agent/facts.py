"""What a host is and has, in one call."""

from __future__ import annotations

import hashlib
import hmac
import os
import platform
import pwd
import secrets
import shutil
from typing import TYPE_CHECKING, Dict, List, Optional

from ..contract import devices, names, roles
from ..contract.host_view import HostView
from ..contract.layout import Layout
from ..contract.state import State
from . import content, engines, environments, files, gpus, launch, listeners, models, processes, sockets, speeds, strays
from . import state as states
from .documents import manifest_digest, read_documents
from .journal import Journal
from .locks import Lock
from .supervisors import Activity, Supervisor

if TYPE_CHECKING:
    from ..contract.facts import Cpu, Disk, Machine, Memory, ProjectFacts, Seen
    from ..contract.release import LaneDocument, ReleaseDocument, ServiceDocument
    from ..contract.requests import Wanted

_TOOLS = (
    "rsync",
    "supervisord",
    "systemctl",
    "nvidia-smi",
    "rocm-smi",
    "docker",
    "uv",
    "curl",
    "sudo",
    "llama-server",
)
_HISTORY_SHOWN = 50


def host() -> Machine:
    """Machine, CPU, memory, tools. GPUs are asked for apart: their drivers' programs take long."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    return {
        "hostname": platform.node(),
        "arch": os.uname().machine,
        "kernel": os.uname().release,
        "cpu": cpu(),
        "memory": memory(),
        "tools": {name: shutil.which(name, path=gpus.search_path()) or "" for name in _TOOLS},
        "python": platform.python_version(),
        "user": me,
        "uid": os.geteuid(),
        "home": os.path.expanduser("~"),
        "init": _init(),
    }


def _init() -> str:
    if os.path.isdir("/run/systemd/system"):
        return "systemd"
    return sockets.name(1).split(" ", 1)[0].rsplit("/", 1)[-1]


def cpu() -> Cpu:
    """The processor: its name, what decides which engine runs and how fast, how many cores."""
    model, flags = "", []  # type: str, List[str]
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model") and not model:
                    model = value.strip()
                if key.strip() in ("flags", "Features") and not flags:
                    flags = value.split()
    except OSError:
        pass
    return {
        "model": model,
        "features": sorted(flag for flag in flags if flag in _INTERESTING or flag.startswith("avx512")),
        "count": os.cpu_count() or 1,
        "usable": len(os.sched_getaffinity(0)),
    }


# Those that decide which build of llama.cpp runs, and how fast (ggml/src/ggml-cpu).
_INTERESTING = frozenset(
    [
        "sse4_2",
        "avx",
        "avx2",
        "f16c",
        "fma",
        "bmi2",
        "avx_vnni",
        "amx_int8",
        "asimd",
        "asimddp",
        "i8mm",
        "sve",
        "sve2",
        "fphp",
        "asimdhp",
    ]
)


def memory() -> Memory:
    """Bytes in all and available; a cgroup's limit counts where it is lower."""
    values = {}
    with open("/proc/meminfo", encoding="ascii") as stream:
        for line in stream:
            key, _, value = line.partition(":")
            values[key] = int(value.split()[0]) * 1024
    total, available = values["MemTotal"], values.get("MemAvailable", values["MemFree"])
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        limit, used = _number(limit_file), _number(used_file)
        if limit is not None and used is not None and limit < total:
            total, available = limit, min(available, limit - used)
    return {"total": total, "available": max(available, 0)}


def _number(path: str) -> Optional[int]:
    try:
        with open(path, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None


def view(layout: Layout, supervisor: Supervisor, state: State, with_gpus: bool) -> HostView:
    """What decisions need to know."""
    programs: Dict[str, Seen] = {}
    table = processes.table()
    observed = supervisor.observe(list(state.programs))
    # A process that was proven had its ports to itself, so while it runs nothing older can be in its way.
    proven = strays.remembered(layout)
    releases = strays.releases(layout, proven)
    doubtful = [name for name, seen in observed.items() if not seen.pid or proven.get(name) != seen.pid]
    astray = supervisor.strays(doubtful) if doubtful else {}
    for name, seen in observed.items():
        pid, activity = seen.pid, seen.activity
        members = table.family([pid]) if activity is Activity.RUNNING else set()
        first = min(astray.get(name, ()), key=processes.start_time, default=0)
        # What escaped from the run that is watched is younger than it; what is older has the port that this one needs,
        # and may have ended it since it was seen.
        began = processes.start_time(pid) if members else 0
        if first and (not began or processes.start_time(first) < began):
            pid, activity, members = first, Activity.UNSUPERVISED, astray[name]
        programs[name] = {
            "activity": activity.value,
            "pid": pid,
            "detail": seen.detail,
            "restarts": seen.restarts,
            "memory_bytes": processes.memory_bytes(members),
        }
        release = releases.get(name, "") if proven.get(name) == pid else ""
        if release not in ("", state.programs[name].release):
            programs[name]["release"] = release
    asked = with_gpus or any(program.devices for program in state.programs.values())
    found = gpus.found() if asked else None
    return HostView(
        programs=programs,
        manifests={name: manifest_digest(supervisor, program.manifest) for name, program in state.programs.items()},
        launches={name: launch.current(layout, name) for name in state.programs},
        listening={str(port): holder for port, holder in listeners.holders().items()},
        memory_available=memory()["available"],
        vram_free=max((gpu["memory_free"] for gpu in found or ()), default=None),
        gpus=found,
    )


def project(layout: Layout, supervisor: Supervisor, wanted: Wanted) -> ProjectFacts:
    """Everything about one project on this host."""
    there = engines.present(layout)
    for engine, described in wanted.get("engines", {}).items():
        if engine not in there:
            engines.judge(layout, described["wheels"], cpu()["features"])
    state = states.read_state(layout)
    open_ = Journal(layout.journal).left_open()
    history = states.history(layout)
    salt = secrets.token_bytes(16)
    held = launch.current_secrets(layout, state)
    back = states.way_back(layout, state, history)
    named = dict(state.channels, **({"previous": back} if back else {}))
    releases = _names(layout.releases)
    asked = {named.get(name) or _complete(name, releases) for name in wanted.get("documents", ())}
    asked -= set(wanted.get("have", ()))
    documents = read_documents(layout, asked)
    seen = view(layout, supervisor, state, bool(wanted.get("gpus")) or devices.decides(documents))
    found: ProjectFacts = {
        "state": state.as_dict(),
        "view": seen.as_dict(),
        "holder": Lock(layout.lock).holder(),
        "journal": open_ and open_.told(),
        "history": history[-_HISTORY_SHOWN:],
        "previous": back,
        "releases": releases,
        "documents": {name: _slim(document) for name, document in documents.items()},
        "files": _files(layout, named.get(wanted.get("files_of") or "", "")),
        "models": models.present(layout),
        "uploads": models.arrived(layout),
        "engines": there,
        "environments": environments.present(layout),
        # Equality can be seen, the values can't: the salt is new in every call and kept nowhere.
        "secrets": {
            name: hmac.new(salt, value.encode("utf-8"), hashlib.sha256).hexdigest() for name, value in held.items()
        },
        "salt": salt.hex(),
        "disk": disk(layout.root),
        "speeds": speeds.read(layout),
        "recovery_needed": os.path.exists(layout.journal),
        "occupied": occupied(layout, supervisor, state),
        "once": states.once(layout),
    }
    if wanted.get("standing"):
        from . import failed, restarts

        for name, restarted in restarts.of_late(layout, supervisor, state, seen).items():
            found["view"]["programs"][name]["restarted"] = restarted
        found["failed"] = failed.read(layout)
        if roles.stands_before(state):
            from . import sharing

            found["front"] = sharing.hurt()
    if os.path.isdir(layout.acme):
        from . import acme

        found["certificates"] = acme.tried(layout)
    return found


def occupied(layout: Layout, supervisor: Supervisor, state: State) -> Dict[str, str]:
    """Releases that serve nothing, and are kept while some process works in them: by whom, as a sentence."""
    return {
        name: f"release {name[:12]} is kept while pid {pid} ({sockets.name(pid)}) works in its folder; "
        f"of programs that are not this project's, {content.OCCUPIED_KEPT} such are kept at most"
        for name, pid in content.occupied(layout, supervisor, state.releases()).items()
    }


def _complete(name: str, releases: List[str]) -> str:
    """The one release whose id begins with `name`, else `name` itself."""
    matches = names.begun(name, releases)
    return matches[0] if len(matches) == 1 else name


def _slim(document: ReleaseDocument) -> ReleaseDocument:
    """A release without its texts: for decisions, not for starting."""
    lanes: Dict[str, LaneDocument] = {}
    for lane, described in document["lanes"].items():
        services: List[ServiceDocument] = [
            {**service, "launch": "", "manifest": {"name": service["manifest"]["name"], "text": ""}}
            for service in described["services"]
        ]
        lanes[lane] = {"services": services, "checks": described["checks"]}
    return {**document, "lanes": lanes}


def _files(layout: Layout, release: str) -> Dict[str, str]:
    """What a release holds, path -> digest or link target, so that a plan can be shown file by file."""
    if not release:
        return {}
    from ..contract import tree
    from . import data

    entries = tree.digest(layout.release(release))[1]
    document = read_documents(layout, [release]).get(release)
    shipped = data.as_shipped(entries, document) if document else entries
    return {entry.path: entry.sha256 or entry.target for entry in shipped if entry.path != names.ENVIRONMENT}


def _names(folder: str) -> List[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError:
        return []


def disk(root: str) -> Disk:
    stat = os.statvfs(files.nearest(root))
    return {"total": stat.f_blocks * stat.f_frsize, "free": stat.f_bavail * stat.f_frsize}
