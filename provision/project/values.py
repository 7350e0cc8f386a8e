"""The kinds of values that `deploy.toml` holds: text with references, whole numbers, durations, sizes.

Environment references are replaced while a value is validated; the variables come as the validation context
(`Model.model_validate(data, context=known)`), so that a model built without one has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from provision.project.hours import Hours, parse_hours
from provision.project.image_names import IMAGE
from provision.project.networks import Endpoint, parse_endpoint, parse_host, parse_network
from provision.project.template import Known, MissingVariable, SecretHere, Template, parse
from provision.project.units import PLACE, parse_bit_rate, parse_bytes, parse_seconds, parse_share

NAME = r"^[a-z][a-z0-9-]{0,39}$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
USER = r"^[a-z_][a-z0-9_-]*\$?$"
TARGET_PLACE = r"^~?/[A-Za-z0-9._/@+-]+$"  # ~ is the home of a sandbox
PREFIX = r"^[a-z0-9-]*$"
LAST_PORT = 65535
LAST_ID = 2**31 - 1  # of an account, as Kubernetes takes it
# Kubernetes, "Object Names and IDs": a DNS subdomain; the keys of a Secret have fewer rules.
OBJECT_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
NAMESPACE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"  # a DNS label, which whoever runs the cluster has chosen
SECRET_KEY = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9._-]{1,253}$"  # noqa: S105 (no password: a pattern)
BUILD_FOLDER = r"^[A-Za-z0-9._@+-][A-Za-z0-9._/@+-]*$"
# A host name, also "*.example.net" for all below it.
SERVER_NAME = r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
HEADER_NAME = r"^[A-Za-z][A-Za-z0-9-]*$"
URL_PATH = r"^/[A-Za-z0-9._~/-]*$"
BACKUP_PATH = r"^shared/data(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
BACKUP_PLACE = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
EMAIL = r"^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$"
DIRECTORY_URL = r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[A-Za-z0-9._/-]*$"
PROMETHEUS_URL = r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?$"
STORE_URL = r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$"
METRIC = r"^[A-Za-z_:][A-Za-z0-9_:]*$"
# As in the metadata of packages: package.module:function.
ENTRY = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
# A program of supervisord's, or a unit of systemd's, whoever named it.
PROGRAM = r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$"
PYTHON_VERSION = r"^[0-9]+\.[0-9]+(\.[0-9]+)?$"
# Names of packages, as PyPA's "Names and normalization" has them: of extras and groups as well.
PACKAGE = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
# RFC 9110, 5.5: no control character, no blank at the edge.
HEADER_VALUE = r"^[!-~\x80-\U0010ffff]([ \t!-~\x80-\U0010ffff]*[!-~\x80-\U0010ffff])?$"

# What a machine fetches by itself: nothing that a shell or a terminal would read otherwise, and no credentials.
ADDRESS = r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/%?&=+:,;-]*)?$"

MISSING_VARIABLE = "missing_variable"  # the type of the error for a variable that is set nowhere, or to nothing
SECRET_HERE = "secret_here"  # noqa: S105 (no password: the type of the error for a secret where none can stand; its context has the `SecretPart`)


def _template(text: str, info: ValidationInfo[Any], *, filled: bool = False, of_target: bool = False) -> Template:
    if "\0" in text:
        raise ValueError("no program can be given NUL in an argument or a variable.")
    known = info.context if isinstance(info.context, Known) else Known(info.context or {})
    try:
        return parse(text, known.without_alike() if of_target else known, filled=filled)
    except MissingVariable as error:
        raise PydanticCustomError(MISSING_VARIABLE, "{text}", {"text": str(error)}) from None


def _filled(value: object, info: ValidationInfo[Any]) -> object:
    """Text to which each variable has to give something, as a line of .env that nobody filled in does not."""
    return _whole_text(value, info) if isinstance(value, str) else value


def _whole_text(text: str, info: ValidationInfo[Any]) -> Template:
    template = _template(text, info, filled=True, of_target=True)
    _without_secrets(template)
    return template


def _without_secrets(template: Template) -> None:
    for part in template.secrets[:1]:
        raise PydanticCustomError(SECRET_HERE, "{text}", {"text": str(SecretHere(part)), "part": part})


class _TemplateType:
    """Lets pydantic accept a string (or a parsed `Template`) where a `Template` is declared."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(
            lambda value, info: _template(value, info) if isinstance(value, str) else value,
            core_schema.is_instance_schema(Template, cls_repr="string"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string"}


def _settled(value: object, info: ValidationInfo[Any], *, of_target: bool = False) -> object:
    """Text that has to be known when the file is loaded: variables are replaced, a place or a secret is refused."""
    if not isinstance(value, str):
        return value
    template = _template(value, info, of_target=of_target)
    _without_secrets(template)
    return template.text


def _of_a_target(value: object, info: ValidationInfo[Any]) -> object:
    return _settled(value, info, of_target=True)


def _of_target(template: Template) -> Template:
    """Text that is whole once a target is known."""
    other = next((ref.name for ref in template.refs if ref.name not in ("path", "project")), None)
    if other:
        raise ValueError(
            f"${{{other}}} can't stand here: ${{path}} and ${{project}} alone are known before a release runs."
        )
    return template


def _below(template: Template) -> Template:
    """A folder whose place is whole once `${path}` and `${project}` are known."""
    _without_secrets(template)
    stands_for = {"path": "/path", "project": "project"}
    other = next((ref.name for ref in template.refs if ref.name not in stands_for), None)
    if other:
        raise ValueError(f"${{{other}}} can't stand here: a volume's path knows ${{path}} and ${{project}} alone.")
    if not re.fullmatch(PLACE, template.resolve(lambda ref: stands_for[ref.name])):
        raise ValueError('expected an absolute path of letters, digits and ._/@+-, such as "/data" or "${path}/data".')
    return template


def _pattern(value: str) -> str:
    from pathspec import GitIgnoreSpec

    if ".." in value.split("/"):
        raise ValueError(f'"{value}" leaves the project, and what lies outside is not shipped. Copy it in.')
    try:
        GitIgnoreSpec.from_lines([value])
    except ValueError:
        raise ValueError(f'"{value}" is no pattern. A backslash needs a character behind it, and "!" a name.') from None
    return value


def _parsed(parse_text: Callable[[str], object]) -> BeforeValidator:
    """Text that is known when the file is loaded, read by `parse_text`."""

    def read(value: object, info: ValidationInfo[Any]) -> object:
        text = _settled(value, info)
        if not isinstance(text, str):
            raise ValueError("expected text.")
        return parse_text(text)

    return BeforeValidator(read)


def _whole(value: object, info: ValidationInfo[Any]) -> object:
    """A whole number, which a variable may give: `"${PORT:-8000}"`. The text `"80"` stays a text, and is refused."""
    if not isinstance(value, str) or "${" not in value:
        return value
    template = _template(value, info, filled=True)
    _without_secrets(template)
    digits = template.text
    if not re.fullmatch(r"[0-9]{1,9}", digits):
        raise ValueError(f'expected a whole number, and "{value}" gives something else.')
    return int(digits)


def _share_of(least: float, most: float, expected: str) -> BeforeValidator:
    """A share that is more than `least` and at most `most`, such as "2%"."""

    def read(value: object) -> float:
        share = parse_share(value)
        if not least < share <= most:
            raise ValueError(expected)
        return share

    return BeforeValidator(read)


def _either(description: str, accept: Callable[[object], bool]) -> Callable[[object], object]:
    """Stands before a union, so that one sentence describes it instead of one complaint a member."""

    def check(value: object) -> object:
        if not accept(value):
            raise ValueError(f"expected {description}.")
        return value

    return check


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_share(value: object) -> bool:
    percent = re.fullmatch(r"([0-9]{1,3})%", value) if isinstance(value, str) else None
    return bool(percent and 1 <= int(percent[1]) <= 100)


_DURATION = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "examples": ["30s", "500ms", "2m"]}]})
_SHARE = WithJsonSchema({"type": "string", "examples": ["2%", "0.5%"]})
_SHARE_LESS = WithJsonSchema({"type": "string", "examples": ["-20%"]})
_RATE = WithJsonSchema({"type": "string", "examples": ["200Mbit/s"]})
_SIZE = WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "examples": ["512MiB", "4GB"]}]})
_TEXT = WithJsonSchema({"type": "string"})
_PORT = WithJsonSchema(
    {"anyOf": [{"type": "integer", "minimum": 1, "maximum": LAST_PORT}, {"type": "string", "pattern": r"\$\{.+\}"}]}
)

_ENGINES = Literal["build", "image", "wheel"]
_ENGINE = WithJsonSchema({"anyOf": [{"enum": list(get_args(_ENGINES))}, {"type": "string", "pattern": r"\$\{.+\}"}]})

Text = Annotated[Template, _TemplateType]
Engine = Annotated[_ENGINES, BeforeValidator(_settled), _ENGINE]
FilledText = Annotated[Template, _TemplateType, BeforeValidator(_filled)]
TargetText = Annotated[Template, _TemplateType, AfterValidator(_of_target)]
String = Annotated[str, BeforeValidator(_settled), _TEXT]
HostString = Annotated[str, BeforeValidator(_of_a_target), _TEXT]
HostPath = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=PLACE), _TEXT]
TargetPath = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=TARGET_PLACE), _TEXT]
User = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=USER), _TEXT]
AbsolutePath = Annotated[str, BeforeValidator(_settled), Field(pattern=PLACE), _TEXT]
ProgramName = Annotated[str, BeforeValidator(_settled), Field(pattern=PROGRAM), _TEXT]
Folder = Annotated[Template, _TemplateType, AfterValidator(_below)]
Address = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=ADDRESS), _TEXT]
Image = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=IMAGE), _TEXT]
Network = Annotated[str, _parsed(parse_network), _TEXT]
Upstream = Annotated[str, _parsed(parse_host), _TEXT]
ServerName = Annotated[str, BeforeValidator(_settled), Field(pattern=SERVER_NAME), _TEXT]
HeaderName = Annotated[str, Field(pattern=HEADER_NAME)]
HeaderValue = Annotated[str, BeforeValidator(_settled), Field(pattern=HEADER_VALUE), _TEXT]
UrlPath = Annotated[str, BeforeValidator(_settled), Field(pattern=URL_PATH), _TEXT]
BackupPath = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=BACKUP_PATH), _TEXT]
BackupPlace = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=BACKUP_PLACE), _TEXT]
EmailAddress = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=EMAIL), _TEXT]
DirectoryUrl = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=DIRECTORY_URL), _TEXT]
PrometheusUrl = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=PROMETHEUS_URL), _TEXT]
StoreUrl = Annotated[str, BeforeValidator(_of_a_target), Field(pattern=STORE_URL), _TEXT]
ObjectName = Annotated[str, BeforeValidator(_settled), Field(pattern=OBJECT_NAME), _TEXT]
Namespace = Annotated[str, Field(pattern=NAMESPACE)]
SecretKey = Annotated[str, BeforeValidator(_settled), Field(pattern=SECRET_KEY), _TEXT]
BuildFolder = Annotated[str, BeforeValidator(_settled), Field(pattern=BUILD_FOLDER), _TEXT]
Metric = Annotated[str, Field(pattern=METRIC)]
Entry = Annotated[str, Field(pattern=ENTRY)]
Outbound = Annotated[Endpoint, _parsed(parse_endpoint), _TEXT]
Pattern = Annotated[str, AfterValidator(_pattern)]
Name = Annotated[str, Field(pattern=NAME)]
Variable = Annotated[str, Field(pattern=VARIABLE)]
Flag = Annotated[bool, Field(strict=True)]
Percent = Annotated[int, Field(strict=True, ge=1, le=100)]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Port = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=LAST_PORT, strict=True), _PORT]
Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0, allow_inf_nan=False), _DURATION]
SecondsOrNone = Annotated[float, BeforeValidator(parse_seconds), Field(ge=0, allow_inf_nan=False), _DURATION]
Share = Annotated[float, _share_of(0, 1, 'expected more than "0%", and at most "100%"'), _SHARE]
ShareMore = Annotated[float, _share_of(0, 10, 'expected how much more, from above "0%" to "1000%"'), _SHARE]
ShareLess = Annotated[float, _share_of(-1, -1e-9, 'expected how far below, such as "-20%"'), _SHARE_LESS]
Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0), _SIZE]
BitRate = Annotated[int, BeforeValidator(parse_bit_rate), Field(gt=0), _RATE]
OpenHours = Annotated[Hours, _parsed(parse_hours), _TEXT]

either_count_or_auto = BeforeValidator(
    _either('a whole number from 1, or "auto"', lambda value: value == "auto" or _is_count(value))
)
either_count_or_share = BeforeValidator(
    _either('a number of hosts from 1, or a share such as "25%"', lambda value: _is_count(value) or _is_share(value))
)
