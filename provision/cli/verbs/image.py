"""`deploy image`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.group import Group, Verb

key_option = click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), help="Public keys that count (default: evidence.pub)."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Show all of it; change nothing.")

command = Group(
    "image",
    sections={
        "Build": (
            Verb("build", "Build images of images/ into build/images/NAME/oci.", module="image_build"),
            Verb("lock", "Pin base images and sources at what they are today.", module="image_lock"),
        ),
        "Prove": (
            Verb("smoke", "Boot an image as in production, and ask it for a completion.", module="image_smoke"),
            Verb("keygen", "Make the key that signs evidence.", module="image_keygen"),
            Verb("attest", "Sign the results of checks, and store them beside the image.", module="image_attest"),
        ),
        "Promote": (
            Verb("push", "Publish an image by digest, as canary and as sha-COMMIT.", module="image_push"),
            Verb("promote", "Move a channel to exactly the bytes that were proven.", module="image_promote"),
            Verb("rollback", "Move a channel back to what it stood for before.", module="image_rollback"),
        ),
        "Look": (Verb("inspect", "Show what a name stands for, and what was proven of it.", module="image_inspect"),),
    },
    package="provision.cli.verbs",
    help="Prove images in a registry, and promote them by digest.",
)
