"""What presets tell servers that need a GPU is what those servers take, by their own packages."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from provision.project.presets import presets

# Of the package's server arguments: fields of classes, which its parser makes options of.
_FIELD = r"^    {name}: A\["


@pytest.mark.slow
def test_sglang_takes_the_options_and_has_the_metrics_that_its_preset_says(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(tmp_path)]
    subprocess.run([*pip, "sglang>=0.5.23,<0.6"], check=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    arguments = "".join(text for name, text in texts.items() if "sglang/srt/" in name and "arg" in name)
    metrics = texts["sglang/srt/observability/metrics_collector.py"]
    server = texts["sglang/srt/entrypoints/http_server.py"]
    preset = presets()["sglang"]

    ast.parse(texts["sglang/launch_server.py"])
    for word in [*preset["command"], *preset["with_model"]["command"]]:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            assert re.search(rf"\b{name}: A\[", arguments), word
    for metric in preset["metrics"]["busy"]:
        assert f'"{metric}"' in metrics
    assert '@app.get("/health")' in server
    assert '@app.post("/v1/completions"' in server
