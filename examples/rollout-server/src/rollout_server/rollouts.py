"""The rollouts in work: each turn by turn, until the model calls no more tools or has said enough."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpcore
import structlog
from structlog.contextvars import bound_contextvars

from rollout_server import metrics, tools
from rollout_server.networks import NotAllowed
from rollout_server.protocol import Ended, Measured, Rollout
from rollout_server.settings import Settings
from rollout_server.tokens import Tokenizers, Unavailable
from rollout_server.trainer import NotUnderstood, Refused, Trainer

_log = structlog.get_logger(__name__)


class TooMany(Exception):
    """As many rollouts as there may be are in work."""


class Another(Exception):
    """A rollout of this name is another one."""


class Rollouts:
    """Starts rollouts, and knows those in work."""

    def __init__(self, settings: Settings, tokenizers: Tokenizers, pool: httpcore.AsyncConnectionPool) -> None:
        self._settings, self._tokenizers, self._pool = settings, tokenizers, pool
        self._durations = metrics.Durations()
        self._running: dict[str, tuple[Rollout, asyncio.Task[Ended]]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, rollout: Rollout, *, tell: bool) -> asyncio.Task[Ended]:
        """What becomes of it; `tell` has the trainer told, too. Who asks for the same one again starts no second.

        Raises:
            TooMany, Another.
        """
        if known := self._running.get(rollout.rollout_id):
            if known[0] != rollout:
                raise Another
            return known[1]
        if len(self._running) >= self._settings.rollouts:
            metrics.REFUSED.inc()
            raise TooMany
        task = asyncio.create_task(self._run(rollout, tell=tell))
        self._running[rollout.rollout_id] = rollout, task
        task.add_done_callback(lambda _: self._running.pop(rollout.rollout_id))
        return task

    async def finish(self) -> None:
        """Wait for those in work; `drain` is how long that may take."""
        await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)

    async def _run(self, rollout: Rollout, *, tell: bool) -> Ended:
        started = time.monotonic()
        key = rollout.callback_api_key or self._settings.callback_key
        trainer = Trainer(self._pool, rollout.server_url, key, self._settings.timeout)
        with bound_contextvars(rollout_id=rollout.rollout_id), metrics.RUNNING.track_inprogress():
            _log.info("rollout began", max_turns=rollout.max_turns, messages=len(rollout.messages))
            turns = Turns(rollout, trainer, self._tokenizers)
            ended = await turns.all()
            took = time.monotonic() - started
            ended.metrics.total_latency_ms = took * 1000
            ok = ended.status == "COMPLETED"
            if tell:
                try:
                    await trainer.told(ended.model_dump(exclude_none=True))
                except Exception as error:
                    ok = False
                    _log.error("the trainer was not told how the rollout ended", error=_said(error))
            self._durations.add(took)
            metrics.REQUESTS.labels("completed" if ok else "error").inc()
            _log.info("rollout ended", status=ended.status, reason=ended.finish_reason, **ended.metrics.model_dump())
            return ended


class Turns:
    """One rollout's."""

    def __init__(self, rollout: Rollout, trainer: Trainer, tokenizers: Tokenizers) -> None:
        self._rollout, self._trainer, self._tokenizers = rollout, trainer, tokenizers
        self._messages = list(rollout.messages)
        self._measured = Measured()
        self._known = 0  # tokens of the conversation that the trainer has, by its own word

    async def all(self) -> Ended:
        """How it ended; what went wrong is in the log, and in general words in the answer."""
        try:
            reason = await self._until_done()
            return self._ended("COMPLETED", final_messages=self._messages, finish_reason=reason)
        except NotAllowed as error:
            return self._failed("server_url is outside the networks that callbacks may go to", "not_allowed", error)
        except Refused as error:
            kind = {429: "rate_limited"}.get(error.status, "trainer_error")
            return self._failed("The trainer answered with an error", kind, error, http_status=error.status)
        except NotUnderstood as error:
            return self._failed("The trainer's answer is no completion", "trainer_error", error)
        except httpcore.TimeoutException as error:
            return self._failed("The trainer did not answer in time", "timeout", error)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return self._failed("Network error communicating with trainer", "network_error", error)
        except Unavailable as error:
            return self._failed("The tokenizer is not available", "tokenizer_error", error)
        except Exception as error:
            _log.exception("an error of our own")
            return self._failed("Internal error", "internal_error", error)

    async def _until_done(self) -> str:
        for _ in range(self._rollout.max_turns):
            choice = await self._turn()
            self._messages.append(choice["message"])
            asked = choice["message"].get("tool_calls") or []
            if not asked:
                return str(choice["finish_reason"])
            await self._call(asked)
            if self._measured.response_tokens >= self._rollout.max_tokens_total:
                return "max_tokens"
        return "max_turns"

    async def _turn(self) -> dict[str, Any]:
        rollout, measured = self._rollout, self._measured
        asked = {"model": "default", **rollout.sampling_params.model_dump(exclude_none=True)}
        asked |= {"messages": self._messages, "rollout_id": rollout.rollout_id}
        length = await self._length()
        if length is not None and self._known and length > self._known:
            # What tools said since is none of the model's own words: it is not learnt from.
            asked["response_mask"] = [0] * (length - self._known)
        started = time.monotonic()
        choice = await self._trainer.complete(asked)
        measured.llm_latency_ms += (time.monotonic() - started) * 1000
        measured.num_llm_calls += 1
        measured.prompt_tokens += choice["read"]
        measured.response_tokens += choice["made"]
        measured.max_context_tokens = max(measured.max_context_tokens, choice["read"])
        metrics.TOKENS.labels("prompt").inc(choice["read"])
        metrics.TOKENS.labels("response").inc(choice["made"])
        self._known = length + choice["made"] if length is not None and choice["exact"] else 0
        _log.debug("a turn", turn=measured.num_llm_calls, read=choice["read"], made=choice["made"])
        return choice

    async def _length(self) -> int | None:
        rollout = self._rollout
        if rollout.tokenizer_name is None:
            return None
        revision = self._tokenizers.revision(rollout.tokenizer_name, rollout.tokenizer_revision)
        length = await asyncio.to_thread(self._tokenizers.length, rollout.tokenizer_name, revision, self._messages)
        if length < self._known:
            raise Unavailable(f"{length} tokens, where the trainer has {self._known}: it has another tokenizer")
        return length

    async def _call(self, asked: list[dict[str, Any]]) -> None:
        started = time.monotonic()
        self._messages += await asyncio.gather(*(asyncio.to_thread(tools.call, each) for each in asked))
        self._measured.tool_latency_ms += (time.monotonic() - started) * 1000
        self._measured.num_tool_calls += len(asked)
        metrics.TOOL_CALLS.inc(len(asked))

    def _failed(self, message: str, category: str, error: Exception, **more: Any) -> Ended:
        _log.error("rollout failed", category=category, error=_said(error), trainer=self._rollout.server_url)
        return self._ended("ERROR", error_message=message, extra_fields={"error_category": category, **more})

    def _ended(self, status: Any, **more: Any) -> Ended:
        return Ended(rollout_id=self._rollout.rollout_id, status=status, metrics=self._measured, **more)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
