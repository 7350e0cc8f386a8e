"""`needs` and `budget` of a target whose machines are rented."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from provision.project.section import Section
from provision.project.values import BitRate, Bytes, HostString, Image, Number, Port, Seconds, Whole


class Needs(Section):
    """What each machine has to have."""

    image: Image
    """The image that it starts, such as "ghcr.io/ggml-org/llama.cpp:server-cuda@sha256:…"."""
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


class Budget(Section):
    """What may be spent; without it nothing is rented."""

    per_hour: Number = Field(gt=0)
    """Dollars an hour for one machine, its disk included."""
    total: Number = Field(gt=0)
    """Dollars for all machines of the target, what they have cost so far included."""
    until: Seconds
    """How long a machine is rented for, such as "8h"; then it ends itself, whether or not a laptop is there."""
    kind: Literal["on-demand", "interruptible"] = "on-demand"
    """interruptible: cheaper, by `bid`, and taken away by whoever bids more."""
    bid: Number | None = Field(default=None, ge=0.001, le=32)
    """interruptible: dollars an hour that are bid."""
    on_loss: Literal["rent again", "wait"] | None = None
    """What `deploy machine watch` does for a machine that is outbid, offline or ended (default: it says so)."""
