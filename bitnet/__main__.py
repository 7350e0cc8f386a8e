"""`python -m bitnet`."""

from bitnet.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
