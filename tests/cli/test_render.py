"""`deploy render`, through the real command line."""

import hashlib
import json
import os

import pytest

from tests.cli.conftest import of

IMAGE = 'image = "ghcr.io/acme/small@sha256:' + "0123456789abcdef" * 4 + '"'


@pytest.fixture
def declared(project):
    """The small project, in an image; its target needs a variable that is not set."""
    file = project.root / "deploy.toml"
    text = file.read_text().replace('name = "small"', f'name = "small"\n{IMAGE}')
    file.write_text(text + '\n[targets.far]\nhosts = ["${FAR}"]\npath = "/srv/small"\nplatform = "systemd"\n')
    return project


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_files_are_shown_under_their_names_and_nothing_is_written(declared):
    before = tree(declared.root)

    shown = declared.ok("render", "kubernetes")

    assert "==> stable/web.yaml <==\n# web of small (stable)." in shown
    assert "==> overlays/production/kustomization.yaml <==\n" in shown
    assert tree(declared.root) == before


def test_json_has_each_file_whole(declared):
    events = declared.events("render", "kubernetes")
    files = {event["path"]: event["text"] for event in of(events, "file")}

    declared.ok("render", "kubernetes", "--out", "k8s")

    assert events[-1] == {"event": "result", "platform": "kubernetes", "files": len(files)}
    assert {path: text for path, text in tree(declared.root / "k8s").items() if path != ".deploy-render"} == files


def test_an_account_is_for_the_namespace_of_the_cluster_that_is_meant(declared):
    file = declared.root / "deploy.toml"
    of_a_cluster = '\n[targets.{0}]\nplatform = "kubernetes"\nnamespace = "{0}-of-all"\n'
    file.write_text(file.read_text() + of_a_cluster.format("one"))

    shown = declared.ok("render", "kubernetes", "--rbac")

    assert "namespace: one-of-all" in shown
    assert "namespace: small" not in shown
    file.write_text(file.read_text() + of_a_cluster.format("two"))
    refused = declared.run("render", "kubernetes", "--rbac")
    assert refused.returncode == 2
    assert "next: --target one" in refused.stderr
    both = [declared.ok("render", "kubernetes", "--rbac", "--target", name) for name in ("one", "two")]
    names = [{line for line in each.splitlines() if "  name: deploy-small:" in line} for each in both]
    assert names == [{"  name: deploy-small:one-of-all"}, {"  name: deploy-small:two-of-all"}]


def test_rendering_again_changes_no_byte_and_touches_no_file(declared):
    declared.ok("render", "kubernetes", "--out", "k8s")
    before = tree(declared.root), {path: path.stat().st_ino for path in (declared.root / "k8s").rglob("*")}

    said = declared.ok("render", "kubernetes", "--out", "k8s")

    assert (tree(declared.root), {path: path.stat().st_ino for path in (declared.root / "k8s").rglob("*")}) == before
    assert said == f"k8s: {len(list((declared.root / 'k8s').rglob('*.yaml')))} unchanged\n"


def test_what_is_rendered_no_more_is_removed_and_a_neighbour_stays(declared):
    folder = declared.root / "k8s"
    declared.ok("render", "kubernetes", "--out", "k8s")
    (folder / "stable" / "NOTES").write_text("mine")
    file = declared.root / "deploy.toml"
    file.write_text(file.read_text().replace("services.web", "services.site"))

    said = declared.ok("render", "kubernetes", "--out", "k8s")

    assert "removed k8s/stable/web.yaml\n" in said
    assert "written k8s/stable/site.yaml\n" in said
    assert sorted(path.name for path in (folder / "stable").iterdir()) == ["NOTES", "kustomization.yaml", "site.yaml"]


def test_two_platforms_share_a_folder(declared):
    declared.ok("render", "kubernetes", "--out", "out")
    declared.ok("render", "supervisord", "--out", "out")

    assert declared.ok("render", "kubernetes", "--out", "out").endswith("unchanged\n")
    assert declared.ok("render", "supervisord", "--out", "out").endswith("unchanged\n")
    assert os.access(declared.root / "out" / "launch" / "web", os.X_OK)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.write_text("mine"), "somebody changed it since it was rendered"),
        (lambda file: (file.rename(file.with_name("other")), file.symlink_to("other")), "somebody changed it"),
    ],
)
def test_a_file_that_somebody_changed_is_not_replaced(declared, change, said):
    declared.ok("render", "kubernetes", "--out", "k8s")
    file = declared.root / "k8s" / "stable" / "web.yaml"
    rendered = file.read_text()
    change(file)
    before = tree(declared.root)
    toml = declared.root / "deploy.toml"
    toml.write_text(toml.read_text().replace("web.py", "site.py"))

    refused = declared.run("render", "kubernetes", "--out", "k8s")

    assert refused.returncode == 2
    assert f"k8s/stable/web.yaml: {said}" in refused.stderr
    assert "--force" in refused.stderr
    assert {**tree(declared.root), "deploy.toml": ""} == {**before, "deploy.toml": ""}

    declared.ok("render", "kubernetes", "--out", "k8s", "--force")

    assert file.read_text() == rendered.replace("web.py", "site.py")
    assert not file.is_symlink()


def test_a_file_that_was_there_before_is_not_replaced(declared):
    mine = declared.root / "k8s" / "base" / "kustomization.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")

    refused = declared.run("render", "kubernetes", "--out", "k8s")

    assert "k8s/base/kustomization.yaml: deploy render did not write it." in refused.stderr
    assert tree(declared.root / "k8s") == {"base/kustomization.yaml": "mine"}


def test_a_folder_for_hosts_takes_the_one_target_of_that_platform(declared):
    declared.environ["FAR"] = "far.example.net"

    assert "ExecStart=/srv/small/.deploy/run/" in declared.ok("render", "systemd")
    assert f"command = {declared.place}/.deploy/run/web/current/launch" in declared.ok("render", "supervisord")


def test_a_firewall_that_a_target_declares_is_not_lost_because_nobody_named_the_target(declared):
    declared.environ["FAR"] = "far.example.net"
    file = declared.root / "deploy.toml"
    everybody = declared.ok("render", "ufw")
    file.write_text(file.read_text() + 'firewall = { ssh = ["10.0.0.0/8"], outgoing = "deny" }\n')

    ours = declared.ok("render", "ufw")
    file.write_text(file.read_text() + '\n[targets.too]\nhosts = ["b"]\npath = "/srv/small"\nfirewall = {}\n')
    refused = declared.run("render", "ufw")

    assert "allow to any port 22 proto tcp" in everybody
    assert "allow from 10.0.0.0/8 to any port 22 proto tcp" in ours
    assert "going out: refused" in ours
    assert (refused.returncode, "far, too have a firewall." in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["supervisord", "--target", "far"], "targets.far is a place for systemd."),
        (["kubernetes", "--target", "fra"], 'no target "fra"'),
        (["kubernets"], '"kubernets" is none of supervisord, '),
    ],
)
def test_what_cannot_be_meant_is_said(declared, words, said):
    declared.environ["FAR"] = "far.example.net"

    refused = declared.run("render", *words)

    assert refused.returncode == 2
    assert said in refused.stderr


def test_a_value_that_no_file_can_hold_is_named_with_its_line(declared):
    file = declared.root / "deploy.toml"
    file.write_text(file.read_text().replace("port =", 'env = { A = "\\u0085" }\nport ='))

    refused = declared.run("render", "kubernetes", "--out", "k8s")

    assert refused.returncode == 2
    assert refused.stderr == (
        "deploy.toml:7:13: services.web.env.A: kustomize cannot carry U+0085; encode it, say in base64.\n"
    )
    assert not (declared.root / "k8s").exists()


@pytest.mark.parametrize("platform", ["lambda", "cloud-function"])
def test_what_no_function_can_be_is_refused_with_its_line_and_nothing_is_written(declared, platform):
    file = declared.root / "deploy.toml"
    file.write_text(file.read_text() + '\n[services.web.serverless]\nentry = "web:answer"\ntimeout = "2h"\n')
    line = file.read_text().splitlines().index('timeout = "2h"') + 1

    refused = declared.run("render", platform, "--out", "functions")

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"deploy.toml:{line}:11: services.web.serverless.timeout: ")
    assert not (declared.root / "functions").exists()


def test_an_image_by_its_tag_is_rendered_and_a_warning_says_what_to_write(declared):
    tagged(declared, "ghcr.io/acme/small:latest")

    done = declared.run("render", "compose")

    assert done.returncode == 0
    assert "image: ghcr.io/acme/small:latest" in done.stdout.replace('"', "")
    image = "ghcr.io/acme/small:latest"
    assert done.stderr == (
        f'warning: deploy.toml:3:9: project.image: "{image}" may be another image tomorrow; write '
        f'"ghcr.io/acme/small@sha256:…", with the digest that `deploy image inspect {image}` says.\n'
    )


def test_the_digest_of_what_was_built_here_is_named(declared):
    digest = built_here(declared.root / "build/images/small/oci")
    tagged(declared, "small:latest")

    assert f'what was built here is "small@{digest}".' in declared.run("render", "kubernetes").stderr


def test_nothing_is_said_of_an_image_that_compose_builds_or_that_has_a_digest(declared):
    digest = declared.run("render", "compose")
    tagged(declared, 'small:latest"\nbuild = ".')

    built = declared.run("render", "compose")

    assert (digest.stderr, built.stderr) == ("", "")
    assert "    build: .\n" in built.stdout.replace('"', "")


def test_a_project_without_an_image_has_its_own_name(declared):
    file = declared.root / "deploy.toml"
    file.write_text(file.read_text().replace(IMAGE + "\n", ""))

    done = declared.run("render", "kubernetes")

    assert "image: small:latest" in done.stdout.replace('"', "")
    assert '"small:latest" is written, because no image is named' in done.stderr


def test_a_setting_that_a_platform_has_a_way_of_its_own_for_is_named(declared):
    file = declared.root / "deploy.toml"
    file.write_text(file.read_text().replace("[services.web]\n", '[services.web]\nrestart = { delay = "5s" }\n'))

    (said,) = declared.run("render", "kubernetes").stderr.splitlines()

    assert said.endswith("kubernetes has a way of its own, and systemd what you say; it is left out.")
    assert "services.web.restart.delay: " in said


def test_what_a_platform_does_say_is_not_called_left_out(declared):
    file = declared.root / "deploy.toml"
    restart = '[services.web]\nrestart = { on = "always", limit = 3 }\n'
    file.write_text(file.read_text().replace("[services.web]\n", restart))

    done = declared.run("render", "nomad")

    assert '"Attempts": 3' in done.stdout
    assert "restart.on: " in done.stderr
    assert "restart.limit" not in done.stderr


def tagged(declared, image):
    file = declared.root / "deploy.toml"
    file.write_text(file.read_text().replace(IMAGE, f'image = "{image}"'))


def built_here(folder):
    """An OCI layout with an image of nothing; its digest."""
    manifest = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}'
    digest = hashlib.sha256(manifest).hexdigest()
    place = folder / "blobs" / "sha256" / digest
    place.parent.mkdir(parents=True)
    place.write_bytes(manifest)
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{digest}",
        "size": len(manifest),
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return f"sha256:{digest}"


def test_a_group_that_compose_cannot_give_is_named(declared):
    file = declared.root / "deploy.toml"
    table = '[services.web]\nuser = "www-data"\ngroup = "render"\n'
    file.write_text(file.read_text().replace("[services.web]\n", table))

    said = declared.run("render", "compose").stderr

    assert "services.web.group: in compose an account has the group of its own number" in said


def test_what_only_hosts_do_is_named_where_containers_are_rendered(declared):
    file = declared.root / "deploy.toml"
    text = file.read_text().replace("[services.web]", '[services.web]\ndata = ["uploads"]', 1)
    file.write_text(text + '\n[once.migrate]\ncommand = ["python3", "migrate.py"]\n')

    said = declared.run("render", "compose").stderr

    assert "services.web.data: is for hosts; here a volume keeps what is written there: add volumes to" in said
    assert "once.migrate: nothing runs it here: run its command in the image before what serves is replaced" in said
    assert "once" not in declared.run("render", "systemd", "--target", "far").stderr
