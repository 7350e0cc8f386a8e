#!/usr/bin/env python3
"""`python run_inference_server.py --model M --port N …` is `bitnet serve …`."""

import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))  # works from a checkout that nobody installed

from bitnet.cli import main  # noqa: E402

raise SystemExit(main(["serve", "--build-dir", str(HOME / "build"), *sys.argv[1:]]))
