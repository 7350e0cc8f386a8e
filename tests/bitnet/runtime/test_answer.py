"""The model's words in what llama-cli wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet.answer import answer_in

BANNER = "\n\nLoading model... \n\nbuild : b0\n\navailable commands:\n  /exit\n\n\n"


def todays(echo: str, answer: str) -> str:
    return f"{BANNER}\n> {echo}\n{answer}\n\n\nExiting...\n"


@given(prompt=st.text(min_size=1).filter(lambda text: not text.startswith("/")), answer=st.text())
def test_banner_echo_and_parting_are_cut_off(prompt: str, answer: str) -> None:
    cut = len(prompt.encode(errors="replace")) > 500
    if cut or not prompt.isprintable() or not answer.isprintable():
        return
    assert answer_in(todays(prompt, answer), prompt) == answer


@pytest.mark.parametrize("tail", ["x", "ü"])
def test_a_long_prompt_is_echoed_in_part(tail: str) -> None:
    prompt = "a" * 499 + tail * 10
    echo = prompt.encode()[:500].decode(errors="replace") + " ... (truncated)"

    assert answer_in(todays(echo, "fine"), prompt) == "fine"


def test_a_prompt_that_was_kept_from_being_a_command_is_found() -> None:
    assert answer_in(todays(" /read x", "no"), "/read x") == "no"


def test_older_programs_write_the_answer_alone() -> None:
    assert answer_in(" pong\n", "ping") == " pong\n"
