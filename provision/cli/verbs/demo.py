"""`deploy demo`."""

from __future__ import annotations

import time

import click

from provision import linux
from provision.cli.demo import workshop
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("demo", example="deploy demo\ndeploy demo --keep\ndeploy demo --stop", project=False, hosts=False)
@click.option(
    "--engine",
    type=click.Choice(["wheel", "build"]),
    default="wheel",
    show_default=True,
    help="llama-server: prebuilt, or compiled here (minutes the first time).",
)
@click.option("--keep", is_flag=True, help="Leave it up, and print where it is.")
@click.option("--stop", is_flag=True, help="End a demo that was left up, and remove its files.")
def command(session: Session, engine: str, keep: bool, stop: bool) -> None:
    """Show the whole path on a throwaway host of this machine.

    Deploys llama-server with a small web service over SSH, asks it for a completion, tries and promotes a new release,
    and lets a broken one be put back. Needs no root, and a network only for what it fetches the first time; nothing of
    ~/.ssh is read or changed.
    """
    linux.demand("the demo", instead="run it on a Linux machine; to deploy from here: deploy init")
    root = workshop.folder()
    console = session.console
    with workshop.alone(root):
        if stop:
            text = "the demo ended; its files are gone" if workshop.clear(root) else "no demo is up"
            console.answer({"event": "result", "outcome": text}, text)
            return
        from provision.cli.demo.story import Story, demand

        demand(engine)
        began = time.monotonic()
        workshop.clear(root)
        try:
            with session.interruptible(is_ours=True) as interrupt:
                story = Story(workshop.make(root, engine), engine, console, interrupt)
                story.tell()
        except BaseException:
            workshop.clear(root)
            raise
        if not keep:
            workshop.clear(root)
        seconds = round(time.monotonic() - began, 1)
        console.answer(
            {"event": "result", "outcome": "done", "seconds": seconds, "kept": keep, **story.facts},
            story.summary(seconds, keep=keep),
        )
