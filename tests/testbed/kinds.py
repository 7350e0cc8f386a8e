"""The kinds of host: what runs at boot, and who logs in."""

from enum import Enum

_CONTAINER_INIT = ["/usr/bin/tini", "--", "/usr/local/sbin/testbed-start"]


class Kind(Enum):
    """What a host is like."""

    SUPERVISORD = "supervisord"  # a rented container: sshd, cron, supervisord, /root/onstart.sh
    SYSTEMD = "systemd"  # a machine: systemd is PID 1
    BARE = "bare"  # the program supervisord is there, but nothing started it
    BARE_USER = "bare-user"  # the same, and only the ordinary user `ann` can log in

    @property
    def init(self) -> list[str]:
        """PID 1."""
        return ["/lib/systemd/systemd"] if self is Kind.SYSTEMD else _CONTAINER_INIT

    @property
    def user(self) -> str:
        """Who logs in."""
        return "ann" if self is Kind.BARE_USER else "root"
