"""CUDA's toolkit: what one lacks is said, and one from pinned wheels is the same everywhere. No GPU is needed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from provision.errors import DeployError, UsageError
from provision.native import Cache, build, cuda, cuda_wheels, data, sources
from provision.workbench import Here
from tests.native.conftest import Told

WHOLE = (
    "bin/nvcc",
    "include/cuda_runtime.h",
    "include/cccl/cub/cub.cuh",
    "include/cublas_v2.h",
    "lib64/libcudart.so",
    "lib64/libcublas.so",
    "lib64/stubs/libcuda.so",
)
CUDA_H = """\
#define cuMemAlloc cuMemAlloc_v2
typedef int CUresult;
CUresult cuInit(unsigned flags);
CUresult cuMemAlloc(unsigned long *where, unsigned long bytes);
"""


def write(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("")
    return root


@pytest.mark.parametrize("lost", WHOLE)
def test_each_piece_that_a_toolkit_lacks_is_named(lost: str, tmp_path: Path) -> None:
    root = write(tmp_path / "cuda", *(file for file in WHOLE if file != lost))

    (named,) = cuda.missing(root, driver=True, system=tmp_path / "nothing")

    assert Path(lost).name in named


def test_toolkits_as_they_are_installed_lack_nothing(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    inside = [
        file.replace("lib64", "targets/x86_64-linux/lib").replace("include", "targets/x86_64-linux/include", 1)
        for file in WHOLE
    ]
    nvidia = write(tmp_path / "nvidia", *inside)
    debian = write(tmp_path / "debian/usr/lib/cuda", "bin/nvcc")
    system = ("usr/include/cuda_runtime.h", "usr/include/cub/cub.cuh", "usr/include/cublas_v2.h")
    write(tmp_path / "debian", *system, *(f"usr/lib/x86_64-linux-gnu/{name}.so" for name in ("libcudart", "libcublas")))

    assert cuda.missing(nvidia, driver=True, system=nothing) == []
    assert cuda.missing(debian, driver=False, system=tmp_path / "debian") == []


def test_a_build_without_the_drivers_memory_functions_does_not_ask_for_the_driver(tmp_path: Path) -> None:
    root = write(tmp_path / "cuda", *(file for file in WHOLE if "libcuda.so" not in file))

    assert cuda.missing(root, driver=False, system=tmp_path / "nothing") == []


def test_a_toolkit_behind_a_wrapper_is_found_and_the_pinned_one_offered_for_what_it_lacks(
    checkout: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "cuda", "bin/nvcc")
    wrapper = tmp_path / "path/nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text(f"#!/bin/sh\necho '#$ TOP={root}/bin/..' >&2\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=":")
    monkeypatch.setattr(cuda, "_OF_SYSTEM", ())  # whatever this machine has among its own libraries

    with pytest.raises(UsageError) as failure:
        build("cuda", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)

    assert f"the CUDA toolkit in {root} lacks the runtime's headers" in failure.value.what
    assert "cublas_v2.h" in failure.value.what
    assert "--profile cuda --toolkit pinned" in failure.value.next_step
    assert not cache.root.exists()


def test_without_any_nvcc_the_pinned_toolkit_is_offered(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(UsageError, match="needs nvcc, not found on PATH") as failure:
        cuda.find("", {}, cache)

    assert "--toolkit pinned" in failure.value.next_step


def test_where_no_wheels_are_pinned_for_a_machine_that_is_said(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    with pytest.raises(UsageError, match="no CUDA toolkit is pinned for riscv64"):
        cuda.find("pinned", {}, cache)


def test_a_toolkit_for_a_profile_without_cuda_is_a_slip(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="profile portable has no CUDA"):
        build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache, toolkit="pinned")


class Pinned(Here):
    """A workbench like a container's: its packages are pinned, and it sees the cache alone."""

    packages: Mapping[str, str] = {"gcc-12": "12.2.0"}


def test_a_container_takes_no_toolkit_that_lies_elsewhere(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    root = write(tmp_path / "cuda", *WHOLE)
    (root / "bin/nvcc").write_text("#!/bin/sh\necho release 13.0\n")
    (root / "bin/nvcc").chmod(0o755)
    arguments = {"targets": ["llama-cli"], "source": checkout, "root": tmp_path, "cache": cache, "workbench": Pinned()}

    with pytest.raises(UsageError, match="with the pinned toolkit alone"):
        build("cuda", toolkit=str(root), **arguments)  # type: ignore[arg-type]


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small wheels in the shape of NVIDIA's, pinned, in a folder where pip looks."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    parts = {
        "nvidia-cuda-nvcc": {"bin/nvcc": "#!/bin/sh\n", "include/cuda.h": CUDA_H},
        "nvidia-cublas": {"lib/libcublas.so.13": "", "include/cublas_v2.h": ""},
    }
    pins = []
    for package, files in parts.items():
        stem = f"{package.replace('-', '_')}-13.0.1"
        wheel = folder / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as content:
            for name, text in files.items():
                entry = zipfile.ZipInfo(f"nvidia/cu13/{name}", (2025, 9, 2, 17, 44, 0))
                entry.external_attr = (0o744 if name.startswith("bin/") else 0o600) << 16
                content.writestr(entry, text)
            content.writestr(f"{stem}.dist-info/licenses/License.txt", f"licence of {package}")
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        pins.append({"package": package, "version": "13.0.1", "file": wheel.name, "sha256": sha256})
    native = tmp_path / "native"
    shutil.copytree(data.FOLDER, native)
    declared = json.loads((native / "sources.json").read_text())
    declared["cuda"] |= {"wheels": pins, "machine": platform.machine()}
    (native / "sources.json").write_text(json.dumps(declared))
    monkeypatch.setattr(data, "FOLDER", native)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_pinned_wheels_become_a_toolkit_that_links_without_a_driver(wheels: Path, cache: Cache, tmp_path: Path) -> None:
    toolkit = cuda.find("pinned", {}, cache)
    toolkit.fetch(Told())

    assert (toolkit.root / "lib64/libcublas.so").resolve().name == "libcublas.so.13"
    assert os.access(toolkit.nvcc, os.X_OK)
    assert toolkit.nvcc.stat().st_mtime == 1756835040  # 2025-09-02 17:44 UTC, as in the wheel: ccache looks at it
    assert (toolkit.root / "licenses/nvidia-cublas.txt").read_text() == "licence of nvidia-cublas"
    assert not list(toolkit.root.glob("*.whl"))
    program = tmp_path / "main.c"
    program.write_text("int cuMemAlloc_v2(void), cuInit(void); int main(void) { return cuMemAlloc_v2() + cuInit(); }")
    stubs = toolkit.root / "lib/stubs"
    subprocess.run(["cc", "-o", tmp_path / "main", program, f"-L{stubs}", "-lcuda"], check=True)
    dynamic = subprocess.run(["readelf", "-d", tmp_path / "main"], check=True, capture_output=True, text=True).stdout
    assert "[libcuda.so.1]" in dynamic  # the driver's own, where it will run


def test_a_build_says_which_toolkit_made_it_and_does_not_fetch_it_again(
    wheels: Path, checkout: Path, cache: Cache, tmp_path: Path, told: Told
) -> None:
    arguments = {"targets": ["llama-cli"], "source": checkout, "cache": cache, "toolkit": "pinned"}
    first = build("cuda", root=tmp_path / "one", **arguments)  # type: ignore[arg-type]
    shutil.rmtree(cache.root / "toolkits")

    again = build("cuda", root=tmp_path / "two", on_event=told, **arguments)  # type: ignore[arg-type]

    assert first.facts["compiler"]["nvcc"] == "nvidia-cuda-nvcc 13.0.1"
    assert first.facts["cuda"]["wheels"] == {"nvidia-cuda-nvcc": "13.0.1", "nvidia-cublas": "13.0.1"}
    assert again.key == first.key
    assert told.phases() == {"install"}


def _lose_a_wheel(wheels: Path) -> None:
    next(wheels.glob("nvidia_cublas*")).unlink()


def _change_a_wheel(wheels: Path) -> None:
    with next(wheels.glob("nvidia_cublas*")).open("ab") as file:
        file.write(b"!")


@pytest.mark.parametrize(
    ("harm", "said"), [(_lose_a_wheel, "does not have nvidia_cublas"), (_change_a_wheel, "the file was not used")]
)
def test_a_wheel_that_is_lost_or_changed_leaves_no_toolkit(
    harm: Callable[[Path], None], said: str, wheels: Path, cache: Cache
) -> None:
    harm(wheels)
    toolkit = cuda.find("pinned", {}, cache)

    with pytest.raises(DeployError, match=r"nvidia-cublas 13\.0\.1 could not be downloaded") as failure:
        toolkit.fetch(Told())

    assert said in failure.value.why
    assert not toolkit.root.exists()


@pytest.mark.slow
def test_the_toolkit_from_pypi_is_whole_and_compiles_a_kernel_of_ggml(cache: Cache, tmp_path: Path) -> None:
    """Fetches 525 MB. A GPU plays no part in it, so what the kernel computes is not tried here."""
    toolkit = cuda.find("pinned", {}, cache)
    toolkit.fetch(Told())
    assert cuda.missing(toolkit.root, driver=True, system=tmp_path / "nothing") == []

    kept = Cache.of_user()
    ggml = sources.provide(sources.find(None, kept, Told()), kept, Told()) / "ggml"
    compiled = tmp_path / "scale.o"
    subprocess.run(
        [
            *(str(toolkit.nvcc), "-c", "-arch=sm_86", "-std=c++17", "-use_fast_math", "-extended-lambda"),
            *(f"-I{ggml}/include", f"-I{ggml}/src", f"{ggml}/src/ggml-cuda/scale.cu", "-o", str(compiled)),
        ],
        check=True,
    )

    assert b"sm_86" in compiled.read_bytes()
    assert cuda_wheels.digest(cuda_wheels.wheels(data.pinned("cuda"))) in toolkit.root.name
