"""`deploy image`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.group import Group, Verb

key_option = click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), help="Public keys that count (default: evidence.pub)."
)
private_option = click.option(
    "--private", type=click.Path(dir_okay=False, path_type=Path), help="The key, instead of DEPLOY_EVIDENCE_KEY."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Show all of it; change nothing.")

command = Group(
    "image",
    sections={
        "Build": (
            Verb("build", "Build images of images/ into build/images/NAME/oci."),
            Verb("lock", "Pin base images and sources at what they are today."),
        ),
        "Prove": (
            Verb("smoke", "Boot an image as in production, and ask it for a completion."),
            Verb("keys", "Make the keys that evidence needs, and say what CI has to be given."),
            Verb("keygen", "Make the key that signs evidence."),
            Verb("attest", "Sign the results of checks, and store them beside the image."),
        ),
        "Promote": (
            Verb("push", "Publish an image by digest, as canary and as sha-COMMIT."),
            Verb("promote", "Move a channel to exactly the bytes that were proven."),
            Verb("rollback", "Move a channel back to what it stood for before."),
        ),
        "Look": (Verb("inspect", "Show what a name stands for, and what was proven of it."),),
    },
    package="provision.cli.verbs.image",
    help="Prove images in a registry, and promote them by digest.",
)
