"""The line to an API server where a kubeconfig asks for more than an address: a proxy, a name of its own, whom to be.

kubectl goes by these, and so do we: who is told to act as somebody with fewer rights must not act with more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2
from lightkube.config.client_adapter import verify_cluster

from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.cluster.server.kubeconfig import Login, Spoken


class _Line(httpx2.HTTPTransport):
    def __init__(self, server_name: str, headers: list[tuple[str, str]], **settings: Any) -> None:
        super().__init__(**settings)
        self._server_name = server_name
        self._headers = headers

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._server_name:
            request.extensions = {**request.extensions, "sni_hostname": self._server_name}
        request.headers = httpx2.Headers([*request.headers.multi_items(), *self._headers])
        return super().handle_request(request)


def line(config: Any) -> httpx2.BaseTransport | None:
    """How the server of lightkube's `SingleConfig` is spoken to; None: as lightkube does it.

    Raises:
        UsageError: this installation can't.
    """
    cluster: Spoken = config.cluster
    user: Login | None = config.user
    if user is None:
        return None
    headers = [
        *((f"Impersonate-{name}", value) for name, value in (("User", user.impersonates), ("Uid", user.uid)) if value),
        *(("Impersonate-Group", group) for group in user.groups),
        *((f"Impersonate-Extra-{quote(key)}", value) for key, values in user.extra.items() for value in values),
    ]
    if not (cluster.proxy or cluster.server_name or headers):
        return None
    try:
        verify = verify_cluster(cluster, user, config.abs_file)
        return _Line(cluster.server_name or "", headers, verify=verify, proxy=cluster.proxy)
    except ImportError:
        raise UsageError(
            "the kubeconfig's proxy-url speaks SOCKS, and the package for that is not installed.",
            next_step="pip install socksio",
        ) from None
