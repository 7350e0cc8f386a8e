"""An S3 store: SeaweedFS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.cli.ports import free_ports
from tests.testbed.answering import until


@contextmanager
def seaweed(folder: Path, address: str = "127.0.0.1") -> Iterator[dict[str, str]]:
    """An S3 store as the preset `s3` starts it; what its clients have to know."""
    s3, master, volume, filer = free_ports(4)
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "the store's secret"}
    ports = [f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    grpc = [
        f"-{name}.port.grpc={port}"
        for name, port in zip(("master", "volume", "filer", "s3"), free_ports(4), strict=True)
    ]
    command = [Path(sys.executable).with_name("weed"), "server", "-s3", f"-ip={address}", f"-ip.bind={address}"]
    (folder / "store").mkdir()
    with (folder / "store.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"-dir={folder}/store", *ports, *grpc], env={**os.environ, **keys}, stdout=log, stderr=log
        )
    url = f"http://{address}:{s3}"
    try:
        until(lambda: httpx.get(f"{url}/healthz").status_code == 200, process, folder / "store.log")
        yield {**keys, "AWS_ENDPOINT_URL_S3": url, "AWS_REGION": "us-east-1", "RLM_LOG_BUCKET": "logs"}
    finally:
        process.kill()
        process.wait()
