"""What runs programs, or reads files about them: a module a platform, all with one face.

Each is what the toolkit knows of a platform, as `provision.agent.supervisors` is what a host knows of it; what it can
and cannot do is a row of `provision.project.platforms`. Nobody else asks which platform it is. A module is imported
only to be used, so that a help text costs nothing.
"""

from __future__ import annotations

import importlib
import keyword

from provision.platforms.face import Deployed, Face

__all__ = ["Deployed", "Face", "deployed", "face"]


def face(name: str) -> Face:
    """The platform that is called so; `name` is a row of `provision.project.platforms`."""
    module = name.replace("-", "_") + ("_" if keyword.iskeyword(name) else "")
    found: Face = importlib.import_module(f"{__name__}.{module}").FACE
    return found


def deployed(name: str) -> Deployed:
    """A platform that is `over_ssh` in its row.

    Raises:
        TypeError: it is not.
    """
    found = face(name)
    if not isinstance(found, Deployed):
        raise TypeError(f"{name} can't be deployed to")
    return found
