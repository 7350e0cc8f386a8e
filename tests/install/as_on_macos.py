"""An interpreter that has nothing of Linux alone: as `sitecustomize` it runs before anything else does.

Names that Python's documentation says are there on Linux and not on macOS are taken out of the standard library's
modules, and /proc, /sys and Linux' /run are no folders. `sys.platform` stays: compiled packages are those of Linux.
"""

import fcntl
import os
import resource
import select
import signal
import socket
import sys
import time

_ABSENT = {
    fcntl: "F_ADD_SEALS F_GETPIPE_SZ F_NOTIFY F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW F_SETPIPE_SZ F_SETLEASE F_GETLEASE",
    os: """O_DIRECT O_LARGEFILE O_NOATIME O_PATH O_RSYNC O_TMPFILE P_PIDFD copy_file_range eventfd eventfd_read
        eventfd_write fdatasync getrandom getresgid getresuid getxattr listxattr memfd_create pidfd_open pipe2
        posix_fadvise posix_fallocate removexattr sched_getaffinity sched_getparam sched_getscheduler
        sched_rr_get_interval sched_setaffinity sched_setparam sched_setscheduler setns setresgid setresuid setxattr
        splice timerfd_create unshare waitid""",
    resource: "RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING RUSAGE_THREAD prlimit",
    select: "epoll",
    signal: "SIGCLD SIGPOLL SIGPWR SIGRTMAX SIGRTMIN SIGSTKFLT pidfd_send_signal sigtimedwait sigwaitinfo",
    socket: """AF_ALG AF_NETLINK AF_PACKET AF_VSOCK MSG_CMSG_CLOEXEC MSG_CONFIRM MSG_ERRQUEUE MSG_MORE MSG_NOSIGNAL
        SOCK_CLOEXEC SOCK_NONBLOCK SO_BINDTODEVICE SO_DOMAIN SO_MARK SO_PASSCRED SO_PEERCRED SO_PEERSEC SO_PRIORITY
        SO_PROTOCOL TCP_CONGESTION TCP_CORK TCP_DEFER_ACCEPT TCP_INFO TCP_KEEPIDLE TCP_LINGER2 TCP_QUICKACK TCP_SYNCNT
        TCP_USER_TIMEOUT TCP_WINDOW_CLAMP""",
    time: "CLOCK_BOOTTIME CLOCK_TAI pthread_getcpuclockid",
}
_FOLDERS = ("/proc", "/sys", "/run")

for _module, _names in _ABSENT.items():
    for _name in _names.split():
        for _place in (_module, sys.modules.get(f"_{_module.__name__}"), sys.modules.get("posix")):
            if _place is not None and hasattr(_place, _name):
                delattr(_place, _name)


def _is_no_folder(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and arguments and isinstance(arguments[0], (str, bytes)):
        path = os.fsdecode(arguments[0])
        if any(path == folder or path.startswith(folder + "/") for folder in _FOLDERS):
            raise FileNotFoundError(2, "No such file or directory, as on macOS", path)


sys.addaudithook(_is_no_folder)
