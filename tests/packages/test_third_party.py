"""The third-party notices that are shipped with the programs, and licences that must not be among them."""

import importlib.machinery
import importlib.util
import json
import subprocess

import pytest
from conftest import PACKAGING


@pytest.fixture(scope="module")
def third_party():
    loader = importlib.machinery.SourceFileLoader("third_party", str(PACKAGING / "third-party"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("third_party", loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def crates(third_party):
    return third_party.linked_crates()


@pytest.mark.parametrize(
    "expression, allowed",
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only AND MIT", False),
        ("(MIT OR GPL-3.0-only) AND ISC", True),
        ("MIT AND (GPL-2.0-only OR GPL-3.0-only)", False),
        ("MIT OR ISC AND GPL-3.0-only", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0-only WITH GCC-exception-3.1", False),
    ],
)
def test_licence_expressions_are_parsed(third_party, expression, allowed):
    assert third_party.is_allowed(expression) == allowed


def test_everything_may_be_shipped(third_party, crates):
    foreign = [package for package, _ in crates if package["source"]]
    assert len(foreign) > 50
    assert list(third_party.problems(foreign)) == []


def test_what_deny_toml_forbids_is_found(third_party, crates, monkeypatch):
    deny = {"licenses": {"allow": ["MIT"]}, "bans": {"deny": [{"crate": "rustls", "reason": "a try"}]}}
    monkeypatch.setattr(third_party, "DENY", deny)
    found = "\n".join(third_party.problems([package for package, _ in crates if package["source"]]))
    assert "is banned by deny.toml: a try" in found
    assert 'does not allow its licence "ISC"' in found


def test_the_notices_have_the_texts():
    notices = subprocess.check_output([PACKAGING / "third-party", "notices"], text=True)
    for text in ("Permission is hereby granted, free of charge", "Apache License", "  tokio ", "OpenSSL"):
        assert text in notices, text
    assert "websockify-common" not in notices


def test_the_components_are_those_of_the_lock_file():
    bom = json.loads(subprocess.check_output([PACKAGING / "third-party", "sbom"]))
    components = {component["bom-ref"]: component for component in bom["components"]}
    tokio = next(component for component in components.values() if component["name"] == "tokio")
    assert tokio["purl"] == f"pkg:cargo/tokio@{tokio['version']}"
    assert len(tokio["hashes"][0]["content"]) == 64
    assert not {"pytest", "proptest", "tempfile", "clap_complete"} & {c["name"] for c in components.values()}
    references = {*components, "websockify"}
    for dependency in bom["dependencies"]:
        assert {dependency["ref"], *dependency["dependsOn"]} <= references
