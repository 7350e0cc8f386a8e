"""`deploy bench`."""

from __future__ import annotations

from contextlib import closing

import click

from provision import rollout
from provision.cli.on_purpose import channel_option
from provision.cli.render.bench import bench_lines, declared, tried_lines, wrong_lines
from provision.cli.session import Session, declared_targets
from provision.cli.verb import verb
from provision.errors import Exit, UsageError


@verb(
    "bench",
    example="deploy bench\ndeploy bench llm --parallel 8\ndeploy bench fleet --prompt 2048 --generate 64 --json"
    "\ndeploy bench llm --try threads=4,8 --try context=4096,16384",
)
@click.argument("services", nargs=-1, metavar="[TARGET] [SERVICE]...")
@click.option("--prompt", type=click.IntRange(1, 1 << 20), metavar="N", help="Tokens of each request's prompt.")
@click.option("--generate", type=click.IntRange(2, 1 << 16), metavar="N", help="Tokens that each request asks for.")
@click.option("--parallel", type=click.IntRange(1, 256), metavar="N", help="Requests at once.")
@click.option("--try", "tried", multiple=True, metavar="KEY=V1,V2", help="Measure these beside what serves.")
@channel_option
def command(
    session: Session,
    services: tuple[str, ...],
    prompt: int | None,
    generate: int | None,
    parallel: int | None,
    tried: tuple[str, ...],
    channel: str,
) -> int:
    """Measure how fast the models are that serve; change nothing.

    Each host asks its own services, one after the other, as a deploy does: those with a check `bench`, by what it
    declares, and those with a check `completion`, by what `bench` has where nothing is said. The table has the tokens a
    second of all requests together, the time to the first token, what a million tokens cost where the machine's price
    is known, and who used cores or GPUs beside it. It is load like any other: users of the service feel it.

    Exit status 1 where a declared limit is missed, or something can't be measured. Limits are for the declared numbers:
    with others on the command line none counts.

    With `--try` one service is measured in several declarations, in a preview of its own that is removed again:
    `threads`, `context`, `parallel` (slots, and as many requests at once), `model` and `draft` (of [models], or
    `none`). What serves is left alone; where there is no room beside it, that is said.
    """
    if tried:
        session.demand_secrets()
    if services and services[0] in declared_targets(session.directory):
        session.name_target(services[0])
        services = services[1:]
        if session.on_cluster:
            from provision.cli.cluster import instead

            return instead("bench")(session)
    given = {"prompt": prompt, "generate": generate, "parallel": parallel}
    asked = {name: value for name, value in given.items() if value is not None}
    if tried:
        return _try(session, services, rollout.choices(tried), asked)
    with session.console.live():
        found = rollout.bench(session.deployment, services, asked, channel, session.hosts)
    for each in found:
        session.console.answer({"event": "bench", **vars(each)})
    failed = [each for each in found if each.wrong]
    session.console.answer({"event": "result", "measured": len(found), "failed": len(failed)}, bench_lines(found))
    for line in wrong_lines(found):
        session.console.note(line)
    if not all(each.judged for each in found if asked):
        session.console.note("Measured with numbers of the command line: no declared limit counted.")
    return Exit.FAILED if failed else Exit.DONE


def _try(session: Session, services: tuple[str, ...], changes: list[dict[str, str]], asked: dict[str, int]) -> int:
    if len(services) != 1:
        raise UsageError("--try measures one service.", next_step="deploy bench SERVICE --try threads=4,8")
    found = []
    with (
        session.interruptible() as interrupt,
        closing(rollout.tries(session.itself, services[0], changes, asked, interrupt, session.hosts)) as tries,
    ):
        for each in tries:
            found.append(each)
            for one in each.found:
                session.console.answer({"event": "bench", "tried": each.change, **vars(one)})
            if each.wrong:
                session.console.note(f"{declared(each.change)}: {each.wrong}")
    failed = [each for each in found if each.wrong or any(one.wrong for one in each.found)]
    session.console.answer({"event": "result", "measured": len(found), "failed": len(failed)}, tried_lines(found))
    for each in found:
        for line in wrong_lines(each.found):
            session.console.note(f"{declared(each.change)}: {line}")
    return Exit.FAILED if len(failed) == len(found) else Exit.DONE
