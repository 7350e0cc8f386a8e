"""The root file systems of the test bed: Debian, made once and kept. Every host starts from `rootfs`.

mmdebstrap makes them from the Debian mirror, proxies and certificates that apt on this machine is set up with. They lie
in the user's cache under the digest of their recipe, so a changed recipe makes a new one beside the old.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tests.testbed.problems import TestBedProblem

RELEASE = "bookworm"
PYTHON = "3.11"  # its own
PACKAGES = [
    "ca-certificates",
    "cron",
    "curl",
    "dbus",
    "dbus-user-session",
    "e2fsprogs",
    "haproxy",
    "iproute2",
    "libgomp1",
    "libnss-systemd",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "rsync",
    "strace",
    "sudo",
    "supervisor",
    "systemd",
    "systemd-sysv",
    "tcsh",
    "tini",
]
# Units that want hardware, a console or the network, and so keep a container from being "running".
MASKED = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "getty.target",
    "dev-hugepages.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-modules-load.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
]
# `ann` is the ordinary user; her password is for tests of sudo. Daemons are off: each host's kind turns on its own.
CUSTOMIZE = f"""
set -e
chroot "$1" useradd --create-home --shell /bin/bash ann
echo ann:annspassword | chroot "$1" chpasswd
chroot "$1" systemctl mask {" ".join(MASKED)}
chroot "$1" systemctl disable supervisor.service haproxy.service
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname
mkdir -p "$1"/workspace "$1"/var/log/journal
"""
_FORMAT = 1
# In a mount namespace of its own: from 1.5 on it makes all mounts private, the machine's own too.
_MMDEBSTRAP = ["unshare", "--mount", "mmdebstrap"]
# What the slim images of Docker Hub leave out too; licences stay.
_SLIM = [
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
]


def rootfs(*more: str) -> Path:
    """The root of a host with `more` packages, made now if it is not there yet (about 25 s and 20 MB of packages).

    Raises:
        TestBedProblem: mmdebstrap is missing or failed.
    """
    return root_of(RELEASE, [*PACKAGES, *more], CUSTOMIZE)


def root_of(release: str, packages: list[str], customize: str) -> Path:
    """A minimal Debian `release` with `packages`, changed by the shell script `customize`, which gets its path as `$1`.

    Making one is told on standard error.

    Raises:
        TestBedProblem: mmdebstrap is missing or failed.
    """
    recipe = "\0".join([str(_FORMAT), release, *packages, customize])
    home = cache() / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    root = home / "rootfs"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _make(home, root, release, packages, customize)
    return root


def _make(home: Path, root: Path, release: str, packages: list[str], customize: str) -> None:
    if shutil.which("mmdebstrap") is None:
        raise TestBedProblem("mmdebstrap is not installed", "apt-get install mmdebstrap")
    # Past pytest's capturing: who waits for half a minute wants to know what for.
    print(f"test bed: making a Debian {release} root in {root} (once, about 30 s)", file=sys.__stderr__, flush=True)
    unfinished, log = home / "unfinished", home / "mmdebstrap.log"
    shutil.rmtree(unfinished, ignore_errors=True)
    options = [f"--aptopt={line}" for line in apt_settings()]
    command = [*_MMDEBSTRAP, "--variant=minbase", f"--include={','.join(packages)}"]
    command += [f"--customize-hook={customize}"] if customize else []
    with log.open("wb") as output:
        made = subprocess.run(
            [*command, *options, release, unfinished, *mirrors(release)], stdout=output, stderr=output
        )
    if made.returncode:
        tail = log.read_text(errors="replace").splitlines()[-5:]
        raise TestBedProblem("mmdebstrap failed:\n" + "\n".join(tail), f"the whole log is {log}")
    unfinished.rename(root)


def mirrors(release: str) -> list[str]:
    """This machine's own Debian sources, for `release`; none on another system, where mmdebstrap knows the default."""
    system = platform.freedesktop_os_release()
    if system["ID"] != "debian":
        return []
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
        capture_output=True,
        text=True,
    )
    own = system["VERSION_CODENAME"]
    sources = (line.split() for line in asked.stdout.splitlines())
    return sorted(
        {f"deb {uri} {suite.replace(own, release, 1)} {rest}" for uri, suite, rest in sources if suite.startswith(own)}
    )


def apt_settings() -> list[str]:
    """How this machine's apt reaches its mirrors: proxies, certificates and the rules for old mirrors."""
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout.splitlines()
    wanted = ("Acquire::http::", "Acquire::https::", "Acquire::Check-")
    return [line for line in dumped if line.startswith(wanted) and not line.endswith('"";')]


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bitnet-provision" / "testbed"


def debian(name: str, packages: list[str]) -> Path:
    """A minimal Debian with `packages`, as a tar file; made once for a list of packages.

    Raises:
        TestBedProblem: mmdebstrap failed.
    """
    recipe = "\0".join([str(_FORMAT), RELEASE, *packages, *_SLIM])
    home = cache() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    tar = home / "root.tar"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.is_file():
            print(f"test bed: making {tar} (once, about 20 s)", file=sys.__stderr__, flush=True)
            unfinished, log = home / "unfinished.tar", home / "mmdebstrap.log"
            options = [*(f"--aptopt={line}" for line in apt_settings()), *_SLIM]
            command = [*_MMDEBSTRAP, "--variant=essential", f"--include={','.join(packages)}", *options, RELEASE]
            with log.open("wb") as output:
                made = subprocess.run([*command, unfinished, *mirrors(RELEASE)], stdout=output, stderr=output)
            if made.returncode:
                tail = log.read_text(errors="replace").splitlines()[-5:]
                raise TestBedProblem("mmdebstrap failed:\n" + "\n".join(tail), f"the whole log is {log}")
            unfinished.rename(tar)
    return tar
