"""Claims that models were fetched into, on a real API server: which are needed, and the end of those that are not.

No controller runs here, so what is deleted is there until its finalizer is taken away.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provision.cluster import claims
from provision.cluster.changing.applying import apply_each
from provision.cluster.claims import ModelClaim
from provision.cluster.kept.inventory import Begun, Inventory
from provision.cluster.kept.lease import held
from provision.cluster.project_there import ProjectThere
from provision.cluster.server.objects import PART_OF, Member, Node, name_of
from provision.errors import Refused
from provision.manifests.kubernetes.rbac import render_rbac
from provision.project import load
from tests.cluster.declared import DEPLOY
from tests.cluster.faulty import At, FaultyApi, Lost, passed, writes
from tests.cluster.running import Cluster
from tests.faults.hooks import until
from tests.manifests.fetched.test_fetched import PLAIN, project

_NUMBERS = itertools.count()
_TARGET = '[targets.k8s]\nplatform = "kubernetes"\nnamespace = "{name}"\nkubeconfig = "kubeconfig"\n'


class Past:
    """A namespace in which releases were deployed, as far as their claims go."""

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self.cluster, self.root = cluster, root
        self.name = f"claims{next(_NUMBERS)}"
        cluster.kubectl("create", "namespace", self.name)
        cluster.kubectl("apply", "-f", "-", text=render_rbac("modelled", self.name)["role.yaml"])
        config = json.loads(cluster.kubeconfig.read_text())
        token = self.kubectl("create", "token", "deploy-modelled").strip()
        config["users"][0]["user"] = {"token": token}
        (root / "kubeconfig").write_text(json.dumps(config))
        self.known = Inventory()
        self.deployed("first", "stable")

    def kubectl(self, *words: str, text: str = "", check: bool = True) -> str:
        return self.cluster.kubectl("--namespace", self.name, *words, text=text, check=check)

    def deployed(self, content: str, channel: str, *, kept: bool = True) -> str:
        """Bring a release with that content of the model `tiny` to a channel; its claim of that."""
        project(self.root, {**PLAIN, "tiny": [(PLAIN["tiny"][0][0], content.encode())]})
        declared = self.root / "deploy.toml"
        declared.write_text(declared.read_text() + _TARGET.format(name=self.name))
        loaded = load(self.root, target="k8s", environ={"HF_TOKEN": "x"}, demand_secrets=False)
        self.there = ProjectThere(loaded, "k8s", lambda _: None)
        release, book = self.there.release, self.there.book
        wanted = [node for node in release.lanes[channel] if node["kind"] == "PersistentVolumeClaim"]
        applied = apply_each(self.there.api, book.labelled(wanted), book.applyset, (), lambda: None)
        if kept:
            book.keep(release)
        before = self.known.members.get(channel, ())
        members = dict.fromkeys((*before, *(Member(*name_of(node), node["metadata"]["uid"]) for node in applied)))
        channels = {**self.known.channels, channel: release.id}
        self.note(Inventory(channels=channels, members={**self.known.members, channel: tuple(members)}))
        return next(name for node in wanted if (name := str(node["metadata"]["name"])).startswith("llm-"))

    @contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        environ = {**os.environ, "HF_TOKEN": "x", "XDG_STATE_HOME": str(self.root / "state")}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen([*DEPLOY, *words], cwd=self.root, env=environ, text=True, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    def note(self, known: Inventory) -> None:
        self.there.book.read()
        self.known = self.there.book.write(known)

    def seen(self) -> dict[str, ModelClaim]:
        return {each.name: each for each in claims.of_models(self.there, self.there.book.read())}

    def uids(self) -> set[str]:
        return {each.uid for each in self.seen().values()}

    def copied(self, name: str, of: str, more: Node) -> None:
        """Somebody's own, made of ours."""
        node = json.loads(self.kubectl("get", "pvc", of, "-o", "json"))
        metadata = {key: node["metadata"][key] for key in ("labels", "annotations") if key in node["metadata"]}
        node = {**node, "metadata": {**metadata, **more, "name": name}, "status": {}}
        self.kubectl("create", "-f", "-", text=json.dumps(node))

    def let_go(self, name: str) -> None:
        """As the cluster's controller does where no pod uses it."""
        self.kubectl("patch", "pvc", name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')


@pytest.fixture
def past(api_server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Past]:
    monkeypatch.setattr(claims, "_ENDS", 0.0)
    made = Past(api_server, tmp_path)
    yield made
    api_server.kubectl("delete", "namespace", made.name, "--wait=false")


def test_those_end_that_no_channel_and_no_kept_release_has_and_only_ours(past: Past) -> None:
    gone = past.deployed("gone", "stable", kept=False)
    back = past.deployed("back", "stable")
    tried = past.deployed("tried", "canary")
    serves = past.deployed("serves", "stable")
    past.deployed("canary", "canary")
    past.copied("backup", of=gone, more={})
    past.copied("llm-data", of=gone, more={"annotations": {}})
    labels = json.loads(past.kubectl("get", "pvc", "llm-data", "-o", "json"))["metadata"]["labels"]
    assert labels[PART_OF] == past.there.book.applyset

    seen = past.seen()
    ended = claims.prune(past.there, past.uids())

    assert {name for name, each in seen.items() if each.may_end()} == {gone, tried}
    assert (seen[serves].channels, seen[serves].releases, seen[serves].models) == (("stable",), (), ("tiny",))
    assert (seen[back].channels, len(seen[back].releases), seen[back].bytes) == ((), 1, 1 << 20)
    assert not seen["backup"].is_ours
    assert "llm-data" not in seen, "it is a service's, whatever it is called"
    assert {each.name for each in ended} == {gone, tried}
    assert {name for name, each in past.seen().items() if each.is_ending} == {gone, tried}
    assert claims.left(past.there, "").volumes.keys() == {"llm-data"}

    again = claims.prune(past.there, past.uids(), everything=True)

    assert back in {each.name for each in again}
    assert not {serves, "backup", "llm-data"} & {each.name for each in again}


def test_a_pod_that_uses_one_is_named_and_the_inventory_forgets_it_once_it_is_gone(past: Past) -> None:
    first, later = past.deployed("one", "stable", kept=False), past.deployed("two", "stable", kept=False)
    past.deployed("three", "stable")
    past.kubectl("create", "serviceaccount", "default")
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": first}}
    spec = {"containers": [{"name": "a", "image": "a"}], "volumes": [volume]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": spec}
    past.kubectl("create", "-f", "-", text=json.dumps(pod))

    ended = {each.name: each for each in claims.prune(past.there, past.uids())}

    assert (ended[first].is_ending, ended[first].pods) == (True, ("user",))
    assert past.seen()[first].pods == ("user",)
    assert ended[later].pods == ()
    past.let_go(first)
    past.let_go(later)
    past.deployed("four", "stable", kept=False)  # as one that was killed before it had written that down
    past.deployed("five", "stable")
    assert len(claims.prune(past.there, past.uids())) == 1
    members = {each.name for each in past.there.book.read().members["stable"]}
    assert not {first, later} & members


def test_where_it_is_not_known_what_is_needed_nothing_ends(past: Past) -> None:
    old = past.deployed("old", "stable", kept=False)
    past.deployed("new", "stable")
    known = past.known
    begun = Begun("up", "stable", "0" * 64, "ann@laptop", 0.0)
    for cut in (
        Inventory(channels=known.channels, members=known.members, begun=begun),
        Inventory(channels=known.channels, members=known.members, degraded="why"),
    ):
        past.note(cut)
        with pytest.raises(Refused, match="between two releases"):
            claims.prune(past.there, past.uids())
        assert claims.old(past.there, cut) == ()
    past.note(known)
    with (
        held(past.there.api, "modelled", "ann@laptop", lambda _: None),
        pytest.raises(Refused, match="ann@laptop is deploying"),
    ):
        claims.prune(past.there, past.uids())
    assert [each.name for each in claims.old(past.there, known)] == [old]
    assert claims.old(past.there, known, coming=[{"kind": "PersistentVolumeClaim", "metadata": {"name": old}}]) == ()

    role = json.loads(past.kubectl("get", "role", "deploy-modelled", "-o", "json"))
    (rule,) = (each for each in role["rules"] if each["resources"] == ["persistentvolumeclaims"])
    rule["verbs"].remove("delete")  # as those of earlier versions
    past.kubectl("replace", "-f", "-", text=json.dumps(role))
    asked = ("auth", "can-i", "delete", "pvc", "--as", f"system:serviceaccount:{past.name}:deploy-modelled")
    until(lambda: "no" in past.kubectl(*asked, check=False), "the server knows it")
    with pytest.raises(Refused, match="the account may not") as refused:
        claims.prune(past.there, past.uids())
    assert "deploy render kubernetes --rbac" in refused.value.next_step

    past.kubectl("delete", "secret", past.there.book.secret(known.channels["stable"]))
    with pytest.raises(Refused, match="nobody knows what stable needs"):
        claims.prune(past.there, past.uids())
    assert claims.old(past.there, known) == ()


@pytest.mark.slow
def test_killed_at_any_write_nothing_ends_but_what_was_asked_for_and_the_next_run_ends_the_rest(
    past: Past, api_server: Cluster
) -> None:
    with FaultyApi(api_server) as faulty:
        faulty.reach(past.root / "kubeconfig")
        for number in itertools.count():
            spare = {past.deployed(f"{which} {number}", "stable", kept=False) for which in ("one", "two")}
            serves = past.deployed(f"serves {number}", "stable")
            for name in spare:
                past.let_go(name)
            before = past.seen().keys()
            with past.start("model", "prune", "--yes") as process:
                faulty.plan = At(writes, Lost(process.kill), number)
                said = process.communicate(timeout=100)
            faulty.plan = passed
            assert before - past.seen().keys() <= spare, number
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL, (number, said)
            past.kubectl("delete", "lease", "deploy-modelled")  # which ends by itself
            with past.start("model", "prune", "--yes") as process:
                said = process.communicate(timeout=100)
            assert process.returncode == 0, (number, said)
            assert not spare & past.seen().keys()
            past.known = past.there.book.read()
            assert past.seen()[serves].channels == ("stable",)
    assert number > 4
