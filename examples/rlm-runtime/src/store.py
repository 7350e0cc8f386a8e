"""Trajectory logs in an S3 store: what several copies write is found in one place, and is there when a disk is not.

    python -m src.store            what is not there yet goes now
    python -m src.store restore    all that is there comes into RLM_LOG_DIR

RLM_LOG_BUCKET names the bucket, RLM_LOG_PREFIX a folder in it; where the store is and who may write there is told as
to every program of AWS (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION). A log that went
has a mark in RLM_LOG_DIR/.shipped, and is removed here after RLM_LOG_DAYS. Copies may share a folder: each may send
what another wrote, and the same twice is the same.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import structlog

from src import meters

SECONDS = 10.0  # between looks
_SETTLED = 2.0  # seconds: the package writes a log in one go
_DAY = 86_400

log = structlog.get_logger()


def folder() -> Path:
    return Path(os.environ.get("RLM_LOG_DIR") or "logs")


def bucket() -> str:
    """Empty where none is declared."""
    return os.environ.get("RLM_LOG_BUCKET", "")


@cache
def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard"}))


def _key(file: Path) -> str:
    prefix = os.environ.get("RLM_LOG_PREFIX", "trajectories").strip("/")
    return f"{prefix}/{file.name}" if prefix else file.name


def _mark(file: Path) -> Path:
    return file.parent / ".shipped" / file.name


def waiting() -> list[Path]:
    """Logs that are not in the store as they are here."""

    def differs(file: Path) -> bool:
        mark = _mark(file)
        return not mark.exists() or mark.stat().st_mtime < file.stat().st_mtime

    return [file for file in sorted(folder().glob("*.jsonl")) if differs(file)]


def ship(settled: float = _SETTLED) -> int:
    """Send what waits and was not touched for `settled` seconds, remove what is old and there; how many went.

    Raises:
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: the store did not take one.
    """
    sent = 0
    files = waiting()
    try:
        for file in files:
            changed = file.stat().st_mtime
            if time.time() - changed < settled:
                continue
            _client().upload_file(str(file), bucket(), _key(file))
            mark = _mark(file)
            mark.parent.mkdir(exist_ok=True)
            mark.touch()
            os.utime(mark, (changed, changed))
            sent += 1
    finally:
        meters.UNSHIPPED.set(len(files) - sent)
    days = float(os.environ.get("RLM_LOG_DAYS") or 30)
    for mark in (folder() / ".shipped").glob("*.jsonl"):
        file = folder() / mark.name
        if not file.exists() or (file.stat().st_mtime == mark.stat().st_mtime < time.time() - days * _DAY):
            file.unlink(missing_ok=True)
            mark.unlink(missing_ok=True)
    return sent


def restore() -> int:
    """Get all that is in the store; what is here already stays as it is. How many came."""
    got = 0
    folder().mkdir(parents=True, exist_ok=True)
    pages = _client().get_paginator("list_objects_v2").paginate(Bucket=bucket(), Prefix=_key(Path()).removesuffix("."))
    for page in pages:
        for found in page.get("Contents", ()):
            file = folder() / Path(found["Key"]).name
            if not file.exists():
                _client().download_file(bucket(), found["Key"], str(file))
                got += 1
    return got


def reachable() -> None:
    """Raises where the store is not, or has no such bucket for us."""
    _client().head_bucket(Bucket=bucket())


def keep_shipping() -> None:
    """In a thread, for as long as the process lives. What fails stays, is counted, and is tried again."""

    def run() -> None:
        while True:
            try:
                ship()
            except Exception as error:  # whatever it is: the next look tries again
                log.warning("logs not shipped", error=type(error).__name__, bucket=bucket())
            time.sleep(SECONDS)

    if bucket():
        threading.Thread(target=run, name="ship", daemon=True).start()


if __name__ == "__main__":
    if not bucket():
        sys.exit("RLM_LOG_BUCKET names no bucket.")
    print(restore() if sys.argv[1:] == ["restore"] else ship(settled=0))
