"""Runs on a host: one transaction that is killed, what it leaves, the recovery, and what that leaves.

    python3 on_host.py try  <REQUEST       kill, look, recover, look: one JSON answer
    python3 on_host.py act  <REQUEST       the transaction alone, as the agent's worker performs it
    python3 on_host.py look <REQUEST       what is there now

The agent is the one that real deploys have brought here.
"""

# ruff: noqa: PTH110, PTH112, PTH119, PTH123, PTH207, PTH208, T201
import contextlib
import glob
import json
import os
import re
import subprocess
import sys
import time
import urllib.request


def agent_folder(request):
    root = request["root"]
    if "agent" in request:
        return root + "/.deploy/agents/" + request["agent"]
    folders = [path for path in glob.glob(root + "/.deploy/agents/*") if not os.path.basename(path).startswith(".")]
    return max(folders, key=os.path.getmtime)


def act(request):
    """What `worker.start` forks: `_live` is the worker from its first instruction on."""
    folder = agent_folder(request)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # nor makes a folder for it: those that the transaction makes are counted
    sink = os.open(events_of(request), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if not os.path.isdir(folder + "/deploy_agent/contract"):
        act_as_before(request, os.path.basename(folder), sink)  # and ends there, as a worker does
    from deploy_agent.agent import activate, worker
    from deploy_agent.agent.masks import Masks
    from deploy_agent.contract.layout import Layout

    layout, transaction = Layout(request["root"]), worker.new_transaction()
    header = dict(request["header"], agent=os.path.basename(folder))

    def work(emit, aborted):
        if "weigh" in request:
            from deploy_agent.agent import rolling

            return rolling.weigh(layout, header, transaction, request["weigh"], emit)
        if "peers" in request:
            from deploy_agent.agent import introduced

            return introduced.change(layout, header, transaction, request["peers"], emit)
        return activate.perform(layout, header, transaction, request["transaction"], emit, aborted)

    worker._live(layout, transaction, work, Masks([]), sink)


def act_as_before(request, agent, sink):
    """The same with an agent of before there was a contract: it was told in one request what is a header now."""
    from deploy_agent import activate, worker
    from deploy_agent.layout import Layout

    layout, transaction = Layout(request["root"]), worker.new_transaction()
    asked = dict(request["header"], **request["transaction"])
    masks = []
    if os.path.exists(worker.__file__.replace("worker.py", "masks.py")):
        from deploy_agent.masks import Masks

        masks.append(Masks([]))
    worker._live(
        layout,
        transaction,
        lambda emit, aborted: activate.perform(layout, agent, transaction, asked, emit, aborted),
        *masks,
        sink,
    )


def events_of(request):
    return "/var/tmp/{name}.events".format(**request)


def killed(argv, request, kill):
    """Run `argv` and kill it as `kill` says; whether it was, and at which call.

    With `then`, a shell command, it is not killed but stopped there; it goes on when the command has ended.
    """
    record = "/var/tmp/{name}.strace".format(**request)
    open(record, "w").close()
    strace = []
    if "calls" in kill:
        signal = "SIGSTOP" if "then" in kill else "SIGKILL"
        strace = ["strace", "-qqq", "--signal=SIGSTOP", "-o", record, "--trace=" + kill["calls"]]
        strace += ["--trace-path=" + path for path in kill["paths"]]
        strace.append("--inject={calls}:signal={signal}:when={when}".format(signal=signal, **kill))
    process = subprocess.Popen(
        [*strace, *argv], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    process.stdin.write(json.dumps(request).encode())
    process.stdin.close()
    if "after" in kill:
        try:
            process.wait(kill["after"])
        except subprocess.TimeoutExpired:
            process.kill()
    if "then" in kill:
        stopped = wait_until_stopped(process, record)
        subprocess.run(["sh", "-c", kill["then"]], check=True)
        os.kill(stopped, 18)
    process.wait()
    return {
        "killed": process.returncode in (-9, 137),
        "call": "\n".join(text_of(record)[-400:].splitlines()[-3:]),
    }


def wait_until_stopped(strace, record):
    """The pid of what strace runs, once the injected signal has stopped it.

    Only strace's record tells: to /proc, each call that strace looks at is a stop as well, and so is the start.
    """
    while "--- stopped by SIGSTOP ---" not in text_of(record):
        assert strace.poll() is None, "it ended before the call"
        time.sleep(0.01)
    return int(text_of(f"/proc/{strace.pid}/task/{strace.pid}/children"))


def one_try(request):
    root, kill = request["root"], request["kill"]
    answer = killed([sys.executable, "-I", __file__, "act"], request, kill)
    with open(events_of(request)) as stream:
        answer["events"] = [json.loads(line) for line in stream if line.endswith("\n")]
    answer["broken"] = look(request)
    if request["recover"]:
        recover = [sys.executable, "-I", agent_folder({"root": root}) + "/deploy_agent/__main__.py", "recover", root]
        if "recovery" in request:
            answer["recovery"] = killed(recover, request, request["recovery"])
            answer["broken again"] = look(request)
        done = subprocess.run(recover, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        answer["said"] = done.stdout.decode(errors="replace")
        answer["after"] = look(request)
    return answer


def look(request):
    root, name = request["root"], request["name"]
    state = read(root + "/.deploy/state.json")
    history = sorted(glob.glob(root + "/.deploy/history/*.json"))
    journal = None
    if os.path.exists(root + "/.deploy/journal"):
        with open(root + "/.deploy/journal", "rb") as stream:
            journal = re.findall(rb'"step": "(\w+)"', stream.read())
    manifests = [
        path
        for path in glob.glob("/etc/supervisor/conf.d/*.conf") + glob.glob("/etc/systemd/system/*.service")
        if root + "/" in text_of(path)
    ]
    manifests += glob.glob(root + "/.deploy/containers/*.json")
    return {
        "state": state,
        "stable": os.path.basename(os.path.realpath(root + "/stable")),
        "history": read(history[-1]),
        "journal": None if journal is None else [step.decode() for step in journal],
        "answers": {port: ask(port, name) for port in request["ports"]},
        "running": sorted(service + " " + version for service, version, _ in running(name)),
        "known": sorted(known(request["platform"], request["prefix"])),
        "manifests": sorted(os.path.basename(path) for path in manifests),
        "launches": {
            path: sorted(os.listdir(root + "/.deploy/run/" + path)) for path in os.listdir(root + "/.deploy/run")
        },
        "litter": sorted(litter(root)),
    }


def text_of(path):
    with open(path, errors="replace") as stream:
        return stream.read()


def read(path):
    with open(path) as stream:
        return json.load(stream)


def ask(port, name):
    """[version, token, pid] of what answers on a port; empty where nothing does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            told = json.load(answer)
    except OSError:
        return []
    version, service = told["env"]["VERSION"], told["env"]["SERVICE"]
    # What a container calls 1 has another number out here.
    pids = [pid for one, other, pid in running(name) if (one, other) == (service, version) and named(pid, told["pid"])]
    return [told["version"], told["env"].get("TOKEN", ""), *pids[:1]]


def named(pid, inside):
    """Whether a process is `inside` to itself."""
    try:
        with open(f"/proc/{pid}/status") as stream:
            return re.search(r"^NSpid:.*\t(\d+)$", stream.read(), re.MULTILINE).group(1) == str(inside)
    except OSError:
        return False


def running(name):
    """Service, version and pid of each process that belongs to this project, found by its environment."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as stream:
                if stream.read() == "docker-init\n":  # of the engine; it has the environment of what it starts
                    continue
            with open(f"/proc/{pid}/environ", "rb") as stream:
                environ = dict(item.split(b"=", 1) for item in stream.read().split(b"\0") if b"=" in item)
        except OSError:
            continue
        if environ.get(b"PLACE") == name.encode():
            yield environ[b"SERVICE"].decode(), environ[b"VERSION"].decode(), int(pid)


def known(platform, prefix):
    """Programs of this project that the supervisor knows."""
    if platform == "systemd":
        command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", prefix + "*"]
        listed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
        return [line.split()[0] for line in listed.splitlines()]
    if platform == "docker":
        while subprocess.run(["docker", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            time.sleep(0.1)  # it was killed, and comes back
        command = ["docker", "ps", "--all", "--filter", "name=^" + prefix, "--format", "{{.Names}}"]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode().split()
    import http.client
    import socket
    import xmlrpc.client

    class Unix(xmlrpc.client.Transport):
        def make_connection(self, host):
            connection = http.client.HTTPConnection("localhost")
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect("/var/run/supervisor.sock")
            return connection

    rpc = xmlrpc.client.ServerProxy("http://localhost", transport=Unix())
    with contextlib.suppress(OSError):  # of one that was killed nobody knows anything
        return [info["name"] for info in rpc.supervisor.getAllProcessInfo() if info["name"].startswith(prefix)]
    return []


def litter(root):
    """Half-made files and links of ours, wherever we write."""
    folders = [root, root + "/.deploy", root + "/.deploy/history", root + "/releases", "/var/lib/deploy"]
    folders += glob.glob(root + "/.deploy/run") + glob.glob(root + "/.deploy/run/*")
    folders += [
        root + "/.deploy/containers",
        "/etc/supervisor/conf.d",
        "/etc/systemd/system",
        "/var/lib/deploy/projects",
    ]
    for folder in folders:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.startswith((".trash-", ".probe")) or name.endswith(".new") or name == "reserve":
                yield folder + "/" + name


if __name__ == "__main__":
    verb = {"try": one_try, "act": act, "look": look}[sys.argv[1]]
    print(json.dumps(verb(json.load(sys.stdin))))
