"""`platform = "docker"`: the same transaction, on a host with a real engine and with images from a real registry."""

from __future__ import annotations

from functools import partial

import pytest
from docker.errors import ImageNotFound

from provision import rollout
from provision.contract.model_types import COMMIT_LABEL, PROFILE_LABEL, SOURCE_LABEL, TYPES_LABEL
from provision.errors import DeployError, Exit, PutBack, Refused
from provision.native.model import write_demo_model
from tests.bitnet.runtime.gguf_files import with_type_id
from tests.deploy import test_drain as drain
from tests.deploy.docker_host import DockerHost
from tests.deploy.test_standing import is_never_serving
from tests.deploy.visitors import visitors
from tests.deploy.world import World, web
from tests.faults.hooks import until
from tests.images.registry import PASSWORD, USER, registry
from tests.testbed.docker import see


@pytest.fixture
def world(docker_world: World) -> World:
    return docker_world


def container(docker_host: DockerHost, world: World, lane: str = "") -> dict:
    return dict(docker_host.client.api.inspect_container(f"{world.name}-web{'.' + lane if lane else ''}"))


def test_a_release_is_pulled_by_digest_proven_and_served_within_limits(docker_host, world, image) -> None:
    world.web("1", resources={"memory": "256MiB", "cpus": 1.5})

    world.up()

    found = container(docker_host, world)
    assert world.version == "1"
    assert found["Config"]["Image"] == image
    assert world.pid("web") > 1
    limits = found["HostConfig"]
    assert (limits["NanoCpus"], limits["ReadonlyRootfs"], limits["CapDrop"]) == (1_500_000_000, True, ["ALL"])
    # An engine whose kernel has no such control group drops the limit, with a warning.
    assert limits["Memory"] == (256 << 20 if docker_host.client.info()["MemoryLimit"] else 0)
    assert limits["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert limits["RestartPolicy"]["Name"] == "always"
    assert not docker_host.client.containers.list(all=True, filters={"name": "candidate"})


def test_what_is_made_of_secrets_is_put_together_on_the_host(docker_host, world) -> None:
    """Hole 4: the release and the manifest on the host have the names alone."""
    secret = "hunter2 'a' \"b\" $HOME ${port} %h"
    env = {"VERSION": "1", "URL": "u:${PW}@${port}$${PW}", "COPY": "${PW}"}
    quoted = secret.replace("'", "\\'")
    world.declare({"web": web(world.port, env=env, secrets=["PW"])}, env=f"PW='{quoted}'\n")

    world.up()

    told = world.get()["env"]
    assert (told["URL"], told["COPY"]) == (f"u:{secret}@{world.port}${{PW}}", secret)
    found = docker_host.host.exec(["grep", "-rlF", "--", "hunter2", world.path], check=False).stdout.split()
    assert {path.rpartition("/")[2] for path in found} == {"secrets"}


def test_an_unchanged_project_keeps_its_container(docker_host, world) -> None:
    world.web("1")
    world.up()
    before = container(docker_host, world)["Id"]

    world.up()

    assert container(docker_host, world)["Id"] == before


def test_a_release_that_fails_its_checks_leaves_the_old_one_serving(docker_host, world) -> None:
    world.web("1")
    world.up()
    before = container(docker_host, world)["Id"]
    world.web("2", command=["python3", "-c", "import sys; print('no such luck'); sys.exit(3)"])

    with pytest.raises(PutBack, match="exited with status 3") as failure:
        world.up()

    assert "no such luck" in str(failure.value)
    assert world.version == "1"
    assert container(docker_host, world)["Id"] == before, "it was proven beside the old one"


def test_what_fails_in_the_place_of_the_old_one_is_put_back(docker_host, world) -> None:
    world.web("1", switch="in-place")
    world.up()
    world.web("2", switch="in-place", command=["python3", "-c", "raise SystemExit(3)"])

    with pytest.raises(PutBack):
        world.up()

    assert world.version == "1"


def test_rollback_goes_back_to_the_image_and_the_release_before(docker_host, world, image) -> None:
    world.web("1")
    world.up()
    other = docker_host.publish()
    world.project = {"image": other}
    world.web("2")
    world.up()
    assert container(docker_host, world)["Config"]["Image"] == other

    world.rollback()

    assert world.version == "1"
    assert container(docker_host, world)["Config"]["Image"] == image


def test_an_image_that_cannot_be_pulled_disturbs_nothing(docker_host, world) -> None:
    world.web("1")
    world.up()
    world.project = {"image": f"{docker_host.authority}/nowhere@sha256:{'0' * 64}"}
    world.web("2")

    with pytest.raises(DeployError, match="could not pull"):
        world.up()

    assert world.version == "1"


UPSTREAM = {TYPES_LABEL: "TQ1_0 TQ2_0", SOURCE_LABEL: "llama.cpp", COMMIT_LABEL: "0c1e5709", PROFILE_LABEL: "dynamic"}


def serve_i2_s(world) -> None:
    """The model is of a type that only microsoft/BitNet's programs read."""
    file = world.folder / "models" / "demo.gguf"
    write_demo_model(file)
    with_type_id(file, "blk.0.ffn_up.weight", 36)
    world.web("2", model="models/demo.gguf", binary="/llama-server")


def test_a_model_that_the_programs_of_an_image_cannot_read_is_refused_before_it_is_pulled(docker_host, world) -> None:
    world.web("1")
    world.up()
    world.project = {"image": docker_host.publish(labels=UPSTREAM)}
    serve_i2_s(world)

    planned = rollout.plan(world.deployment())[0].plan.refused
    with pytest.raises(Refused) as failure:
        world.up()

    image = world.project["image"]
    what = f"web: models/demo.gguf holds I2_S tensors, which the programs in {image} can't read."
    assert (planned.what, failure.value.what) == (what, what)
    assert "They are of llama.cpp 0c1e5709, profile dynamic, and read TQ1_0 TQ2_0." in failure.value.why
    assert "deploy image build bitnet-cpp" in failure.value.next_step
    assert world.version == "1"
    assert not {"ship", "model", "transaction"} & {event.get("phase") for event in world.events}
    with pytest.raises(ImageNotFound):
        docker_host.client.images.get(image)
    world.project = {"image": docker_host.publish(labels={**UPSTREAM, TYPES_LABEL: "I2_S"})}
    serve_i2_s(world)
    world.up()
    assert world.version == "2"


@pytest.mark.slow
def test_where_the_host_alone_sees_the_registry_the_host_refuses_it_before_anything_starts(
    docker_host, world, tmp_path
) -> None:
    with registry(tmp_path / "registry") as gone:
        relay = see(docker_host.host.name, gone.authority)
        world.project = {"image": docker_host.publish(labels=UPSTREAM, authority=gone.authority, keep=True)}
        relay.close()
    serve_i2_s(world)

    with pytest.raises(DeployError, match="holds I2_S tensors, which the programs in"):
        world.up()

    assert not docker_host.client.containers.list(all=True, filters={"name": world.name})


def test_secrets_reach_the_container_and_no_manifest(docker_host, world) -> None:
    world.declare({"web": web(world.port, secrets=["TOKEN"])}, env="TOKEN='a b$c'\n")
    world.up()

    assert "TOKEN=a b$c" in container(docker_host, world)["Config"]["Env"]
    grepped = docker_host.host.exec(["grep", "-rlF", "a b$c", world.path], check=False).stdout.split()
    assert all("/.deploy/run/" in file and file.endswith("/secrets") for file in grepped), grepped


@pytest.mark.parametrize(
    ("user", "uid"),
    [("www-data", 33), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("", 0), ("4711:4711", 4711)))],
)
def test_a_secret_that_is_a_file_is_mounted_for_the_account_of_the_container_alone(
    docker_host, world, user, uid
) -> None:
    world.project = {"image": docker_host.publish(user=user)}
    world.declare({"web": web(world.port, secret_files=["KEY"])}, env="KEY='a b$c\n'\n")
    world.up()

    found = container(docker_host, world)
    told = world.get()
    assert (told["files"], told["uid"]) == ({"KEY_FILE": "a b$c\n"}, uid)
    assert told["env"]["KEY_FILE"] == "/run/secrets/KEY"
    assert "a b$c" not in str(found)
    (mount,) = [mount for mount in found["Mounts"] if mount["Destination"] == "/run/secrets/KEY"]
    assert mount["RW"] is False
    assert docker_host.host.exec(["stat", "-c", "%a %u", mount["Source"]]).stdout.split() == ["400", str(uid)]


def test_what_is_in_flight_ends_whole_before_its_container_is_replaced(docker_host, world) -> None:
    drain.declare(world, "1")
    world.up()
    with drain.streaming(world) as in_flight:
        drain.declare(world, "2")
        world.up()
        rest, _ = in_flight.communicate(timeout=60)

    assert "0 " + rest == drain.WHOLE
    assert drain.told(world)[-1].startswith("idle after")


def test_a_container_of_somebody_else_is_not_touched(docker_host, world) -> None:
    name = f"{world.name}-web"
    other = docker_host.client.containers.create("python:base", "true", name=name)
    world.web("1")

    with pytest.raises(Refused, match="is taken") as refusal:
        world.up()

    assert "name_prefix" in str(refusal.value)
    assert container(docker_host, world)["Id"] == other.id


def test_a_registry_that_wants_a_login_is_pulled_from_with_ours_and_the_host_keeps_none(
    docker_host, world, tmp_path_factory, monkeypatch
) -> None:
    with registry(tmp_path_factory.mktemp("locked"), login=True) as locked:
        relay = see(docker_host.host.name, locked.authority)
        name = f"{locked.authority}/app"
        docker_host.client.api.tag("python:base", name, "1")
        login = {"username": USER, "password": PASSWORD}
        docker_host.client.images.push(name, "1", auth_config=login)
        exact = docker_host.client.images.get(f"{name}:1").attrs["RepoDigests"]
        world.project = {"image": next(item for item in exact if item.startswith(name))}
        docker_host.client.images.remove(f"{name}:1")
        monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
        world.web("1")

        with pytest.raises(DeployError, match="could not pull"):
            world.up()
        monkeypatch.setenv("REGISTRY_USER", USER)
        monkeypatch.setenv("REGISTRY_TOKEN", PASSWORD)
        world.up()
        relay.close()

    assert world.version == "1"
    found = docker_host.host.exec(["grep", "-rlF", PASSWORD, world.path, "/root"], check=False).stdout
    assert found == ""


def test_logs_are_the_containers_own(docker_host, world) -> None:
    world.web("1", command=["sh", "-c", "echo ready to serve; exec python3 server.py ${port}"])
    world.up()

    with world.cli("logs", "web") as shown:
        said, _ = shown.communicate(timeout=60)

    assert "ready to serve" in said


def test_logs_are_followed(docker_host, world) -> None:
    world.web("1", command=["sh", "-c", "echo ready to serve; exec python3 server.py ${port}"])
    world.up()

    with world.cli("logs", "web", "--follow") as shown:
        assert shown.stdout.readline() == "ready to serve\n"


def ran(world: World, *words: str) -> tuple[int, str]:
    with world.cli("exec", *words) as shown:
        said, _ = shown.communicate(timeout=60)
    return shown.returncode, said


def test_a_command_runs_in_the_container_in_the_release_with_what_the_service_has(docker_host, world) -> None:
    world.web("1", secrets=["TOKEN"])
    (world.folder / ".env").write_text("TOKEN='a b'\n")
    world.up()

    look = ["sh", "-c", 'echo "$VERSION $TOKEN"; pwd; ls server.py; test -e /.dockerenv && exit 7']

    assert ran(world, "--", *look) == (7, f"1 a b\n{world.path}/releases/{world.stable}\nserver.py\n")
    assert ran(world, "--service", "web", "--", *look)[0] == 7
    assert ran(world, "--on-host", "--", "sh", "-c", "pwd; test -e /.dockerenv")[0] == 1


def test_where_there_are_several_containers_a_command_needs_the_name_of_one(docker_host, world) -> None:
    world.declare({"web": web(world.port), "other": web(world.port + 1, "2")})
    world.up()

    status, said = ran(world, "--", "true")

    assert status == 2
    assert "--service" in said
    assert "web" in said
    assert ran(world, "--service", "other", "--", "sh", "-c", "echo $VERSION") == (0, "2\n")


def test_what_is_stopped_stays_so_with_its_log_and_is_started_and_proven(docker_host, world) -> None:
    world.web("1", command=["sh", "-c", "echo ready to serve; exec python3 server.py ${port}"])
    world.up()

    rollout.on_purpose(world.deployment(), "stop")
    assert world.status().state == "stopped"
    assert [each.line for each in rollout.logs(world.deployment())] == ["ready to serve"]
    assert world.up().outcome == "committed"
    old = world.pid("web")
    rollout.on_purpose(world.deployment(), "restart", ["web"])
    assert world.pid("web") != old
    assert world.status().state == "serving"


@pytest.mark.slow
def test_a_candidate_that_failed_leaves_its_last_words_and_a_restart_is_followed(docker_host, world) -> None:
    says = ["sh", "-c", "echo started in $$(hostname) as $$0; exec python3 server.py $$1", "old", "${port}"]
    world.web("1", command=says)
    world.up()
    world.web("2", command=["sh", "-c", "echo a last word >&2; exit 3", "${port}"])
    with pytest.raises(PutBack):
        world.up()
    assert [each.line for each in rollout.logs(world.deployment(), channel="candidate")] == ["a last word"]

    world.web("1", command=says)
    following = rollout.logs(world.deployment(), follow=True)
    assert next(following).line.endswith("as old")
    rollout.on_purpose(world.deployment(), "restart")
    assert next(following).line.endswith("as old")
    following.close()


def test_the_status_says_that_a_container_has_ended(docker_host, world) -> None:
    world.web("1")
    world.up()
    assert world.status().state == "serving"

    docker_host.client.containers.get(f"{world.name}-web").stop(timeout=1)

    assert world.status().state == "failing"


def test_a_container_that_is_started_again_and_again_is_not_serving(docker_host, world) -> None:
    world.web("1")
    world.up()

    def again(times: int) -> bool:
        return container(docker_host, world)["RestartCount"] == times and world.answers()

    for times in (1, 2):
        world.host.exec(["kill", "-KILL", str(container(docker_host, world)["State"]["Pid"])])
        until(partial(again, times), "it was started again")

    status = world.status()

    assert (status.state, status.exit) == ("restarting", Exit.FAILED)
    assert [each["times"] for each in status.restarted.values()] == [2]


@pytest.mark.slow
def test_a_container_that_dies_every_five_seconds_is_never_serving(docker_host, world) -> None:
    is_never_serving(world)


def test_images_that_no_release_needs_are_removed(docker_host, world) -> None:
    world.target = {"keep": 2}
    images = []
    for version in ("1", "2", "3", "4"):
        images.append(docker_host.publish())
        world.project = {"image": images[-1]}
        world.web(version)
        world.up()

    there = [digest for item in docker_host.client.images.list() for digest in item.attrs["RepoDigests"] or []]

    assert [image in there for image in images] == [False, False, True, True]


def test_a_canary_runs_beside_the_stable_one_until_it_is_promoted(docker_host, world) -> None:
    world.web("1")
    world.up()
    world.web("2")
    world.up("canary")
    assert (world.version, world.get("/", port=world.port + 10000)["version"]) == ("1", "2")

    world.promote()

    assert world.version == "2"
    assert [item.name for item in docker_host.client.containers.list(all=True)] == [f"{world.name}-web"]


def test_a_container_that_was_removed_by_hand_is_made_again(docker_host, world) -> None:
    world.web("1")
    world.up()
    docker_host.client.containers.get(f"{world.name}-web").remove(force=True)

    world.up()

    assert world.version == "1"


def test_a_project_that_moves_to_an_engine_leaves_its_old_releases_alone(docker_host, world) -> None:
    world.platform = "supervisord"
    world.target = {"name_prefix": f"{world.name}-"}
    world.project = {}
    world.web("1")
    world.up()
    world.down()
    world.platform, world.target, world.project = "docker", {}, {"image": docker_host.publish()}
    world.web("2")

    world.up()

    assert world.version == "2"


def test_down_leaves_no_container(docker_host, world) -> None:
    world.web("1")
    world.up()

    world.down()

    assert docker_host.client.containers.list(all=True, filters={"name": world.name}) == []


def test_copies_are_containers_of_their_own(docker_host, world) -> None:
    world.web("1", replicas=3)
    world.up()
    before = container(docker_host, world, "2")["Id"]
    assert [world.get(port=world.port + at)["version"] for at in range(3)] == ["1"] * 3

    world.web("1", replicas=2)
    world.up()
    inside = rollout.execute(world.deployment(), ["true"], service="web.2")

    assert container(docker_host, world, "2")["Id"] == before
    assert (inside, world.answers(world.port + 2)) == (0, False)
    assert world.status().state == "serving"
    world.down()
    assert not world.answers(world.port + 1)


def test_with_traffic_nobody_meets_a_change(docker_host, world) -> None:
    world.target = {"traffic": {}}
    world.web("1")
    world.up()

    with visitors(world) as met:
        world.web("2")
        world.up()

    assert met["versions"] == ["1", "2"]
    containers = {each.name.removeprefix(f"{world.name}-") for each in docker_host.client.containers.list()}
    assert containers == {"web.2", "traffic", "keeper"}
