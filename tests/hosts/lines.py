"""Bad lines between a laptop and a host: cut, silent, deaf."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provision.hosts.spec import HostSpec


class CutLine:
    """Passes bytes on to a host's port until `after` of them have gone up, then cuts every connection."""

    def __init__(self, port: int, after: int) -> None:
        self._target = port
        self._left = after
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self._cut()

    def _cut(self) -> None:
        for open_socket in self._sockets:
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, upward: bool) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
                self._left -= len(data) if upward else 0
                if self._left < 0:
                    self._cut()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


def through(spec: HostSpec, port: int, folder: Path) -> HostSpec:
    """`spec` as reached through another local port, its key pinned for that port as well."""
    known = folder / f"known_hosts_{port}"
    text = spec.known_hosts[0].read_text().replace(f":{spec.port} ", f":{port} ")
    known.write_text(text)
    return dataclasses.replace(spec, port=port, known_hosts=(known,))


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose packets go nowhere: its queue of connections is full, so Linux drops further ones."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        try:
            yield listener.getsockname()[1]
        finally:
            for client in waiting:
                client.close()
