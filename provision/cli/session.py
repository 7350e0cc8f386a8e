"""One run of one verb: what was asked for on the command line, and how to tell what happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from provision.cli.console import Console
from provision.cli.github.forks import given, is_fork, refuse_fork
from provision.contract.slots import named, numbered
from provision.errors import DeployError, UsageError
from provision.project import load
from provision.project.fault import nearest
from provision.project.platforms import IN_CLUSTER
from provision.project.ports import port_of
from provision.project.sandbox import SANDBOX
from provision.project.toml import read_declaration

if TYPE_CHECKING:
    from provision.cluster.project_there import ProjectThere
    from provision.hosts import HostSpec
    from provision.targets import Deployment, HostOutcome, Interrupt


class Session:
    """What a verb works with.

    Args:
        target: as given with `--target`; None means the project's only one.
        hosts: names as given with `--host`; empty means all of the target.
        secrets: whether the values of the project's secrets are needed, so that a missing one is a problem.
        env_file: read instead of the project's own `.env`.
        preview: the name of the preview that is meant instead of the project itself; empty where none is.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        directory: Path = Path(),
        target: str | None = None,
        hosts: tuple[str, ...] = (),
        secrets: bool = False,
        env_file: Path | None = None,
        preview: str = "",
    ) -> None:
        self.directory = directory
        self.console = Console(as_json=as_json)
        self._target = target
        self._secrets = secrets
        self._env_file = env_file
        self.hosts = hosts
        self.preview = preview

    @property
    def named_target(self) -> str | None:
        """The target that was named; None where none was."""
        return self._target

    def name_target(self, name: str) -> None:
        """Say which target is meant, as a word of the command line.

        Raises:
            UsageError: `--target` names another one, or there is none of that name.
        """
        known = declared_targets(self.directory)
        if name not in known:
            why = nearest(name, known, "targets") or "deploy.toml declares none."
            raise UsageError(f'no target is called "{name}".', why=why)
        if self._target not in (None, name):
            raise UsageError(f"which target, {name} or {self._target}?", next_step="name one of them")
        self._target = name

    def demand_secrets(self) -> None:
        """Say, before the project is read, that the values of its secrets are needed after all."""
        self._secrets = True

    @cached_property
    def target(self) -> str:
        """The name of the target that is meant.

        Raises:
            UsageError: the project has none, or several and none was named.
        """
        if self._target is not None:
            return self._target
        names = list(declared_targets(self.directory))
        if len(names) == 1:
            return names[0]
        if not names:
            raise UsageError(
                "deploy.toml declares no target.",
                next_step='add [targets.NAME] with hosts = ["user@host"] and path = "/srv/NAME"',
            )
        declared = f"deploy.toml declares {', '.join(names)}."
        raise UsageError("which target?", why=declared, next_step=f"--target {names[0]}")

    @cached_property
    def deployment(self) -> Deployment:
        """The project on its target, or the preview of it that was named.

        Raises:
            Refused: there is no such preview.
        """
        if not self.preview:
            return self.itself
        from provision import rollout

        return rollout.named_preview(self.itself, self.preview, self.hosts)

    @cached_property
    def itself(self) -> Deployment:
        """The project on its target, whatever preview was named."""
        from provision.hosts import Ahead

        ahead, allowed = Ahead(self.directory), given(self._env_file)
        loaded = load(
            self.directory,
            target=self.target,
            demand_secrets=self._secrets and not is_fork(),
            environ=allowed.environ,
            env_file=allowed.env_file,
            meanwhile=ahead.begin,
        )
        from provision.targets import Deployment

        if [host.text for host in loaded.project.targets[self.target].hosts] == [SANDBOX]:
            # Its home, with the start-up files in it, and its Python are what the declaration brings.
            refuse_fork("no throwaway host is started on this machine")
        return Deployment(loaded, self.target, on_event=self.console.event, ask=self.console.ask, ahead=ahead)

    @property
    def on_cluster(self) -> bool:
        """Whether the target is a cluster: as the file says, which is not judged for that."""
        try:
            targets = declared_targets(self.directory)
        except DeployError:  # whoever needs the file says so
            return False
        name = self._target if self._target is not None else next(iter(targets)) if len(targets) == 1 else ""
        return targets.get(name, {}).get("platform") in IN_CLUSTER

    @cached_property
    def there(self) -> ProjectThere:
        """The project on its target, which is a cluster. Secrets that are not known here may be there."""
        from provision.cluster.project_there import ProjectThere

        refuse_fork("no cluster is asked")  # a kubeconfig names programs that are run to log in
        loaded = load(
            self.directory,
            target=self.target,
            demand_secrets=self._secrets,
            secrets_may_lack=True,
            env_file=self._env_file,
        )
        return ProjectThere(loaded, self.target, self.console.event)

    @property
    def specs(self) -> list[HostSpec]:
        """The target's hosts, or those named with `--host`.

        Raises:
            UsageError: the target has no such host.
        """
        from provision.rollout.hosts import chosen

        return chosen(self.deployment, self.hosts)

    def ports(self, channel: str, *, on_demand: bool = False) -> dict[str, int]:
        """Service -> port, for those that have one, each copy as `api.2`; with `on_demand` also for those that are
        started by hand. With traffic all copies are behind the service's own port, in stable.
        """
        from provision.project.fronted import is_fronted
        from provision.project.service import Lane

        project, target, lane = self.deployment.loaded.project, self.deployment.target, Lane(channel)
        return {
            named(name, numbered(copy)): port
            for name, service in project.services.items()
            if on_demand or not service.on_demand
            for copy in range(1, 1 + (1 if is_fronted(target, service) else project.copies_of(name, lane)))
            if (port := port_of(service, lane, copy))
        }

    @contextmanager
    def interruptible(self, *, is_ours: bool = False) -> Iterator[Interrupt]:
        """Progress is shown, and Ctrl-C means: put everything back.

        Args:
            is_ours: whether what is deployed comes with this toolkit, and not with a pull request.

        Raises:
            Refused: a fork's pull request would change hosts.
        """
        from provision.cli.interrupts import putting_back

        if not is_ours:
            refuse_fork("nothing is changed on hosts")
        with self._recorded(is_ours=is_ours), self.console.live(), putting_back(self.console) as interrupt:
            yield interrupt

    @contextmanager
    def _recorded(self, *, is_ours: bool) -> Iterator[None]:
        """What happens meanwhile is kept, for `deploy ui` and `deploy report`."""
        if is_ours:
            yield
            return
        import click

        from provision.cli.failures import event_of
        from provision.recorded import Recorder

        context = click.get_current_context(silent=True)
        command = context.command_path if context else "deploy"
        recorder = Recorder(self.directory, command, self.target, self.itself.who)
        with recorder, self.console.recording(recorder):
            try:
                yield
            except BaseException as error:
                recorder.end(*event_of(error))
                raise
            recorder.end(0)

    def remember(self, releases: Iterable[str]) -> None:
        """Note releases that were seen on the target's hosts, the newest last: shells complete them."""
        from provision.cli.seen import remember

        remember(self.directory, self.target, releases)

    def tell_outcomes(self, outcomes: Sequence[HostOutcome]) -> None:
        """The last lines of what changed hosts, for people; programs have it in each host's `result`."""
        from provision.cli.render.outcome import outcome_lines

        self.remember(release for each in outcomes for release in (each.plan.current, each.plan.release))
        for line in outcome_lines(outcomes):
            self.console.note(line)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.console.close()


def declared_targets(directory: Path) -> dict[str, dict[str, Any]]:
    """The targets in deploy.toml by name, read without judging anything in it.

    Raises:
        UsageError, DeclarationError: there is no such file, or it is no TOML.
    """
    targets = read_declaration(directory).values.get("targets")
    if not isinstance(targets, dict):
        return {}
    return {name: target if isinstance(target, dict) else {} for name, target in targets.items()}
