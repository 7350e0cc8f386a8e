"""What importing the room costs."""

import subprocess
import sys


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_room_brings_nothing_heavy():
    assert not modules_after("import provision.project") & {"pydantic", "tree_sitter", "dotenv", "fabric", "paramiko"}


def test_a_good_file_is_loaded_without_the_reader_that_locates_mistakes(tmp_path):
    (tmp_path / "deploy.toml").write_text('[project]\nname = "a"\n[services.web]\ncommand = ["a"]\n')

    modules = modules_after(
        f"from pathlib import Path; from provision.project import load; load(Path({str(tmp_path)!r}), environ={{}})"
    )

    assert "pydantic" in modules
    assert not modules & {"tree_sitter", "fabric", "paramiko"}
