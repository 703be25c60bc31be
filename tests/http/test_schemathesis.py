"""schemathesis asks a real node what its OpenAPI documents allow and forbid, and finds nothing.

A token of scope `call` asks for everything: what runs code, starts or ends something has to be refused. A token of
scope `deploy` asks for what that may do besides, except to run random input: no text as code (`deployService`), no
command (`runCommands`) and no program as an interpreter (`createProcess`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import checked_subjects as subjects
import pytest
import roundhouse as rh

HERE = Path(__file__).resolve().parent
# Left out: `ignored_auth` asks each time with a wrong token as well, which the node answers ever more slowly
# (test_http_bad_input.py has that); and of the node's document, where one path stands for every method, what Allow
# says of the one that was asked for (`allow_header_conformance`).
LEFT_OUT = "ignored_auth"
TO_DEPLOY = (
    "callService", "callMethod", "deleteService", "listObjects", "getObject", "putObject", "deleteObject",
    "killProcess",
)  # fmt: skip


class Door:
    def __init__(self, box: rh.Cluster) -> None:
        self.box = box
        self.url = box.listen().url
        self.tokens = {scope: box.create_token(f"schemathesis-{scope}", scope=scope) for scope in ("call", "deploy")}

    def find(
        self,
        document: str,
        folder: Path,
        examples: int,
        left_out: str = LEFT_OUT,
        scope: str = "call",
        operations: tuple[str, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        chosen = [word for operation in operations for word in ("--include-operation-id", operation)]
        return subprocess.run(
            [
                str(Path(sys.executable).parent / "schemathesis"), "--no-color", "run", self.url + document,
                "--header", f"Authorization: Bearer {self.tokens[scope]}",
                "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples),
                "--generation-deterministic", "--exclude-checks", left_out, "--continue-on-failure", "--no-shrink",
                "--request-timeout", "60", *chosen,
            ],
            cwd=folder, env=os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)},
            capture_output=True, text=True, timeout=200,
        )  # fmt: skip


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with pytest.MonkeyPatch.context() as patch:
        # An object that is put lives in the `python3` that the node finds.
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        box = rh.compute("schemathesis").up()
    with box:
        for function in (subjects.scale, subjects.tally, subjects.countdown, subjects.mirror, subjects.later):
            rh.function(function).to(box)
        rh.cls(subjects.Switch).to(box)(name="switch")
        yield Door(box)


def expect_nothing_found(done: subprocess.CompletedProcess[str], tested: int) -> None:
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"Tested: {tested}" in done.stdout, done.stdout[-2000:]


def test_the_document_of_a_service(door: Door, tmp_path: Path) -> None:
    expect_nothing_found(door.find("/v1/services/switch/openapi.json", tmp_path, 25), tested=3)
    assert {service["name"] for service in door.box.status()["services"]} >= {"switch", "Switch"}


def deployed(box: rh.Cluster) -> set[str]:
    """All but what a call may keep: its result, under a name that nobody chose."""
    return {service["name"] for service in box.status()["services"] if service["kind"] != "object"}


def test_the_document_of_the_node(door: Door, tmp_path: Path) -> None:
    before, processes = deployed(door.box), door.box.list_processes()
    done = door.find("/v1/openapi.json", tmp_path, 20, f"{LEFT_OUT},allow_header_conformance")
    assert deployed(door.box) == before
    assert door.box.list_processes() == processes
    assert "Authentication failed" in done.stdout  # What wants more than `call` was asked too.
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_what_a_deploy_token_may(door: Door, tmp_path: Path) -> None:
    left_out = f"{LEFT_OUT},allow_header_conformance"
    expect_nothing_found(
        door.find("/v1/openapi.json", tmp_path, 20, left_out, "deploy", TO_DEPLOY), tested=len(TO_DEPLOY)
    )
