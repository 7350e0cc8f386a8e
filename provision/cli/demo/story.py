"""The demo, chapter by chapter. Each one does a real thing and says what came of it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from provision import haproxy, native, rollout
from provision.agent.front import program as front
from provision.caches import caches
from provision.cli.console import Console
from provision.cli.demo.watcher import Met, Watcher, fetch
from provision.cli.demo.workshop import Workshop
from provision.cli.render.status import entry_lines, status_lines
from provision.contract.failure import Failure
from provision.engines import wheel
from provision.errors import DeployError, HostKeyUnknown, PutBack, Refused
from provision.hosts import HostSpec, connect, fetch_key, trust
from provision.native.model import write_demo_model
from provision.packages import install
from provision.project import load
from provision.project.ports import CANARY_OFFSET
from provision.project.units import seconds, size
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
    met: Met = field(default_factory=Met)
    _number: int = 0
    _fronted: bool = True

    def tell(self) -> None:
        with self._chapter("Make a small ternary model"):
            model = write_demo_model(self.shop.model)
            self._say(f"{size(model.bytes)} of random weights: they prove the path, not the prose", model=model.sha256)
        with self._chapter("Start a throwaway SSH host, and trust its key"):
            self._trust(sandbox.spec(self.shop.root))  # without a word of `deploy down`: the demo ends it
        if self.engine == "build":
            with self._chapter("Compile llama-server from pinned, hash-checked sources"):
                self._compile()
                self._front()
        else:
            with self._chapter("Fetch llama-server, prebuilt, by its hash"):
                self._fetch()
                self._front()
        with self._chapter("Deploy: ship, start, prove, and only then serve"):
            self._up("stable")
        with self._chapter("Ask the deployed model, through a tunnel"):
            self._ask()
        with self._chapter("Try a new release beside the old one, then promote it"), self._users():
            self._canary()
        with self._chapter("Deploy a broken release"), self._users() as users:
            self._broken(users)
        with self._chapter("Look at what is left"):
            self._look()

    @property
    def stable(self) -> str:
        """Where users reach the web service."""
        return f"http://127.0.0.1:{self.shop.web_port}"

    @property
    def model(self) -> str:
        """Where they reach the model."""
        return f"http://127.0.0.1:{self.shop.llama_port}"

    def summary(self, spent: float, *, keep: bool) -> Iterator[str]:
        """What a newcomer should take away."""
        yield ""
        yield f"Done in {seconds(spent)}. What you saw is what `deploy up` does on any SSH host:"
        yield "  - one declaration, deploy.toml, was shipped, started and proven; no step was done by hand"
        yield "  - a new release ran beside the old one, and was promoted without building or shipping again"
        yield "  - a broken release was refused by its own check, and users never met it"
        yield f"  - requests came the whole time: {_said(self.met)}"
        if not self._fronted:
            yield "    (without HAProxy a service restarts on its own port, and who comes just then is refused)"
        if keep:
            yield f"It is still up: {self.stable} (web), {self.model} (llama-server)"
            yield f"The project is in {self.shop.root}: try deploy status -C {self.shop.root}"
            yield f"Look at it live, in a browser: deploy ui -C {self.shop.root}"
            yield "End it with: deploy demo --stop"
        else:
            kept = "what was fetched" if self.engine == "wheel" else "sources and what was compiled"
            yield f"Kept for the next time: {kept}, in {caches()}; rm -r removes it, at any time"
            yield "Everything else was cleaned up. Look around in it: deploy demo --keep. Your own project: deploy init"
            yield "What it does can be looked at live, in a browser: deploy ui (docs/page.md)"

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

    def _front(self) -> None:
        """What is to stand before the programs: this machine's HAProxy, else the one that is shipped; or nothing."""
        with suppress(Failure):
            front.find()
            return
        machine, library = os.uname().machine, platform.libc_ver()[0]
        why = f"none is pinned for {machine} with {library or 'its C library'}"
        if haproxy.is_for(machine, library):
            try:
                haproxy.wheel(machine, self.console.event)
            except DeployError as failed:
                why = failed.what
            else:
                return
        self._fronted = False
        self.shop.stand_alone()
        self._say(f"no HAProxy stands before the programs: {why}")

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
        where, asked = self.stable, {"X-Lane": "canary"}
        if not self._fronted:
            where, asked = f"http://127.0.0.1:{self.shop.web_port + CANARY_OFFSET}", {}
        self._say(f"stable answers {fetch(self.stable)!r}, the canary {fetch(where, asked)!r}")
        rollout.promote(self._deployment(), interrupt=self.interrupt)
        self._say(f"promoted: stable answers {fetch(self.stable)!r}")

    def _broken(self, users: Watcher) -> None:
        self.shop.change("HEALTHY = True", "HEALTHY = False")
        try:
            self._up("stable")
        except PutBack as failure:
            self._say(f"refused by its check: {failure.what}", refused=failure.what)
        else:
            raise DeployError("the broken release was accepted.", why="Its check should have failed.")
        if users.met.failures or set(users.met.answers) != {"two"}:
            raise DeployError(f"users noticed the broken release: {_said(users.met)}.")
        self.shop.change("HEALTHY = False", "HEALTHY = True")

    @contextmanager
    def _users(self) -> Iterator[Watcher]:
        """While they come; then what they met is told."""
        with Watcher(self.stable, self.model) as watcher:
            yield watcher
        met = watcher.met
        self.met.add(met)
        answers = " and ".join(f"{count} answers {text!r}" for text, count in met.answers.items())
        self._say(f"meanwhile users saw {answers}, {met.streams} streams of tokens; {len(met.failures)} failed")
        self.facts["users"] = {
            "requests": self.met.requests,
            "streams": self.met.streams,
            "failed": len(self.met.failures),
            "longest_wait_seconds": round(self.met.longest, 3),
        }

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


def _said(met: Met) -> str:
    return (
        f"{met.requests}, of which {met.streams} were streams of tokens; {len(met.failures)} failed, "
        f"and the longest wait was {seconds(met.longest)}"
    )
