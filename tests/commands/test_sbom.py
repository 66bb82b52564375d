"""The parts list: its form (no validator of CycloneDX is among the tools, so what its schema asks for is
asked for here), what is in it, and that nothing of the moment is."""

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from llmrouterd.commands import sbom, version
from llmrouterd.commands.sbom import Part, document, installed, locked, part

ROOT = Path(__file__).parent.parent.parent
SPDX = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "PSF-2.0", "ISC", "0BSD"}
PARTS = (
    Part("trio", "1", "MIT OR Apache-2.0", "async", ("attrs", "outcome", "cffi"), "a" * 64),
    Part("h11", "2", "MIT", "http", (), "b" * 64),
    Part("attrs", "3", "Apache 2.0"),
    Part("outcome", "4", "whatever they say\nin two lines", "", ("attrs",)),
)


def well_formed(bom: dict) -> None:
    """What https://cyclonedx.org/schema/bom-1.6.schema.json asks of the members that are used."""
    assert set(bom) == {
        *("$schema", "bomFormat", "specVersion", "serialNumber", "version", "metadata"),
        *("components", "dependencies"),
    }
    assert (bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.6", 1)
    uuid = r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    assert re.fullmatch(uuid, bom["serialNumber"])
    everything = [bom["metadata"]["component"], *bom["components"]]
    for each in everything:
        assert set(each) <= {
            *("type", "bom-ref", "name", "version", "description", "hashes", "licenses", "purl"),
            "properties",
        }
        assert each["type"] in {"application", "library"}
        assert all(each[name] for name in ("name", "version", "bom-ref"))
        assert re.fullmatch(r"pkg:(pypi|generic)/[a-z0-9.-]+@[\w.]+", each["purl"])
        for one in each.get("hashes", ()):
            assert set(one) == {"alg", "content"}
            assert one["alg"] == "SHA-256"
            assert re.fullmatch("[0-9a-f]{64}", one["content"])
        for one in each.get("licenses", ()):
            (kind,) = one
            assert kind in {"license", "expression"}
            if kind == "license":
                assert one["license"].get("id") in SPDX or set(one["license"]) == {"name"}
            else:
                assert set(re.split(r" OR | AND ", one["expression"])) <= SPDX
        for one in each.get("properties", ()):
            assert set(one) == {"name", "value"}
    refs = [each["bom-ref"] for each in everything]
    assert len(set(refs)) == len(refs)
    assert [each["ref"] for each in bom["dependencies"]] == refs
    for each in bom["dependencies"]:
        assert set(each["dependsOn"]) <= set(refs)


def made(*parts: Part, commit: str = "a1b2c3d", python: str = "3.11.7") -> dict:
    return json.loads(document("0.1.0", commit, python, parts))


def test_the_document() -> None:
    bom = made(*PARTS)
    well_formed(bom)
    assert [each["name"] for each in bom["components"]] == ["attrs", "h11", "outcome", "trio"]
    depends = {each["ref"]: each["dependsOn"] for each in bom["dependencies"]}
    assert depends["pkg:generic/llmrouter@0.1.0"] == ["pkg:pypi/trio@1", "pkg:pypi/h11@2"]
    assert depends["pkg:pypi/trio@1"] == ["pkg:pypi/attrs@3", "pkg:pypi/outcome@4"]
    licences = {each["name"]: each["licenses"] for each in bom["components"]}
    assert licences["trio"] == [{"expression": "MIT OR Apache-2.0"}]
    assert licences["attrs"] == [{"license": {"id": "Apache-2.0"}}]
    assert licences["outcome"] == [{"license": {"name": "whatever they say"}}]
    assert "hashes" not in bom["components"][0]


def test_the_same_parts_give_the_same_bytes_and_others_another_number() -> None:
    assert document("1", "c", "3", PARTS) == document("1", "c", "3", reversed(PARTS))
    numbers = {
        each["serialNumber"]
        for each in (made(*PARTS), made(*PARTS[:3]), made(*PARTS, commit=""), made(python="3.12"))
    }
    assert len(numbers) == 4


def test_a_part_from_its_metadata() -> None:
    head = {"Name": "Some.Thing", "Version": "1.0", "License": "MIT", "Summary": "s"}
    asked = ["attrs>=23", 'cffi>=1; os_name == "nt"', "x ; extra == 'dev'", "Sorted_Containers"]
    it = part(head, asked)
    assert it.purl == "pkg:pypi/some-thing@1.0"
    assert it.requires == ("attrs", "sorted-containers")
    assert part({**head, "License-Expression": "ISC"}, ()).licence == "ISC"


def test_the_hashes_of_the_lock() -> None:
    text = (ROOT / "contrib/vendor.lock").read_text()
    found = locked(text)
    assert len(found) == text.count("==")
    assert {len(each) for each in found.values()} == {64}


def test_what_is_installed() -> None:
    names = {each.name for each in installed()}
    assert {"trio", "h11", "attrs", "outcome", "sniffio", "idna", "sortedcontainers"} == names
    assert all(each.version == metadata.version(each.name) for each in installed())


def test_a_checkout_lists_what_is_installed_without_hashes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import argparse

    assert version.run(argparse.Namespace(sbom=True)) == 0
    bom = json.loads(capsys.readouterr().out)
    well_formed(bom)
    assert not any("hashes" in each for each in bom["components"])
    assert sbom.NAME == "llmrouter.cdx.json"
