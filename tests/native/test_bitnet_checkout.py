"""microsoft/BitNet from a checkout: its compiler, its generated kernels, and refusals that say what to do."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.errors import DeployError, UsageError
from provision.native import Cache, build, data
from tests.native.conftest import Told, git


def shown(program: Path) -> str:
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.usefixtures("clang")
def test_it_is_built_with_clang_and_kernels_generated_for_the_2b_model(
    bitnet: Path, cache: Cache, tmp_path: Path
) -> None:
    result = build("portable", targets=["llama-server"], source=bitnet, root=tmp_path, cache=cache)

    shapes = " ".join(data.pinned("bitnet.cpp")["codegen"][platform.machine()][1:])
    assert shown(result.binaries["llama-server"]) == f"i2_s {shapes}"
    record = json.loads(result.record.read_text())
    assert record["ternary_types"] == ["I2_S"]
    assert record["source"] | {"digest": ""} == {
        "name": "bitnet.cpp",
        "commit": git(bitnet, "rev-parse", "HEAD"),
        "digest": "",
    }


@pytest.mark.usefixtures("clang")
def test_the_checkout_is_left_as_it_was(bitnet: Path, cache: Cache, tmp_path: Path) -> None:
    build("portable", targets=["llama-server"], source=bitnet, root=tmp_path, cache=cache)
    assert git(bitnet, "status", "--porcelain", "--ignored") == ""


@pytest.mark.usefixtures("clang")
@pytest.mark.parametrize(("flag", "kind"), [("BITNET_X86_TL2", "TL2"), ("BITNET_ARM_TL1", "TL1")])
def test_lookup_table_kernels_are_a_flag_and_build_json_names_their_type(
    flag: str, kind: str, bitnet: Path, cache: Cache, tmp_path: Path
) -> None:
    result = build("native", targets=["llama-server"], source=bitnet, define={flag: "ON"}, root=tmp_path, cache=cache)
    assert shown(result.binaries["llama-server"]).startswith("tl ")
    assert result.facts["ternary_types"] == ["I2_S", kind]


@pytest.mark.usefixtures("clang")
def test_a_failing_generator_is_shown_by_its_last_words(bitnet: Path, cache: Cache, tmp_path: Path) -> None:
    for script in (bitnet / "utils").iterdir():
        script.write_text("raise SystemExit('no such model')\n")

    with pytest.raises(DeployError, match="could not generate kernels") as failure:
        build("native", targets=["llama-server"], source=bitnet, root=tmp_path, cache=cache)

    assert failure.value.why == "no such model"


@pytest.mark.usefixtures("clang")
@pytest.mark.parametrize("profile", ["dynamic", "cuda"])
def test_a_profile_that_it_cannot_have_is_refused(profile: str, bitnet: Path, cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"bitnet.cpp has no profile {profile}"):
        build(profile, targets=["llama-server"], source=bitnet, root=tmp_path, cache=cache)


def test_without_clang_the_command_that_installs_it_is_named(
    bitnet: Path, cache: Cache, tmp_path: Path, tools: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tools(git="git", cmake="cmake", ninja="ninja", pacman="true")))

    with pytest.raises(UsageError) as failure:
        build("native", targets=["llama-server"], source=bitnet, root=tmp_path, cache=cache)

    assert failure.value.what == "a native build needs clang and clang++, not found on PATH"
    assert failure.value.next_step == "pacman -S --needed clang"


def test_an_empty_submodule_is_refused_with_the_command_that_fills_it(
    bitnet: Path, cache: Cache, tmp_path: Path
) -> None:
    shutil.rmtree(bitnet / "3rdparty/llama.cpp")
    (bitnet / "3rdparty/llama.cpp").mkdir()

    with pytest.raises(UsageError) as failure:
        build("native", targets=["llama-server"], source=bitnet, root=tmp_path, cache=cache)

    assert failure.value.next_step == f"git -C {bitnet} submodule update --init --recursive"


@pytest.fixture
def upstream(bitnet: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """git finds the checkout where microsoft/BitNet would be."""
    settings = {f"url.{bitnet}.insteadOf": data.pinned("bitnet.cpp")["url"], "protocol.file.allow": "always"}
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
    for number, (name, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    return bitnet


@pytest.mark.usefixtures("clang")
def test_it_is_cloned_by_name_once_and_at_a_revision(upstream: Path, cache: Cache, tmp_path: Path, told: Told) -> None:
    first = git(upstream, "rev-parse", "HEAD")
    (upstream / "src/main.cpp").write_text("#error newer\n")
    git(upstream, "commit", "--quiet", "--all", "--message", "newer")

    for _ in range(2):
        result = build(
            "native", targets=["llama-server"], source=f"bitnet@{first}", root=tmp_path, cache=cache, on_event=told
        )

    assert shown(result.binaries["llama-server"]).startswith("i2_s ")
    assert result.facts["source"]["commit"] == first
    assert told.texts().count("cloning") == 1


def test_a_clone_that_fails_says_why_and_offers_a_folder(upstream: Path, cache: Cache, tmp_path: Path) -> None:
    shutil.rmtree(upstream)

    with pytest.raises(DeployError, match="could not be cloned") as failure:
        build("native", targets=["llama-server"], source="bitnet", root=tmp_path, cache=cache)

    assert failure.value.why.startswith("fatal: ")
    assert "--source DIR" in failure.value.next_step
    assert not list((cache.root / "clones").glob("*"))
