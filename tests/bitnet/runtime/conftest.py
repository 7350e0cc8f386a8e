"""Models, builds and the real binaries for the tests of the runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bitnet.runtime.builds import build
from tests.bitnet.runtime.gguf_files import Gguf
from tests.cli.ports import free_ports

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A ternary model that upstream reads."""
    return Gguf().write(tmp_path / "tiny.gguf")


@pytest.fixture
def build_dir(tmp_path: Path) -> Path:
    """A build of programs that print their arguments."""
    return build(tmp_path / "build")


@pytest.fixture
def free_port() -> int:
    """A port on loopback that nobody listens on."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def native_build() -> Path:
    """The compiled llama.cpp of `deploy native build`."""
    folder = CHECKOUT / "build"
    missing = [name for name in ("llama-cli", "llama-server") if not (folder / "bin" / name).is_file()]
    if missing:
        pytest.fail(f"{', '.join(missing)} not in {folder}/bin; run: make binaries")
    return folder


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model: random ternary weights that llama.cpp loads and answers with."""
    from provision.native.model import write_demo_model

    path = tmp_path_factory.mktemp("model") / "demo.gguf"
    write_demo_model(path)
    return path
