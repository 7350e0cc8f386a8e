"""paramiko, without what it loads for a single word of ssh's configuration.

It imports invoke for `Match exec` alone, which it is never asked to read (`ssh_config`), and invoke brings
unittest.mock and asyncio: together a third of the time that the import takes, before the first byte of a handshake. It
expects invoke to be missing, so it is told so. Where invoke is imported already, as in `fab`, nothing is saved and
nothing is done. It waits for an import inside of `Match exec` (paramiko/paramiko#717 brought it; none asks for that
yet).

Heavy: imported when a connection is made, never before.
"""

from __future__ import annotations

import sys

_unread = "invoke" not in sys.modules
if _unread:
    sys.modules["invoke"] = None  # type: ignore[assignment]  # import refuses such a name (docs.python.org, "import")
try:
    import paramiko as paramiko
finally:
    if _unread:
        del sys.modules["invoke"]
