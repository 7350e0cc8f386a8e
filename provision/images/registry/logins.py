"""What an engine elsewhere is told, so that it may pull: our own login, for the length of one request.

Docker Engine API, "Authentication": the header X-Registry-Auth, JSON in URL-safe Base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping

from provision.images.registry.credentials import find
from provision.images.registry.reference import parse


def logins(images: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """By registry, as it stands in front of the images' names, the header's value; only where somebody logged in.

    Raises:
        UsageError: the credentials at hand are not usable.
    """
    registries = {image.partition("/")[0]: parse(image).registry for image in images}
    found = {}
    for written, registry in registries.items():
        # One token for two registries would show the one what opens the other.
        who = find(registry, own_token=len(set(registries.values())) == 1, environ=environ)
        if who:
            login = {"username": who.user, "password": who.secret} if who.user else {"identitytoken": who.secret}
            header = json.dumps({**login, "serveraddress": registry}).encode()
            found[written] = base64.urlsafe_b64encode(header).decode()
    return found
