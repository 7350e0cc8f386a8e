"""What runs programs, or reads files about them: a module a platform, all with one face.

Each is what the toolkit knows of a platform, as `provision.agent.supervisors` is what a host knows of it; what it can
and cannot do is a row of `provision.project.platforms`. Nobody else asks which platform it is. A module is imported
only to be used, so that a help text costs nothing.
"""

from __future__ import annotations

import importlib
import keyword

from provision.platforms.face import Deployed, Face

__all__ = ["Deployed", "Face", "face"]


def face(name: str) -> Face:
    """The platform that is called so; `name` is a row of `provision.project.platforms`."""
    module = name.replace("-", "_") + ("_" if keyword.iskeyword(name) else "")
    found: Face = importlib.import_module(f"{__name__}.{module}").FACE
    return found
