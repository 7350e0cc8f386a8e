"""The API: completions from the model, and batches that workers run on demand."""

from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from src import llama
from src.api import workers
from src.api.workers import Mode
from src.jobs import Queue

app = FastAPI(title="vast-stack", description="A small stack on one rented machine.")


class Prompt(BaseModel):
    prompt: str = Field(min_length=1, max_length=8000)
    tokens: int = Field(default=32, ge=1, le=512)


class Batch(BaseModel):
    prompts: list[str] = Field(min_length=1, max_length=1000)


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


@app.post("/jobs/{mode}", status_code=202)
def submit(mode: Mode, batch: Batch) -> dict[str, str]:
    """Queue a batch, and start the worker that runs it."""
    name = Queue.of(mode).add(batch.model_dump())
    try:
        workers.start(mode)
    except workers.NotStarted as error:
        raise HTTPException(503, f"queued as {name}, but its worker did not start: {error}") from error
    return {"job": name}


@app.get("/jobs/{mode}/{name}")
def job(mode: Mode, name: str) -> dict[str, Any]:
    """How far a batch is, and its result."""
    found = Queue.of(mode).look(name)
    if found is None:
        raise HTTPException(404, "no such job")
    state, content = found
    return {"state": state, **content}
