"""What is rendered for systemd, run by a real one that is PID 1 of its machine."""

from __future__ import annotations

import itertools
import json
import subprocess
from typing import Any

import pytest
from hypothesis import example, given

from provision.contract.release import ServiceDocument
from provision.manifests.encoders import systemd_arg, systemd_env
from provision.manifests.value import LONGEST_STRING, Value, Variable
from tests.manifests.projects import dollars_doubled, lane, project, service
from tests.manifests.values import BATCH, Echo, batches, echo, examples, texts
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root

ECHO = echo("/usr/bin/python3")
ECHO_AND_STAY = echo("/usr/bin/python3", stay=True)
_SCRIPT = "/opt/echo.py"
_LAYOUT = """
mkdir -p "$1/one" "$2/releases/id" "$2/shared/logs"
ln -sfn one "$1/current"
ln -sfn "$2/releases/id" "$1/one/release"
"""
_numbers = itertools.count()


def start(host: TestHost, *documents: ServiceDocument, path: str, user: str = "") -> None:
    """Install services as the host's part does, and start them."""
    for document in documents:
        run = f"{path}/.deploy/run/{document['program']}"
        host.exec(["sh", "-ec", _LAYOUT, "layout", run, path])
        host.write(f"{run}/one/launch", document["launch"], mode=0o500, owner=document["user"] or "root")
        if document["needs"].get("gpus"):
            host.write(f"{run}/one/devices", "export CUDA_VISIBLE_DEVICES='GPU-0'\n")
        host.write(f"/etc/systemd/system/{document['manifest']['name']}", document["manifest"]["text"])
        if document["user"]:
            host.exec(["chown", f"{document['user']}:", f"{path}/shared/logs", run, f"{run}/one"])
    host.exec(["systemctl", "daemon-reload"])
    host.exec(["systemctl", "start", *(document["program"] for document in documents)])


def told(host: TestHost, file: str) -> Echo:
    """What a program was given, once it says so."""
    wait = 'for _ in $(seq 200); do grep -q "}$" "$1" 2>/dev/null && exec cat "$1"; sleep 0.05; done; exit 1'
    return Echo.of(host.exec(["sh", "-c", wait, "wait", file]).stdout)


def quick(host: TestHost, lines: str) -> Echo:
    """What a unit with these lines gives its process."""
    name = f"values{next(_numbers)}"
    out = f"/run/{name}"
    text = f"[Service]\nType=oneshot\nEnvironment=ECHO_TO={out}\n{lines}\n"
    host.write(f"/etc/systemd/system/{name}.service", text)
    host.exec(["systemctl", "daemon-reload"])
    host.exec(["systemctl", "start", name])
    return told(host, out)


@examples(20)
@given(values=batches(texts()), variables=batches(texts(noncharacters=False)))
@example(values=["%n%%", "$$HOME ${HOME}", "\\x41\\", "\r\n\t\x01\x7f", '"', "'", "", " ", ";", "\ufffe"], variables=[])
@example(values=[], variables=["%n%%", "$$HOME ${HOME}", "\\x41\\", "\r\n\t\x01\x7f", '"', "'", "", " ", ";", "\ufeff"])
def test_every_item_of_environment_and_every_argument_reaches_the_process(
    systemd_host: TestHost, values: list[str], variables: list[str]
) -> None:
    systemd_host.write(_SCRIPT, ECHO[-1])
    items = [systemd_env(Variable(f"V{at}", Value("test", (value,)))) for at, value in enumerate(variables)]
    arguments = " ".join(systemd_arg(Value("test", (value,))) for value in values)
    lines = [*(f"Environment={item}" for item in items), f"ExecStart=/usr/bin/python3 -I {_SCRIPT} {arguments}"]

    received = quick(systemd_host, "\n".join(lines))

    assert received.argv == values
    assert [received.env[f"V{at}"] for at in range(len(variables))] == variables


def test_the_longest_value_fits_into_one_item_of_environment(systemd_host: TestHost) -> None:
    systemd_host.write(_SCRIPT, ECHO[-1])
    long = ('\x01"\\%🦙' * LONGEST_STRING)[: LONGEST_STRING // 3]
    item = systemd_env(Variable("LONG", Value("test", (long,))))

    assert quick(systemd_host, f"Environment={item}\nExecStart=/usr/bin/python3 -I {_SCRIPT}").env["LONG"] == long


@pytest.mark.parametrize("character", ["\ufffe", "\ufdd0", "\U0010ffff"])
def test_systemd_itself_drops_a_variable_with_a_noncharacter(systemd_host: TestHost, character: str) -> None:
    systemd_host.write(_SCRIPT, ECHO[-1])
    escaped = systemd_arg(Value("test", (f"A={character}",)))

    received = quick(systemd_host, f"Environment={escaped} B=1\nExecStart=/usr/bin/python3 -I {_SCRIPT}")

    assert "A" not in received.env
    assert received.env["B"] == "1"


@examples(5)
@given(values=batches(texts()), others=batches(texts()), more=batches(texts()), last=batches(texts()))
def test_every_env_value_and_argument_reaches_the_program_through_its_launcher(
    systemd_host: TestHost, values: list[str], others: list[str], more: list[str], last: list[str]
) -> None:
    path = f"/srv/launched{next(_numbers)}"
    named = {"a": values, "b": others, "c": more, "d": last}
    services = {
        name: {
            "command": [*ECHO_AND_STAY, *map(dollars_doubled, batch)],
            "env": {
                "ECHO_TO": f"{path}/shared/logs/{name}",
                **{f"V{at}": dollars_doubled(value) for at, value in enumerate(batch)},
            },
        }
        for name, batch in named.items()
    }
    documents = lane(project(services, path=path, platform="systemd", name_prefix=f"p{next(_numbers)}-"))["services"]

    start(systemd_host, *documents, path=path)

    for name, batch in named.items():
        echoed = told(systemd_host, f"{path}/shared/logs/{name}")
        assert echoed.argv == batch
        assert [echoed.env[f"V{at}"] for at in range(BATCH)] == batch
    systemd_host.exec(["systemctl", "kill", "--signal=KILL", *(document["program"] for document in documents)])
    systemd_host.exec(["systemctl", "stop", *(document["program"] for document in documents)])


def installed(host: TestHost, place: Place, declared: dict[str, Any], **target: Any) -> tuple[ServiceDocument, Echo]:
    """One service that tells what it was given, running."""
    path = place.path
    env = {"ECHO_TO": f"{path}/shared/logs/told", **declared.pop("env", {})}
    described = project(
        {"web": {"command": ECHO_AND_STAY, "env": env, **declared}},
        path=path,
        platform="systemd",
        name_prefix=f"{place.name}-",
        **target,
    )
    document = service(described, "web")
    start(host, document, path=path)
    return document, told(host, f"{path}/shared/logs/told")


def test_the_process_that_systemd_knows_is_the_program_itself(systemd_host: TestHost, place: Place) -> None:
    document, echoed = installed(systemd_host, place, {})

    shown = systemd_host.exec(["systemctl", "show", "--value", "--property=MainPID", document["program"]])

    assert int(shown.stdout) == echoed.pid
    assert echoed.cwd == f"{place.path}/releases/id"


def test_a_service_runs_as_its_own_user(systemd_host: TestHost, place: Place) -> None:
    _, echoed = installed(systemd_host, place, {"user": "www-data"})

    assert echoed.env["USER"] == "www-data"


_TELLS_FILES = """
import json, os, pathlib, signal
files = {name[:-5]: pathlib.Path(path) for name, path in os.environ.items() if name.endswith("_FILE")}
told = {name: [file.read_bytes().hex(), oct(file.stat().st_mode & 0o777)] for name, file in files.items()}
pathlib.Path(os.environ["ECHO_TO"]).write_text(json.dumps({"files": told, "env": dict(os.environ)}) + "\\n")
signal.pause()
"""


_UNPACK = """
import pathlib, sys
for at, line in enumerate(pathlib.Path(sys.argv[1]).read_text().splitlines()):
    pathlib.Path(sys.argv[2], f"S{at}").write_bytes(bytes.fromhex(line))
"""


@examples(3)
@given(values=batches(texts()))
@example(["", "\n", "a\n\n", "a\0b", "%h$HOME`id`", "'\"\\", "\ufffe", *("x" * 40 for _ in range(5))])
@pytest.mark.parametrize("user", ["www-data", ""])
def test_secrets_as_files_reach_the_program_byte_for_byte_and_only_it(
    systemd_host: TestHost, user: str, values: list[str]
) -> None:
    path, prefix = f"/srv/files{next(_numbers)}", f"p{next(_numbers)}-"
    names = [f"S{at}" for at in range(len(values))]
    declared = {
        "command": ["/usr/bin/python3", "-I", "-S", "-c", _TELLS_FILES],
        "env": {"ECHO_TO": f"{path}/shared/logs/told"},
        "secret_files": names,
        **({"user": user} if user else {}),
    }
    document = service(project({"web": declared}, path=path, platform="systemd", name_prefix=prefix), "web")
    # Owned by root alone: it is systemd that hands them to the unit.
    run = f"{path}/.deploy/run/{document['program']}/one/secret-files"
    packed = "\n".join(value.encode().hex() for value in values)
    systemd_host.write(f"{path}/values", packed + "\n")
    systemd_host.exec(["mkdir", "-p", "-m", "700", run])
    systemd_host.exec(["python3", "-c", _UNPACK, f"{path}/values", run])

    start(systemd_host, document, path=path)

    wait = 'for _ in $(seq 400); do grep -q "}$" "$1" 2>/dev/null && exec cat "$1"; sleep 0.05; done; exit 1'
    told = json.loads(systemd_host.exec(["sh", "-c", wait, "wait", f"{path}/shared/logs/told"]).stdout)
    assert [bytes.fromhex(told["files"][name][0]).decode() for name in names] == values
    assert {mode for _, mode in told["files"].values()} <= {"0o400", "0o440"}
    assert not set(names) & set(told["env"])
    seen = systemd_host.exec(["cat", f"/run/credentials/{document['program']}/S0"], user="ann", check=False)
    assert seen.returncode != 0
    systemd_host.exec(["systemctl", "kill", "--signal=KILL", document["program"]])
    systemd_host.exec(["systemctl", "stop", document["program"]])
    gone = systemd_host.exec(["test", "-e", f"/run/credentials/{document['program']}"], check=False)
    assert gone.returncode != 0


def test_a_service_writes_into_shared_and_nowhere_else(systemd_host: TestHost, place: Place) -> None:
    tries = f"{place.path}/shared/a {place.path}/b {place.path}/releases/id/c /srv/d /root/e /home/f /etc/g /usr/h"
    script = f"for file in {tries}; do touch $file 2>/dev/null && echo $file; done; ls /root /home/ann 2>/dev/null"
    report = f"{place.path}/shared/logs/told"
    command = [
        "sh",
        "-c",
        f"({script}) >{report}.new; echo '}}' >>{report}.new; mv {report}.new {report}; exec sleep 60",
    ]
    path = place.path
    described = project({"web": {"command": command}}, path=path, platform="systemd", name_prefix=f"{place.name}-")
    start(systemd_host, service(described, "web"), path=path)

    wait = 'for _ in $(seq 200); do [ -e "$1" ] && exec cat "$1"; sleep 0.05; done; exit 1'
    said = systemd_host.exec(["sh", "-c", wait, "wait", report]).stdout

    assert said.splitlines() == [f"{place.path}/shared/a", "}"]


@pytest.mark.parametrize("resources", [{}, {"gpus": 1}], ids=["cpu", "gpu"])
def test_what_services_do_works_in_the_sandbox(systemd_host: TestHost, place: Place, resources: dict[str, Any]) -> None:
    """Threads, child processes, sockets, temporary files, clocks, executable memory, and where CPUs may run."""
    work = (
        "import ctypes, mmap, os, socket, subprocess, tempfile, threading, time\n"
        "threading.Thread(target=time.sleep, args=(0,)).start()\n"
        "subprocess.run(['true'], check=True)\n"
        "socket.create_server(('127.0.0.1', 0)).close()\n"
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()\n"
        "tempfile.NamedTemporaryFile().close()\n"
        "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()\n"
        "os.sched_setaffinity(0, os.sched_getaffinity(0)); os.nice(1)\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)()\n"
        "open('/proc/meminfo').close(); open('/proc/cpuinfo').close(); open('/dev/null', 'w').close()\n"
    )
    command = [*ECHO_AND_STAY[:-1], work + ECHO_AND_STAY[-1]]

    document, _ = installed(systemd_host, place, {"command": command, "resources": resources})

    shown = systemd_host.exec(["systemctl", "is-active", document["program"]])
    assert shown.stdout == "active\n"


def test_only_a_service_that_starts_containers_reaches_the_docker_engine(systemd_host: TestHost, place: Place) -> None:
    """What listens is no engine, but its socket is the group's alone, as Docker's is."""
    systemd_host.exec(["groupadd", "--force", "--system", "docker"])
    engine = f"/run/{place.name}.sock"
    listen = "import os, shutil, socket, sys; listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1])"
    listen += "; shutil.chown(sys.argv[1], 0, 'docker'); os.chmod(sys.argv[1], 0o660)"
    systemd_host.exec(["python3", "-c", f"{listen}; listener.listen()", engine])
    connect = (
        "import os, socket\n"
        "host = os.environ.get('DOCKER_HOST', '')\n"
        f"try: socket.socket(socket.AF_UNIX).connect(host.removeprefix('unix://') or {engine!r})\n"
        "except OSError as error: os.environ['SAID'] = type(error).__name__\n"
    )
    declared = {"command": [*ECHO_AND_STAY[:-1], connect + ECHO_AND_STAY[-1]], "user": "www-data"}

    document, without = installed(systemd_host, place, declared)
    systemd_host.exec(["systemctl", "stop", document["program"]])
    systemd_host.exec(["rm", f"{place.path}/shared/logs/told"])
    _, using = installed(systemd_host, place, {**declared, "docker": engine})

    assert without.env["SAID"] == "PermissionError"
    # Nobody accepts any more, which only who may connect is told.
    assert using.env["SAID"] == "ConnectionRefusedError"


def test_a_port_below_1024_needs_no_root(systemd_host: TestHost, place: Place) -> None:
    port = 200 + place.number
    listen = f"import socket\nserver = socket.create_server(('127.0.0.1', {port}))\n"
    command = [*ECHO_AND_STAY[:-1], listen + ECHO_AND_STAY[-1]]

    _, echoed = installed(systemd_host, place, {"command": command, "port": port, "user": "www-data"})

    assert echoed.env["USER"] == "www-data"


def test_a_quota_of_the_unit_counts_as_cpus(systemd_host: TestHost, place: Place) -> None:
    declared = {"command": [*ECHO_AND_STAY, "${cpus}"], "env": {"ECHO_TO": f"{place.path}/shared/logs/told"}}
    described = project({"web": declared}, path=place.path, platform="systemd", name_prefix=f"{place.name}-")
    document = service(described, "web")
    manifest = document["manifest"]
    manifest["text"] = manifest["text"].replace("[Service]\n", "[Service]\nCPUQuota=100%\n")

    start(systemd_host, document, path=place.path)

    assert told(systemd_host, f"{place.path}/shared/logs/told").argv == ["1"]


def test_a_user_unit_runs_without_any_privilege(systemd_host: TestHost, place: Place) -> None:
    path = f"/home/ann/{place.name}"
    declared = {"command": ECHO_AND_STAY, "env": {"ECHO_TO": f"{path}/shared/logs/told"}}
    described = project({"web": declared}, path=path, platform="systemd", user_units=True, name_prefix=f"{place.name}-")
    document = service(described, "web")
    run = f"{path}/.deploy/run/{document['program']}"
    systemd_host.exec(["sh", "-ec", _LAYOUT, "layout", run, path], user="ann")
    systemd_host.write(f"{run}/one/launch", document["launch"], mode=0o500, owner="ann")
    systemd_host.exec(["mkdir", "-p", "/home/ann/.config/systemd/user"], user="ann")
    systemd_host.write(f"/home/ann/.config/systemd/user/{document['manifest']['name']}", document["manifest"]["text"])

    systemd_host.exec(["systemctl", "--user", "daemon-reload"], user="ann")
    systemd_host.exec(["systemctl", "--user", "enable", "--now", document["program"]], user="ann")

    assert told(systemd_host, f"{path}/shared/logs/told").cwd == f"{path}/releases/id"


# Serves after a while, like a server that loads a model; a request to /work is in flight for a second.
_LOADS = """
import http.server, socketserver, sys, time
began, busy = time.monotonic(), [0]
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        allowed = self.path != "/metrics" or self.headers["Authorization"] == "Bearer it's a $key"
        status = 401 if not allowed else 200 if time.monotonic() - began > 0.7 else 503
        body = f"# HELP busy\\nbusy {busy[0]}\\nother 7\\n"
        if self.path == "/work":
            busy[0] += 1; time.sleep(1); busy[0] -= 1; body = "all of it"
        self.send_response(status); self.end_headers(); self.wfile.write(body.encode())
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.parametrize("kind", ["secrets", "secret_files"])
def test_a_unit_is_started_once_it_serves_and_stopped_once_nothing_is_in_flight(
    systemd_host: TestHost, place: Place, kind: str
) -> None:
    declared = {
        "command": ["/usr/bin/python3", "-I", "-S", "-c", _LOADS, "${port}"],
        "port": place.port(),
        kind: ["KEY"],
        "drain": "20s",
        "check": {"http": "/health"},
        "metrics": {"busy": ["busy"], "token": "KEY"},
        "user": "www-data",
    }
    described = project({"web": declared}, path=place.path, platform="systemd", name_prefix=f"{place.name}-")
    document = service(described, "web")
    run = f"{place.path}/.deploy/run/{document['program']}"
    if kind == "secrets":
        systemd_host.write(f"{run}/one/secrets", "export KEY='it'\\''s a $key'\n", mode=0o400, owner="www-data")
    else:
        systemd_host.write(f"{run}/one/secret-files/KEY", "it's a $key", mode=0o400, owner="www-data")

    start(systemd_host, document, path=place.path)
    ask = ["curl", "-sS", "-m", "30", f"http://127.0.0.1:{place.port()}/work"]
    with subprocess.Popen(systemd_host.inside(ask), stdout=subprocess.PIPE, text=True) as in_flight:
        metrics = f"http://127.0.0.1:{place.port()}/metrics"
        busy = f"curl -s -H 'Authorization: Bearer it'\\''s a $key' {metrics} | grep -q 'busy 1'"
        systemd_host.exec(["sh", "-c", f"until {busy}; do sleep 0.02; done"])
        systemd_host.exec(["systemctl", "stop", document["program"]])
        assert in_flight.communicate()[0] == "all of it"

    journal = systemd_host.exec(["journalctl", "-o", "cat", "-u", document["program"]]).stdout
    assert "ready after" in journal
    assert "idle after" in journal
    assert ": 0 requests in flight" in journal


def test_a_program_that_ended_before_it_was_waited_for_is_not_waited_for(systemd_host: TestHost, place: Place) -> None:
    check = {"http": "/health", "timeout": "10m"}
    web = {"command": ["/bin/false"], "port": place.port(), "check": check}
    document = service(project({"web": web}, path=place.path, platform="systemd"), "web")
    launch = f"{place.path}/launch"
    systemd_host.write(launch, document["launch"], mode=0o500)

    # systemd names the main process, in MAINPID, to whoever it starts while there is one.
    asked = systemd_host.exec(["env", "-u", "MAINPID", launch, "ready"], check=False, timeout=60)

    assert asked.returncode == 1
    assert "not ready after" in asked.stdout
