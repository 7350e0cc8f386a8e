"""The work: a workflow that has a text kept in the S3 store, and read back from there."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    import boto3
    from botocore.config import Config

QUEUE = "minimal"
BUCKET = os.environ.get("S3_BUCKET", "minimal")


def store():
    """The store at S3_ENDPOINT, for whoever AWS_ACCESS_KEY_ID names."""
    return boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT"],
        region_name="us-east-1",
        config=Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 1}),
    )


@activity.defn
def keep(text: str) -> str:
    """The name under which `text` is kept; what is there afterwards is compared."""
    name = hashlib.sha256(text.encode()).hexdigest()
    s3 = store()
    s3.put_object(Bucket=BUCKET, Key=name, Body=text.encode())
    found = s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()
    if found != text.encode():
        raise ValueError(f"{name} holds something else")
    return name


@workflow.defn
class Keep:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(keep, text, start_to_close_timeout=timedelta(seconds=20))
