"""A service that answers shortly or in a stream of tokens, and a client that counts what went wrong.

    python -m benchmarks.tokens PORT     # serves until SIGTERM, then ends what it has begun

Each token says when it left, by the clock that all processes of a machine share; so what arrives says how long it took.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import dataclass, field

SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nhello, world\n"
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"
_PATIENCE_SECONDS = 60.0


async def serve(port: int) -> None:
    """Answer /TOKENS/MILLISECONDS with so many tokens so far apart, and anything else shortly."""
    connections: set[asyncio.Task[None] | None] = set()
    ends = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(task := asyncio.current_task())
        try:
            while head := await _head(reader, ends):
                await _answer(head.split(b" ", 2)[1].decode(), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            connections.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=1024)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ends.set)
    await ends.wait()
    server.close()
    while connections:
        await asyncio.wait([each for each in connections if each])


async def _head(reader: asyncio.StreamReader, ends: asyncio.Event) -> bytes:
    """The next request; nothing where there is none any more, or this ends."""
    reading = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
    ending = asyncio.ensure_future(ends.wait())
    await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not reading.done():
        reading.cancel()
        return b""
    return reading.result()


async def _answer(path: str, writer: asyncio.StreamWriter) -> None:
    words = path.strip("/").split("/")
    if len(words) != 2:
        writer.write(SHORT)
    else:
        tokens, pause = int(words[0]), float(words[1]) / 1000
        writer.write(_STREAM)
        due = time.monotonic()
        for _ in range(tokens):
            due += pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            token = b"data: %020d\n\n" % time.monotonic_ns()
            writer.write(b"%x\r\n%b\r\n" % (len(token), token))
            await writer.drain()
        writer.write(_END)
    await writer.drain()


@dataclass
class Met:
    """What clients met."""

    requests: int = 0
    failed: int = 0
    tokens: int = 0
    late: list[int] = field(default_factory=list)  # of each token, nanoseconds from the service to the client
    why: dict[str, int] = field(default_factory=dict)


async def ask(port: int, path: str, met: Met, kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    """One request, over the connection that `kept` has, or else a new one; a whole answer is the only success."""
    met.requests += 1
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reader, writer = kept.pop() if kept else await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise ConnectionError(head.split(b"\r\n")[0].decode())
                await _read(reader, head.lower(), path, met)
            except BaseException:
                writer.close()
                raise
            kept.append((reader, writer))
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
        met.failed += 1
        why = f"{type(error).__name__}: {error}"
        met.why[why] = met.why.get(why, 0) + 1


async def _read(reader: asyncio.StreamReader, head: bytes, path: str, met: Met) -> None:
    """One answer.

    Raises:
        ConnectionError: a stream ended before its last token.
    """
    if b"chunked" not in head:
        await reader.readexactly(len(SHORT.split(b"\r\n\r\n")[1]))
        return
    tokens, rest = 0, b""
    while size := int(await reader.readline(), 16):
        *events, rest = (rest + (await reader.readexactly(size + 2))[:size]).split(b"\n\n")
        now = time.monotonic_ns()
        met.late += [now - int(event.removeprefix(b"data: ")) for event in events]
        tokens += len(events)
    await reader.readexactly(2)
    met.tokens += tokens
    if tokens != int(path.split("/")[1]):
        raise ConnectionError(f"{tokens} tokens of {path.split('/')[1]}")


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
