"""Fronts that speak with each other over TLS: one host's leads to those of other machines, and they admit it alone.

Each side makes a key, which never leaves it, and signs its own certificate. Whoever deploys carries the certificates
from one to the other over connections whose host keys are pinned (`introduced`); each side then believes that very one,
and who leads to a machine checks the name in it. So nobody in between can answer, nobody else is let in, and no
authority has a say.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import TYPE_CHECKING, List

from ..contract import peers as contract
from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import files, openssl
from .front.values import DRAIN, READY, Peer, Server

if TYPE_CHECKING:
    from ..contract.release import TrafficDocument
    from ..contract.state import State

_FOLDER = "../peers"  # as the front's folder has it, in which HAProxy is started
_ADMITTED = "admitted.pem"
_DAYS = "3650"
_LARGEST = 64 << 10
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
PEM = re.compile(r"(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]{100,8000}-----END CERTIFICATE-----\n){1,16}")
_WHAT = "a front of several machines"


def read_admitted(layout: Layout) -> str:
    """The certificates of who is let in; empty where nobody has said."""
    return _read(os.path.join(layout.peers, _ADMITTED))


def admit(layout: Layout, certificates: str) -> None:
    """Let them in, and nobody else, from when the front is made anew."""
    files.write(os.path.join(layout.peers, _ADMITTED), certificates, 0o600)


def own(layout: Layout, name: str) -> str:
    """The certificate for a name; the key stands beside it in the same file, as HAProxy reads them."""
    if not _NAME.fullmatch(name):
        raise Failure(REFUSED, f"{name!r} is no name for a certificate.")
    files.make_folder(layout.peers, 0o700)
    path = os.path.join(layout.peers, f"{name}.pem")
    if not os.path.exists(path):
        with tempfile.TemporaryDirectory(dir=layout.peers, prefix=".made-") as folder:
            key = os.path.join(folder, "key")
            words = ["-x509", "-newkey", "ec", *openssl.CURVE, "-nodes", "-keyout", key, "-days", _DAYS, "-subj", "/"]
            made = openssl.run(_WHAT, "req", *words, "-addext", f"subjectAltName=DNS:{name}")
            with open(key, encoding="ascii") as stream:
                files.write(path, made + stream.read(), 0o600)
    found = PEM.match(_read(path))
    if found is None:
        raise Failure(REFUSED, f"{path} holds no certificate.", next_step=f"remove {path} there, then: deploy up")
    return found[0]


def _read(path: str) -> str:
    try:
        with files.open_plain(path) as stream:
            return stream.read(_LARGEST).decode("ascii", "replace")
    except FileNotFoundError:
        return ""


def servers(layout: Layout, state: State, declared: TrafficDocument, service: str) -> List[Server]:
    """The machines that answer for a service of this front, one for each place that there is for them."""
    target = declared["services"][service]["behind"]
    behind = declared["behind"][target]
    shown = contract.tls_name(state.project, contract.FRONT)
    nobodys = own(layout, shown)  # a place without a machine believes what nobody else can show
    found: List[Server] = []
    for number in range(1, behind["places"] + 1):
        name = contract.place(target, number)
        known = state.peers.get(name)
        certificate = known["certificate"] if known else nobodys
        peer = Peer(f"{_FOLDER}/{shown}.pem", f"{_FOLDER}/{name}.trusted.pem", behind["name"], certificate)
        if known is None or service not in known["ports"]:
            found.append(Server(name, 1, state=DRAIN, peer=peer))
            continue
        takes = READY if known["takes"] else DRAIN
        found.append(Server(name, known["ports"][service], state=takes, address=known["address"], peer=peer))
    return found


def admitted(layout: Layout, declared: TrafficDocument) -> Peer:
    """Who is let in at the services' ports of this host, and what it is shown.

    Raises:
        Failure: nobody has said yet who that is.
    """
    text, name = read_admitted(layout), declared["admits"]
    if not text:
        what = "nobody has told this host which front leads to it."
        raise Failure(REFUSED, what, next_step="deploy up, which does")
    own(layout, name)
    return Peer(f"{_FOLDER}/{name}.pem", f"{_FOLDER}/{_ADMITTED}", name, text)
