"""Which GPUs a host has, as its drivers' own programs tell: NVIDIA's, in parts where they are cut (MIG), and AMD's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from . import commands

if TYPE_CHECKING:
    from ..contract.facts import Gpu

_SECONDS = 10.0
_QUERY = ("name", "uuid", "memory.total", "memory.free", "driver_version")
_CUT = "mig.mode.current"  # known to drivers of 450 and later
_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+\d+:\s+\(UUID: (MIG-[^)]+)\)")
_GPU = re.compile(r"^GPU \d+: .*\(UUID: ([^)]+)\)")
_SIZE = re.compile(r"(\d{1,5})gb")  # in a profile's name, such as 1g.10gb


def search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/opt/rocm/bin:/app"


def found() -> List[Gpu]:
    """Every GPU that a program can be given, in the drivers' order; none where there is no driver."""
    return _nvidia() or _amd()


def processes() -> List[str]:
    """A line for each process that has memory on one of NVIDIA's: the GPU's uuid, and its pid."""
    return _ask("nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader").splitlines()


def _ask(program: str, *words: str) -> str:
    """What a driver's program says; empty where it is not there, or does not answer."""
    path = shutil.which(program, path=search_path())
    if path is None:
        return ""
    try:
        done = commands.ask([path, *words], _SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.output.decode("utf-8", "replace") if done.status == 0 else ""


def _nvidia() -> List[Gpu]:
    form = "--format=csv,noheader,nounits"
    told = _ask("nvidia-smi", "--query-gpu=" + ",".join((*_QUERY, _CUT)), form)
    told = told or _ask("nvidia-smi", "--query-gpu=" + ",".join(_QUERY), form)
    found_: List[Gpu] = []
    cut = set()
    for line in told.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) < len(_QUERY) or not (fields[2].isdigit() and fields[3].isdigit()):
            continue
        found_.append(
            {
                "name": fields[0],
                "uuid": fields[1],
                "memory_total": int(fields[2]) << 20,
                "memory_free": int(fields[3]) << 20,
                "driver": fields[4],
            }
        )
        if "Enabled" in fields[len(_QUERY) :]:
            cut.add(fields[1])
    if not cut:
        return found_
    parts = _parts()
    # One that is cut runs nothing itself, be it cut into nothing.
    return [each for gpu in found_ for each in ([gpu] if gpu["uuid"] not in cut else _cut(gpu, parts))]


def _cut(gpu: Gpu, parts: Dict[str, List[List[str]]]) -> List[Gpu]:
    """A GPU's parts. What is free of one is not told; it has the memory that its profile's name says."""
    cut: List[Gpu] = []
    for profile, uuid in parts.get(gpu["uuid"], ()):
        size = _SIZE.search(profile)
        memory = int(size.group(1)) << 30 if size else 0
        name = f"{gpu['name']} MIG {profile}"
        part: Gpu = {**gpu, "name": name, "uuid": uuid, "memory_total": memory, "memory_free": memory}
        part["part_of"] = gpu["uuid"]
        cut.append(part)
    return cut


def _parts() -> Dict[str, List[List[str]]]:
    """uuid of a GPU -> profile and uuid of each of its parts."""
    parts: Dict[str, List[List[str]]] = {}
    of = ""
    for line in _ask("nvidia-smi", "-L").splitlines():
        whole, part = _GPU.match(line), _MIG.match(line)
        if whole:
            of = whole.group(1)
        elif part:
            parts.setdefault(of, []).append([part.group(1), part.group(2)])
    return parts


def _amd() -> List[Gpu]:
    """By the program that every ROCm has had, else by the one that is to replace it."""
    cards = _json("rocm-smi", "--showproductname", "--showuniqueid", "--showmeminfo", "vram", "--json") or {}
    names = [name for name in cards if re.fullmatch(r"card\d+", name)]
    found_ = [_card(cards[name]) for name in sorted(names, key=lambda name: int(name[4:]))]
    if not found_:
        static, metric = _by_gpu("static", "--asic"), _by_gpu("metric", "--mem-usage")
        found_ = [_newer(facts.get("asic"), metric.get(gpu, {}).get("mem_usage")) for gpu, facts in static.items()]
    return [gpu for gpu in found_ if gpu is not None]


def _json(program: str, *words: str) -> Any:
    """What is no JSON says that there is nothing."""
    try:
        return json.loads(_ask(program, *words))
    except ValueError:
        return None


def _by_gpu(*words: str) -> Dict[int, Dict[str, Any]]:
    told = _json("amd-smi", *words, "--json")
    listed = told.get("gpu_data") if isinstance(told, dict) else told  # in a table of its own since ROCm 7
    return {each["gpu"]: each for each in listed or ()}


def _card(facts: Dict[str, Any]) -> Optional[Gpu]:
    total, used = (facts.get(f"VRAM Total {what}Memory (B)") for what in ("", "Used "))
    return _of_amd(facts.get("Card Series") or facts.get("Card series"), facts.get("Unique ID"), total, used, 1)


def _newer(asic: Any, usage: Any) -> Optional[Gpu]:
    asic, usage = asic or {}, usage or {}
    total, used = (usage.get(f"{what}_vram", {}).get("value") for what in ("total", "used"))
    return _of_amd(asic.get("market_name"), asic.get("asic_serial"), total, used, 1 << 20)


def _of_amd(name: Any, unique: Any, total: Any, used: Any, unit: int) -> Optional[Gpu]:
    """None for a processor's own graphics: they have no such number, and can't be told apart."""
    if not re.fullmatch(r"0x[0-9a-fA-F]+", str(unique)) or not (str(total).isdigit() and str(used).isdigit()):
        return None
    return {
        "name": str(name or "AMD GPU"),
        "uuid": f"GPU-{int(str(unique), 16):016x}",  # as ROCr calls it
        "memory_total": int(total) * unit,
        "memory_free": max(0, int(total) - int(used)) * unit,
        "driver": "amdgpu",
        "vendor": "amd",
    }
