"""protocol/openapi.yaml: valid, and as complete as protocol/http.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest
import yaml

PROTOCOL = Path(__file__).resolve().parents[2] / "protocol"
DOCUMENT: dict[str, Any] = yaml.safe_load((PROTOCOL / "openapi.yaml").read_text())
VERBS = ("get", "put", "post", "delete")


def operations() -> list[tuple[str, str, Any]]:
    return [(path, verb, item[verb]) for path, item in DOCUMENT["paths"].items() for verb in VERBS if verb in item]


def test_it_is_openapi() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    openapi_spec_validator.validate(DOCUMENT)


def routes_of_the_page() -> set[tuple[str, str]]:
    """Those of the table under "Other routes", and the calls."""
    text = (PROTOCOL / "http.md").read_text()
    table = text[text.index("## Other routes") : text.index("**Short routes.**")]
    found = {("/v1/services/{service}/{method}", "post"), ("/v1/services/{service}/{method}", "get")}
    for verbs, path in re.findall(r"`((?:GET|PUT|POST|DELETE)(?:, (?:GET|PUT|POST|DELETE))*) (/[^`]*)`", _spelt(table)):
        plain = path.replace("{class}", "{service}")
        found |= {(plain, verb.lower()) for verb in verbs.split(", ")}
    return found


def _spelt(table: str) -> str:
    """`GET`, `PUT`, `DELETE /path` as `GET, PUT, DELETE /path`."""
    return re.sub(
        r"`((?:GET|PUT|POST)(?:`, `(?:GET|PUT|POST|DELETE))+) (/)", lambda m: f"`{m[1].replace('`', '')} {m[2]}", table
    )


def test_it_has_every_route_and_no_other() -> None:
    assert {(path, verb) for path, verb, _ in operations()} == routes_of_the_page()


@pytest.mark.parametrize(
    ("path", "verb", "operation"), operations(), ids=lambda each: each if type(each) is str else ""
)
def test_every_operation_says_how_it_ends(path: str, verb: str, operation: Any) -> None:
    assert re.fullmatch(r"[a-z][A-Za-z]+", operation["operationId"])
    assert operation["summary"]
    assert operation["responses"]["default"] == {"$ref": "#/components/responses/Failure"}
    assert any(status.startswith("2") for status in operation["responses"])
    named = set(re.findall(r"{(\w+)}", path))
    declared = [*DOCUMENT["paths"][path].get("parameters", ()), *operation.get("parameters", ())]
    parts = DOCUMENT["components"]["parameters"]
    told = {parts[each["$ref"].rpartition("/")[2]]["name"] if "$ref" in each else each["name"] for each in declared}
    assert named <= told


def test_ids_are_unique_and_only_two_places_need_no_token() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    free = {path for path, _, operation in operations() if operation.get("security") == []}
    assert free == {"/v1/check", "/docs", "/{service}/docs"}
