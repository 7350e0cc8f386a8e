"""With a projector, as the preset gives it, a llama-server sees pictures."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from provision.project.presets import presets
from tests.engines.conftest import Server, Starts
from tests.engines.projector import PATCHES, picture, write_projector


def asked(server: Server, *pictures: bytes) -> tuple[int, str]:
    """The tokens of a question with these pictures, and its likeliest answer."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "What is it?"}]
    for each in pictures:
        url = f"data:image/png;base64,{base64.b64encode(each).decode()}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0}
    status, answer = server.ask("/v1/chat/completions", json.dumps(body).encode())
    assert status == 200, answer
    told = json.loads(answer)
    return told["usage"]["prompt_tokens"], told["choices"][0]["message"]["content"]


def test_pictures_are_tokens_of_the_prompt_and_others_get_other_answers(start: Starts, tmp_path: Path) -> None:
    eyes = tmp_path / "eyes.gguf"
    write_projector(eyes)
    words = [word.replace("${mmproj}", str(eyes)) for word in presets()["bitnet-server"]["mmproj_args"]]
    server = start("--ctx-size", "1024", *words).wait()

    blind, red, blue = asked(server), asked(server, picture(255, 0, 0)), asked(server, picture(0, 0, 255))

    assert (red[0], blue[0]) == (blind[0] + PATCHES, blind[0] + PATCHES)
    assert red[1] != blue[1]
