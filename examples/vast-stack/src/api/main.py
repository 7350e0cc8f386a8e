"""The API: completions from the model, and batches that workers run on demand."""

import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, Field

from src import llama, temporal
from src.api import workers
from src.api.workers import Mode
from src.jobs import Queue

_log = logging.getLogger("uvicorn.error")  # which is shown as it is
app = FastAPI(title="vast-stack", description="A small stack on one rented machine.")


class Prompt(BaseModel):
    prompt: str = Field(min_length=1, max_length=8000)
    tokens: int = Field(default=32, ge=1, le=512)


class One(BaseModel):
    prompt: str = Field(min_length=1, max_length=8000)
    mode: Mode = Mode.GPU


class Batch(BaseModel):
    prompts: list[str] = Field(min_length=1, max_length=1000)
    mode: Mode = Mode.GPU


class Accepted(BaseModel):
    """What was queued, where its state is, and whether its worker runs."""

    job: str
    at: str
    worker: str = "runs"
    why: str = ""


@app.get("/health")
def health() -> dict[str, str]:
    """The API answers; whether the model does is said beside it."""
    return {"status": "ok", "llama": "up" if llama.is_up() else "down"}


@app.post("/generate")
def generate(request: Prompt) -> dict[str, str]:
    """What the model says next."""
    try:
        return {"completion": llama.complete(request.prompt, request.tokens)}
    except llama.ModelUnavailable as error:
        raise HTTPException(503, f"the model does not answer: {error}") from error


@app.post("/batch", status_code=202)
def batch(request: Batch, response: Response) -> Accepted:
    """Queue prompts, and start the worker that runs them."""
    return _accept(request.mode, request.prompts, response)


@app.post("/process", status_code=202)
def process(request: One, response: Response) -> Accepted:
    """Queue one prompt, and start the worker that runs it."""
    return _accept(request.mode, [request.prompt], response)


@app.get("/jobs/{mode}/{name}")
def job(mode: Mode, name: str, response: Response) -> dict[str, Any]:
    """How far a batch is, with 202 until it is done; then its result."""
    found = Queue.of(mode).look(name)
    if found is None:
        raise HTTPException(404, "no such job")
    state, content = found
    if state != "done":
        response.status_code = 202
    return {"state": state, **content}


@app.get("/queues")
def queues() -> dict[Mode, dict[str, int]]:
    """How many jobs wait and run in each queue."""
    return {mode: Queue.of(mode).sizes() for mode in Mode}


def _accept(mode: Mode, prompts: list[str], response: Response) -> Accepted:
    """What is queued is accepted, whether its worker starts now or not: the next one that does finds it."""
    name = Queue.of(mode).add({"prompts": prompts})
    accepted = Accepted(job=name, at=f"/jobs/{mode}/{name}")
    response.headers["Location"] = accepted.at
    try:
        temporal.hand_over(mode, name)
        workers.start(mode)
    except (temporal.NotHandedOver, workers.NotStarted) as error:
        accepted.worker, accepted.why = "not started", str(error)
        _log.warning("%s is queued for %s, whose worker did not start: %s", name, mode, error)
    return accepted
