"""The command that starts a conversation: one constant `python3 -I -S -c SOURCE` whatever the host or project.

The first line of its input is the header. Where the host has the agent of that digest, it runs at once; else the
loader asks for it, checks what it gets, and unpacks it, under the project's folder, or in a temporary one where the
host must stay as it is. Values come over the input, never as arguments: others on the host could read them there.
"""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from pathlib import Path
from typing import List, Tuple

# Reads byte by byte up to the newline: what follows is the agent's to read. Requests may come before the agent that
# answers them, because the toolkit does not wait to hear whether the host has it. While the header is on its way, what
# the agent will import of the standard library is imported.
# Services may run under accounts of their own: whatever umask the login has, they can read what is not kept private.
SOURCE = """\
import sys,os,json
import configparser,dataclasses,hashlib,hmac,platform,secrets,shutil,subprocess,typing,xmlrpc.client
os.umask(0o22)
def line():
    b=b""
    while not b.endswith(b"\\n"):
        c=os.read(0,1)
        if not c: sys.exit(0)
        b+=c
    return b
h=json.loads(line())
a=os.path.join(h["path"],".deploy","agents")
d=os.path.join(a,h["agent"])
if not os.path.isdir(d):
    import hashlib,io,shutil,tempfile,zipfile
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
    if hashlib.sha256(b).hexdigest()!=m["sha256"]: sys.exit("the agent arrived damaged")
    if h.get("install"): os.makedirs(a,mode=0o711,exist_ok=True); os.chmod(a,0o700)
    t=tempfile.mkdtemp(prefix=".new-",dir=a if h.get("install") else None)
    zipfile.ZipFile(io.BytesIO(b)).extractall(t)
    if h.get("install"):
        try: os.rename(t,d)
        except OSError: shutil.rmtree(t)
    else:
        import atexit
        d=t
        atexit.register(shutil.rmtree,t,True)
sys.path.insert(0,d)
from deploy_agent.__main__ import serve
serve(h,sys.stdin.buffer,sys.stdout.buffer)
"""


def command(python: str) -> List[str]:
    """What is run on a host, with the Python that is called `python` there."""
    return [python, "-I", "-S", "-c", SOURCE]


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
    folder = Path(__file__).parent
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in sorted(folder.rglob("*.py"))]
