"""What an image consists of, as SPDX 2.3 in JSON.

Its programs and their vendored sources come from the record of their build, Python packages from their own metadata
in the staged folder, Debian packages from dpkg's status in the base's layers. The same image gives the same document:
its namespace is named by the digest, its time is the image's.
"""

from __future__ import annotations

import email
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from provision.images.build.bake import Recipe
from provision.images.build.layout import OciLayout

_STATUS = "var/lib/dpkg/status"
_REPOSITORIES = {"llama.cpp": "ggml-org/llama.cpp", "bitnet.cpp": "microsoft/BitNet"}
_OWN = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")


@dataclass(frozen=True)
class Package:
    """One component."""

    name: str
    version: str
    purl: str = ""  # https://github.com/package-url/purl-spec
    licence: str = ""  # an SPDX expression, where it is declared as one
    source: str = ""  # where it was downloaded from
    sha256: str = ""


def sbom(recipe: Recipe, layout: OciLayout, base: str, record: Mapping[str, Any], on: Recipe | None = None) -> bytes:
    """The document for the image in `layout`.

    Args:
        on: what its base is made of, where that is of ours.
    """
    packages = [*_programs(record), *(_python(on) if on else ()), *_python(recipe), *_debian(layout)]
    if base:
        packages.insert(0, Package(base.partition("@")[0], base.partition("@")[2], f"pkg:docker/{base}"))
    image = Package(recipe.name, layout.manifest.digest, licence=recipe.licenses)
    entries = [_entry("SPDXRef-image", image)]
    entries += [_entry(f"SPDXRef-{number}", package) for number, package in enumerate(packages, start=1)]
    contains = [
        {"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": entry["SPDXID"]}
        for entry in entries[1:]
    ]
    # SPDX 2.3, clause 10: a licence that is not on its list has to be there as text. Ours lie in the image.
    own = [
        {"licenseId": name, "extractedText": "See /licenses in the image."} for name in _OWN.findall(recipe.licenses)
    ]
    described = {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES"}
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": recipe.name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{recipe.name}-{layout.manifest.digest.removeprefix('sha256:')}",
        "creationInfo": {"created": layout.config["created"], "creators": ["Tool: bitnet-provision"]},
        "packages": entries,
        **({"hasExtractedLicensingInfos": own} if own else {}),
        "relationships": [{**described, "relatedSpdxElement": "SPDXRef-image"}, *contains],
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _entry(identity: str, package: Package) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "SPDXID": identity,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": package.source or "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": package.licence or "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }
    if package.sha256:
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": package.sha256}]
    if package.purl:
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl"}
        entry["externalRefs"] = [{**reference, "referenceLocator": package.purl}]
    return entry


def _programs(record: Mapping[str, Any]) -> Iterator[Package]:
    """The compiled sources; the files themselves are in the build record, each with its digest."""
    native = record.get("native") or {}
    source = native.get("source") or {}
    if source:
        name, commit = str(source.get("name", "llama.cpp")), str(source.get("commit", ""))
        yield Package(
            name,
            commit or str(source.get("version", "")),
            f"pkg:github/{_REPOSITORIES[name]}@{commit}" if commit and name in _REPOSITORIES else "",
            "MIT",
            sha256=str(source.get("sha256", "")),
        )
        if name == "bitnet.cpp":
            yield Package("llama.cpp", f"as in {name} {commit}", licence="MIT")
    # What llama-server has of others in its own source tree, vendor/.
    for name, licence in (("cpp-httplib", "MIT"), ("nlohmann-json", "MIT"), ("stb", "MIT"), ("miniaudio", "MIT-0")):
        if source:
            yield Package(name, f"as in {source.get('name', 'llama.cpp')}", licence=licence)
    for name, version in (record.get("libraries_of") or {}).items():
        yield Package(name, version, f"pkg:pypi/{name}@{version}")


def _python(recipe: Recipe) -> Iterator[Package]:
    if not recipe.python:
        return
    folder = recipe.context / "python" / recipe.python_in.lstrip("/")
    for file in sorted(folder.glob("*.dist-info/METADATA")):
        said: Message = email.message_from_string(file.read_text(encoding="utf-8"))
        name, version = str(said["Name"]), str(said["Version"])
        yield Package(
            name,
            version,
            f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}",
            str(said["License-Expression"] or ""),
        )


def _debian(layout: OciLayout) -> Iterator[Package]:
    """From the last layer that has the status file: a later one replaces an earlier one whole."""
    for layer in reversed(layout.manifest.document["layers"]):
        with tarfile.open(layout.blob(layer["digest"])) as files:
            entry = next((item for item in files if item.name.removeprefix("./") == _STATUS), None)
            content = files.extractfile(entry) if entry else None
            if content is None:
                continue
            for paragraph in content.read().decode().split("\n\n"):
                said = email.message_from_string(paragraph)
                if str(said["Status"]).endswith(" installed"):
                    name, version, kind = said["Package"], said["Version"], said["Architecture"]
                    yield Package(name, version, f"pkg:deb/debian/{name}@{version}?arch={kind}")
            return
