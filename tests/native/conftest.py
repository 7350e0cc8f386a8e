"""Source trees that compile in a second and have the shape of llama.cpp and of microsoft/BitNet, and a cache."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.events import Event
from provision.native import Cache

CMAKE_LISTS = """\
cmake_minimum_required(VERSION 3.14)
project(tiny C CXX)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(tiny one.c two.c three.c)
if (GGML_NATIVE)
    target_compile_options(tiny PRIVATE -march=native)
else()
    target_compile_options(tiny PRIVATE -mavx2 -mfma)
endif()
foreach (name llama-server llama-cli llama-quantize llama-bench)
    add_executable(${name} main.cpp)
    target_link_libraries(${name} tiny)
endforeach()
"""
MAIN = """\
#include <cstdio>
extern "C" int one(void), two(void), three(void);
int main() { std::printf("%d\\n", one() + two() + three()); }
"""

# As upstream's scripts do: writes the header that the sources include, into the folder it is run in.
CODEGEN = """\
import json, sys
from pathlib import Path
Path("include").mkdir(exist_ok=True)
Path("include/bitnet-lut-kernels.h").write_text("#define SHAPES " + json.dumps(" ".join(sys.argv[1:])) + "\\n")
"""
BITNET_MAIN = """\
#include <cstdio>
#include "bitnet-lut-kernels.h"
#ifdef TL
#define KERNELS "tl"
#else
#define KERNELS "i2_s"
#endif
int main() { std::printf("%s %s\\n", KERNELS, SHAPES); }
"""
BITNET_CMAKE_LISTS = """\
cmake_minimum_required(VERSION 3.14)
project(bitnet.cpp C CXX)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if (NOT CMAKE_CXX_COMPILER MATCHES "clang\\\\+\\\\+$" OR NOT CMAKE_C_COMPILER MATCHES "clang$")
    message(FATAL_ERROR "not clang: ${CMAKE_CXX_COMPILER}")
endif()
if (NOT LLAMA_BUILD_EXAMPLES)
    message(FATAL_ERROR "the server is an example in this version of llama.cpp")
endif()
if (BITNET_X86_TL2 OR BITNET_ARM_TL1)
    add_compile_definitions(TL)
endif()
add_executable(llama-server src/main.cpp)
target_include_directories(llama-server PRIVATE include)
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.net", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "all")


def write_tiny_llama_cpp(folder: Path) -> Path:
    (folder / "ggml").mkdir(parents=True)
    (folder / "ggml/CMakeLists.txt").write_text("")
    (folder / "CMakeLists.txt").write_text(CMAKE_LISTS)
    (folder / "main.cpp").write_text(MAIN)
    for number, name in enumerate(("one", "two", "three"), start=1):
        (folder / f"{name}.c").write_text(f"int {name}(void) {{ return {number}; }}\n")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout like llama.cpp's; its programs print 6."""
    folder = write_tiny_llama_cpp(tmp_path / "llama.cpp")
    commit(folder)
    return folder


def held(checkout: Path, hold: Path) -> None:
    """One file of llama-cli cannot be made while `hold` is there; the others can."""
    hold.touch()
    script = hold.with_suffix(".sh")
    script.write_text(f"while test -e {hold}; do sleep 0.1; done; touch held.c\n")
    with (checkout / "CMakeLists.txt").open("a") as file:
        file.write(f"add_custom_command(OUTPUT held.c COMMAND sh {script})\nadd_library(slow held.c)\n")
        file.write("target_link_libraries(llama-cli slow)\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "hold")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


class Told(list[Event]):
    """Events in the order they came; is what `on_event` wants."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def phases(self) -> set[object]:
        return {event["phase"] for event in self}

    def texts(self) -> str:
        return "\n".join(str(event["text"]) for event in self if event["event"] == "message")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`tools(clang="gcc")`: a folder first on PATH in which the name `clang` is the program `gcc`."""

    def put(**programs: str) -> Path:
        folder = tmp_path / "tools"
        folder.mkdir()
        for name, program in programs.items():
            where = subprocess.run(["which", program], check=True, capture_output=True, text=True).stdout.strip()
            (folder / name.replace("_plus", "++")).symlink_to(where)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        return folder

    return put


@pytest.fixture
def bitnet(tmp_path: Path) -> Path:
    """A checkout with a submodule; its llama-server prints what it was built with."""
    submodule = write_tiny_llama_cpp(tmp_path / "submodule")
    (submodule / "LICENSE").write_text("llama.cpp's")
    commit(submodule)
    folder = tmp_path / "BitNet"
    for name, text in {
        "src/ggml-bitnet-mad.cpp": "",
        "src/main.cpp": BITNET_MAIN,
        "utils/codegen_tl1.py": CODEGEN,
        "utils/codegen_tl2.py": CODEGEN,
        "CMakeLists.txt": BITNET_CMAKE_LISTS,
        "LICENSE": "Microsoft's",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "--quiet")
    git(folder, "submodule", "--quiet", "add", str(submodule), "3rdparty/llama.cpp")
    commit(folder)
    return folder


@pytest.fixture
def clang(tools: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that microsoft/BitNet asks for, on machines with and without the real ones."""
    monkeypatch.setenv("CCACHE_COMPILERTYPE", "gcc")  # it would go by the name, and add what only clang takes
    tools(clang="gcc", clang_plus="g++")
