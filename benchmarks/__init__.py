"""What deploys and model servers cost, measured."""

import compileall
from pathlib import Path


def as_installed(checkout: Path = Path(__file__).parents[1]) -> None:
    """Compile the toolkit and its environment as pip leaves them; else each run of `deploy` would compile them anew
    where the environment says to write no bytecode.
    """
    for part in ("provision", ".venv"):
        compileall.compile_dir(checkout / part, quiet=2)
