"""Where things are on a host (design: "On a host"), and what they are called there."""

from __future__ import annotations

import posixpath
from typing import NamedTuple

CONTROL = "deploy-ctl"  # in the project's folder
_LONGEST_SOCKET = 107  # bytes: unix(7), sun_path
STARTS = "starts"  # in a launch folder: when the program was started of late, as its launcher writes it down
PREVIEWS = ".previews"
BUDGET_GUARD = "/var/lib/deploy-guard"  # the folder, for root alone, in which the guard of a rented machine works
ACME_CLIENT = "acme_tiny.py"  # in the folder of an agent: what speaks with who gives certificates
START = "start"  # in the folder of what stands before programs: what its supervisor starts
KEEP = "keep"  # and what it starts to be at home with that
STEP = "step"  # and what that starts, apart from itself, to change something
DEVICES = "devices"  # in a launch folder: the variables that say which GPUs the program has
SECRET_FOLDER = "secret-files"  # noqa: S105  (in a launch folder; manifests name it)
PROJECT_LABEL = "bitnet-provision.path"  # of a container: the path of the target that it belongs to
SHIPPED = ""  # where how fast models came is noted by who sent them: whoever deploys
OF_HOST = "deploy-host:1"  # an image with nothing in it: a container of it has what its host has
OF_SECRETS = "EnvOfSecrets"  # in a container's manifest: variables that the host puts together of texts and secrets


class Layout(NamedTuple):
    """The folder of one project on one host."""

    root: str

    @property
    def releases(self) -> str:
        return posixpath.join(self.root, "releases")

    @property
    def shared(self) -> str:
        return posixpath.join(self.root, "shared")

    @property
    def models(self) -> str:
        return posixpath.join(self.shared, "models")

    @property
    def engines(self) -> str:
        return posixpath.join(self.shared, "engines")

    @property
    def haproxies(self) -> str:
        """Those that were shipped to a host that has none of its own."""
        return posixpath.join(self.shared, "haproxy")

    @property
    def environments(self) -> str:
        return posixpath.join(self.shared, "environments")

    @property
    def pythons(self) -> str:
        """Those that uv has fetched; they stay."""
        return posixpath.join(self.shared, "pythons")

    @property
    def incoming_wheels(self) -> str:
        return posixpath.join(self.environments, ".incoming-wheels")

    @property
    def logs(self) -> str:
        return posixpath.join(self.shared, "logs")

    @property
    def prepared(self) -> str:
        return posixpath.join(self.shared, "prepared")

    @property
    def private(self) -> str:
        return posixpath.join(self.root, ".deploy")

    @property
    def state(self) -> str:
        return posixpath.join(self.private, "state.json")

    @property
    def journal(self) -> str:
        return posixpath.join(self.private, "journal")

    @property
    def history(self) -> str:
        return posixpath.join(self.private, "history")

    @property
    def failed(self) -> str:
        return posixpath.join(self.private, "failed.json")

    @property
    def evidence(self) -> str:
        return posixpath.join(self.private, "evidence")

    @property
    def containers(self) -> str:
        """What a Docker Engine is asked for, by program."""
        return posixpath.join(self.private, "containers")

    @property
    def agents(self) -> str:
        return posixpath.join(self.private, "agents")

    @property
    def transactions(self) -> str:
        return posixpath.join(self.private, "transactions")

    @property
    def run(self) -> str:
        return posixpath.join(self.private, "run")

    @property
    def traffic(self) -> str:
        """What stands before the programs: its configuration and its sockets."""
        return posixpath.join(self.private, "traffic")

    @property
    def acme(self) -> str:
        """What certificates are had with, and those that were: nobody else may look into it."""
        return posixpath.join(self.traffic, "acme")

    def certificate(self, service: str) -> str:
        """That of a service's names, and its key."""
        return posixpath.join(self.acme, f"{service}.pem")

    @property
    def peers(self) -> str:
        """Who speaks with this host's front from another one, or is spoken with: keys of its own, and what is pinned.

        They outlive the front: whoever pinned them does not hear that it begins anew.
        """
        return posixpath.join(self.private, "peers")

    @property
    def rings(self) -> str:
        """What the keeper counted, an hour a file."""
        return posixpath.join(self.traffic, "rings")

    @property
    def lock(self) -> str:
        return posixpath.join(self.private, "lock")

    @property
    def mending(self) -> str:
        return posixpath.join(self.private, "mending")

    @property
    def reserve(self) -> str:
        return posixpath.join(self.private, "reserve")

    @property
    def supervisor(self) -> str:
        """How the last deploy found it."""
        return posixpath.join(self.private, "supervisor.json")

    @property
    def once(self) -> str:
        """What became of commands that run once a release."""
        return posixpath.join(self.private, "once.json")

    @property
    def once_secrets(self) -> str:
        """Their secrets, for the length of a transaction: whoever ends it may have to run what undoes them."""
        return posixpath.join(self.private, "once-secrets")

    @property
    def claim(self) -> str:
        return posixpath.join(self.private, "claim")

    @property
    def preview(self) -> str:
        """What makes a project's folder that of a preview: until when, and which ports it has."""
        return posixpath.join(self.private, "preview.json")

    @property
    def previews(self) -> str:
        """Beside the project's own folder: a folder for each preview, laid out as a project's."""
        return self.root.rstrip("/") + PREVIEWS

    def preview_of(self, name: str) -> Layout:
        return Layout(posixpath.join(self.previews, name))

    def release(self, release: str) -> str:
        return posixpath.join(self.releases, release)

    def document(self, release: str) -> str:
        return posixpath.join(self.release(release), "release.json")

    def model(self, sha256: str) -> str:
        return posixpath.join(self.models, "sha256-" + sha256)

    def incoming_model(self, sha256: str) -> str:
        """Named by content, so that a cut upload is resumed whoever resumes it."""
        return posixpath.join(self.models, ".incoming-" + sha256)

    def engine(self, engine: str) -> str:
        return posixpath.join(self.engines, engine)

    def incoming_engine(self, engine: str) -> str:
        return posixpath.join(self.engines, ".incoming-" + engine)

    def incoming_haproxy(self, sha256: str) -> str:
        return posixpath.join(self.haproxies, ".incoming-" + sha256)

    def environment(self, environment: str) -> str:
        return posixpath.join(self.environments, environment)

    def uv(self, sha256: str) -> str:
        return posixpath.join(self.environments, "sha256-" + sha256)

    def log(self, program: str) -> str:
        """Where supervisord writes what a program says."""
        return posixpath.join(self.logs, program + ".log")

    def incoming(self, nonce: str) -> str:
        return posixpath.join(self.releases, ".incoming-" + nonce)

    def channel(self, name: str) -> str:
        return posixpath.join(self.root, name)

    def launchers(self, program: str) -> str:
        return posixpath.join(self.run, program)

    def launch(self, program: str) -> str:
        """The folder of a program's launcher, secrets and release, by the link that says which is current."""
        return posixpath.join(self.launchers(program), "current")


def control_socket(root: str, account: str = "") -> str:
    """Where systemd listens for accounts that may start services of the project at `root`; of two, never one place.

    Args:
        account: whose own place it is, where several may; what one of them does there is nothing to the others.
    """
    told_apart = root.replace("_", "__").replace("-", "_-").replace("/", "-")  # /a/b is not /a-b
    path = f"/run/{CONTROL}{told_apart}{'_.' * bool(account)}{account}.sock"
    if len(path) > _LONGEST_SOCKET:
        import hashlib  # OpenSSL's, which whoever is to stay small does without

        path = f"/run/{CONTROL}-{hashlib.sha256(path.encode()).hexdigest()[:32]}.sock"
    return path


def earlier_control_socket(root: str) -> str:
    """Where earlier versions had it, which may be the place of another project's; never asked."""
    return f"/run/{CONTROL}{root.replace('/', '-')}.sock"
