"""How big the images are that were built here, layer by layer, against their goals.

    deploy image build bitnet-cpu-min bitnet-cpu … && python -m benchmarks.image_size

What counts is what has to be downloaded: the compressed layers. Exit status 1 if a goal is missed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from provision.errors import DeployError
from provision.images.build import bake
from provision.images.build.layout import OciLayout

_GOALS = {"bitnet-cpu-min": 8_000_000, "bitnet-cpu": 90_000_000}


def main() -> int:
    root = Path(__file__).parents[1]
    missed = False
    for name, recipe in bake.read_recipes(root).items():
        layout = OciLayout(recipe.context.parent / "oci")
        try:
            layers = layout.manifest.document["layers"]
        except DeployError as absent:
            print(f"{name}: {absent.what}")
            continue
        goal = _GOALS.get(name)
        print(f"{name}: {layout.bytes_ / 1e6:.1f} MB compressed" + (f" (goal {goal / 1e6:.0f})" if goal else ""))
        for layer in layers:
            print(f"    {layer['size'] / 1e6:8.2f} MB  {layer['digest'][:19]}")
        missed |= goal is not None and layout.bytes_ > goal
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
