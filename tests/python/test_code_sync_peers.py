"""What a node says to a peer that asks for code as no client of ours would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
from node_asking import ask

_ID = "ab" * 32


@pytest.mark.parametrize("wrong", ["", "..", "../../outside", "AB" * 32, "ab" * 31, "ab" * 33, 7, None])
def test_an_id_that_is_none(box: rh.Cluster, wrong: Any) -> None:
    for method in ("code_offer", "code_commit", "code_fetch"):
        with pytest.raises((rh.CodeSyncError, rh.WrongArguments)):
            ask(box, method, snapshot=wrong, project="p")


def test_what_was_never_sent(box: rh.Cluster) -> None:
    assert ask(box, "code_offer", snapshot=_ID, project="p") == {"there": False}
    for method in ("code_commit", "code_fetch"):
        with pytest.raises(rh.NotFound, match=_ID):
            ask(box, method, snapshot=_ID, project="p")


@pytest.mark.parametrize("attached", [[], [b""], [b"this is not packed"], [b"one", b"two"]])
def test_attachments_that_are_none(box: rh.Cluster, attached: list[bytes]) -> None:
    with pytest.raises((rh.CodeSyncError, rh.WrongArguments)):
        ask(box, "code_manifest", attached, snapshot=_ID, project="p")
    with pytest.raises((rh.CodeSyncError, rh.WrongArguments)):
        ask(box, "code_files", attached, files=[[_ID, 3, 0, 3]])


@pytest.mark.parametrize(
    "files",
    [
        7,
        [["../../outside", 3, 0, 3]],
        [[_ID, 3, 0]],
        [[_ID, -1, 0, 3]],
        [[_ID, 1 << 60, 0, 3]],
        [[_ID, 1 << 30, 0, 1 << 30]],
        [[_ID, 1, 0, 1]] * 5000,
    ],
)
def test_files_that_are_none(box: rh.Cluster, files: Any) -> None:
    with pytest.raises((rh.CodeSyncError, rh.WrongArguments)):
        ask(box, "code_files", [b""], files=files)


def test_a_snapshot_that_is_not_there_is_not_deployed(box: rh.Cluster) -> None:
    source = {"sys_path": [], "snapshot": {"id": _ID, "root": "/nowhere"}}
    process = rh.Cluster.create_process
    process(box, "for-nothing")
    with pytest.raises(rh.NotFound, match=_ID) as refused:
        ask(box, "deploy", [b"code"], name="none", kind="function", process="for-nothing", source=source)
    assert refused.value.facts["snapshot"] == _ID
    for wrong in ("../../..", 3):
        source["snapshot"] = {"id": wrong, "root": "/nowhere"}
        with pytest.raises(rh.RoundhouseError):
            ask(box, "deploy", [b"code"], name="none", kind="function", process="for-nothing", source=source)
    assert not (Path(box.state_folder) / "code" / "snapshots" / _ID).exists()


def test_code_is_for_deployers(box: rh.Cluster) -> None:
    listener = box.listen()
    token = box.create_token("caller-of-code", scope="call")
    there = rh.cluster(
        "code-caller", host="127.0.0.1", server_port=listener.port, server_connection_type="none", token=token
    )
    try:
        for method in ("code_offer", "code_manifest", "code_files", "code_commit", "code_fetch"):
            with pytest.raises(rh.NotAllowed):
                ask(there, method, snapshot=_ID, project="p", files=[])
    finally:
        box.unlisten()
        box.revoke_token("caller-of-code")
