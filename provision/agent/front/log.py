"""A line of HAProxy's log a request: what is in it, and how it is read.

Nothing that a client wrote is in it: no path, no address, no header. So it needs no escape, and holds no secret.
"""

from __future__ import annotations

_MARK = "r1"  # the form of what follows; a reader passes over lines of others
FORMAT = _MARK + " %Ts.%ms %b %s %ST %TR %Tw %Tc %Tr %Ta %B %rc %tsc"
FORMAT_TCP = _MARK + " %Ts.%ms %b %s - 0 %Tw %Tc - %Tt %B %rc %ts"
