"""What every table of `deploy.toml` is made from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        defer_build=True,  # only the whole is validated, and it builds its parts by itself
        extra="forbid",
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )
