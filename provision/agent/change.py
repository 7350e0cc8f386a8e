"""What a transaction is to achieve, decided and complete: two whole states, and the steps from one to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Iterator, Mapping, NamedTuple, Sequence

from ..contract.once import Decided
from ..contract.slots import services_in
from ..contract.state import State
from ..contract.steps import Step
from .documents import service_of

if TYPE_CHECKING:
    from ..contract.records import Noted
    from ..contract.release import ReleaseDocument, ServiceDocument


class Change(NamedTuple):
    """What a transaction is to achieve."""

    transaction: str
    kind: str  # up, promote, rollback, down; restart, start, stop
    who: str
    agent: str  # digest of the agent that runs it
    before: State
    after: State
    steps: Sequence[Step]
    documents: Mapping[str, ReleaseDocument]  # release -> release.json, of `before` and `after`
    secrets: Dict[str, str]  # today's values
    whole: bool = False  # whether what is kept as it runs is proven as well
    noted: Noted = {}
    once: Sequence[Decided] = ()  # what runs once for the release that comes, or is noted as done
    once_release: str = ""
    once_runner: str = ""
    once_secrets: Mapping[str, Mapping[str, str]] = {}

    def known_before(self) -> Iterator[ServiceDocument]:
        """The programs of before, as far as their releases are known."""
        for name, record in self.before.programs.items():
            document = self.documents.get(record.release)
            known = services_in(document, record.slot) if document else ()
            yield from (each for each in known if each["program"] == name)

    def as_it_runs(self, service: ServiceDocument) -> ServiceDocument:
        """How the release that a program was started from describes it; the new one's word where that is gone."""
        record = self.before.programs.get(service["program"])
        if record is None or record.release not in self.documents:
            return service
        return service_of(self.documents, service["program"], record)
