"""Every verb of `deploy`, as click knows them."""

from __future__ import annotations

import click

from provision import __version__
from provision.cli.group import Group, Verb

# In the order in which people meet them. The summary is the first sentence of the verb's own help.
_VERBS = {
    "Begin": (
        Verb("demo", "Show the whole path on a throwaway host of this machine."),
        Verb("init", "Write a commented deploy.toml for the project in this folder."),
        Verb("check", "Say whether deploy.toml and .env are sound."),
        Verb("secrets", "List the project's secrets, give one its value, see whether each has one."),
        Verb("render", "Show or write the files that a platform reads, for people to review."),
    ),
    "Deploy": (
        Verb("plan", "Show what `deploy up` would do; change nothing."),
        Verb("up", "Ship the project, prove it, and let users reach it; or put everything back."),
        Verb("promote", "Bring the canary's release to stable, proven again."),
        Verb(
            "traffic",
            "Show who gets which request, and how that went; or move clients to the canary.",
        ),
        Verb("rollout", "See how a canary whose share grows by steps is judged, and say what becomes of it."),
        Verb("rollback", "Go back to the release before this one, or to a named one."),
        Verb("restart", "Restart services as they are deployed, and prove them again."),
        Verb("start", "Start services that were stopped, and prove them."),
        Verb("stop", "Stop services; they stay stopped, over a reboot too."),
        Verb("down", "Stop the project's services and remove them from the supervisor."),
    ),
    "Look": (
        Verb("ui", "Open a page that shows what the other verbs know, live, until Ctrl-C."),
        Verb("status", "Show what runs, since which release, and whether it is healthy."),
        Verb("smoke", "Run the checks from here, through a tunnel."),
        Verb("bench", "Measure how fast the models are that serve; change nothing."),
        Verb("evidence", "Show, verify and sign what checks saw on hosts."),
        Verb("history", "Show what was deployed, by whom, and how it ended."),
        Verb("report", "Write down what was deployed, how it went, and how it stands, as one file that loads nothing."),
        Verb("logs", "Show the last lines of services' logs."),
        Verb("exec", "Run a command in the release that serves, with a service's environment.", module="execute"),
        Verb("ssh", "Log in to a host, in the folder of the release that serves."),
        Verb("tunnel", "Make services of a host reachable on this machine."),
        Verb("open", "Open a service in the browser, through a tunnel."),
    ),
    "Hosts and parts": (
        Verb("doctor", "See what stands between this machine, the targets' hosts, and the next deploy."),
        Verb("host", "Pin host keys, see what a host has, install what it lacks, mend its folders."),
        Verb("machine", "Rent the machines of a target with a provider, look at them, give them back."),
        Verb("model", "Find the models of [models], lock what they are, and look after those that hosts have."),
        Verb("native", "Build the llama.cpp and BitNet programs from pinned sources."),
        Verb("image", "Prove images in a registry, and promote them by digest."),
        Verb("unlock", "Show who holds a host's lock; end a hung transaction and recover."),
        Verb("completion", "Let the shell complete verbs, options, services, targets, hosts and releases."),
        Verb("schema", "Print the JSON Schema of deploy.toml."),
    ),
}

_HELP = """\
One declaration, every place it runs, and proof before anyone depends on it.

`deploy` reads deploy.toml in this folder, ships the project to its hosts over SSH, starts it, proves that it works, and
only then lets users reach it. A release that fails its checks never stays.
"""

_EXIT_CODES = (
    "Exit codes: 0 done; 1 failed, and put back; 2 usage or declaration; 3 some hosts failed; 4 refused; "
    "5 failed, and not put back; 130 interrupted."
)

deploy = Group(
    "deploy",
    sections=_VERBS,
    package="provision.cli.verbs",
    help=_HELP,
    epilog=f"Each verb has an example: deploy up --help. {_EXIT_CODES}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
deploy = click.version_option(__version__, prog_name="deploy")(deploy)
