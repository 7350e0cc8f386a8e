"""`deploy render`."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.project.platforms import PLATFORMS, RENDERED

_EXAMPLE = """\
deploy render kubernetes
deploy render kubernetes --out k8s && kubectl apply -k k8s/overlays/staging
deploy render systemd --target fleet --out units"""


@verb("render", example=_EXAMPLE, hosts=False)
@click.argument("platform", type=click.Choice(RENDERED), metavar="PLATFORM")
@click.option("-t", "--target", "only", metavar="NAME", help="Only the services of this target; hosts need one.")
@click.option(
    "-o", "--out", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write them there, not here."
)
@click.option("--rbac", is_flag=True, help="kubernetes: instead, the account that `deploy up` needs there.")
@click.option("--force", is_flag=True, help="Replace files that somebody else wrote or changed, too.")
def command(session: Session, platform: str, only: str | None, out: Path | None, rbac: bool, force: bool) -> None:
    """Show or write the files that a platform reads, for people to review.

    The same project gives the same bytes, so a diff shows what a change of deploy.toml means. In DIR a file that is
    rendered no more is removed; one that deploy render did not write, or that was changed by hand, is refused by name.
    A template of the project's own, templates/PLATFORM/NAME, replaces ours. Secrets are never in these files.
    """
    from provision.cli import rendering

    rendering.render(session, platform, only, out, rbac=rbac, force=force)


command.help = "\n".join(
    [
        inspect.cleandoc(command.help or ""),
        "\n\b\nPlatforms:",
        *(f"  {name:<14} {each.gives}" for name, each in PLATFORMS.items() if each.gives),
    ]
)
