"""The programs a build needs, found where it takes place, and what they say they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provision import linux
from provision.errors import UsageError
from provision.packages import install
from provision.workbench import Here, Workbench


@dataclass(frozen=True)
class Compiler:
    """`version` is the line that names it: two compilers with the same line make the same code."""

    path: str
    version: str


@dataclass(frozen=True)
class Toolchain:
    """What configures, compiles and strips. `ccache` and `strip` may be missing: slower, larger, but the same."""

    workbench: Workbench
    cmake: str
    ninja: str
    c: Compiler
    cxx: Compiler
    ccache: str | None
    strip: str | None


def find(compilers: tuple[str, str] | None, workbench: Workbench) -> Toolchain:
    """Look for every program at once, so that a person installs once.

    Args:
        compilers: C and C++ compiler that the source asks for; else `$CC` and `$CXX`, else the system's.

    Raises:
        UsageError: names all that are missing and the command that installs them; or this is no Linux machine.
    """
    if isinstance(workbench, Here):
        linux.demand(
            "a native build",
            instead='build on a Linux machine, and name what it made: binary = "…" of the service, in deploy.toml',
        )
    c, cxx = compilers or (workbench.environment.get("CC") or "cc", workbench.environment.get("CXX") or "c++")
    wanted = {"cmake": ("cmake",), "ninja": ("ninja", "ninja-build"), c: (c,), cxx: (cxx,)}
    found = {name: path for name, names in wanted.items() if (path := workbench.which(*names))}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UsageError(
            f"a native build needs {' and '.join(missing)}, not found on PATH",
            next_step=install(*missing),
        )
    return Toolchain(
        workbench=workbench,
        cmake=found["cmake"],
        ninja=found["ninja"],
        c=_compiler(found[c], workbench),
        cxx=_compiler(found[cxx], workbench),
        ccache=workbench.which("ccache"),
        strip=workbench.which("strip"),
    )


def _compiler(path: str, workbench: Workbench) -> Compiler:
    shown = workbench.ask(path, "--version")
    if shown.returncode != 0:
        raise UsageError(f"{path} does not run", why=(shown.stderr or shown.stdout).strip())
    return Compiler(path, shown.stdout.strip().splitlines()[0])


def cpu_flags() -> str:
    """What the kernel says this CPU can do; part of the key of a build for this very CPU."""
    for row in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = row.partition(":")
        if name.strip() in ("flags", "Features"):
            return " ".join(sorted(value.split()))
    return ""


# Macro that the compiler defines for an instruction set -> its name in /proc/cpuinfo, which is what hosts report.
# Only sets that compilers or ggml's kernels emit on their own; -march=native names many more.
_FEATURES: Mapping[str, str] = {
    "__SSE3__": "pni",
    "__SSSE3__": "ssse3",
    "__SSE4_1__": "sse4_1",
    "__SSE4_2__": "sse4_2",
    "__POPCNT__": "popcnt",
    "__LZCNT__": "abm",
    "__MOVBE__": "movbe",
    "__AVX__": "avx",
    "__F16C__": "f16c",
    "__FMA__": "fma",
    "__BMI__": "bmi1",
    "__BMI2__": "bmi2",
    "__AVX2__": "avx2",
    "__AVXVNNI__": "avx_vnni",
    "__AVX512F__": "avx512f",
    "__AVX512CD__": "avx512cd",
    "__AVX512BW__": "avx512bw",
    "__AVX512DQ__": "avx512dq",
    "__AVX512VL__": "avx512vl",
    "__AVX512IFMA__": "avx512ifma",
    "__AVX512VBMI__": "avx512vbmi",
    "__AVX512VBMI2__": "avx512_vbmi2",
    "__AVX512VNNI__": "avx512_vnni",
    "__AVX512BITALG__": "avx512_bitalg",
    "__AVX512VPOPCNTDQ__": "avx512_vpopcntdq",
    "__AVX512BF16__": "avx512_bf16",
    "__AVX512FP16__": "avx512_fp16",
    "__AMX_TILE__": "amx_tile",
    "__AMX_INT8__": "amx_int8",
    "__AMX_BF16__": "amx_bf16",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_MATMUL_INT8": "i8mm",
    "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE2": "sve2",
}


def required_features(tools: Toolchain, options: list[str]) -> list[str]:
    """CPU features that code compiled with these `-m…` options may use, as /proc/cpuinfo names them."""
    told = tools.workbench.ask(tools.c.path, *options, "-dM", "-E", "-x", "c", "/dev/null")
    told.check_returncode()
    defined = {row.split()[1] for row in told.stdout.splitlines()}
    return sorted(name for macro, name in _FEATURES.items() if macro in defined)
