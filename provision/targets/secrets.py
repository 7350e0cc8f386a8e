"""Today's values of secrets, for what a release names alone: they go beside it, and stand in none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.contract.slots import FIRST, services_in

if TYPE_CHECKING:
    from provision.contract.release import OnceDocument, PrepareDocument, ReleaseDocument
    from provision.project.loaded import LoadedProject


def of_services(loaded: LoadedProject, document: ReleaseDocument) -> dict[str, str]:
    """Those that services name; of those that were not asked for, none.

    Raises:
        DeclarationError: one is nothing that its service can be given.
    """
    from provision.manifests.secret_values import secret_refusals

    found = [*secret_refusals(loaded.project, loaded.secrets)]
    if found:
        from provision.project.located import declaration_error

        raise declaration_error(found, loaded.declaration)
    names = {name for service in services_in(document, FIRST) for name in service["secrets"]}
    return {name: str(loaded.secrets[name]) for name in names if name in loaded.secrets}


def of_step(loaded: LoadedProject, step: PrepareDocument | OnceDocument | None) -> dict[str, str]:
    """Those that a step is given, and the variables made of them."""
    if not step:
        return {}
    made = step.get("env_of_secrets", {})
    values = {name: str(loaded.secrets[name]) for name in step["secrets"] if name not in made}
    for name, parts in made.items():
        values[name] = "".join(part if isinstance(part, str) else values[part["secret"]] for part in parts)
    return values
