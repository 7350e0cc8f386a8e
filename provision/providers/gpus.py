"""What a GPU of that name gives when nothing is wrong with it, as its maker's data sheets say.

A machine's own driver and a provider write the names of GPUs in their own ways: "NVIDIA GeForce RTX 4090" and
"RTX 4090", "NVIDIA A100-SXM4-80GB" and "A100 SXM4". So names are compared by what tells two models apart.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NOISE = re.compile(r"\b\d+ ?gb\b|\bhbm\d?e?\b|\bsxm\d?\b")
_JOINED = re.compile(r"(?<=\d{4})(ti|ada|s)\b")  # "RTX 6000Ada", and "RTX 4080S", which is a Super
_TELLING = {"ti", "ada", "laptop"}  # the others are a series, a form or a marketing name


class Gives(NamedTuple):
    """In single precision, additions and multiplications a second; bytes a second from and to its memory."""

    operations: float
    bandwidth: float


def model(name: str) -> frozenset[str]:
    """What tells the model of that name from others."""
    words = _JOINED.sub(r" \1", _NOISE.sub(" ", name.lower().replace("-", " "))).split()
    return frozenset(word for word in words if word in _TELLING or any(letter.isdigit() for letter in word))


def gives(name: str) -> Gives | None:
    """None: the table does not know it."""
    return _GIVES.get(model(name))


# Of models with one name and several forms, what the slowest gives.
_TERA_AND_GIGA = {
    "GTX 1080 Ti": (11.3, 484),
    "RTX 2080 Ti": (13.4, 616),
    "RTX 3060": (12.7, 360),
    "RTX 3060 Ti": (16.2, 448),
    "RTX 3070": (20.3, 448),
    "RTX 3070 Ti": (21.7, 608),
    "RTX 3080": (29.8, 760),
    "RTX 3080 Ti": (34.1, 912),
    "RTX 3090": (35.6, 936),
    "RTX 3090 Ti": (40.0, 1008),
    "RTX 4060": (15.1, 272),
    "RTX 4060 Ti": (22.1, 288),
    "RTX 4070": (29.1, 504),
    "RTX 4070 Ti": (40.1, 504),
    "RTX 4080": (48.7, 717),
    "RTX 4090": (82.6, 1008),
    "RTX 5060 Ti": (23.7, 448),
    "RTX 5070": (30.9, 672),
    "RTX 5070 Ti": (43.9, 896),
    "RTX 5080": (56.3, 960),
    "RTX 5090": (104.8, 1792),
    "RTX A4000": (19.2, 448),
    "RTX A5000": (27.8, 768),
    "RTX A6000": (38.7, 768),
    "RTX 6000 Ada": (91.1, 960),
    "A10": (31.2, 600),
    "A40": (37.4, 696),
    "A100": (19.5, 1555),
    "H100": (51.2, 2000),
    "H200": (60.0, 4800),
    "L4": (30.3, 300),
    "L40": (90.5, 864),
    "L40S": (91.6, 864),
    "T4": (8.1, 320),
    "V100": (14.0, 900),
}
_GIVES = {model(name): Gives(tera * 1e12, giga * 1e9) for name, (tera, giga) in _TERA_AND_GIGA.items()}
