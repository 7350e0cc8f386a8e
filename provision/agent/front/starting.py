"""What a supervisor starts: a script that starts HAProxy, and starts it again at once when that dies.

supervisord looks once a second, and systemd and an engine wait a while; requests would be refused meanwhile. The
supervisor still judges it: who dies in the very second in which it was started, or twice in a few, is not started again
here, nor once the supervisor has ended, whose next one starts another script. One that runs on without its script
leaves the ports to the next, and ends with its last stream.
"""

from __future__ import annotations

import os

from ..launch import quote
from .master import PID
from .runtime import command

_SCRIPT = """\
#!/bin/sh
# {what} Written by deploy.
set -- {words}
{more}old=$(cat {pid} 2>/dev/null) && [ "$(cat "/proc/$old/comm" 2>/dev/null)" = haproxy ] &&
    [ "$(cd "/proc/$old/cwd" && pwd -P)" = "$(cd {folder} && pwd -P)" ] && set -- "$@" -sf "$old"
ends='' haproxy=''
for each in TERM USR1; do trap "ends=1; kill -$each \\$haproxy 2>/dev/null" $each; done
for each in HUP USR2; do trap "kill -$each \\$haproxy 2>/dev/null" $each; done
began=$(date +%s)
"$@" &
haproxy=$!
[ "$ends" ] && kill "$haproxy"
while :; do # a signal to this script ends the wait alone
    wait "$haproxy"
    status=$?
    kill -0 "$haproxy" 2>/dev/null || break
done
read -r _ _ _ parent _ <"/proc/$$/stat"
now=$(date +%s)
[ "$ends" ] || [ "$parent" != "$PPID" ] || [ "$now" -le "$began" ] && exit "$status"
[ "$((now - ${{HAPROXY_DIED:-0}}))" -lt {seconds} ] && exit "$status"
export HAPROXY_DIED="$now"
echo "HAProxy has ended with status $status, and is started again." >&2
exec "$0" # as it is written by now
"""
_AGAIN_SECONDS = 10  # who dies again so soon has something that its supervisor has to count, and people to see
_SOCKETS = """\
from={sockets}
[ -S "$from" ] && set -- "$@" -x "$from"
"""


def script(haproxy: str, folder: str, what: str, sockets: str = "") -> str:
    """What starts the front in `folder`.

    Args:
        what: a sentence that says what it does.
        sockets: a socket at which another front hands over those that it listens at.
    """
    return _SCRIPT.format(
        what=what,
        words=" ".join(map(quote, command(haproxy, folder))),
        more=_SOCKETS.format(sockets=quote(sockets)) if sockets else "",
        pid=quote(os.path.join(folder, PID)),
        folder=quote(folder),
        seconds=_AGAIN_SECONDS,
    )
