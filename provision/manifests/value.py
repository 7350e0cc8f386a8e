"""Values on their way into a file, and text that may stand in one.

A `Value` is what the user declared, still unquoted; it knows its name in `deploy.toml`, so that a refusal can say it.
An encoder turns it into `Encoded` text of one format, and templates can print nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from provision.errors import UnencodableValue

# execve(2), "Limits on size of arguments and environment": one argument or one `NAME=value`, its NUL included, has at
# most MAX_ARG_STRLEN = 32 pages of 4 KiB.
LONGEST_STRING = 32 * 4096 - 1


class Format(StrEnum):
    """A kind of file with encoders of its own; the value is the name of its folder in templates/."""

    LAUNCHER = "launcher"
    SUPERVISORD = "supervisord"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"
    COMPOSE = "compose"
    DOCKERFILE = "dockerfile"
    NGINX = "nginx"
    UFW = "ufw"
    MONITORING = "monitoring"
    PYTHON = "python"
    SAM = "sam"
    GCLOUD = "gcloud"


class AtStart(Enum):
    """A part of a value that is known only when the program starts; a launcher works it out.

    The value of each says of what it is a part, for people.
    """

    CPUS = "${cpus} is counted on the host"
    FILES = "${secret_files.…} has its place for each start on the host"


@dataclass(frozen=True)
class FromSecret:
    """A part of a value that the secret `name` gives, where the program starts."""

    name: str


@dataclass(frozen=True)
class Value:
    """One declared value: its name, and its parts in order."""

    subject: str  # as in services.web.env.TOKEN
    parts: tuple[str | AtStart | FromSecret, ...]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the secrets that it is made of."""
        return tuple(part.name for part in self.parts if isinstance(part, FromSecret))

    @property
    def text(self) -> str:
        """The whole value.

        Raises:
            UnencodableValue: a part of it is known only when the program starts, or is a secret.
        """
        refuse_secrets(self)
        for part in self.parts:
            if isinstance(part, AtStart):
                reason = f"{part.value}, so it can stand in a service's command and env alone"
                raise UnencodableValue(self.subject, reason)
        return self.known

    @property
    def known(self) -> str:
        """What is known of it by now."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Variable:
    """One environment variable."""

    name: str
    value: Value


class Encoded(str):
    """Text that one format reads as was meant."""

    __slots__ = ("reader",)
    reader: Format

    def __new__(cls, text: str, reader: Format) -> Encoded:
        encoded = super().__new__(cls, text)
        encoded.reader = reader
        return encoded


def refuse_secrets(value: Value) -> None:
    """Refuse what is made of a secret, in a file that cannot hold it.

    Raises:
        UnencodableValue: it is.
    """
    for name in value.secrets[:1]:
        reason = (
            f"it is made of the secret {name}, which cannot stand there; put the whole value under a name of its own "
            "into .env, and name that in secrets"
        )
        raise UnencodableValue(value.subject, reason)


def check_process_string(subject: str, text: str, longest: int = LONGEST_STRING) -> None:
    """Refuse what no process can be given, whatever file carries it.

    Raises:
        UnencodableValue: `text` holds NUL, is not Unicode text, or is longer than the kernel allows.
    """
    if "\0" in text:
        raise UnencodableValue(subject, "no argument and no environment variable can hold NUL")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UnencodableValue(subject, f"{text[error.start]!r} is half a character: UTF-8 cannot hold it") from None
    if size > longest:
        raise UnencodableValue(
            subject, f"it has {size} bytes, and the kernel gives a process at most {longest} in one piece"
        )
