"""A front that leads to those of other machines: real HAProxy at both ends, and certificates that are pinned."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.agent.front.master import Master
from provision.agent.front.values import DRAIN, READY, Backend, Bind, Far, Front, Peer, Route, Server
from tests.agent.front.stand import PATIENCE, Answered, Crowd, Stand
from tests.faults.hooks import until

_NAME = "gpu.shop.internal"


def made(folder: Path, name: str = _NAME) -> str:
    """A key and its certificate in `own.pem` there; the certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/", "-addext", f"subjectAltName=DNS:{name}", "-days", "3", "-keyout", str(folder / "key")]
    certificate = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    (folder / "own.pem").write_text(certificate + (folder / "key").read_text())
    return certificate


class Distant:
    """An edge, and machines behind it, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.edge = self._stand("edge")
        self.shown = made(folder / "edge" / "peers")
        self.machines: dict[str, Stand] = {}
        self.certificates: dict[str, str] = {}

    def _stand(self, name: str) -> Stand:
        place = self._folder / name / "traffic"
        place.mkdir(parents=True, exist_ok=True)
        return Stand(place)

    def machine(self, name: str) -> Stand:
        """One whose port lets the edge in, and nobody else, and whose program is called as it is."""
        stand = self.machines[name] = self._stand(name)
        self.certificates[name] = made(self._folder / name / "peers")
        (self._folder / name / "peers" / "admitted.pem").write_text(self.shown)
        stand.start(name)
        peer = Peer("../peers/own.pem", "../peers/admitted.pem", _NAME, self.shown)
        bind = Bind(stand.port, (Route("api"),), "127.0.0.1", peer=peer)
        stand.serve(Front(str(stand.folder), "shop", (bind,), (Backend("api", (stand.server(name),)),)))
        return stand

    def become(self, *takes: str, places: int = 3, repeat: bool = True, hold: float = 20.0) -> None:
        """Lead to the machines by their places in the order in which they came; those of `takes` take requests."""
        servers = []
        names = [*self.machines, *[""] * places][:places]
        for number, name in enumerate(names, 1):
            certificate = self.certificates.get(name, self.shown)
            peer = Peer("../peers/own.pem", f"../peers/gpu.{number}.trusted.pem", _NAME, certificate)
            port = self.machines[name].port if name else 1
            servers.append(Server(f"gpu.{number}", port, state=READY if name in takes else DRAIN, peer=peer))
        backend = Backend("api", tuple(servers), hold_seconds=hold, held=not takes, far=Far(repeat))
        bind = Bind(self.edge.port, (Route("api"),), "127.0.0.1", inside=True)
        front = Front(str(self.edge.folder), "shop", (bind,), (backend,))
        if self.edge._process is None:
            self.edge.serve(front)
        else:
            self.edge.runtime.become(front)


@pytest.fixture
def far() -> Iterator[Distant]:
    with tempfile.TemporaryDirectory(prefix="far-") as folder:
        found = Distant(Path(folder))
        try:
            yield found
        finally:
            for stand in (found.edge, *found.machines.values()):
                stand.close()


def test_machines_come_and_die_and_are_replaced_and_nobody_meets_it(far: Distant) -> None:
    for name in "ab":
        far.machine(name)
    far.become("a", "b")
    worker = far.edge.worker()
    with Crowd(far.edge) as crowd:
        crowd.more()
        far.machines["a"].process.kill()  # its own HAProxy, with no way to say goodbye
        crowd.more()
        far.become("b")
        far.machine("c")  # in a place that nobody had: its certificate is said, not read
        far.become("b", "c")
        crowd.more(60)
        far.become("c")
        crowd.more()
    # What was being answered when it was killed is broken off; nobody goes on in the middle of an answer.
    assert [each for each in crowd.failed if not each.body.startswith("IncompleteRead")] == []
    assert {answer.program for answer in crowd.answers[-10:]} == {"c"}
    assert far.edge.worker() == worker


def test_a_place_that_is_new_to_a_reload_is_asked_by_the_one_that_believes_its_certificate(
    far: Distant, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.machine("a")
    far.become("a", places=1)
    far.machine("b")
    said: list[str] = []
    tell = Master.tell

    def heard(master: Master, pid: int, words: list[str]) -> list[str]:
        said.extend(words)
        return tell(master, pid, words)

    monkeypatch.setattr(Master, "tell", heard)
    with Crowd(far.edge) as crowd:
        far.become("a", "b", places=2)
        crowd.more(60)
    assert crowd.failed == []
    assert {answer.program for answer in crowd.answers[-30:]} == {"a", "b"}
    assert [words for words in said if words.startswith("add server")] == []  # which it is asked in the clear
    assert "Already exists" not in (far.edge.folder / "said").read_text()


@pytest.mark.slow
def test_requests_wait_for_a_machine_that_comes_as_long_as_they_may(far: Distant) -> None:
    far.become(hold=3.0)
    late = far.edge.get()
    assert (late.status, "retry-after" in late.headers) == (503, True)
    assert 2 < late.seconds < 10
    far.become(hold=20.0)
    with Waiting(far) as waiting:
        far.machine("a")
        far.become("a")
    assert [answer.status for answer in waiting.answers] == [200, 200]


def test_nobody_else_is_let_in_and_nobody_else_answers(far: Distant) -> None:
    machine = far.machine("a")
    other = far.machine("b")
    far.become("a", hold=2.0)
    assert far.edge.get(X_Forwarded_For="6.6.6.6", X_Lane="stable").status == 200
    at = f"https://127.0.0.1:{machine.port}/"
    shown = str(other.folder.parent / "peers" / "own.pem")
    for more in ([], ["--cert", shown]):
        done = subprocess.run(["curl", "-sk", "-m", "5", *more, at], capture_output=True, text=True, check=False)
        assert (done.returncode != 0, done.stdout) == (True, "")
    far.certificates["a"] = far.certificates["b"]  # what is believed at its place is another's
    far.become("a", hold=2.0)
    assert far.edge.get().status == 503


class Waiting:
    """Two clients, who wait when it begins, and are answered when it ends."""

    def __init__(self, far: Distant) -> None:
        self.answers: list[Answered] = []
        self._far = far
        self._threads = [threading.Thread(target=lambda: self.answers.append(far.edge.get())) for _ in range(2)]

    def __enter__(self) -> Waiting:
        for thread in self._threads:
            thread.start()
        until(lambda: self._far.edge.runtime.held("api") == 2, "both wait", PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
