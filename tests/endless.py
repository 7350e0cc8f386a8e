"""A peer that never comes to an end: it drips, or it floods."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def endless(head: bytes, drip: bytes) -> Iterator[int]:
    """Says `head` to whoever connects, and then `drip` again and again for as long as anybody listens; its port."""

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=tell, args=(connection,), daemon=True).start()

    def tell(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(head)
                while not over.wait(0.05 if len(drip) < 100 else 0):
                    connection.sendall(drip)
            except OSError:
                pass

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
