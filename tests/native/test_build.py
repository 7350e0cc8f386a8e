"""What people rely on when they build: compiled once, never half, and told why not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from provision.errors import DeployError, Exit, UsageError
from provision.native import TARGETS, BuildResult, Cache, build
from provision.native.finished import sha256
from tests.native.conftest import Told, commit, git, held


def run(program: Path) -> str:
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip()


def test_a_build_leaves_programs_that_run_and_says_what_they_are(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    result = build("portable", targets=TARGETS, source=checkout, root=tmp_path, cache=cache)

    assert sorted(path.name for path in (tmp_path / "build/bin").iterdir()) == sorted(TARGETS)
    assert {run(path) for path in result.binaries.values()} == {"6"}
    record = json.loads((tmp_path / "build/build.json").read_text())
    assert record["profile"] == "portable"
    assert record["source"]["commit"] == git(checkout, "rev-parse", "HEAD")
    assert record["flags"]["CMAKE_EXE_LINKER_FLAGS"] == "-static"
    assert {name: entry["sha256"] for name, entry in record["binaries"].items()} == {
        name: sha256(path) for name, path in result.binaries.items()
    }
    assert "avx2" in record["cpu"]["features"]
    assert "avx512f" not in record["cpu"]["features"]
    assert record["ternary_types"] == ["TQ1_0", "TQ2_0"]


def test_the_second_build_compiles_nothing(checkout: Path, cache: Cache, tmp_path: Path, told: Told) -> None:
    build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)
    before = (tmp_path / "build/bin/llama-cli").stat()

    again = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache, on_event=told)

    assert not again.compiled
    assert told.phases() == {"install"}
    after = (tmp_path / "build/bin/llama-cli").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_fresh_clone_takes_its_programs_from_the_cache(
    checkout: Path, cache: Cache, tmp_path: Path, told: Told
) -> None:
    first = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path / "one", cache=cache)
    second = build(
        "portable", targets=["llama-cli"], source=checkout, root=tmp_path / "two", cache=cache, on_event=told
    )

    assert told.phases() == {"install"}
    assert second.key == first.key
    assert run(tmp_path / "two/build/bin/llama-cli") == "6"


@pytest.mark.timeout(60)
def test_what_an_interrupted_build_compiled_is_not_compiled_again(
    checkout: Path, cache: Cache, tmp_path: Path, told: Told
) -> None:
    hold = tmp_path / "wait"
    held(checkout, hold)
    arguments = ["build", "--profile", "portable", "--only", "llama-cli", "--source", str(checkout), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "provision.cli", "native", *arguments, "--jobs", "2", "--out", str(tmp_path / "build")],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "xdg")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    done = total = 0
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress":
            done, total = event["done"], event["total"]
        if done >= 4:  # one.c, two.c, three.c, libtiny.a
            break
    process.kill()
    process.wait()
    hold.unlink()

    of_user = Cache(tmp_path / "xdg/bitnet-provision")
    result = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=of_user, on_event=told)

    assert run(result.binaries["llama-cli"]) == "6"
    assert "configure" not in told.phases()
    steps = [event for event in told if event["event"] == "progress"]
    assert 0 < int(str(steps[-1]["total"])) <= total - 4


@pytest.mark.timeout(60)
def test_ctrl_c_ends_the_compilers_and_exits_130(checkout: Path, tmp_path: Path) -> None:
    forever = tmp_path / "forever.sh"
    forever.write_text("echo $PPID > pid; exec sleep 300\n")
    with (checkout / "CMakeLists.txt").open("a") as file:
        file.write(f"add_custom_target(forever COMMAND sh {forever})\nadd_dependencies(llama-cli forever)\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "forever")
    process = subprocess.Popen(
        [sys.executable, "-m", "provision.cli", "native", "build", "--only", "llama-cli", "--source", str(checkout)],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "xdg")},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    ninja = _eventually_reads(tmp_path, "xdg/bitnet-provision/trees/*/pid")

    os.killpg(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=30)

    assert process.returncode == Exit.INTERRUPTED
    assert "the same command goes on" in shown
    assert "Traceback" not in shown
    assert not Path(f"/proc/{ninja}").exists()


def _eventually_reads(folder: Path, pattern: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for file in folder.glob(pattern):
            if content := file.read_text().strip():
                return content
        time.sleep(0.05)
    raise AssertionError(f"no {pattern} came to be")


def test_two_builds_in_one_cache_take_turns_and_compile_once(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    results: dict[str, BuildResult] = {}
    events = {"one": Told(), "two": Told()}

    def in_clone(name: str) -> None:
        results[name] = build(
            "portable",
            targets=["llama-cli"],
            source=checkout,
            root=tmp_path / name,
            cache=cache,
            on_event=events[name],
        )

    threads = [threading.Thread(target=in_clone, args=[name]) for name in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(result.compiled for result in results.values()) == [False, True]
    waiting = next(name for name, result in results.items() if not result.compiled)
    assert f"waiting for another build in {cache.root} (process {os.getpid()})" in events[waiting].texts()
    assert run(tmp_path / waiting / "build/bin/llama-cli") == "6"


def test_a_program_that_rotted_in_the_cache_is_made_again(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    first = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path / "one", cache=cache)
    with (cache.finished(first.key) / "llama-cli").open("r+b") as file:
        file.write(b"rot")

    second = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path / "two", cache=cache)

    assert second.compiled
    assert run(second.binaries["llama-cli"]) == "6"


def test_a_folder_holds_the_programs_of_one_build(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    build("portable", targets=["llama-cli", "llama-bench"], source=checkout, root=tmp_path, cache=cache)
    build("native", targets=["llama-server"], source=checkout, root=tmp_path, cache=cache)
    assert [path.name for path in (tmp_path / "build/bin").iterdir()] == ["llama-server"]

    build("native", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)
    assert sorted(path.name for path in (tmp_path / "build/bin").iterdir()) == ["llama-cli", "llama-server"]


def test_a_changed_source_flag_or_compiler_option_is_another_build(
    checkout: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(**define: str) -> str:
        arguments = {"targets": ["llama-cli"], "source": checkout, "root": tmp_path, "cache": cache}
        return build("portable", define=define, **arguments).key  # type: ignore[arg-type]

    keys = [key(), key(LLAMA_ANY="1")]
    monkeypatch.setenv("CFLAGS", "-O1")
    keys.append(key())
    (checkout / "one.c").write_text("int one(void) { return 11; }\n")
    keys.append(key())

    assert len(set(keys)) == 4
    assert run(tmp_path / "build/bin/llama-cli") == "16"
    assert json.loads((tmp_path / "build/build.json").read_text())["source"]["modified"] is True


def test_what_one_profile_compiled_is_there_for_the_next(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    build("min", targets=["llama-cli"], source=checkout, root=tmp_path / "one", cache=cache)
    statistics = ["env", f"CCACHE_DIR={cache.ccache}", "ccache", "--print-stats"]
    assert "direct_cache_hit\t0\n" in subprocess.run(statistics, check=True, capture_output=True, text=True).stdout

    second = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path / "two", cache=cache)

    assert second.compiled
    after = subprocess.run(statistics, check=True, capture_output=True, text=True).stdout
    assert "direct_cache_hit\t4\n" in after  # one.c, two.c, three.c, main.cpp
    assert "cache_miss\t4\n" in after


def test_shared_libraries_come_along_and_are_found_beside_the_program(
    checkout: Path, cache: Cache, tmp_path: Path
) -> None:
    with (checkout / "CMakeLists.txt").open("a") as file:
        file.write("set_target_properties(tiny PROPERTIES VERSION 1.2.3 SOVERSION 1)\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "version")

    build("dynamic", targets=["llama-cli"], source=checkout, root=tmp_path / "one", cache=cache)
    moved = (tmp_path / "one/build").rename(tmp_path / "elsewhere")

    assert sorted(path.name for path in (moved / "bin").iterdir()) == ["libtiny.so.1", "llama-cli"]
    assert run(moved / "bin/llama-cli") == "6"
    assert list(json.loads((moved / "build.json").read_text())["libraries"]) == ["libtiny.so.1"]


def test_a_compile_error_is_shown_with_its_place_and_the_log(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    (checkout / "two.c").write_text("int two(void) { return nothing; }\n")

    with pytest.raises(DeployError) as failure:
        build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)

    assert failure.value.exit == Exit.FAILED
    assert "two.c:1:24: error: " in failure.value.why
    log = Path(failure.value.next_step.rpartition(" ")[2])
    assert "nothing" in log.read_text()
    assert not (tmp_path / "build").exists()


def test_a_configure_error_is_cmakes_own(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    with (checkout / "CMakeLists.txt").open("a") as file:
        file.write('message(FATAL_ERROR "this CPU is too old")\n')

    with pytest.raises(DeployError, match="cmake could not configure") as failure:
        build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)

    assert "this CPU is too old" in failure.value.why


def test_missing_programs_are_named_all_at_once_with_the_command_that_installs_them(
    checkout: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_git = tmp_path / "bin"
    only_git.mkdir()
    where = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
    (only_git / "git").symlink_to(where)
    (only_git / "apk").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(only_git))
    monkeypatch.setattr(sys, "executable", str(only_git / "python"))

    with pytest.raises(UsageError) as failure:
        build("native", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)

    assert failure.value.what == "a native build needs cmake and ninja and cc and c++, not found on PATH"
    assert failure.value.next_step == "apk add cmake ninja-build gcc g++"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"profile": "nativ"}, 'Did you mean "native"?'),
        ({"targets": ["llama-sever"]}, 'Did you mean "llama-server"?'),
        ({"profile": "zzz"}, "There are: native, portable, dynamic, min, cuda."),
        ({"jobs": 0}, "at least one compiler has to run"),
        ({"source": "/nowhere"}, "/nowhere is not a source that can be built here"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_right_one(
    arguments: dict[str, object], said: str, checkout: Path, cache: Cache, tmp_path: Path
) -> None:
    usual = {"profile": "portable", "targets": ["llama-cli"], "source": checkout, "root": tmp_path, "cache": cache}
    with pytest.raises(UsageError) as failure:
        build(**(usual | arguments))  # type: ignore[arg-type]
    assert said in str(failure.value)


def test_a_folder_that_git_does_not_know_is_refused(cache: Cache, tmp_path: Path) -> None:
    folder = tmp_path / "loose"
    (folder / "ggml").mkdir(parents=True)
    (folder / "ggml/CMakeLists.txt").touch()

    with pytest.raises(UsageError, match="is not a git checkout"):
        build("native", targets=["llama-cli"], source=folder, root=tmp_path, cache=cache)


def test_only_tracked_files_are_built(checkout: Path, cache: Cache, tmp_path: Path) -> None:
    first = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)
    (checkout / "notes.txt").write_text("not tracked\n")
    second = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)
    assert second.key == first.key
    commit(checkout)
    third = build("portable", targets=["llama-cli"], source=checkout, root=tmp_path, cache=cache)
    assert third.key != first.key


def test_a_cache_that_cannot_be_written_is_named(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeployError, match="could not write its files") as failure:
        build("native", targets=["llama-cli"], source=checkout, root=tmp_path, cache=Cache(tmp_path / "file/cache"))
    assert str(tmp_path / "file") in failure.value.why
