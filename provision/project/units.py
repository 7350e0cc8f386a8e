"""What people write and read: durations and sizes (`30s`, `2m`, `500ms`; `4GB`, `512MiB`), and a path on a host."""

from __future__ import annotations

import re

PLACE = r"^/[A-Za-z0-9._/@+-]+$"
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)"  # as many digits as a float keeps
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# IEC 80000-13 for the binary units; plain ones are decimal, as disks and GPUs are sold.
_BYTES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def parse_seconds(value: object) -> float:
    """Seconds of `30`, `"30s"`, `"500ms"`, `"2m"`, `"1h"`, `"3d"`.

    Raises:
        ValueError: the value is none of these.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(rf"{_NUMBER}\s*(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a duration such as "30s", "500ms" or "2m"')
    return float(match[1]) * _SECONDS[match[2]]


def parse_share(value: object) -> float:
    """A share of `"2%"`, `"0.5%"`, `"-20%"`: 0.02, 0.005, -0.2.

    Raises:
        ValueError: the value is none of these.
    """
    match = re.fullmatch(rf"(-?){_NUMBER}\s*%", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a share such as "2%", as text')
    return float(f"{match[1]}{match[2]}e-2")  # the float nearest to it, which dividing may miss


def percent(share: float) -> str:
    """A share as people write it: 0.025 is 2.5%."""
    return f"{share * 100:.10g}%"


def parse_bytes(value: object) -> int:
    """Bytes of `1048576`, `"512MiB"`, `"4GB"`.

    Raises:
        ValueError: the value is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(rf"{_NUMBER}\s*([KMGT]i?B|B|)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a size such as "512MiB" or "4GB"')
    return round(float(match[1]) * _BYTES[match[2]])


def parse_bit_rate(value: object) -> int:
    """Bits per second of `"200Mbit/s"`, `"1.5Gbit/s"`.

    Raises:
        ValueError: the value is none of these.
    """
    match = re.fullmatch(rf"{_NUMBER}\s*([KMG])bit/s", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a rate such as "200Mbit/s"')
    return round(float(match[1]) * {"K": 10**3, "M": 10**6, "G": 10**9}[match[2]])


def seconds(value: float) -> str:
    """A time span, as short as it is clear."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value // 60:.0f} min {value % 60:.0f} s"


def size(value: float) -> str:
    """A number of bytes, in the unit that fits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.1f} {unit}"
