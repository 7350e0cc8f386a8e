"""The command that starts a conversation: one constant `python3 -I -S -c SOURCE` whatever the host or project.

The first line of its input is the header. Where the host has the agent of that digest, whole and in folders that
nobody else can write to (`trust`), it runs at once; else the loader asks for it, checks what it gets, and unpacks it:
under the project's folder, synced before it has its name; or in a temporary one, where the host must stay as it is or
that folder can't be trusted. Values come over the input, never as arguments: others on the host could read them there.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from functools import lru_cache
from pathlib import Path
from typing import List, Sequence, Tuple

from . import trust

# Reads byte by byte up to the newline: what follows is the agent's to read. Requests may come before the agent that
# answers them, because the toolkit does not wait to hear whether the host has it. While the header is on its way, what
# the agent will import of the standard library is imported.
# Services may run under accounts of their own: whatever umask the login has, they can read what is not kept private.
_BEGIN = """\
import sys,os,json
import configparser,dataclasses,hashlib,hmac,platform,secrets,shutil,subprocess,typing,xmlrpc.client
os.umask(0o22)
"""
_SERVE = """
def line():
    b=b""
    while not b.endswith(b"\\n"):
        c=os.read(0,1)
        if not c: sys.exit(0)
        b+=c
    return b
def make(f,mode):
    if os.path.isdir(f): return
    make(os.path.dirname(f),0o755)
    try: os.mkdir(f,mode)
    except FileExistsError: pass
    settle(os.path.dirname(f))
def settle(f,whole=False):
    o=os.open(f,os.O_RDONLY)
    try:
        if not whole: os.fsync(o)
        else:
            import ctypes
            c=ctypes.CDLL(None,use_errno=True)
            if not hasattr(c,"syncfs"): os.sync()
            elif c.syncfs(o): raise OSError(ctypes.get_errno(),"syncfs",f)
    finally: os.close(o)
def over(what,then):
    print(json.dumps({"event":"error","kind":"refused","what":what,"why":"","next":then}),flush=True)
    shutil.rmtree(globals().get("t") or os.devnull,True)
    sys.exit(1)
def stuck(kind,e,trace):
    if not issubclass(kind,OSError): return sys.__excepthook__(kind,e,trace)
    where=e.filename or a
    over("the agent can't be unpacked on the host: %s: %s."%(where,e.strerror or e),"make room or write access there")
h=json.loads(line())
a=os.path.join(h["path"],".deploy","agents")
d=os.path.join(a,h["agent"])
keep=not fault(d)
if not keep or digest(d)!=h["agent"]:
    import io,tempfile,zipfile
    print(json.dumps({"event":"need-agent"}),flush=True)
    p=h["pending"]=[]
    while 1:
        m=json.loads(line())
        if "size" in m: break
        p.append(m)
    n=m["size"]
    b=b""
    while len(b)<n:
        c=os.read(0,n-len(b))
        if not c: sys.exit(0)
        b+=c
    keep=keep and bool(h.get("install"))
    sys.excepthook=stuck
    if keep: make(os.path.dirname(a),0o711); make(a,0o700)
    t=tempfile.mkdtemp(prefix=".new-",dir=a if keep else None)
    zipfile.ZipFile(io.BytesIO(b)).extractall(t)
    # Where a folder above has a default ACL, that counts in place of the umask.
    for r,s,f in os.walk(t):
        for e in s: os.chmod(os.path.join(r,e),0o755)
        for e in f: os.chmod(os.path.join(r,e),0o644)
    w=fault(t)
    if w: over("the agent can't be unpacked: %s."%w, w.remedy and "on the host: "+w.remedy)
    if digest(t)!=h["agent"]: over("the agent arrived damaged.","deploy up again; if it repeats, look at its disk")
    if keep:
        settle(t,True)
        try: os.rename(t,d)
        except OSError:
            if digest(d)!=h["agent"]: os.rename(d,t+".old"); os.rename(t,d)
            shutil.rmtree(t,True); shutil.rmtree(t+".old",True)
        settle(a)
    else:
        import atexit
        d=t
        atexit.register(shutil.rmtree,t,True)
    sys.excepthook=sys.__excepthook__
enter(d,keep)
from deploy_agent.__main__ import serve
serve(h,sys.stdin.buffer,sys.stdout.buffer)
"""
NAME = "deploy agent"
SOURCE = trust.text() + _BEGIN + _SERVE


# What is said in place of the command, on its output; the exit status is that of a refusal.
_GUARD = """
wrong=fault(sys.argv[1])
if wrong:
    print("what lies at %s cannot be trusted: %s. next: deploy host mend" % (sys.argv[1],wrong))
    sys.exit(4)
"""
_THEN = '"$1" -I -S -c "$2" "$3" && shift 3 && exec "$@"'


def guarded(python: str, folder: str, words: Sequence[str]) -> List[str]:
    """What runs `words` on a host, once nobody else can change what lies in `folder` there."""
    return ["sh", "-c", _THEN, "sh", python, trust.text() + _GUARD, folder, *words]


def command(python: str) -> List[str]:
    """What is run on a host, with the Python that is called `python` there."""
    return [python, "-I", "-S", "-c", _packed()]


@lru_cache(maxsize=1)
def _packed() -> str:
    """`SOURCE` in half its size: with the first request after it, it has to fit into what TCP sends before it waits
    for an answer (RFC 6928: ten segments, some 14 kB). Its first words are for whoever lists processes on the host.
    """
    text = base64.b64encode(zlib.compress(SOURCE.encode(), 9)).decode("ascii")
    return f'"{NAME}";import base64,zlib;exec(zlib.decompress(base64.b64decode("{text}")))'


@lru_cache(maxsize=1)
def digest() -> str:
    """What the agent is called on a host: sha256 over the names and the bytes of its modules."""
    total = hashlib.sha256()
    for name, content in _modules():
        total.update(b"%d %s %d " % (len(name), name.encode(), len(content)) + content)
    return total.hexdigest()


@lru_cache(maxsize=1)
def package() -> bytes:
    """The agent as one zip; most hosts have it, so it is made when one asks."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in _modules():
            archive.writestr("deploy_agent/" + name, content)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _modules() -> List[Tuple[str, bytes]]:
    """What lies in `deploy_agent` on a host, in the order in which `trust.digest` reads it there."""
    agent = Path(__file__).parent
    found = {"__init__.py": b"", "__main__.py": (agent / "__main__.py").read_bytes()}
    for folder in (agent, agent.parent / "contract"):
        for path in folder.rglob("*.py"):
            if path.name != "__main__.py":
                found[path.relative_to(agent.parent).as_posix()] = path.read_bytes()
    return sorted(found.items(), key=lambda item: item[0].split("/"))
