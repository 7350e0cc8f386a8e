"""How the file of a model is asked for: the address, and what is shown there.

An address at a store is signed for some hours, by whoever has the store's keys, which is this machine; a registry gives
a token for some minutes. Both are made when they are needed, again where they have run out, and written down nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.images.registry.repository import Repository

_SIGNED_SECONDS = 12 * 3600
_SECONDS_EARLY = 15.0  # an address is asked for again before its last moment


class Access(NamedTuple):
    """What a reader has to know of one file."""

    url: str
    authorization: str = ""  # a header's value, shown to the host of `url` alone
    ends: float = 0.0  # when it runs out, by time.time(); 0: it does not

    @property
    def has_ended(self) -> bool:
        return bool(self.ends) and time.time() > self.ends - _SECONDS_EARLY


def access(url: str, token: str, variables: Mapping[str, str]) -> Access:
    """How to read the file that models.lock says is at `url`.

    Args:
        token: of an account that may; empty for none.
        variables: .env and the environment, where a store's keys and endpoint are.

    Raises:
        UsageError: it can't be signed for.
        DeployError: the registry can't be asked.
    """
    from provision.project.models import REGISTRY, STORE  # which needs what is heavy to load

    if url.startswith(STORE):
        return _signed(url, variables)
    if url.startswith(REGISTRY):
        name, _, digest = url[len(REGISTRY) :].partition("@")
        return _at_registry(repository(name, variables), digest)
    return Access(url, f"Bearer {token}" if token else "")


def for_hosts(url: str, token: str, variables: Mapping[str, str]) -> Access:
    """The same, to be handed to a host: never somebody's login, which opens more than a file.

    Raises:
        UsageError: it can't be read otherwise; or as `access`.
    """
    found = access(url, token, variables)
    if found.authorization and not found.authorization.startswith("Bearer "):
        raise UsageError(
            f"{urlsplit(url).netloc} is read with a login, which no host is given.",
            why="It gives no tokens that are good for one repository.",
            next_step='let this machine fetch it: models.NAME.fetch = "ship"',
        )
    return found


def repository(name: str, variables: Mapping[str, str], *, write: bool = False) -> Repository:
    """The repository of a registry; nothing is sent yet."""
    from provision.images.registry.reference import parse
    from provision.images.registry.repository import connect

    # One token for two registries would show the one what opens the other.
    return connect(parse(name), write=write, own_token=write, environ=variables)


def _at_registry(repository: Repository, digest: str) -> Access:
    return Access(*repository.address(digest))


def _signed(url: str, variables: Mapping[str, str]) -> Access:
    try:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError:
        raise UsageError(
            f"{url} can't be read: botocore is not installed here.",
            why="It signs for what is in an S3 store.",
            next_step="pip install 'bitnet-provision[s3]'",
        ) from None
    parts, session = urlsplit(url), Session()
    endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    keys = [variables.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")]
    try:
        if keys[0] and keys[1]:
            session.set_credentials(*keys)
        client = session.create_client(
            "s3",
            endpoint_url=endpoint,
            region_name=variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION"),
            config=Config(signature_version="s3v4", s3={"addressing_style": "path" if endpoint else "auto"}),
        )
        signed = client.generate_presigned_url(
            "get_object",
            Params={"Bucket": parts.netloc, "Key": parts.path.lstrip("/")},
            ExpiresIn=_SIGNED_SECONDS,
        )
    except (BotoCoreError, ValueError) as error:
        raise UsageError(
            f"{url} can't be signed for.",
            why=f"{error}.",
            next_step="set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, here or in .env",
        ) from None
    return Access(signed, ends=time.time() + _SIGNED_SECONDS)
