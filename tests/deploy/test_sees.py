"""A service with a projector is asked with a picture."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from provision.native.model import write_demo_model
from tests.deploy.world import World
from tests.engines.projector import PATCHES, picture, write_projector

pytestmark = [pytest.mark.root, pytest.mark.parametrize("platform", ["supervisord"], indirect=True)]


def asked(world: World, *pictures: bytes) -> dict[str, Any]:
    """What it answers to a question, and to the pictures with it; always the likeliest words."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "What is it?"}]
    for each in pictures:
        url = f"data:image/png;base64,{base64.b64encode(each).decode()}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0}
    world.host.write("/tmp/question.json", json.dumps(body), mode=0o600)
    url = f"http://127.0.0.1:{world.port}/v1/chat/completions"
    command = ["curl", "-fsS", "-m", "30", "-H", "Content-Type: application/json", "-d", "@/tmp/question.json", url]
    return dict(json.loads(world.host.exec(command).stdout))


def said(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


@pytest.mark.slow
def test_a_picture_is_seen_through_the_projector_that_is_shipped_beside_the_model(world: World) -> None:
    write_demo_model(world.folder / "models" / "demo.gguf")
    write_projector(world.folder / "models" / "eyes.gguf")
    service = {
        "preset": "bitnet-server",
        "engine": "wheel",
        "model": "models/demo.gguf",
        "threads": 1,
        "port": world.port,
        "args": ["--ctx-size", "1024"],
    }
    world.declare({"llama": service})
    world.up()
    world.declare({"llama": {**service, "mmproj": "models/eyes.gguf"}})
    world.up()

    blind, red, blue = asked(world), asked(world, picture(255, 0, 0)), asked(world, picture(0, 0, 255))

    taken = [each["usage"]["prompt_tokens"] for each in (blind, red, blue)]
    assert taken == [taken[0], taken[0] + PATCHES, taken[0] + PATCHES]
    assert said(red) != said(blue)
    assert len(world.host.exec(["ls", f"{world.path}/shared/models"]).stdout.split()) == 2
    assert world.up().outcome == "unchanged"
