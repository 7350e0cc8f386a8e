"""Which cluster is meant, and by whom it is asked: as kubectl has it, of one file or of several."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision.cluster.server import kubeconfig
from provision.errors import UsageError
from tests.cluster.parts import KUBECTL


def write(path: Path, name: str, current: str = "", **user: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    config: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": current}
    config["clusters"] = [{"name": name, "cluster": {"server": f"https://{name}", "certificate-authority": "ca.crt"}}]
    config["users"] = [{"name": name, "user": user}]
    config["contexts"] = [{"name": name, "context": {"cluster": name, "user": name}}]
    path.write_text(json.dumps(config))
    return path


def test_several_files_are_one_as_kubectl_merges_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path / "a/config", "a", token="x")
    second = write(tmp_path / "b/config", "b", current="b", **{"client-certificate": "b.crt", "client-key": "b.key"})
    again = write(tmp_path / "c/config", "a", current="a", token="not this one")
    files = os.pathsep.join(map(str, (first, tmp_path / "nowhere", second, again)))
    monkeypatch.setenv("KUBECONFIG", files)

    current, other = kubeconfig.chosen(None, None), kubeconfig.chosen("a", None)

    assert (current.context_name, current.cluster.server) == ("b", "https://b")
    assert current.abs_file(current.user.client_cert) == str(tmp_path / "b/b.crt")
    assert current.abs_file(current.cluster.certificate_auth) == str(tmp_path / "b/ca.crt")
    assert other.user.token == "x"
    assert other.abs_file(other.cluster.certificate_auth) == str(tmp_path / "a/ca.crt")
    asked = subprocess.run([KUBECTL, "config", "view", "--minify", "-o", "json"], capture_output=True, check=True)
    assert json.loads(asked.stdout)["clusters"][0]["cluster"]["server"] == current.cluster.server
    with pytest.raises(UsageError, match=r'no context "bb"\. Did you mean "b"'):
        kubeconfig.chosen("bb", None)


def test_a_file_that_was_named_and_is_not_there_is_not_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / ".kube/config", "home", current="home", token="x")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))

    with pytest.raises(UsageError, match="nowhere is no file"):
        kubeconfig.chosen(None, None)
    monkeypatch.delenv("KUBECONFIG")
    assert kubeconfig.chosen(None, None).context_name == "home"


@pytest.mark.parametrize("text", ["", "[]", "a: [", "clusters: 1\ncontexts: []"])
def test_what_is_no_kubeconfig_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)

    with pytest.raises(UsageError, match="config is no kubeconfig"):
        kubeconfig.chosen(None, tmp_path / "config")
