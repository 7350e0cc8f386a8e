#!/usr/bin/env python3
"""`python run_inference.py --model M --prompt P …` is `bitnet run …`."""

import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))  # works from a checkout that nobody installed

from bitnet.cli import main  # noqa: E402

raise SystemExit(main(["run", "--build-dir", str(HOME / "build"), *sys.argv[1:]]))
