"""Reading and writing real registries, and what their refusals come out as."""

from __future__ import annotations

import json
import time
from email.utils import formatdate, parsedate_to_datetime

import pytest

from provision.errors import Refused, RegistryFailed
from provision.images.registry import wire
from provision.images.registry.documents import Descriptor, digest_of
from provision.images.registry.reference import parse
from provision.images.registry.repository import connect
from tests.images.make import image, index
from tests.images.registry import PASSWORD, USER, registry


@pytest.mark.parametrize("kind", ["plain", "locked"])
def test_a_manifest_comes_back_as_the_bytes_that_were_written(kind, name, request):
    found = request.getfixturevalue(kind)
    repository = connect(parse(f"{found.authority}/{name}"), write=True, environ=found.environ)
    for make in (image, index):
        written = make(repository, "canary")
        read = repository.get("canary")
        assert (read.content, read.media_type) == (written.content, written.media_type)
        assert repository.digest("canary") == digest_of(written.content)
        assert repository.get(written.digest) == written


def test_what_is_not_there_is_none_and_not_an_error(repository):
    image(repository)
    assert repository.find("stable") is None
    assert repository.digest("stable") == ""
    with pytest.raises(RegistryFailed, match="has no stable"):
        repository.get("stable")


def test_docker_s_own_login_opens_the_registry(locked, name, tmp_path):
    """The file as docker writes it, without REGISTRY_TOKEN."""
    import base64

    folder = tmp_path / "docker"
    folder.mkdir()
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {locked.authority: {"auth": pair}}}))
    environ = {"DOCKER_CONFIG": str(folder), "REGISTRY_CA": locked.environ["REGISTRY_CA"]}
    image(connect(parse(f"{locked.authority}/{name}"), write=True, environ=environ), "canary")


def test_a_wrong_password_is_said_with_where_it_came_from(locked, name):
    environ = {**locked.environ, "REGISTRY_TOKEN": "wrong-secret"}
    with pytest.raises(Refused) as refusal:
        connect(parse(f"{locked.authority}/{name}"), write=True, environ=environ).find("canary")
    said = str(refusal.value)
    assert f"Tried as {USER}, from REGISTRY_TOKEN" in said
    assert f"docker login {locked.authority}" in said
    assert "wrong-secret" not in said


def test_nobody_s_login_is_said(locked, name, environ):
    environ["REGISTRY_CA"] = locked.environ["REGISTRY_CA"]
    with pytest.raises(Refused, match="wants a login"):
        connect(parse(f"{locked.authority}/{name}"), write=False, environ=environ).find("canary")


def test_a_certificate_of_an_unknown_authority_is_refused_even_on_loopback(locked, name, environ):
    with pytest.raises(RegistryFailed) as refusal:
        connect(parse(f"{locked.authority}/{name}"), write=False, environ=environ).find("canary")
    assert "is not trusted" in refusal.value.what
    assert "REGISTRY_CA" in refusal.value.next_step


def test_a_certificate_for_another_host_is_refused(locked, name):
    elsewhere = locked.authority.replace("127.0.0.1", "localhost")
    with pytest.raises(RegistryFailed, match="is not trusted"):
        connect(parse(f"{elsewhere}/{name}"), write=False, environ=locked.environ).find("canary")


def test_a_registry_whose_authority_is_configured_is_never_spoken_to_in_plain_http(plain, locked, name):
    environ = {**plain.environ, "REGISTRY_CA": locked.environ["REGISTRY_CA"]}
    with pytest.raises(RegistryFailed):
        connect(parse(f"{plain.authority}/{name}"), write=False, environ=environ).find("canary")


def test_a_registry_that_is_down_is_said_with_the_reason(tmp_path, name, environ, monkeypatch):
    monkeypatch.setattr(wire, "_RETRIES", 0)
    with registry(tmp_path / "gone") as gone:
        pass
    with pytest.raises(RegistryFailed) as failure:
        connect(parse(f"{gone.authority}/{name}"), write=False, environ=environ).find("canary")
    assert failure.value.what == f"{gone.authority} does not answer."
    assert failure.value.why.endswith("[Errno 111] Connection refused")


def test_a_redirect_to_plain_http_elsewhere_is_not_followed(proxy, behind):
    proxy.on("GET", "/manifests/", answer=(307, {"Location": "http://192.0.2.1/manifest"}, b""))
    with pytest.raises(RegistryFailed, match=r"sent us to http://192\.0\.2\.1, which is not HTTPS"):
        behind.find("canary")


def test_a_token_service_without_tls_gets_no_password(proxy, name, environ):
    challenge = {"WWW-Authenticate": 'Bearer realm="http://192.0.2.1/token",service="x"'}
    proxy.on("GET", "/manifests/", answer=(401, challenge, b""))
    environ["REGISTRY_TOKEN"] = "secret"
    with pytest.raises(RegistryFailed, match="not HTTPS"):
        connect(parse(f"{proxy.authority}/{name}"), write=False, environ=environ).find("canary")


def test_the_login_does_not_follow_a_redirect_to_another_server(proxy, plain, name, environ):
    """Registries send us to a store of blobs, which has no business with their passwords."""
    from tests.images.faulty import faulty

    proxy.login, environ["REGISTRY_USER"], environ["REGISTRY_TOKEN"] = ("ada", "p"), "ada", "p"
    repository = connect(parse(f"{proxy.authority}/{name}"), write=True, environ=environ)
    made = image(repository)
    layer = made.blobs[1].digest
    with faulty(plain.authority) as store:
        where = f"http://{store.authority}/v2/{name}/blobs/{layer}"
        proxy.on("GET", "/blobs/", answer=(307, {"Location": where}, b""))
        assert digest_of(repository.blob(layer)) == layer
    assert [authorization for _, _, authorization in store.seen] == [""]


def test_the_token_flow_asks_once_for_what_is_needed(proxy, name, environ):
    proxy.login, environ["REGISTRY_USER"], environ["REGISTRY_TOKEN"] = ("ada", "p:w"), "ada", "p:w"
    repository = connect(parse(f"{proxy.authority}/{name}"), write=True, environ=environ)
    made = image(repository, "canary")
    assert repository.get("canary") == made
    assert list(proxy.tokens.values()) == [f"repository:{name}:pull,push"]


def test_a_token_that_expires_is_renewed(proxy, name, environ):
    proxy.login, environ["REGISTRY_USER"], environ["REGISTRY_TOKEN"] = ("ada", "p"), "ada", "p"
    repository = connect(parse(f"{proxy.authority}/{name}"), write=True, environ=environ)
    made = image(repository, "canary")
    proxy.tokens.clear()
    assert repository.get("canary") == made
    assert len(proxy.tokens) == 1


def test_an_identity_token_is_traded_for_a_token(proxy, name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"auths": {proxy.authority: {"identitytoken": "it"}}}))
    proxy.login, proxy.refresh = ("ada", "p"), "it"
    repository = connect(parse(f"{proxy.authority}/{name}"), write=True, environ={"DOCKER_CONFIG": str(tmp_path)})
    image(repository, "canary")
    assert list(proxy.tokens.values()) == [f"repository:{name}:pull,push"]


def test_a_token_service_that_refuses_is_said(proxy, behind):
    proxy.login = ("ada", "p")
    with pytest.raises(Refused, match=r"gave no token \(401\)"):
        behind.find("canary")


def test_forbidden_says_who_may_not_do_what(proxy, behind):
    denied = json.dumps({"errors": [{"code": "DENIED", "message": "read only"}]}).encode()
    proxy.on("POST", "/uploads/", answer=(403, {}, denied))
    with pytest.raises(Refused) as refusal:
        image(behind, "canary")
    assert refusal.value.details["status"] == 403
    assert "could not write a blob" in refusal.value.what
    assert "anonymous" in refusal.value.what
    assert refusal.value.why == "DENIED: read only"


def test_too_many_requests_waits_as_long_as_the_registry_asks(proxy, repository, behind):
    made = image(repository, "canary")
    proxy.on("GET", "/manifests/canary", times=2, answer=(429, {"Retry-After": "1"}, b""))
    began = time.monotonic()
    assert behind.get("canary") == made
    assert time.monotonic() - began >= 2
    assert proxy.asked("GET", "/manifests/canary") == 3


def test_a_registry_may_ask_to_wait_until_a_time(proxy, repository, behind):
    made = image(repository, "canary")
    until = formatdate(time.time() + 1, usegmt=True)  # in whole seconds: up to one from now
    proxy.on("GET", "/manifests/canary", times=1, answer=(503, {"Retry-After": until}, b""))
    assert behind.get("canary") == made
    assert time.time() >= parsedate_to_datetime(until).timestamp()


def test_a_registry_that_asks_for_a_long_wait_is_not_waited_for(proxy, behind):
    proxy.on("GET", "/manifests/canary", answer=(429, {"Retry-After": "3600"}, b""))
    with pytest.raises(RegistryFailed) as failure:
        behind.find("canary")
    assert failure.value.next_step == "try again after 3600 s"
    assert proxy.asked("GET", "/manifests/canary") == 1


@pytest.mark.parametrize(("status", "times"), [(408, 1), (429, 1), (500, 1), (502, 1), (503, 2), (504, 1)])
def test_a_passing_failure_without_retry_after_is_tried_again_soon(status, times, proxy, repository, behind):
    made = image(repository, "canary")
    proxy.on("GET", "/manifests/canary", times=times, answer=(status, {}, b""))
    assert behind.get("canary") == made
    assert proxy.asked("GET", "/manifests/canary") == times + 1


def test_too_many_requests_without_end_is_said_with_the_wait(proxy, behind):
    proxy.on("GET", "/manifests/canary", answer=(429, {"Retry-After": "0"}, b""))
    with pytest.raises(RegistryFailed) as failure:
        behind.find("canary")
    assert "too many requests" in failure.value.what
    assert failure.value.next_step == "try again after 0 s"
    assert proxy.asked("GET", "/manifests/canary") == 5


def test_a_connection_that_breaks_is_tried_again(proxy, repository, behind):
    made = image(repository, "canary")
    proxy.on("GET", "/manifests/canary", times=1, drop=True)
    assert behind.get("canary") == made


def test_an_unexpected_answer_is_quoted(proxy, behind):
    said = json.dumps({"errors": [{"code": "UNSUPPORTED", "message": "not today"}]}).encode()
    proxy.on("GET", "/manifests/", answer=(418, {}, said))
    with pytest.raises(RegistryFailed, match="answered 418") as failure:
        behind.find("canary")
    assert failure.value.why == "UNSUPPORTED: not today"


def test_a_manifest_that_was_changed_in_flight_is_refused(proxy, repository, behind):
    made = image(repository, "canary")
    proxy.on(
        "GET", "/manifests/", change=lambda answer: (answer[0], answer[1], answer[2].replace(b"linux", b"xunil") + b" ")
    )
    for wanted in ("canary", made.digest):
        with pytest.raises(RegistryFailed, match="changed in flight"):
            behind.find(wanted)


def test_a_manifest_that_is_not_the_digest_is_refused_though_the_registry_swears_it_is(proxy, repository, behind):
    made, other = image(repository), image(repository)
    honest = {"Content-Type": other.media_type, "Docker-Content-Digest": other.digest}
    proxy.on("GET", made.digest, answer=(200, honest, other.content))
    with pytest.raises(RegistryFailed, match="changed in flight"):
        behind.find(made.digest)


def test_a_manifest_that_is_stored_as_something_else_is_noticed(proxy, repository, behind):
    made = image(repository)
    proxy.on("PUT", "/manifests/", answer=(201, {"Docker-Content-Digest": "sha256:" + "0" * 64}, b""))
    with pytest.raises(RegistryFailed, match="changed in flight"):
        behind.put(made, "stable")


@pytest.mark.parametrize("body", [b"<html>", b"[]"])
def test_a_login_page_is_not_a_manifest(body, proxy, behind):
    proxy.on("GET", "/manifests/", answer=(200, {"Content-Type": "text/html"}, body))
    with pytest.raises(RegistryFailed, match="is not a manifest"):
        behind.find("canary")


def test_a_blob_that_was_changed_in_flight_is_refused(proxy, repository, behind):
    descriptor = image(repository).blobs[1]
    proxy.on("GET", "/blobs/", change=lambda answer: (answer[0], answer[1], b"X" + answer[2][1:]))
    with pytest.raises(RegistryFailed, match="changed in flight"):
        behind.blob(descriptor.digest)
    with pytest.raises(RegistryFailed, match="changed in flight"):
        list(behind.stream(descriptor))


def test_an_endless_manifest_is_not_read_to_its_end(proxy, behind):
    proxy.on("GET", "/manifests/", answer=(200, {}, b" " * (5 << 20)))
    with pytest.raises(RegistryFailed, match="more than"):
        behind.find("canary")


def test_blobs_are_mounted_within_a_registry_and_streamed_between_two(plain, locked, repository, name):
    descriptor = Descriptor.of("", image(repository, layer=bytes(3 << 20)).content)
    descriptor = repository.get(descriptor.digest).blobs[1]
    beside = connect(parse(f"{plain.authority}/{name}-beside"), write=True, environ=plain.environ)
    elsewhere = connect(parse(f"{locked.authority}/{name}"), write=True, environ=locked.environ)
    assert beside.copy_blob(repository, descriptor) == "mounted"
    assert beside.copy_blob(repository, descriptor) == "there"
    assert elsewhere.copy_blob(repository, descriptor) == "streamed"
    assert digest_of(elsewhere.blob(descriptor.digest)) == descriptor.digest


def test_a_mount_asks_for_a_token_that_may_read_the_source(proxy, name, environ):
    proxy.login, environ["REGISTRY_USER"], environ["REGISTRY_TOKEN"] = ("ada", "p"), "ada", "p"
    source = connect(parse(f"{proxy.authority}/{name}"), write=True, environ=environ)
    target = connect(parse(f"{proxy.authority}/{name}-b"), write=True, environ=environ)
    descriptor = image(source).blobs[1]
    assert target.copy_blob(source, descriptor) == "mounted"
    assert list(proxy.tokens.values())[-1] == f"repository:{name}-b:pull,push repository:{name}:pull"
