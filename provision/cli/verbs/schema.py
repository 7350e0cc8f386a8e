"""`deploy schema`."""

from __future__ import annotations

import json

from provision.cli.session import Session
from provision.cli.verb import verb


@verb("schema", example="deploy schema > deploy.schema.json", project=False, hosts=False)
def command(session: Session) -> None:
    """Print the JSON Schema of deploy.toml.

    Editors complete and check deploy.toml with it: put `#:schema ./deploy.schema.json` on its first line.
    """
    from provision.project import json_schema

    text = json_schema.text()
    session.console.answer({"event": "result", "schema": json.loads(text)}, text.rstrip("\n"))
