"""The demo, chapter by chapter. Each one does a real thing and says what came of it."""

from __future__ import annotations

import ctypes
import os
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from provision import native, rollout
from provision.caches import caches
from provision.cli.console import Console
from provision.cli.demo.watcher import Watcher, fetch
from provision.cli.demo.workshop import Workshop
from provision.cli.render.status import entry_lines, status_lines
from provision.cli.sentences import seconds, size
from provision.engines import wheel
from provision.errors import DeployError, HostKeyUnknown, PutBack, Refused
from provision.hosts import HostSpec, connect, fetch_key, trust
from provision.native.model import write_demo_model
from provision.packages import install
from provision.project import load
from provision.targets import Deployment, Interrupt, sandbox

_PROMPT = "The capital of France is"
_CHAPTERS = 8


def demand(engine: str) -> None:
    """That this machine has what the story needs, before it begins; an SSH server it brings itself.

    Raises:
        Refused: something is missing; all of it is named.
    """
    machine = os.uname().machine
    if engine == "wheel" and machine not in wheel().wheels:
        raise Refused(
            f"there is no prebuilt llama-server for {machine}.",
            why=f"There is one for {', '.join(wheel().wheels)}.",
            next_step="deploy demo --engine build",
        )
    missing = {} if shutil.which("rsync") else {"rsync": "ships the project"}
    if engine == "wheel" and not _loads("libgomp.so.1"):
        missing["libgomp.so.1"] = "the prebuilt llama-server runs with it"
    if missing:
        named = " and ".join(f"{name} ({purpose})" for name, purpose in missing.items())
        raise Refused(f"the demo needs {named}, which this machine does not have.", next_step=install(*missing))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


@dataclass
class Story:
    """What happens in a demo, in order; `tell` runs it all."""

    shop: Workshop
    engine: str
    console: Console
    interrupt: Interrupt
    facts: dict[str, object] = field(default_factory=dict)
    _number: int = 0

    def tell(self) -> None:
        with self._chapter("Make a small ternary model"):
            model = write_demo_model(self.shop.model)
            self._say(f"{size(model.bytes)} of random weights: they prove the path, not the prose", model=model.sha256)
        with self._chapter("Start a throwaway SSH host, and trust its key"):
            self._trust(sandbox.spec(self.shop.root))  # without a word of `deploy down`: the demo ends it
        if self.engine == "build":
            with self._chapter("Compile llama-server from pinned, hash-checked sources"):
                self._compile()
        else:
            with self._chapter("Fetch llama-server, prebuilt, by its hash"):
                self._fetch()
        with self._chapter("Deploy: ship, start, prove, and only then serve"):
            self._up("stable")
        with self._chapter("Ask the deployed model, through a tunnel"):
            self._ask()
        with self._chapter("Try a new release beside the old one, then promote it"):
            self._canary()
        with self._chapter("Deploy a broken release"):
            self._broken()
        with self._chapter("Look at what is left"):
            self._look()

    @property
    def stable(self) -> str:
        """Where users reach the web service."""
        return f"http://127.0.0.1:{self.shop.web_port}"

    @property
    def canary(self) -> str:
        return f"http://127.0.0.1:{self.shop.web_port + 10_000}"

    def summary(self, spent: float, *, keep: bool) -> Iterator[str]:
        """What a newcomer should take away."""
        yield ""
        yield f"Done in {seconds(spent)}. What you saw is what `deploy up` does on any SSH host:"
        yield "  - one declaration, deploy.toml, was shipped, started and proven; no step was done by hand"
        yield "  - a new release ran beside the old one, and was promoted without building or shipping again"
        yield "  - a broken release was refused by its own check, and users never met it"
        if keep:
            yield f"It is still up: {self.stable} (web), http://127.0.0.1:{self.shop.llama_port} (llama-server)"
            yield f"The project is in {self.shop.root}: try deploy status -C {self.shop.root}"
            yield "End it with: deploy demo --stop"
        else:
            kept = "what was fetched" if self.engine == "wheel" else "sources and what was compiled"
            yield f"Kept for the next time: {kept}, in {caches()}; rm -r removes it, at any time"
            yield "Everything else was cleaned up. Look around in it: deploy demo --keep. Your own project: deploy init"

    def _deployment(self) -> Deployment:
        """The project as it is on disk now."""
        loaded = load(self.shop.root, environ={})
        return Deployment(loaded, "sandbox", on_event=self.console.event)

    def _trust(self, spec: HostSpec) -> None:
        stranger = replace(spec, known_hosts=spec.known_hosts[:1])
        try:
            connect(stranger).close()
        except HostKeyUnknown as refused:
            self._say(f"refused, as it should be: {refused.what}")
        key = fetch_key(stranger)
        trust(stranger, stranger.known_hosts[0], key=key)
        self._say(f"pinned {key.fingerprint}, as `deploy host trust` does", fingerprint=key.fingerprint)

    def _compile(self) -> None:
        with self.console.live():
            built = native.build("native", targets=("llama-server",), root=self.shop.root, on_event=self.console.event)
        self._say("compiled" if built.compiled else "compiled before; taken from the cache", compiled=built.compiled)

    def _fetch(self) -> None:
        engine, machine = wheel(), os.uname().machine
        with self.console.live():
            file = engine.fetch(machine, self.console.event)
        self._say(f"{engine.name}, {size(file.stat().st_size)}, as pinned; nothing is compiled", engine=engine.version)

    def _up(self, channel: str) -> None:
        rollout.up(self._deployment(), channel, interrupt=self.interrupt)

    def _ask(self) -> None:
        deployment = self._deployment()
        question = urllib.parse.urlencode({"prompt": _PROMPT})
        with (
            deployment.connect(deployment.hosts[0]) as connection,
            connection.forward(self.shop.web_port) as tunnel,
        ):
            words = fetch(f"http://127.0.0.1:{tunnel.local_port}/ask?{question}")
        if not words.strip():
            raise DeployError("the model answered with nothing.")
        self.console.answer(
            {"event": "completion", "prompt": _PROMPT, "completion": words},
            [f"     {_PROMPT}{words!s}", "     (random weights: a real completion, but not sense)"],
        )

    def _canary(self) -> None:
        self.shop.change('VERSION = "one"', 'VERSION = "two"')
        self._up("canary")
        self._say(f"stable answers {fetch(self.stable)!r}, the canary {fetch(self.canary)!r}")
        with Watcher(self.stable) as watcher:
            rollout.promote(self._deployment(), interrupt=self.interrupt)
        self._say(f"promoted: stable answers {fetch(self.stable)!r}; users saw {_seen(watcher)}")
        if watcher.failures:
            self._say("(they met web while it restarted on its own port: in this project no proxy stands before it)")

    def _broken(self) -> None:
        self.shop.change("HEALTHY = True", "HEALTHY = False")
        with Watcher(self.stable) as watcher:
            try:
                self._up("stable")
            except PutBack as failure:
                self._say(f"refused by its check: {failure.what}", refused=failure.what)
            else:
                raise DeployError("the broken release was accepted.", why="Its check should have failed.")
        if watcher.failures or set(watcher.answers) != {"two"}:
            raise DeployError(f"users noticed the broken release: {_seen(watcher)}.")
        self._say(f"meanwhile users saw {_seen(watcher)}", answers=sum(watcher.answers.values()))
        self.shop.change("HEALTHY = False", "HEALTHY = True")

    def _look(self) -> None:
        for status in rollout.status(self._deployment()):
            self.facts["state"] = status.state
            for line in status_lines(status):
                self._say(line)
            for entry in status.project["history"]:
                self._say(entry_lines(entry)[0])

    @contextmanager
    def _chapter(self, title: str) -> Iterator[None]:
        self._number += 1
        began = time.monotonic()
        self.console.event({"event": "chapter", "number": self._number, "of": _CHAPTERS, "title": title})
        yield
        self.console.event({"event": "chapter-end", "number": self._number, "seconds": time.monotonic() - began})

    def _say(self, text: str, **facts: object) -> None:
        self.facts |= facts
        self.console.event({"event": "said", "text": text})


def _seen(watcher: Watcher) -> str:
    answers = ", ".join(f"{count} answers {text!r}" for text, count in watcher.answers.items()) or "no answer"
    return f"{answers}, {len(watcher.failures)} failed requests"
