"""The answer in what llama-cli wrote.

Since the end of 2025 a one-shot run of llama-cli writes a banner, an echo of the prompt (`> ` before it, cut after 500
bytes), the answer, and a word of parting. Before, it wrote the answer alone when asked not to repeat the prompt.
"""

from __future__ import annotations

_PARTING = "\n\nExiting...\n"
_ECHOED = 500


def answer_in(stdout: str, prompt: str) -> str:
    """The model's words in the standard output of a one-shot run for `prompt`."""
    encoded = prompt.encode()
    cut = len(encoded) > _ECHOED
    shown = f"{encoded[:_ECHOED].decode(errors='replace')} ... (truncated)" if cut else prompt
    _, found, after = stdout.partition(f"\n> {shown}\n")
    if not found and prompt.startswith("/"):
        return answer_in(stdout, f" {prompt}")  # see arguments.inference_command
    answer = after if found else stdout
    return answer.removesuffix(_PARTING).removesuffix("\n") if found else answer
