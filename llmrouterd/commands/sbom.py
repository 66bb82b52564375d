"""What this program is made of, as CycloneDX JSON.

Owns: the document, its words for licences, its serial number.
Refuses to know: anything but the standard library: zipapp.sh imports this in a bare interpreter to
write the document of a build.

Laws:
1. The same parts give the same bytes: no time, no chance. The serial number is drawn from the rest.
2. A hash stands only where it was checked: a build has those of contrib/vendor.lock, by which pip took
   the wheels; what is merely installed has none.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

JSON = Any
NAME = "llmrouter.cdx.json"  # in the archive, at its top
ROOTS = ("trio", "h11")  # what the program asks for itself
# What projects write in place of an identifier of SPDX.
_SPDX = {"Apache 2.0": "Apache-2.0", "MIT License": "MIT", "BSD 3-Clause": "BSD-3-Clause"}
_KNOWN = frozenset(("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "PSF-2.0", "ISC", "0BSD"))
_REQUIRED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, slots=True)
class Part:
    """A distribution inside. requires: names of others; sha256: of its wheel, "" where not known."""

    name: str
    version: str
    licence: str = ""
    summary: str = ""
    requires: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{normal(self.name)}@{self.version}"


def normal(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def part(head: Mapping[str, Any], requires: Iterable[str], sha256: str = "") -> Part:
    """From a distribution's METADATA. What is needed only elsewhere (on Windows, by an older Python, for
    an extra) is not needed here."""
    licence = head.get("License-Expression") or head.get("License") or ""
    found = (_REQUIRED.match(text) for text in requires if ";" not in text)
    names = tuple(normal(match[1]) for match in found if match is not None)
    summary = str(head.get("Summary") or "")
    return Part(str(head["Name"]), str(head["Version"]), str(licence), summary, names, sha256)


def locked(text: str) -> dict[str, str]:
    """Name -> hash, of a file that pip takes with --require-hashes."""
    found = re.findall(r"^([\w.-]+)==\S+ \\\n\s+--hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    return {normal(name): sha256 for name, sha256 in found}


def installed() -> tuple[Part, ...]:
    """What a program that is no archive runs on."""
    found: dict[str, Part] = {}
    due = list(ROOTS)
    while due:
        name = normal(due.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system or Python, or not there
            continue
        head = {key: distribution.metadata[key] for key in set(distribution.metadata)}
        found[name] = part(head, distribution.requires or ())
        due += found[name].requires
    return tuple(found.values())


# --- the document ---------------------------------------------------------------------------------


def document(version: str, commit: str, python: str, parts: Iterable[Part]) -> str:
    """The whole, as it is written down. commit: "" where it is not known."""
    parts = sorted(parts, key=lambda each: normal(each.name))
    bom = _document(version, commit, python, parts)
    digest = hashlib.sha256(json.dumps(bom, sort_keys=True).encode()).digest()
    serial = uuid.UUID(bytes=digest[:16], version=4)
    return json.dumps({**bom, "serialNumber": f"urn:uuid:{serial}"}, indent=2) + "\n"


def _document(version: str, commit: str, python: str, parts: list[Part]) -> dict[str, JSON]:
    own = f"pkg:generic/llmrouter@{version}"
    there = {normal(each.name): each.purl for each in parts}
    properties = [{"name": "llmrouter:python", "value": python}]
    if commit:
        properties.append({"name": "llmrouter:commit", "value": commit})
    roots = [there[name] for name in ROOTS if name in there]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "llmrouter",
                "version": version,
                "description": "a local-first router for language models",
                "licenses": [{"license": {"id": "MIT"}}],
                "purl": own,
                "properties": properties,
            }
        },
        "components": [_component(each) for each in parts],
        "dependencies": [
            {"ref": own, "dependsOn": roots},
            *({"ref": each.purl, "dependsOn": _needs(each, there)} for each in parts),
        ],
    }


def _needs(part: Part, there: Mapping[str, str]) -> list[str]:
    return sorted({there[name] for name in part.requires if name in there})


def _component(part: Part) -> dict[str, JSON]:
    made: dict[str, JSON] = {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
    }
    if part.summary:
        made["description"] = part.summary
    if part.sha256:
        made["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    if part.licence:
        made["licenses"] = [_licence(part.licence)]
    made["purl"] = part.purl
    if part.sha256:
        made["properties"] = [{"name": "llmrouter:hash-of", "value": "the wheel"}]
    return made


def _licence(text: str) -> dict[str, JSON]:
    words = _SPDX.get(text.strip(), text.strip())
    if words in _KNOWN:
        return {"license": {"id": words}}
    if re.search(r" (?:OR|AND|WITH) ", words):
        return {"expression": words}
    return {"license": {"name": words.splitlines()[0][:200]}}
