"""pip's settings reach uv: whoever has a mirror, a folder, a certificate or a proxy has to say nothing twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from tests.locks.conftest import ASKING, EXTENDED, Checkout, entry
from tests.locks.index import Index, Release, serving, wheel

UV = Path(sys.executable).with_name("uv")
NEEDED = entry(ASKING) + entry(EXTENDED)


@dataclass
class Asker:
    """Has uv fetch what NEEDED names, with what `for_uv` makes of the settings in a home folder."""

    checkout: Checkout
    fill_venv: ModuleType
    monkeypatch: pytest.MonkeyPatch
    indexes: ExitStack = field(default_factory=ExitStack)

    def index(self, *releases: Release, certificate: Path | None = None, credentials: str = "") -> Index:
        index = Index(credentials=credentials)
        index.add(*releases)
        return self.indexes.enter_context(serving(index, certificate))

    def fetch(self, **given: str) -> subprocess.CompletedProcess[str]:
        home = self.checkout.home
        (home / "needed.txt").write_text(NEEDED)
        with self.monkeypatch.context() as here:
            for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
                here.delenv(name)
            for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                here.delenv(name, raising=False)
            here.setenv("HOME", str(home))
            for name, value in given.items():
                here.setenv(name, value)
            settings = self.fill_venv.pip_settings()
            kept = self.fill_venv.for_pip(settings, os.environ)
            variables = kept | self.fill_venv.for_uv(settings, kept)
            command = [UV, "pip", "install", "--no-deps", "--require-hashes", "--no-cache", f"--target={home}/to"]
            command += ["--python", sys.executable, "--requirement", home / "needed.txt"]
            return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    def gets_all(self, **given: str) -> bool:
        done = self.fetch(**given)
        assert done.returncode == 0, done.stderr
        return all((self.checkout.home / "to" / f"{name}.py").exists() for name in ("asking", "extended"))


@pytest.fixture
def asker(small: Checkout, fill_venv: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    asker = Asker(small, fill_venv, monkeypatch)
    with asker.indexes:
        yield asker


@dataclass(frozen=True)
class Certificates:
    authority: Path
    server: Path  # with its key, in one file


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of an authority that nobody knows but whoever is told."""
    folder = tmp_path_factory.mktemp("certificates")

    def make(name: str, *options: str) -> None:
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.pem", *options]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    make("authority")
    make(
        "server",
        *("-CA", "authority.pem", "-CAkey", "authority.key"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"),
    )
    with (folder / "server.pem").open("a") as both:
        both.write((folder / "server.key").read_text())
    return Certificates(folder / "authority.pem", folder / "server.pem")


def test_a_mirror_with_a_password(asker: Asker) -> None:
    mirror = asker.index(ASKING, EXTENDED, credentials="me:hunter2")
    asker.checkout.pip_settings(index_url=mirror.with_credentials)

    assert asker.gets_all()


def test_a_mirror_whose_password_is_in_netrc(asker: Asker) -> None:
    mirror = asker.index(ASKING, EXTENDED, credentials="me:hunter2")
    asker.checkout.pip_settings(index_url=mirror.url)
    netrc = asker.checkout.home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)

    assert asker.gets_all()


def test_a_variable_of_pip_wins_over_its_file(asker: Asker) -> None:
    mirror = asker.index(ASKING, EXTENDED)
    asker.checkout.pip_settings(index_url="http://127.0.0.1:9/simple")

    assert asker.gets_all(PIP_INDEX_URL=mirror.url)


def test_an_index_beside_another_is_asked_for_what_the_first_has_in_other_versions_alone(asker: Asker) -> None:
    first = asker.index(wheel("asking", "0.9"), EXTENDED)
    second, third = asker.index(ASKING), asker.index(wheel("extended", "3.0"))
    asker.checkout.pip_settings(index_url=first.url, extra_index_url=f"{second.url}\n    {third.url}")

    assert asker.gets_all()


def test_folders_without_any_index_and_one_that_is_not_there(asker: Asker, tmp_path: Path) -> None:
    for folder, release in (("one", ASKING), ("two", EXTENDED)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / release.file).write_bytes(release.content)
    folders = f"{tmp_path}/one {tmp_path}/two {tmp_path}/never"
    asker.checkout.pip_settings(no_index="true", find_links=folders)

    assert asker.gets_all()


def test_a_certificate(asker: Asker, certificates: Certificates) -> None:
    mirror = asker.index(ASKING, EXTENDED, certificate=certificates.server)
    asker.checkout.pip_settings(index_url=mirror.url, retries="0")
    assert asker.fetch().returncode != 0, "it needs to be told"

    asker.checkout.pip_settings(index_url=mirror.url, cert=str(certificates.authority))

    assert asker.gets_all()


def test_a_certificate_in_the_variable_that_pip_reads(asker: Asker, certificates: Certificates) -> None:
    mirror = asker.index(ASKING, EXTENDED, certificate=certificates.server)
    none_of_this_machine = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": mirror.url}

    assert asker.gets_all(**none_of_this_machine, REQUESTS_CA_BUNDLE=str(certificates.authority))


def test_a_host_that_is_trusted_whatever_its_certificate(asker: Asker, certificates: Certificates) -> None:
    mirror = asker.index(ASKING, EXTENDED, certificate=certificates.server)
    asker.checkout.pip_settings(index_url=mirror.url, trusted_host=mirror.host)

    assert asker.gets_all()


def test_a_proxy(asker: Asker) -> None:
    proxy = asker.index(ASKING, EXTENDED)
    asker.checkout.pip_settings(index_url="http://index.invalid/simple", proxy=f"http://{proxy.host}")

    assert asker.gets_all(NO_PROXY="", no_proxy="")
    assert "/simple/asking/" in proxy.asked


def test_what_is_set_for_uv_stays(asker: Asker) -> None:
    mirror = asker.index(ASKING, EXTENDED)
    asker.checkout.pip_settings(index_url="http://127.0.0.1:9/simple")

    assert asker.gets_all(UV_DEFAULT_INDEX=mirror.url)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".config/uv/uv.toml", '[pip]\ntarget = "TREASURE"\n'),
        pytest.param("uv.toml", '[pip]\ntarget = "TREASURE"\n', marks=pytest.mark.slow),  # above the checkout
        (".config/pip/pip.conf", "[global]\nindex-url = INDEX\ntarget = TREASURE\n"),
        pytest.param(
            ".config/pip/pip.conf",
            "[global]\nindex-url = INDEX\n[install]\nuser = true\ndry-run = true\n",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.parametrize("uv", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["uv", "pip"])
def test_a_file_of_settings_cannot_say_what_is_installed_or_where(
    uv: bool, file: str, text: str, small: Checkout, index: Index
) -> None:
    treasure = small.home / "treasure"
    (treasure / "kept-1.0.dist-info").mkdir(parents=True)
    for name in ("kept.py", "kept-1.0.dist-info/METADATA", "kept-1.0.dist-info/RECORD"):
        (treasure / name).write_text("Metadata-Version: 2.1\nName: kept\nVersion: 1.0\n" if "META" in name else "")
    before = sorted(treasure.rglob("*"))
    small.pip_settings(index_url=index.url)
    if not uv:
        for release in [release for release in index.releases.values() if release.project == "uv"]:
            del index.releases[release.file]
    settings = (small.folder.parent if file == "uv.toml" else small.home) / file
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(text.replace("TREASURE", str(treasure)).replace("INDEX", index.url))

    done = small.make_venv("run", PIP_DRY_RUN="1", UV_CONFIG_FILE=str(settings))

    assert done.returncode == 0, done.stderr
    assert ("pip does it instead" in done.stdout) != uv
    assert small.installed() >= small.locked("run")
    assert sorted(treasure.rglob("*")) == before
