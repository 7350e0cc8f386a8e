"""Puts what the locks pin into the environment whose Python runs this: exactly that, without a look at what is newer.

    .venv/bin/python scripts/fill_venv.py GROUP... <wanted      (scripts/make-venv)

uv does it, which pip fetches first, by hash. Where uv cannot be had, or cannot reach what pip reaches, pip does it,
with --no-deps: without that, pip 23 resolves extras of a package against the index although every version is pinned.
What stands on standard input is kept as `made-from` when all is done; an environment without that is not whole.

Standard library alone, since nothing is installed yet. Works with the pip that Python 3.11 brings (23.0).
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_OURS = "bitnet-provision"
_SEEDS = {_OURS, "pip", "setuptools", "uv"}  # not of a group's lock, and left alone
_BY_HASH = ("--require-hashes", "--only-binary", ":all:")
# What is taken from pip's settings, and from variables for uv: where files come from, and how they get here. Whatever
# else they say is for another installation: it would change what is installed, or where; `--target` empties a folder.
_OF_PIP = re.compile(
    "(extra-)?index-url|find-links|no-index|trusted-host|cert|client-cert|proxy|(default-)?timeout|retries"
    "|keyring-provider|(no-)?cache-dir"
)
_OF_UV = re.compile(
    r"UV_(CACHE_DIR|CONCURRENT_\w+|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|HTTP_\w+|INDEX\w*|INSECURE_HOST"
    r"|KEYRING_PROVIDER|LINK_MODE|NATIVE_TLS|NO_CACHE|NO_INDEX|OFFLINE|REQUEST_TIMEOUT|SYSTEM_CERTS)"
)
# pip's options that uv has under another name; a list of places each, or one value.
_LISTS = {"extra-index-url": "UV_INDEX", "trusted-host": "UV_INSECURE_HOST"}
_VALUES = {
    "index-url": "UV_DEFAULT_INDEX",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
}


class Damaged(Exception):
    """A file is not the one that is pinned."""


class Failed(Exception):
    """A program did not do it; what it said has been shown."""


def pip_settings() -> dict[str, str]:
    """Those of _OF_PIP that hold, by option: `pip config list` prints `SECTION.OPTION=REPR`, and PIP_… as `:env:`.

    The order in which they win is that of "Configuration", "Precedence" in pip's documentation.
    """
    command = [sys.executable, "-I", "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    sections: dict[str, dict[str, str]] = {}
    for line in listed.stdout.splitlines():
        name, separator, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if separator:
            sections.setdefault(section, {})[option] = str(ast.literal_eval(value))
    found = sections.get("global", {}) | sections.get("install", {}) | sections.get(":env:", {})
    return {option: value for option, value in found.items() if _OF_PIP.fullmatch(option)}


def for_pip(settings: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment in which pip and uv read no file of settings, and no variables but those that may say something.

    Args:
        given: the one there is.
    """
    kept = {
        name: value
        for name, value in given.items()
        if not name.startswith(("PIP_", "UV_", "PYTHON")) or _OF_UV.fullmatch(name)
    }
    kept |= {f"PIP_{option.upper().replace('-', '_')}": value for option, value in settings.items()}
    # The null device is pip's word for no file at all ("Configuration", PIP_CONFIG_FILE).
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CONFIG": "1"}


def for_uv(settings: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The variables that make uv ask where pip would, as pip would; uv reads none of pip's settings.

    Args:
        given: the environment. What is set there for uv stays.
    """
    found = {variable: settings[option] for option, variable in _VALUES.items() if option in settings}
    found |= {variable: " ".join(settings[option].split()) for option, variable in _LISTS.items() if option in settings}
    if "UV_INDEX" in found:
        # pip takes a file from whichever index has it, uv from the first that knows the package; hashes say which file.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        found["UV_NO_INDEX"] = "1"
    # pip passes over a folder that is not there, for uv it is an error.
    links = settings.get("find-links", "").split()
    if places := [place for place in links if "://" in place or Path(place).exists()]:
        found["UV_FIND_LINKS"] = ",".join(places)
    return {name: value for name, value in found.items() if name not in given} | _connection(settings, given)


def _connection(settings: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Proxy and certificates, in variables that are not uv's alone; pip's own settings are the nearer word."""
    found: dict[str, str] = {}
    if "proxy" in settings:
        found |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), settings["proxy"])
    if "client-cert" in settings:
        found["SSL_CLIENT_CERT"] = settings["client-cert"]
    certificates = settings.get("cert") or given.get("REQUESTS_CA_BUNDLE") or given.get("CURL_CA_BUNDLE")
    if certificates:
        found["SSL_CERT_DIR" if Path(certificates).is_dir() else "SSL_CERT_FILE"] = certificates
    elif Path("/etc/ssl/certs/ca-certificates.crt").exists():
        found["UV_SYSTEM_CERTS"] = given.get("UV_SYSTEM_CERTS", "1")  # as Debian's pip does, and each from 24.2
    return found


def run(command: Sequence[str | Path], environment: Mapping[str, str], *shown: str) -> None:
    """Run it; of what it says, lines that begin as `shown` do stand on our output at once, the rest if it fails.

    Raises:
        Damaged: it found a file with another hash.
        Failed: it failed otherwise.
    """
    said = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as program:
        for line in program.stdout or ():
            said.append(line)
            if line.lstrip().startswith(shown):
                tell(f"  {line.strip()}")
    if program.returncode == 0:
        return
    text = "".join(said)
    sys.stderr.write(text)
    # uv's words, then pip's; those for a file, then those for the hashes that an index names.
    if re.search(r"hash mismatch|do not match the hashes|no compatible hash|matching hash", text, re.IGNORECASE):
        raise Damaged
    raise Failed(f"{Path(command[0]).name} exited with status {program.returncode}")


def fill(groups: Sequence[str]) -> None:
    """Install what the locks of `groups` pin, and this project itself, and nothing else.

    Raises:
        Damaged: a file is not the one that is pinned.
        Failed: neither uv nor pip could.
    """
    locks = [ROOT / "locks" / f"{name}.txt" for name in ("build", *groups)]
    count = len(names(locks))  # some are for another Python or platform
    settings = pip_settings()
    kept = for_pip(settings, os.environ)
    pip = [sys.executable, "-m", "pip"]
    uv = Path(sys.executable).with_name("uv")
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]

    lacks = "could not be had"
    try:
        with_lock = f"uv=={pins(ROOT / 'locks' / 'uv.txt')['uv']}"
        if installed("uv") != with_lock:
            tell(f"fetching {with_lock}, which installs the rest")
            run([*pip, "install", "--no-deps", *_BY_HASH, "-r", ROOT / "locks" / "uv.txt"], kept)
        lacks = "could not install them"
        environment = kept | for_uv(settings, kept)
        tell(f"installing up to {count} packages, as locked: {' '.join(groups)}")
        chosen = ["--python", sys.executable]
        locked = [*locks, ROOT / "locks" / "uv.txt"]
        run([uv, "pip", "sync", *chosen, *_BY_HASH, *locked], environment, "Downloading", "Prepared", "Installed")
        run([uv, "pip", "install", *chosen, "--offline", *editable], environment)
        run([uv, "pip", "check", *chosen], environment)
    except (Failed, OSError) as failure:
        tell(f"uv {lacks} ({failure}); pip does it instead, which takes minutes")
        requirements = [word for lock in locks for word in ("-r", str(lock))]
        run([*pip, "install", "--no-deps", *_BY_HASH, *requirements], kept, "Collecting", "Installing")
        run([*pip, "install", "--no-index", *editable], kept)
        there = {normal(found.name) for found in metadata.distributions(path=[sysconfig.get_path("purelib")])}
        if extra := sorted(there - names(locks) - _SEEDS):
            run([*pip, "uninstall", "--yes", *extra], kept)
        run([*pip, "check"], kept)
    # Python 3.11 reads these files in the locale's encoding; under LC_ALL=C that has no letters but ASCII's.
    packages = Path(sysconfig.get_path("purelib"))
    for file in packages.glob("*.pth"):
        if file.read_bytes().strip() == os.fsencode(ROOT):
            file.write_bytes(os.fsencode(os.path.relpath(ROOT, packages.resolve())) + b"\n")


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))


def names(locks: Sequence[Path]) -> set[str]:
    return {name for lock in locks for name in pins(lock)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return ""


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(groups: Sequence[str]) -> int | str:
    began = time.monotonic()
    wanted = sys.stdin.read()
    record = Path(sys.prefix) / "made-from"
    record.unlink(missing_ok=True)
    again = f"scripts/make-venv {' '.join(groups)}"
    try:
        fill(groups)
    except (Damaged, Failed) as failure:
        # Nothing was cut short, so what is there can be gone on with: the first line says whose it is.
        record.write_text(wanted.partition("\n")[0] + "\n", encoding="utf-8")
        return _sentence(failure, again)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nCut short. The next run makes it whole: {again}\n")
        return 130
    record.write_text(wanted, encoding="utf-8")
    tell(f"done in {time.monotonic() - began:.0f} s")
    return 0


def _sentence(failure: Exception, again: str) -> str:
    if isinstance(failure, Damaged):
        return (
            "A file is not the one that the locks pin (its name stands above); it was not installed.\n"
            "It was damaged on its way, or somebody changed it where `pip config list` points.\n"
            f"next: {again}; if that says the same, ask who keeps that index."
        )
    return (
        f"The packages of {sys.prefix} could not be installed: {failure}, its words stand above.\n"
        f"next: check the network and `pip config list`, then: {again}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
