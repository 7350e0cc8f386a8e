"""What is run on a host: the agent, which is brought along, or a command once its folder can be trusted."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import List, Sequence, Tuple

from ..contract.layout import ACME_CLIENT
from .alone import program

NAME = "deploy agent"
_PROSE = re.compile(r'^ *(?:"""(?:.|\n)*?"""|#.*)\n', re.MULTILINE)  # docstrings, and comments on lines of their own
_THEN = '"$1" -I -S -c "$2" "$3" && shift 3 && exec "$@"'


def command(python: str) -> List[str]:
    """What begins a conversation, with the Python that is called `python` there."""
    return [python, "-I", "-S", "-c", _packed()]


@lru_cache(maxsize=1)
def _packed() -> str:
    """`alone.begin` in a third of its size: with the first request after it, it has to fit into what TCP sends before
    it waits for an answer (RFC 6928: ten segments, some 14 kB). Its first words are for whoever lists processes there.
    """
    source = _PROSE.sub("", program("alone/begin", "trust", call="main()"))
    text = base64.b64encode(zlib.compress(source.encode(), 9)).decode("ascii")
    return f'"{NAME}";import base64,zlib;exec(zlib.decompress(base64.b64decode("{text}")))'


def guarded(python: str, folder: str, words: Sequence[str]) -> List[str]:
    """What runs `words` on a host, once nobody else can change what lies in `folder` there."""
    guard = program("alone/guarded", "trust", call="sys.exit(main(sys.argv[1]))")
    return ["sh", "-c", _THEN, "sh", python, guard, folder, *words]


def following(python: str) -> List[str]:
    """What follows the logs that it is told of on its input."""
    return [python, "-I", "-S", "-c", program("alone/follow", "trust", call="sys.exit(main())")]


def executing(python: str, root: str, channel: str, name: str, words: Sequence[str]) -> List[str]:
    """What runs `words` in a release on a host; arguments as of `alone.execute`."""
    source = program("alone/execute", "trust", call="sys.exit(main(*sys.argv[1:]))")
    return [python, "-I", "-S", "-c", source, root, channel, name, *words]


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
    buffer = io.BytesIO()
    import zipfile

    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in _modules():
            archive.writestr("deploy_agent/" + name, content)
    return buffer.getvalue()


def _client() -> bytes:
    """The ACME client: one file, for any Python, that is run and never imported (`keeper/certificates.py`)."""
    import importlib.util

    found = importlib.util.find_spec(ACME_CLIENT[:-3])
    assert found and found.origin  # noqa: S101  (it is a dependency of this toolkit)
    return Path(found.origin).read_bytes()


@lru_cache(maxsize=1)
def _modules() -> List[Tuple[str, bytes]]:
    """What lies in `deploy_agent` on a host, in the order in which `trust.digest` reads it there."""
    agent = Path(__file__).parent
    found = {"__init__.py": b"", "__main__.py": (agent / "__main__.py").read_bytes(), ACME_CLIENT: _client()}
    for folder in (agent, agent.parent / "contract"):
        for path in folder.rglob("*.py"):
            if path.name != "__main__.py":
                found[path.relative_to(agent.parent).as_posix()] = path.read_bytes()
    return sorted(found.items(), key=lambda item: item[0].split("/"))
