"""Whether the programs in images read the models that they are to serve; asked before anything is pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision import errors
from provision.contract.failure import Failure
from provision.contract.model_types import FORK_TYPES, check_image
from provision.contract.slots import FIRST, services_in

if TYPE_CHECKING:
    from provision.contract.events import ErrorMessage
    from provision.plan import Plan
    from provision.targets.deployment import Deployment


def refused(deployment: Deployment, plan: Plan, machine: str) -> ErrorMessage | None:
    """The error message of what stands against `plan`, or None.

    A registry that answers the host alone is no reason: the host asks again, once the image is there.

    Args:
        machine: of the host, as uname(2) calls it.
    """
    changed = {step.service for step in plan.steps if step.changes}
    document = deployment.release.document
    for service in services_in(document, FIRST):
        model = document["models"].get(service["model"])
        image = deployment.platform.image(service["manifest"]["text"])
        # Most models are of types that every program reads, and a program in the release is looked at there.
        ours = service["name"] in changed and image and not service["binary"]
        if not ours or model is None or not set(FORK_TYPES) & set(model["tensor_types"]):
            continue
        try:
            said = deployment.pulled.labels(image, machine)
            check_image(service["name"], service["model"], model["tensor_types"], image, said)
        except Failure as error:
            return error.message()
        except (errors.RegistryFailed, errors.Refused):
            continue
    return None
