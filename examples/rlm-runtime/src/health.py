"""Whether what completions need is there, really asked: the model's provider, the place for code, the place for logs.

An answer is good for `FRESH` seconds, so that whoever asks each second knocks at nobody's door; one that is bad for
less, so that what is repaired shows.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

import litellm
import structlog
from litellm.types.utils import LlmProviders
from litellm.utils import ProviderConfigManager
from rlm import __version__
from rlm.core.config import load_config

from src import store
from src.completion import runtime

FRESH, STALE = 30.0, 2.0
_PATIENCE = 30.0

log = structlog.get_logger()


async def _llm() -> None:
    """The provider lists its models for our key, which costs nothing."""
    model, provider, key, base = litellm.get_llm_provider(load_config().model)
    asked = ProviderConfigManager.get_provider_model_info(model, LlmProviders(provider))
    if asked is None:  # one that can't be asked
        missing = litellm.validate_environment(model)["missing_keys"]
        if missing:
            raise LookupError(", ".join(missing))
        return
    if base is None and provider == "openai":
        base = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    await asyncio.to_thread(asked.get_models, key, base)


async def _repl() -> None:
    """Code is run where code of the model would be."""
    result = await runtime().repl.execute("result = 6 * 7")
    if "42" not in result.output:
        raise RuntimeError(result.error or result.output)


async def _storage() -> None:
    def write() -> None:
        place: Path = store.folder()
        place.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=place, prefix=".health-") as file:
            file.write(b"healthy")
            file.flush()
            os.fsync(file.fileno())
        if store.bucket():
            store.reachable()

    await asyncio.to_thread(write)


class Health:
    """What was found last, and when."""

    def __init__(self) -> None:
        self._parts: dict[str, Callable[[], Awaitable[None]]] = {"llm": _llm, "repl": _repl, "storage": _storage}
        self._found: dict[str, tuple[bool, float]] = {}
        self._asking = asyncio.Lock()

    async def ask(self) -> dict[str, object]:
        """As GET /health answers."""
        async with self._asking:
            await asyncio.gather(*map(self._look, self._parts))
        words = {name: "healthy" if self._found[name][0] else "unhealthy" for name in self._parts}
        whole = "healthy" if all(found for found, _ in self._found.values()) else "unhealthy"
        return {"status": whole, "version": __version__, "components": words}

    async def _look(self, name: str) -> None:
        was, when = self._found.get(name, (False, 0.0))
        if when and time.monotonic() - when < (FRESH if was else STALE):
            return
        try:
            await asyncio.wait_for(self._parts[name](), _PATIENCE)
            is_there = True
        except Exception as error:  # whatever it is, completions would meet it too
            log.warning("unhealthy", component=name, error=f"{type(error).__name__}: {error}"[:300])
            is_there = False
        self._found[name] = (is_there, time.monotonic())
