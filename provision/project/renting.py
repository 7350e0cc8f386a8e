"""`needs` and `budget` of a target whose machines are rented."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from provision.project.section import Section
from provision.project.values import (
    Address,
    BackupPath,
    BackupPlace,
    BitRate,
    Bytes,
    HostString,
    Image,
    Number,
    OpenHours,
    Port,
    Seconds,
    StoreUrl,
    Whole,
)


class Needs(Section):
    """What each machine has to have."""

    image: Image
    """The image that it starts, with Python 3.8 or newer in it, such as "ghcr.io/acme/app@sha256:…"."""
    gpu: tuple[HostString, ...] = ()
    """Names of GPUs, as the provider writes them; any of them will do: ["RTX 4090", "RTX 3090"]."""
    gpus: Whole = Field(default=1, ge=0)
    """How many GPUs."""
    vram: Bytes | None = None
    """The memory of each GPU, such as "24GB"."""
    memory: Bytes | None = None
    """Main memory."""
    disk: Bytes = 40_000_000_000
    """Disk: for the image, models, two releases."""
    down: BitRate | None = None
    """What comes in, such as "200Mbit/s"."""
    up: BitRate | None = None
    """What goes out."""
    reliability: Number = Field(default=0.95, ge=0, le=1)
    """The share of the time in which the machine was there, as the provider counts it."""
    ports: tuple[Port, ...] = ()
    """Which ports are reached from outside; each gets an address of its own."""


class Backup(Section):
    """What is kept of each machine, encrypted, in an S3 store, and brought to who takes its place."""

    paths: Annotated[tuple[BackupPath, ...], Field(min_length=1)]
    """Folders below the target's path: shared/data, or one in it."""
    to: BackupPlace
    """The bucket, and a folder in it: "s3://acme-backups/cres"; each place of a target has its own below that."""
    endpoint: StoreUrl | None = None
    """The address of a store that is not Amazon's."""
    region: HostString = "us-east-1"
    """The store's region."""
    every: Annotated[Seconds, Field(ge=60)] = 900.0
    """How long after one backup the next one begins."""


class Accept(Section):
    """What a machine has to show before it is kept, besides that it is as it was offered."""

    speed: Number = Field(default=0.6, ge=0, le=1)
    """The share of what such a GPU usually gives, in a product of matrices and of its memory; 0: any will do."""
    disk_writes: Bytes = 20_000_000
    """What its disk writes in a second, such as "200MB"."""
    download: Address | None = None
    """A file that each machine fetches to show `needs.down`; without it, that is the provider's word alone."""


class Budget(Section):
    """What may be spent; without it nothing is rented."""

    per_hour: Number = Field(gt=0)
    """Dollars an hour for one machine, its disk included."""
    total: Number = Field(gt=0)
    """Dollars for all machines of the target, traffic and those of the last 30 days that are no more included."""
    until: Seconds
    """How long a machine is rented for, such as "8h"; then it ends itself, whether or not a laptop is there."""
    idle: Seconds | None = None
    """After how long without a request, use of a GPU, or work that `busy` tells of, such as "30m", it is not wanted."""
    when_idle: Literal["stop", "destroy"] = "stop"
    """idle: stop: it keeps its disk, which costs on; destroy: it is given back with what is on it."""
    busy: Annotated[tuple[HostString, ...], Field(min_length=1)] | None = None
    """idle: a command in the release that exits 0 while there is work that no request shows, such as in a queue."""
    hours: OpenHours | None = None
    """When it is wanted, such as "Mon-Fri 08:00-20:00 Europe/Berlin"; it stops itself outside."""
    kind: Literal["on-demand", "interruptible"] = "on-demand"
    """interruptible: cheaper, by `bid`, and taken away by whoever bids more."""
    bid: Number | None = Field(default=None, ge=0.001, le=32)
    """interruptible: dollars an hour that are bid."""
    on_loss: Literal["rent again", "wait"] | None = None
    """What `deploy machine watch` does for a machine that is outbid, offline or ended (default: it says so)."""
