"""Manifests as others write them."""

from __future__ import annotations

import json

import pytest

from provision.images.registry.documents import Descriptor, ImageManifest, Malformed, digest_of

GOOD = {"mediaType": "text/plain", "digest": digest_of(b"x"), "size": 1}


def manifest(**document):
    return ImageManifest(json.dumps(document).encode(), "application/vnd.oci.image.manifest.v1+json")


@pytest.mark.parametrize(
    "wrong",
    [
        {**GOOD, "digest": "sha512:" + "0" * 128},
        {**GOOD, "digest": "sha256:../../../v2/other/manifests/latest"},
        {**GOOD, "digest": 7},
        {**GOOD, "size": "many"},
        {**GOOD, "data": "%"},
        {key: value for key, value in GOOD.items() if key != "mediaType"},
        "text",
        None,
    ],
)
@pytest.mark.parametrize(("key", "read"), [("layers", "blobs"), ("manifests", "children")])
def test_a_pointer_that_cannot_be_followed_is_said(wrong, key, read):
    with pytest.raises(Malformed, match="cannot be followed"):
        getattr(manifest(**{key: [GOOD, wrong]}), read)


def test_layers_that_live_elsewhere_are_not_the_registry_s():
    foreign = {**GOOD, "digest": digest_of(b"y"), "urls": ["https://example.net/layer"]}
    assert manifest(config=GOOD, layers=[GOOD, foreign]).blobs == [Descriptor.from_json(GOOD)]


def test_a_descriptor_is_written_as_it_was_read():
    whole = {**GOOD, "artifactType": "a/b", "annotations": {"k": "v"}, "data": "eA=="}
    assert Descriptor.from_json(whole).as_json() == whole
    assert Descriptor.from_json(GOOD).as_json() == GOOD
