"""The hosts of one run, and what they lend one another of the models that each is to have.

Each of them lends what it has, as it comes, for as long as any other wants it: over TLS, with a certificate made here
for this transfer, and known to the others through this machine; and to who shows the transfer's secret. Who can reach
whom, they find out by trying. So the source is asked for each piece once, this machine's line carries a model once, and
who reaches nobody is none the worse.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from provision.contract.answers import Done, Lent
from provision.contract.lent import LEAST
from provision.errors import DeployError

if TYPE_CHECKING:
    from pathlib import Path

    from provision.contract.lent import Lender
    from provision.hosts import HostSpec
    from provision.release import ModelFile
    from provision.targets.deployment import Deployment
    from provision.targets.handout import Handout
    from provision.targets.host import HostConversation
    from provision.targets.ship import Shipment

_LOOK_SECONDS = 0.2
_GOOD_DAYS = 30  # nobody asks a clock; it goes by its digest, for the length of a conversation


class _Transfer:
    """One model, on its way to several hosts."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(32)
        self.one = threading.Lock()
        self.lenders: dict[str, Lender] = {}  # by host: all that lend now
        self.want: set[str] = set()  # hosts that do not have it yet
        self.bring: set[str] = set()  # hosts that this machine is sending it to
        self.have: list[HostSpec] = []  # hosts that have got it
        self.handout: Handout | None = None

    def enter(self, host: str, lender: Lender) -> bool:
        """One more is to have it; whether those that have it lend it no more."""
        with self.one:
            alone = not self.lenders
            self.lenders[host] = lender
            self.want.add(host)
            return alone and bool(self.have)

    def got(self, spec: HostSpec) -> None:
        """It has it, and lends it as long as others want it."""
        with self.one:
            self.have.append(spec)
            self.want.discard(spec.name)
            self.bring.discard(spec.name)

    def leave(self, host: str) -> None:
        """It lends nothing any more."""
        with self.one:
            self.lenders.pop(host, None)
            self.want.discard(host)
            self.bring.discard(host)


class Member:
    """A host that takes part in a transfer."""

    def __init__(self, transfer: _Transfer, host: str) -> None:
        self._transfer, self._host = transfer, host

    @property
    def lenders(self) -> list[Lender]:
        """The others."""
        with self._transfer.one:
            return [lender for host, lender in self._transfer.lenders.items() if host != self._host]

    @property
    def is_first(self) -> bool:
        """Whether no other host has all of it."""
        with self._transfer.one:
            return not self._transfer.lenders.keys() - self._transfer.want - {self._host}

    def handout(self, file: Path, model: ModelFile) -> Handout:
        """What all of them are handed out of."""
        from provision.targets.handout import Handout

        with self._transfer.one:
            if self._transfer.handout is None:
                self._transfer.handout = Handout(file, model.bytes, model.limit)
            return self._transfer.handout

    @contextlib.contextmanager
    def sent(self) -> Iterator[None]:
        """While this host is sent it; also once it has it all, but not where that failed."""
        with self._transfer.one:
            self._transfer.bring.add(self._host)
        try:
            yield
        except BaseException:
            with self._transfer.one:
                self._transfer.bring.discard(self._host)
            raise

    def others_bring(self, tried: set[str]) -> set[str]:
        """Hosts that have it or are sent it; where there are none but `tried`, this one is to be sent it now."""
        transfer = self._transfer
        with transfer.one:
            whole = transfer.lenders.keys() - transfer.want
            found = (transfer.bring | whole) - tried - {self._host}
            if not found:
                transfer.bring.add(self._host)
            return found


class Fleet:
    """The hosts of one run."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._specs: Sequence[HostSpec] = ()
        self._transfers: dict[str, _Transfer] = {}
        self._one = threading.Lock()

    def expect(self, specs: Sequence[HostSpec]) -> None:
        """Say which hosts are to have the release's models, in this run."""
        self._specs = specs

    @contextlib.contextmanager
    def joined(self, shipment: Shipment, model: ModelFile) -> Iterator[Member | None]:
        """While a host is brought a model; it lends what it has then, until no other wants it. None: it is alone."""
        session, host = shipment.session, shipment.session.spec.name
        if len(self._specs) < 2 or self._deployment.target.lend is False or model.bytes <= LEAST:
            yield None
            return
        with self._one:
            transfer = self._transfers.setdefault(model.sha256, _Transfer())
        lender = self._lend(session, transfer, model)
        if lender is None:
            yield None
            return
        with contextlib.ExitStack() as stack:
            stack.callback(_over, session)
            if transfer.enter(host, lender):
                stack.enter_context(self._again(transfer, model))
            stack.callback(transfer.leave, host)
            yield Member(transfer, host)
            transfer.got(session.spec)
            while transfer.want:
                shipment.stop_if_asked()
                time.sleep(_LOOK_SECONDS)

    def _lend(self, session: HostConversation, transfer: _Transfer, model: ModelFile) -> Lender | None:
        """Let a host lend what it has, and what comes."""
        certificate, key = _certificate()
        lend, spec = self._deployment.target.lend, session.spec
        is_rented = bool(self._deployment.target.provider)
        at = self._deployment.machines.reached(spec, lend) if is_rented and lend is not True else None
        try:
            return session.conversation.ask(
                {
                    "op": "lend-model",
                    "sha256": model.sha256,
                    "name": model.relative.rpartition("/")[2],
                    "bytes": model.bytes,
                    "limit": model.limit,
                    "host": spec.name,
                    "addresses": [session.connection.address] if session.connection.address else [],
                    "port": 0 if lend is True else lend,
                    "mapped": [at] if at else [],
                    "secret": transfer.secret,
                    "certificate": certificate,
                    "key": key,
                },
                Lent,
            )["lender"]
        except DeployError as error:
            self._deployment.on_event(
                {"event": "warning", "host": spec.name, "text": f"it lends nothing: {error.what}"}
            )
            return None

    @contextlib.contextmanager
    def _again(self, transfer: _Transfer, model: ModelFile) -> Iterator[None]:
        """One that has it already lends it once more, over a connection of its own."""
        from provision.targets.host import open_session

        spec = transfer.have[-1]
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(DeployError):
                session = stack.enter_context(open_session(self._deployment, spec))
                if lender := self._lend(session, transfer, model):
                    with transfer.one:
                        transfer.lenders[spec.name] = lender
                    stack.callback(transfer.leave, spec.name)
            yield


def _over(session: HostConversation) -> None:
    with contextlib.suppress(DeployError):  # who has gone lends nothing
        session.conversation.ask({"op": "lend-over"}, Done)


def _certificate() -> tuple[str, str]:
    """A certificate of nobody, and its key."""
    from cryptography import x509  # of several hosts with models alone
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    nobody = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lender")])
    day = dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder(nobody, nobody, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + _GOOD_DAYS * day)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()
