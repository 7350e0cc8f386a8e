#!/usr/bin/env python3
"""`python run_inference_server.py --model M --port N …` is `bitnet serve …`."""

import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent
sys.path.insert(0, str(HOME))  # works from a checkout that nobody installed

try:
    from bitnet.cli import main
except ModuleNotFoundError as error:
    raise SystemExit(
        f"bitnet: {error.name} is not installed for {sys.executable}\n"
        f"next: {sys.executable} -m pip install {HOME}, or take {HOME}/.venv/bin/python (make venv)"
    ) from None

raise SystemExit(main(["serve", "--build-dir", str(HOME / "build"), *sys.argv[1:]]))
