"""The whole story of a rented machine, from an offer to the bill. No account is needed, and no money spent.

    python -m tests.providers.story         make demo-vast

The provider is a stand-in (`vast_server.py`), with its limits and its money; a minute there is a second here. What it
rents out are real hosts of this machine, with sshd and supervisord; the store of backups is a real one, SeaweedFS. Each
command is the one that a person types.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from provision.errors import Exit
from tests.faults.hooks import until
from tests.providers.books import agree, of_laptop
from tests.providers.conftest import Rental, offer, standing_in
from tests.providers.laptop import Laptop, boot
from tests.providers.store import declared, opened
from tests.testbed import Kind, Slot, TestHost, take_slot
from tests.testbed.problems import missing_requirement

_SPEED = 60
_CREDIT = 25.0
_BID = 0.20
_WRITTEN = "what a user has written"
_NOTES = "/workspace/cres/shared/data/notes.txt"
Say = Callable[[str], object]


class Story:
    """What happens, in order."""

    def __init__(self, laptop: Laptop, hosts: list[TestHost], store: dict[str, str], say: Say) -> None:
        self._laptop = laptop
        self._store = store
        self._hosts = hosts
        self._say = say

    def tell(self) -> None:
        self._declare()
        self._chapter("Look what could be rented; this costs nothing")
        self._deploy("machine", "offers")

        self._chapter("Rent by a bid, wait, have the machine show what it is worth, pin the host key that it printed")
        self._deploy("machine", "rent")

        self._chapter("Deploy to it, and prove that it works")
        self._deploy("up")
        self._expect(0, "one")

        self._chapter("Try a new release beside the old one, then promote it")
        self._laptop.change('VERSION = "one"', 'VERSION = "two"')
        self._deploy("up", "--channel", "canary")
        self._expect(0, "one")
        self._expect(0, "two", port=18000)
        self._deploy("promote")
        self._expect(0, "two")
        self._deploy("machine", "list")

        self._chapter("A user writes something; it is in the store, encrypted, before the machine is lost")
        self._deploy("exec", "--", "sh", "-c", f"mkdir -p {Path(_NOTES).parent} && echo {_WRITTEN} > {_NOTES}")
        self._deploy("machine", "backup")

        self._chapter("Somebody bids more; another is rented, has what was written, is deployed to and proven")
        (lost,) = self._laptop.rental.alive
        self._laptop.rental.change(lost, outbid_after=1)
        self._deploy("machine", "list")
        self._deploy("machine", "watch", "--once")
        self._expect(1, "two")
        if self._deploy("exec", "--", "cat", _NOTES).strip() != _WRITTEN:
            raise AssertionError("what was written on the lost machine is not on the new one")
        self._deploy("up")

        self._chapter("Nobody uses it for five seconds: its guard gives it back, laptop or none")
        self._laptop.change('until = "8h"', 'until = "8h"\nidle = "5s"\nwhen_idle = "destroy"')
        self._deploy("machine", "renew")
        until(lambda: not self._laptop.rental.alive, "the guard gives the machine back", 180)
        self._deploy("machine", "list")
        self._bill()

    def _declare(self) -> None:
        self._laptop.change('VERSION = "1"', 'VERSION = "one"')
        kind = f'kind = "interruptible"\nbid = {_BID}\non_loss = "rent again"'
        self._laptop.change('until = "8h"', f'until = "8h"\n{kind}')
        declared(self._laptop.folder, self._store.pop("STORE"), "cres")
        with (self._laptop.folder / ".env").open("a") as file:
            file.writelines(f'{name}="{value}"\n' for name, value in self._store.items())

    def _chapter(self, title: str) -> None:
        self._say(f"\n== {title}")

    def _deploy(self, *words: str, code: int = 0) -> str:
        """What a command says, which ends as it should."""
        self._say(f"$ deploy {' '.join(words)}")
        done = self._laptop.run(*words)
        for line in (done.stderr + done.stdout).splitlines():
            self._say(f"  {line}")
        if done.returncode != code:
            raise AssertionError(f"deploy {' '.join(words)} ended with {done.returncode}, not {code}")
        return done.stdout

    def _expect(self, number: int, version: str, port: int = 8000) -> None:
        """What a user of a machine's web service is answered."""
        said = json.loads(self._hosts[number].exec(["curl", "-fsS", f"http://127.0.0.1:{port}/"]).stdout)["version"]
        self._say(f"  port {port} answers {said!r}")
        if said != version:
            raise AssertionError(f"port {port} answers {said!r}, not {version!r}")

    def _bill(self) -> None:
        """What the provider knows of, and what it has taken."""
        self._chapter("The bill, by the provider's own books")
        rental = self._laptop.rental
        machines = rental.known()["machines"]
        for each in machines:
            self._say(f"  machine {each['id']}: ${each['cost']:.4f}" + ("" if each["ended"] else ", and it costs on"))
        total = sum(each["cost"] for each in machines)
        left = rental.vast.credit() or 0.0
        agree(rental, of_laptop(self._laptop))
        self._say(f"  ${total:.4f} of ${_CREDIT:.2f}; ${left:.4f} are left, and {len(rental.alive)} machines")
        if rental.alive:
            raise AssertionError("a machine is left")


def tell(folder: Path, slot: Slot, say: Say) -> Rental:
    """Have the story happen, in an empty folder. The provider as it is left.

    Raises:
        AssertionError: it went otherwise.
    """
    with ExitStack() as opening:
        hosts = [TestHost(Kind.SUPERVISORD, slot) for _ in range(2)]
        for host in hosts:
            opening.callback(host.destroy)
        boots = [boot(host, start=90) for host in hosts]
        offers = [offer(number) for number in range(1, 4)]
        standing = standing_in(folder / "market.json", offers=offers, boots=boots, speed=_SPEED, credit=_CREDIT)
        rental = opening.enter_context(standing)
        (folder / "s3").mkdir()
        store = opening.enter_context(opened(folder / "s3", slot.gateway))
        store["BACKUP_PASSPHRASE"] = secrets.token_hex(16)
        Story(Laptop.make(folder / "project", rental, hosts[0]), hosts, store, say).tell()
        return rental


def main() -> int:
    if os.geteuid() != 0:
        sys.stderr.write(
            "the hosts of this demo are network namespaces, which only root makes.\nnext: sudo make demo-vast\n"
        )
        return Exit.REFUSED
    if problem := missing_requirement():
        sys.stderr.write(f"{problem}\n")
        return Exit.REFUSED
    slot = take_slot()
    try:
        with tempfile.TemporaryDirectory() as folder:
            tell(Path(folder), slot, lambda line: (sys.stdout.write(f"{line}\n"), sys.stdout.flush()))
    finally:
        slot.release()
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
