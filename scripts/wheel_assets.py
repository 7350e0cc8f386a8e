"""Puts what pages load into the wheel when that is built (hatchling, "Custom build hook").

Without npm or a network the wheel is built without it, and says so: then the page fetches it, as in a checkout, or
tells figures alone.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageAssets(BuildHookInterface[Any]):
    """uPlot, at its place in the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        folder = Path(self.root) / "build" / "page"
        try:
            made = _assets(Path(self.root)).unpack(folder)
        except (OSError, ValueError) as failure:
            self.app.display_warning(f"the wheel is built without uPlot, which draws the page's curves: {failure}")
            return
        build_data["force_include"].update({str(path): f"provision/page/static/{path.name}" for path in made})


def _assets(root: Path) -> ModuleType:
    """provision/page/assets.py by itself: nothing that it stands beside is installed where a wheel is built."""
    spec = importlib.util.spec_from_file_location("assets", root / "provision" / "page" / "assets.py")
    assert spec and spec.loader  # noqa: S101  (a file of this checkout)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
