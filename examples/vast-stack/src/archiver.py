"""Brings results to the S3 store at S3_ENDPOINT, for whoever AWS_ACCESS_KEY_ID names: MODE/NAME in the bucket."""

import os
import signal
import threading
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from src.api.workers import Mode
from src.jobs import Queue

_BUCKET = os.environ.get("S3_BUCKET", "results")
_PAUSE_SECONDS = 1


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    s3 = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT"], region_name="us-east-1")
    while not has_bucket(s3):
        if stopped.wait(_PAUSE_SECONDS):
            return
    print(f"bringing results to {_BUCKET}", flush=True)
    while not stopped.wait(_PAUSE_SECONDS):
        for mode in Mode:
            queue = Queue.of(mode)
            for file in (queue.folder / "done").iterdir():
                if not (kept := queue.folder / "kept" / file.name).exists():
                    bring(s3, f"{mode}/{file.name}", file, kept)


def has_bucket(s3) -> bool:
    """Whether the store is there, and has it now: in a cluster all of a project starts at once."""
    try:
        s3.create_bucket(Bucket=_BUCKET)
    except (BotoCoreError, ClientError) as error:
        answer = error.response if isinstance(error, ClientError) else None
        if answer and answer["Error"]["Code"] in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            return True
        if answer and answer["ResponseMetadata"]["HTTPStatusCode"] < 500:
            raise
        print(f"the store is not ready yet: {error}", flush=True)
        return False
    return True


def bring(s3, key: str, file: Path, kept: Path) -> None:
    """Once it is there, `kept` says so; until then it is tried again."""
    try:
        s3.upload_file(str(file), _BUCKET, key)
    except (BotoCoreError, ClientError, boto3.exceptions.S3UploadFailedError) as error:
        print(f"{key} is not in {_BUCKET} yet: {error}", flush=True)
        return
    kept.parent.mkdir(exist_ok=True)
    kept.touch()
    print(f"{key} is in {_BUCKET}", flush=True)


if __name__ == "__main__":
    main()
