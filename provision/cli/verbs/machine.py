"""`deploy machine`: offers, forget, rent, list, show, logs, renew, watch, backup, destroy, reap."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import Exit, UsageError

if TYPE_CHECKING:
    from provision.providers.face import Machine
    from provision.targets.machines import Machines


@click.group("machine")
def command() -> None:
    """Rent the machines of a target with a provider, look at them, give them back."""


@verb("offers", example="deploy machine offers\ndeploy machine offers --target gpu --json")
def offers(session: Session) -> None:
    """Show what could be rented for the target now, cheapest first.

    What models and binaries need is asked for besides [needs]; machines that failed of late are left out. Once a
    completion check has counted the tokens of such a GPU, the price of a million of them is shown, for one request at
    a time.
    """
    from provision.cli.render.machines import offer_lines, per_million_tokens

    machines = session.deployment.machines
    offering = machines.offering
    found = offering.offers()
    budget = session.deployment.target.budget
    lines = offer_lines(found, budget.per_hour if budget else 0.0, offering.rates)
    offers = [asdict(each) | {"per_million_tokens": per_million_tokens(each, offering.rates)} for each in found]
    session.console.answer(
        {"event": "offers", "offers": offers},
        lines if found else ["nothing fits [needs] now; ask for less, or later"],
    )
    for added in offering.needed.added:
        session.console.note(f"asked for besides [needs]: {added}")
    for machine, why in sorted(offering.failed.items()):
        session.console.note(f"left out, since it failed: {machine}: {why}")
    if offering.failed:
        session.console.note("next, where that is mended: deploy machine forget NUMBER")


@verb("forget", example="deploy machine forget 101 102\ndeploy machine forget --all")
@click.argument("numbers", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="All of them, and what images lack.")
def forget(session: Session, numbers: tuple[int, ...], everything: bool) -> None:
    """Let machines be offered and rented again that failed before: numbers are those that offers leaves out."""
    if bool(numbers) == everything:
        raise UsageError("which machines?", next_step="deploy machine forget NUMBER…, or --all")
    forgotten = session.deployment.machines.offering.forget(numbers)
    told = ", ".join(map(str, forgotten))
    session.console.answer(
        {"event": "result", "outcome": "forgotten" if forgotten else "unchanged", "machines": forgotten},
        f"may be rented again: {told}" if told else "nothing was remembered of them",
    )


@verb("rent", example="deploy machine rent\ndeploy machine rent --target gpu --keep")
@click.option("--keep", is_flag=True, help="One that is no good is not given back; it costs on.")
def rent(session: Session, keep: bool) -> None:
    """Rent what the target lacks, wait until it runs, see that it is as it was offered, and pin its host key.

    One that is not is given back and remembered, and the next offer is tried: three machines at most.

    What is there already is kept: a second run rents nothing. Nothing is rented beyond [budget], and each machine ends
    itself when budget.until is over, whether or not this laptop is there. Ctrl-C gives back what was just rented.
    """
    from provision.cli.render.machines import address_lines, machine_event, machine_lines
    from provision.targets.labels import Label

    refuse_fork("nothing is rented")
    machines = session.deployment.machines
    with session.console.live():
        for machine, is_new in machines.rent(keep=keep):
            label = Label.read(machine.label)
            now = machines.provider.now()
            event = machine_event(machine, now) | {
                "event": "result",
                "outcome": "rented" if is_new else "there already",
            }
            lines = machine_lines([machine], [label], now)
            session.console.answer(event, [*lines, *address_lines(machine)])


@verb("list", example="deploy machine list\ndeploy machine list --all")
@click.option("--all", "everything", is_flag=True, help="All machines of the account, whoever rented them.")
def listed(session: Session, everything: bool) -> None:
    """Show what is rented, what it has cost so far, and when it ends; and what those have cost that are no more.

    That sum, of the last 30 days, is what the provider has charged for the target's machines; it counts for
    budget.total.
    """
    from provision.cli.render.machines import ended_line, machine_event, machine_lines
    from provision.targets.labels import Label

    machines = session.deployment.machines
    beyond = [] if everything else machines.rented_beyond()
    found = [*(machines.provider.machines() if everything else machines.seen()), *beyond]
    labels = [Label.read(each.label) for each in found]
    now = machines.provider.now()
    lines = machine_lines(found, labels, now)
    wrong = machines.backups(machines.seen())
    ended = machines.ended()
    session.console.answer(
        {"event": "machines", "machines": [machine_event(each, now, wrong) for each in found], "ended": ended},
        lines if found else ["nothing is rented; next: deploy machine rent"],
    )
    if ended:
        session.console.note(ended_line(ended))
    for number in filter(wrong.get, wrong):
        session.console.note(f"{number}: backup: {wrong[number]}; next: deploy machine backup {number}")
    if beyond:
        numbers = " ".join(str(each.id) for each in beyond)
        session.console.note(f"more than the target's machines, and costing on; next: deploy machine destroy {numbers}")


@verb("pin", example="deploy machine pin")
def pin(session: Session) -> None:
    """Pin anew what the target's machines printed as their host keys at their last start."""
    machines = session.deployment.machines
    for machine in machines.rented():
        if machine.state == "running":
            key = machines.pin(machine)
            session.console.answer(
                {"event": "result", "machine": machine.id, "fingerprint": key.fingerprint, "type": key.type},
                f"{machine.id}: pinned {key.fingerprint}",
            )


@verb("show", example="deploy machine show 7001")
@click.argument("number", type=int)
def show(session: Session, number: int) -> None:
    """Show one machine: its state in the provider's words, its cost, and where its ports are reached."""
    from provision.cli.render.machines import address_lines, machine_event

    machines = session.deployment.machines
    machine = _one(machines, number)
    now = machines.provider.now()
    bid, cost = " by bid" if machine.is_bid else "", machine.cost(now)
    said = ": ".join(filter(None, (machine.loss, machine.said)))
    wrong = machines.backups([each for each in machines.rented() if each.id == number])
    kept = [f"backup: {wrong[number] or 'in order'}"] if number in wrong else []
    session.console.answer(
        {"event": "machine", **machine_event(machine, now, wrong)},
        [
            f"{machine.id}: {machine.state}" + (f" ({said})" if said else ""),
            f"{machine.gpu}, ${machine.per_hour:.3f} an hour{bid}, ${cost:.2f} so far",
            *kept,
            *address_lines(machine),
        ],
    )


@verb("logs", example="deploy machine logs 7001 --lines 200")
@click.argument("number", type=int)
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
def logs(session: Session, number: int, lines: int) -> None:
    """Show what a machine has printed since its start, as the provider keeps it."""
    text = session.deployment.machines.provider.log(number, lines)
    for line in text.splitlines():
        session.console.answer({"event": "log", "machine": number, "line": line}, line)


@verb("backup", example="deploy machine backup\ndeploy machine backup 7001 --json")
@click.argument("numbers", nargs=-1, type=int)
def backup(session: Session, numbers: tuple[int, ...]) -> None:
    """Have the target's machines, or those named, back up now; also after a key of the store has changed.

    They do so by themselves, too, as often as backup.every says. A machine that is rented gets back what the one before
    it in its place had in the store.
    """
    refuse_fork("nothing is backed up")
    machines = session.deployment.machines
    rented = [each for each in machines.rented() if each.state == "running" and (not numbers or each.id in numbers)]
    if unknown := {*numbers} - {each.id for each in rented}:
        raise UsageError(f"no machine {min(unknown)} of the target runs.", next_step="deploy machine list")
    for machine in rented:
        with session.console.live():
            made = machines.back_up(machine)
        if made is None:
            raise UsageError("the target declares no backup.", next_step='see docs/vast.md, "Backups"')
        files, size = made.get("files", 0), made.get("bytes", 0) / 1e6
        event = {"event": "result", "machine": machine.id, "outcome": "backed up", **made}
        session.console.answer(event, f"{machine.id}: {files} files, {size:.1f} MB are in the store")


@verb("renew", example="deploy machine renew\ndeploy machine renew 7001 --for 2h")
@click.argument("numbers", nargs=-1, type=int)
@click.option("--for", "seconds", metavar="TIME", help="How long from now on, instead of budget.until.")
def renew(session: Session, numbers: tuple[int, ...], seconds: str | None) -> None:
    """Let machines go on, by the budget as it is declared today: its end, its share, its hours, when it is idle.

    All machines of the target, if none is named. What they have cost so far counts.
    """
    from provision.cli.render.machines import moment

    refuse_fork("nothing is renewed")
    machines = session.deployment.machines
    span = _seconds(seconds)
    found = [_one(machines, number) for number in numbers] or machines.rented()
    for machine in found:
        label = machines.renew(machine, span)
        session.console.answer(
            {"event": "result", "machine": machine.id, "outcome": "renewed", "ends": label.ends, "share": label.share},
            f"{machine.id} ends at {moment(label.ends)}, or when it has cost ${label.share:.2f}",
        )
    if not found:
        raise UsageError("nothing is rented.", next_step="deploy machine rent")


@verb("destroy", example="deploy machine destroy 7001\ndeploy machine destroy --all --yes")
@click.argument("numbers", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="All that were rented for the target.")
@click.option("--yes", is_flag=True, help="Without asking.")
def destroy(session: Session, numbers: tuple[int, ...], everything: bool, yes: bool) -> int:
    """Give machines back, with their disks. What is on them is lost."""
    machines = session.deployment.machines
    if bool(numbers) == everything:
        raise UsageError("which machines?", next_step="deploy machine destroy NUMBER…, or --all for the target's")
    every = [*machines.rented_beyond(), *machines.seen()] if everything else []
    found = every or [_one(machines, number) for number in numbers]
    names = ", ".join(str(each.id) for each in found)
    if found and not (yes or session.console.confirm(f"Destroy {names}? What is on them is lost.")):
        return Exit.REFUSED
    _give_back(session, machines, found)
    return Exit.DONE


@verb("reap", example="deploy machine reap --target gpu --json")
def reap(session: Session) -> None:
    """Destroy each machine of this account that deploy rented, for any project, and whose end has come.

    Each ends itself; this is for the one that could not. Run it in CI, by a schedule.
    """
    machines = session.deployment.machines
    _give_back(session, machines, machines.past())


def _seconds(text: str | None) -> float | None:
    from provision.project.units import parse_seconds

    try:
        return None if text is None else parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"--for {text}: {error}.", next_step="deploy machine renew --for 2h") from None


@verb("watch", example="deploy machine watch\ndeploy machine watch --once --target gpu --json", secrets=True)
@click.option("--once", is_flag=True, help="Look once, do what is to be done, and end; for a schedule in CI.")
@click.option(
    "--every",
    type=click.FloatRange(10.0, 3600.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait between two looks.",
)
def watch(session: Session, once: bool, every: float) -> int:
    """Look after the target's machines: say which are lost and why, and rent others where budget.on_loss says so.

    A machine that is rented in the place of a lost one is deployed to and proven before it is told as an endpoint; only
    then the lost one is given back. Whoever looks next goes on where this was cut off, wherever the account's key is.
    The exit status is 0 where every machine of the target serves, and 3 where one does not.
    """
    from provision.cli.looking import wait
    from provision.cli.watching import look

    refuse_fork("no machine is looked after")
    told: set[str] = set()
    while True:
        code = look(session, told, stops=once)
        if once:
            return code
        try:
            wait(every)
        except KeyboardInterrupt:  # which is how one ends it
            return code


def _one(machines: Machines, number: int) -> Machine:
    machine = machines.provider.machine(number)
    if machine is None:
        raise UsageError(f"there is no machine {number}.", next_step="deploy machine list --all")
    return machine


def _give_back(session: Session, machines: Machines, found: list[Machine]) -> None:
    from provision.cli.render.machines import paid
    from provision.rollout.behind import forget

    if not found:
        session.console.answer({"event": "result", "outcome": "unchanged"}, "nothing is to be given back")
    for machine in found:
        cost = machine.cost(machines.provider.now())
        if machine.address:
            forget(session.deployment, [machines.spec(machine)])
        machines.give_back(machine)
        charged = machines.charged(machine)
        event = {"event": "result", "machine": machine.id, "outcome": "destroyed"}
        session.console.answer(
            {**event, "cost": round(cost, 4), "charged": charged},
            f"{machine.id} is given back; {paid(cost, charged)}",
        )


for _verb in (offers, forget, rent, listed, pin, show, logs, renew, watch, backup, destroy, reap):
    command.add_command(_verb)
