"""A worker of the queue, and HTTP beside it: /health says whether it works, /work has it work.

TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE say where the queue is; S3_ENDPOINT, S3_BUCKET, AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY where the store is.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError
from temporalio.client import Client
from temporalio.worker import Worker
from work import BUCKET, QUEUE, Keep, keep, store

PORT = 8000


async def answer(client: Client, path: str) -> tuple[int, dict[str, str]]:
    """The status, and what is said."""
    try:
        if path == "/health":
            await asyncio.to_thread(lambda: store().head_bucket(Bucket=BUCKET))
            return 200, {"status": "ok"}
        if path == "/work":
            text = uuid.uuid4().hex
            kept = await client.execute_workflow(
                Keep.run, text, id=text, task_queue=QUEUE, execution_timeout=timedelta(seconds=30)
            )
            return 200, {"kept": kept}
    except Exception as error:
        return 503, {"error": f"{type(error).__name__}: {error}"}
    return 404, {"error": f"{path} is not here"}


async def serve(client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request of HTTP/1.0, as the probe makes it."""
    try:
        request = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).split(b" ", 2)
        status, said = await answer(client, request[1].decode() if len(request) > 2 else "")
        body = json.dumps(said).encode()
        head = f"HTTP/1.0 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass
    finally:
        writer.close()


def make_bucket() -> None:
    try:
        store().create_bucket(Bucket=BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            raise


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await asyncio.to_thread(make_bucket)
    except (BotoCoreError, ClientError) as error:
        raise SystemExit(f"no S3 store at {os.environ['S3_ENDPOINT']}: {error}") from None
    address = os.environ["TEMPORAL_ADDRESS"]
    try:
        client = await Client.connect(address, namespace=os.environ.get("TEMPORAL_NAMESPACE", "default"))
    except RuntimeError as error:
        raise SystemExit(f"no Temporal server at {address}: {error}") from None
    with ThreadPoolExecutor(4) as threads:
        async with Worker(client, task_queue=QUEUE, workflows=[Keep], activities=[keep], activity_executor=threads):
            server = await asyncio.start_server(lambda *pair: serve(client, *pair), "0.0.0.0", PORT)
            async with server:
                print(f"working on {QUEUE}, listening on {PORT}")
                await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
