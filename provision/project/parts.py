"""The tables of a service in `deploy.toml`; the docstring under a field is its description in the published schema."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from provision.project.section import Section
from provision.project.values import (
    AbsolutePath,
    Bytes,
    Entry,
    Flag,
    Folder,
    HeaderName,
    HeaderValue,
    Metric,
    Name,
    Number,
    ObjectName,
    Percent,
    Port,
    Seconds,
    SecondsOrNone,
    ServerName,
    String,
    Upstream,
    UrlPath,
    Variable,
    Whole,
)


class Requests(Section):
    """What is kept free for a service where it is less than what it may have."""

    memory: Bytes | None = None
    """Main memory, such as "512MiB"; Compose calls it a reservation."""
    cpus: Number | None = Field(default=None, gt=0)
    """Kubernetes: processor cores; a fraction is allowed."""


class Resources(Section):
    """What a service needs; preflight compares it with what the host has free."""

    size: Literal["small", "medium", "large"] | None = None
    """small: 4 GB and 2 cores; medium: 8 GB and 4 cores; large: 16 GB and 8 cores. The keys beside it win."""
    memory: Bytes | None = None
    """Main memory, such as "4GB"."""
    vram: Bytes | None = None
    """Memory of the GPU, such as "6GiB"."""
    cpus: Number | None = Field(default=None, gt=0)
    """Processor cores; a fraction is allowed."""
    gpus: Whole = Field(default=0, ge=0)
    """How many GPUs; on a host each copy has its own, and nobody else of the project has those."""
    gpu_fraction: Number | None = Field(default=None, gt=0, le=1)
    """Hosts: the part of one GPU that each copy takes, which others share. Elsewhere it is a whole one."""
    requests: Requests = Field(default_factory=Requests)
    """Compose, Kubernetes: what is kept free for it (default: all of `memory` and `cpus`, which it may have)."""

    @property
    def devices(self) -> int:
        """How many GPUs a copy sees."""
        return self.gpus or (1 if self.gpu_fraction or self.vram else 0)


class Volume(Section):
    """Files that outlive the container that writes them."""

    path: Folder
    """Where the program finds them; `${path}` is `/srv/NAME` there."""
    size: Bytes | None = None
    """How much room is asked for, such as "10GiB"; of what is there already nothing is asked."""
    claim: ObjectName | None = None
    """Kubernetes: the PersistentVolumeClaim that is there already, instead of one of its own."""
    shared: Flag = False
    """Kubernetes: all replicas write to the same one, which takes a storage class that allows it."""
    of: Name | None = None
    """Another service: its volume of the same name is this one. That one says how much room it has."""

    def of_service(self, name: str) -> str:
        """Whose volume it is, where the service `name` has it."""
        return self.of or name


class Scale(Section):
    """Kubernetes: copies come and go with the load, from `replicas` to `max`."""

    max: Whole = Field(ge=1)
    """The most copies."""
    cpu: Percent | None = 70
    """The share of the cores asked for that the copies use on average before more are started."""
    memory: Percent | None = None
    """The same for the memory asked for."""


class Alert(Section):
    """Something in a service's metrics that people have to hear of."""

    when: String
    """PromQL that gives something while it is so; `$self` stands for the labels of this service's metrics."""
    says: String
    """What it means, in a sentence."""
    lasting: Seconds = 300.0
    """How long it has to be so."""
    severity: Literal["page", "ticket"] = "ticket"
    """page: somebody has to look now."""


class Metrics(Section):
    """Where a service tells how it is, in Prometheus' text format, on its own port."""

    path: UrlPath = "/metrics"
    """The path to ask."""
    busy: tuple[Metric, ...] = ()
    """Gauges that count requests in flight; they are waited for to be 0, at most for `drain`, before it is stopped."""
    token: Variable | None = None
    """The secret that it asks for as a bearer token. A name that the service has no secret of is passed over."""
    requests: Metric | None = None
    """The counter of its answers, with a label `status` such as "200" or "5xx"; gives an alert on errors."""
    duration: Metric | None = None
    """The histogram of how long answers take, in seconds; gives an alert on slowness."""
    slow: Seconds = 5.0
    """duration: one answer in twenty may take longer than this."""
    alerts: dict[Name, Alert] = Field(default_factory=dict)
    """More alerts."""
    graphs: dict[Annotated[str, Field(min_length=1)], String] = Field(default_factory=dict)
    """More graphs on its dashboard: a title, and PromQL in which `$self` stands for its labels."""


class Proxy(Section):
    """What is in front of a service: HAProxy on targets with traffic, else nginx as `deploy render nginx` writes it.

    HAProxy where `upstreams` are the host itself; what leads to other machines is an nginx of its own.
    """

    names: tuple[ServerName, ...] = ()
    """Host names that it answers to (default: every name)."""
    port: Port | None = None
    """The port that is listened on (default: 443 with a certificate, else 80)."""
    certificate: AbsolutePath | None = None
    """The chain of certificates there, in a file; with it TLS is spoken, and port 80 leads to it."""
    certificate_key: AbsolutePath | None = None
    """Its key."""
    tls: Literal["auto"] | None = None
    """"auto": on targets with traffic, the certificate for `names` comes from who targets.NAME.traffic.acme names."""
    upstreams: tuple[Upstream, ...] = ("127.0.0.1",)
    """The hosts that run the service, by address or by name; nginx looks names up once, when it starts."""
    weights: dict[str, Annotated[Whole, Field(ge=1)]] = Field(default_factory=dict)
    """nginx: for each of `upstreams` that is named here, its share of the requests beside the others' (default: 1)."""
    canary: Percent | None = None
    """nginx: the share of clients that see the canary, each client for a while always the same copy."""
    timeout: Seconds = 600.0
    """How long the service may be silent within an answer; above the longest generation."""
    connect_timeout: Seconds = 5.0
    """nginx: how long a connection to a host may take."""
    send_timeout: Seconds = 60.0
    """nginx: how long a host may take no more of a request."""
    body: Bytes = 10_000_000
    """The largest request."""
    rate: Whole | None = Field(default=None, ge=1)
    """Requests a second that one client address may send on average; twice as many at once."""
    connections: Whole | None = Field(default=None, ge=1)
    """Requests that one client address may have in flight."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Headers that are added to every answer."""

    @property
    def speaks_tls(self) -> bool:
        """Whether clients speak TLS with it, whoever gives the certificate."""
        return self.certificate is not None or self.tls is not None


class Serverless(Section):
    """A function in the cloud: what `deploy render lambda` and `cloud-function` write."""

    entry: Entry
    """"package.module:function", which may be `async`; `takes` says what it is given."""
    takes: Literal["body", "event"] = "body"
    """"body": what a request's JSON holds, for what the answer's does. "event": what the platform gives, for what it
    takes: `handler(event, context)` on AWS Lambda, `function(request)` on Cloud Functions."""
    timeout: Seconds = 30.0
    """How long an answer may take."""


class Starts(NamedTuple):
    """So many starts, `delay` seconds apart, within `window` seconds, and it stays down."""

    delay: float
    limit: int
    window: float


# What systemd is told where nothing is said.
_USUAL = Starts(2.0, 30, 600.0)


class Restart(Section):
    """When a program that ended is started again; what a key leaves out is the platform's own way."""

    on: Literal["failure", "always"] | None = None
    """Whether exit status 0 is taken at its word (default: it is on hosts, and not in containers)."""
    delay: SecondsOrNone | None = None
    """systemd: how long before it is started again (default: 2s)."""
    limit: Annotated[Whole, Field(ge=1)] | None = None
    """After how many starts it stays down and says so; of a batch on Kubernetes, how many tries it has."""
    window: Seconds | None = None
    """systemd: within which time they count (default: 10m)."""

    @property
    def starts(self) -> Starts:
        """What is said, and the usual for what is not."""
        delay = _USUAL.delay if self.delay is None else self.delay
        return Starts(delay, self.limit or _USUAL.limit, self.window or _USUAL.window)


class Ask(Section):
    """How often, and how patiently, whoever runs containers asks the check."""

    delay: SecondsOrNone | None = None
    """How long after its start; in Compose, how long a failure does not count."""
    period: Seconds | None = None
    """Between two times."""
    timeout: Seconds | None = None
    """How long an answer may take."""
    failures: Annotated[Whole, Field(ge=1)] | None = None
    """How many in a row count."""


class Liveness(Ask):
    """When a container is started again by whoever runs it."""

    asks: Literal["check", "port"] = "check"
    """The check, which a busy service may fail, or whether its port still takes connections."""


class Probes(Section):
    """Containers: how often the check is asked there, besides in a deploy."""

    health: Ask = Field(default_factory=Ask)
    """Compose, Dockerfiles: whether the container is called healthy."""
    readiness: Ask = Field(default_factory=Ask)
    """Kubernetes: whether it is given requests."""
    liveness: Liveness | None = None
    """Kubernetes: whether it is left alone (default: as long as its port takes connections)."""
