"""One host of a deployment, connected, with the agent running on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provision.contract.answers import Facts
from provision.targets.conversation import Conversation

if TYPE_CHECKING:
    from provision.contract.requests import FactsRequest, Wanted
    from provision.hosts import HostConnection, HostSpec
    from provision.targets.deployment import Deployment


class HostConversation:
    """What is asked on one connected host.

    Attributes:
        began: when connecting to it began, by `time.monotonic`.
    """

    def __init__(
        self,
        deployment: Deployment,
        spec: HostSpec,
        connection: HostConnection,
        conversation: Conversation,
        began: float,
    ) -> None:
        self.deployment = deployment
        self.spec = spec
        self.connection = connection
        self.conversation = conversation
        self.began = began

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase on this host; its round trips are counted under its name."""
        with self.deployment.phase(self.spec.name, name), self.connection.round_trips.phase(name):
            yield

    def facts(self, wanted: Wanted, *, told: bool = True) -> Facts:
        """What the host is and has, in one call.

        Args:
            told: whether that is a phase of its own, which is shown.
        """
        deployment = self.deployment
        request: FactsRequest = {
            "op": "facts",
            "gpus": deployment.wants_gpus,
            **wanted,
            "platform": str(deployment.target.platform),
            "supervisor": deployment.supervisor,
        }
        with self.phase("facts") if told else contextlib.nullcontext():
            answer = self.conversation.ask(request, Facts)
        previews = answer["project"].get("previews", ())
        deployment.expired |= {each["name"] for each in previews if each["expired"]}
        return answer


@contextlib.contextmanager
def open_session(
    deployment: Deployment, spec: HostSpec, *, install: bool = False, take_over: str = ""
) -> Iterator[HostConversation]:
    """A host, connected, with the agent running on it.

    Args:
        install: keep the agent there; for what changes the host.
        take_over: the project whose place there this one takes.
    """
    began = time.monotonic()
    with deployment.phase(spec.name, "connect"):
        connection = deployment.connect(spec)
    with connection, deployment.converse(connection, spec, install=install, take_over=take_over) as conversation:
        yield HostConversation(deployment, spec, connection, conversation, began)
