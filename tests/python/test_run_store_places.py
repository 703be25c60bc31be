"""Run stores elsewhere than in a folder, and what goes beside `run_store=`.

The bucket is moto's, which speaks S3's protocol on this machine; nothing here was ever run on AWS."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import run_subjects as subjects
from patience import wait_until

PATIENCE = 60.0


@pytest.fixture
def gone() -> Iterator[rh.Cluster]:
    """One that a test kills."""
    with rh.compute("run-places-gone") as cluster:
        yield cluster
    cluster.teardown_and_delete()


@pytest.fixture
def keeps() -> Iterator[rh.Cluster]:
    """One that only keeps runs of others."""
    with rh.compute("run-places-keeps") as cluster:
        yield cluster
    cluster.teardown_and_delete()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    boto3 = pytest.importorskip("boto3", reason="a run store in a bucket needs boto3 (`pip install boto3`)")
    server = pytest.importorskip("moto.server", reason="its test needs moto's server (`pip install moto[s3,server]`)")
    moto = server.ThreadedMotoServer("127.0.0.1", 0)
    moto.start()
    host, port = moto.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="kept")
    try:
        yield "s3://kept/some/where"
    finally:
        moto.stop()


def kill_node(cluster: rh.Cluster) -> None:
    os.kill(cluster.status()["keeper_pid"], signal.SIGKILL)
    wait_until(lambda: not cluster.is_up(), PATIENCE, "the node's end")


def ran(folder: Path) -> list[str]:
    return (folder / "ledger").read_text().splitlines()


def test_another_cluster_keeps_it(box: rh.Cluster, gone: rh.Cluster, keeps: rh.Cluster, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"run_name": "node", "run_store": keeps, "stream_logs": False}
    counted = rh.function(subjects.count_lines).to(gone)
    assert counted.options(**asked)(str(tmp_path), 3) == 3
    fails = rh.function(subjects.fails_once).to(gone)
    with pytest.raises(LookupError):
        fails.options(run_name="node-fails", run_store="cluster://run-places-keeps")(str(tmp_path))
    kill_node(gone)
    kept = keeps.get_run("node")
    assert (kept.status, kept.result(), kept.logs()) == ("succeeded", 3, "line 0\nline 1\nline 2\n")
    assert kept.attempts[0]["origin"]["cluster"] == gone.name
    with pytest.raises(LookupError, match="not this time"):
        keeps.get_run("node-fails").result()
    store = rh.run_store(keeps)
    assert store.get_run("node") == kept
    assert {run["name"] for run in store.runs()} == {"node", "node-fails"}
    elsewhere = rh.function(subjects.count_lines).to(box)
    assert elsewhere.options(**asked)(str(tmp_path), 3) == 3
    assert ran(tmp_path) == ["0", "1", "2", "ran"]
    assert kept.replay() == 3


def test_one_that_runs_is_its_own_clusters(
    box: rh.Cluster, gone: rh.Cluster, keeps: rh.Cluster, tmp_path: Path
) -> None:
    """While it runs and when it was killed: whoever keeps it tells, and does not run it."""
    asked: dict[str, Any] = {"run_name": "node-runs", "run_store": keeps, "stream_logs": False}
    rh.function(subjects.until_told).to(gone).options(**asked).submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    assert keeps.get_run("node-runs").status == "running"
    for ask in (
        lambda: keeps.get_run("node-runs").result(),
        lambda: rh.function(subjects.until_told).to(keeps).options(run_name="node-runs")(str(tmp_path)),
        lambda: rh.function(subjects.until_told).to(box).options(**asked)(str(tmp_path)),
    ):
        with pytest.raises(rh.RunConflict, match="run-places-gone") as conflict:
            ask()
        assert conflict.value.differs == "another cluster"
    assert keeps.get_run("node-runs").attempts[0]["silent_s"] < PATIENCE
    kill_node(gone)
    assert keeps.get_run("node-runs").status == "running"
    assert ran(tmp_path) == ["began"]


def test_a_cluster_is_no_store_of_its_own(box: rh.Cluster, tmp_path: Path) -> None:
    noted = rh.function(subjects.noted).to(box)
    with pytest.raises(rh.Unsupported, match="journal already"):
        noted.options(run_name="own", run_store=box)(str(tmp_path / "ledger"), 3)
    with pytest.raises(rh.NodeLost, match="never-launched"):
        noted.options(run_name="own", run_store="cluster://never-launched")(str(tmp_path / "ledger"), 3)
    assert not (tmp_path / "ledger").exists()


def test_a_bucket_keeps_it(bucket: str, gone: rh.Cluster, tmp_path: Path) -> None:
    with rh.compute("run-places-bucket") as second:
        _in_a_bucket(bucket, gone, second, tmp_path)
    second.teardown_and_delete()


def _in_a_bucket(bucket: str, gone: rh.Cluster, second: rh.Cluster, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"run_name": "bucket", "run_store": bucket, "stream_logs": False}
    assert rh.function(subjects.count_lines).to(gone).options(**asked)(str(tmp_path), 3) == 3
    much = rh.function(subjects.much).to(gone)
    assert len(much.options(run_name="large", run_store=bucket)(20_000_000)) == 20_000_000
    rh.function(subjects.until_told).to(gone).options(run_name="runs", run_store=bucket).submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    kill_node(gone)
    elsewhere = rh.function(subjects.count_lines).to(second)
    assert elsewhere.options(**asked)(str(tmp_path), 3) == 3
    with pytest.raises(rh.RunConflict, match="run-places-gone"):
        rh.function(subjects.until_told).to(second).options(run_name="runs", run_store=bucket)(str(tmp_path))
    assert ran(tmp_path) == ["0", "1", "2", "began"]
    store = rh.run_store(bucket)
    kept = store.get_run("bucket")
    assert (kept.status, kept.result(), kept.logs()) == ("succeeded", 3, "line 0\nline 1\nline 2\n")
    assert {run["name"]: run["state"] for run in store.runs()} == {
        "bucket": "succeeded",
        "large": "succeeded",
        "runs": "running",
    }
    assert store.get_run("large").result() == subjects.much(20_000_000)
    kept.forget()
    assert {run["name"] for run in store.runs()} == {"large", "runs"}
    with pytest.raises(rh.HostError, match="NoSuchBucket"):
        elsewhere.options(run_name="none", run_store="s3://no-such-bucket")(str(tmp_path), 3)


def test_without_boto3_it_is_said(tmp_path: Path) -> None:
    script = "import sys; sys.modules['boto3'] = None\nimport roundhouse as rh\nrh.run_store('s3://kept')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "roundhouse.exceptions.Unsupported" in done.stderr
    assert "pip install boto3" in done.stderr


def test_what_goes_beside_it(box: rh.Cluster, tmp_path: Path) -> None:
    """`replace`, other code, retries, a live object, and a run that only its name is left of."""
    store = tmp_path / "store"
    noted = rh.function(subjects.noted).to(box)
    asked: dict[str, Any] = {"run_name": "beside", "run_store": store}
    ledger = str(tmp_path / "ledger")
    assert noted.options(**asked)(ledger, 2) == 4
    with pytest.raises(rh.RunConflict, match="other arguments"):
        noted.options(**asked)(ledger, 3)
    assert noted.options(**asked, replace=True)(ledger, 3) == 9
    kept = rh.run_store(store).get_run("beside")
    assert [kept.result(attempt=number) for number in (1, 2)] == [4, 9]
    other = rh.function(lambda ledger, x: -x).to(box, name="noted", replace=True)
    with pytest.raises(rh.RunConflict, match="other code"):
        other.options(**asked)(ledger, 3)
    assert other.options(**asked, accept_old_code=True)(ledger, 3) == 9
    assert kept.attempts[-1]["number"] == 2
    fails = rh.function(subjects.fails_once).to(box)
    again = fails.options(run_name="retried", run_store=store, retries=2, retry_on=LookupError, backoff=0.01)
    assert again(str(tmp_path)) == "the second time"
    assert [each["state"] for each in rh.run_store(store).get_run("retried").attempts] == ["failed", "succeeded"]
    tally = rh.cls(subjects.Tally).to(box)(name="stored-tally")
    assert tally.add.options(run_name="tallied", run_store=store)(3) == 3
    assert rh.run_store(store).get_run("tallied").result() == 3
    with pytest.raises(rh.Unsupported, match="live object"):
        rh.run_store(store).get_run("tallied").replay()
    key = rh.function(subjects.noted).to(box).options(run_name="key", run_store=store).run(ledger, 5)
    assert box.get_run(key).result(PATIENCE) == 25
    assert rh.run_store(store).get_run(key).result() == 25


def test_one_that_was_not_kept_from_the_beginning(box: rh.Cluster, tmp_path: Path) -> None:
    store = tmp_path / "store"
    noted = rh.function(subjects.noted).to(box)
    ledger = str(tmp_path / "ledger")
    assert noted.options(run_name="late")(ledger, 2) == 4
    for _ in range(2):
        assert noted.options(run_name="late", run_store=store)(ledger, 2) == 4
        assert rh.run_store(store).get_run("late").result() == 4
        # And again when it was forgotten there.
        rh.run_store(store).get_run("late").forget()
    told = rh.function(subjects.until_told).to(box)
    first = told.options(run_name="joined", stream_logs=False).submit(str(tmp_path))
    second = told.options(run_name="joined", run_store=store, stream_logs=False).submit(str(tmp_path))
    assert rh.run_store(store).get_run("joined").status == "running"
    (tmp_path / "go").touch()
    assert first.result(PATIENCE) == second.result(PATIENCE) == rh.run_store(store).get_run("joined").result()
    with pytest.raises(rh.RunConflict, match="other arguments"):
        told.options(run_name="joined", run_store=tmp_path / "another")(str(tmp_path))
    assert ran(tmp_path) == ["ran 2", "began"]


def test_async_and_cancelled(box: rh.Cluster, tmp_path: Path) -> None:
    store = tmp_path / "store"

    async def doubled(x: int) -> int:
        return 2 * x

    async def asks() -> tuple[int, int]:
        remote = rh.function(doubled).to(box)
        options = remote.options(run_name="async", run_store=store)
        return await options(4), await options.submit(4)

    assert asyncio.run(asks()) == (8, 8)
    kept = rh.run_store(store).get_run("async")
    assert (kept.result(), kept.replay()) == (8, 8)
    told = rh.function(subjects.until_told).to(box)
    call = told.options(run_name="cancelled", run_store=store, stream_logs=False).submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    assert call.cancel()
    with pytest.raises(rh.CallCancelled):
        call.result(PATIENCE)
    assert rh.run_store(store).get_run("cancelled").status == "cancelled"
    with pytest.raises(rh.CallCancelled):
        rh.run_store(store).get_run("cancelled").result()


def test_a_webhook_is_told_as_well(box: rh.Cluster, tmp_path: Path) -> None:
    came = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            came.set()

        def log_message(self, *_: Any) -> None:
            """Not on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        noted = rh.function(subjects.noted).to(box)
        both = noted.options(run_name="both", run_store=tmp_path / "store", webhook=url)
        assert both(str(tmp_path / "ledger"), 3) == 9
        assert came.wait(PATIENCE)
    finally:
        server.shutdown()
        server.server_close()
    assert rh.run_store(tmp_path / "store").get_run("both").result() == 9


def test_a_node_without_python_says_so() -> None:
    with rh.compute("run-places-none") as node:
        request = {"name": "r", "service": "s", "method": "call", "encoding": 2, "store": "/tmp/somewhere"}
        with pytest.raises(rh.Unsupported, match="Python worker"):
            node._ask("run_start", request)


def test_one_that_runs_is_replaced(box: rh.Cluster, keeps: rh.Cluster, tmp_path: Path) -> None:
    """By another attempt, which is claimed when the first has ended in the store."""
    told = rh.function(subjects.until_told).to(box)
    for number, store in enumerate((tmp_path / "store", keeps)):
        folder = tmp_path / str(number)
        folder.mkdir()
        asked = told.options(run_name=f"replaced-{number}", run_store=store, stream_logs=False, replace=True)
        first = asked.submit(str(folder))
        subjects.wait_for(str(folder / "begun"))
        second = asked.submit(str(folder))
        (folder / "go").touch()
        assert second.result(PATIENCE) == f"done in {folder}"
        with pytest.raises(rh.CallCancelled):
            first.result(PATIENCE)
        kept = rh.run_store(store).get_run(f"replaced-{number}")
        assert [each["state"] for each in kept.attempts] == ["cancelled", "succeeded"]


def test_whoever_may_only_call_reaches_no_folders(box: rh.Cluster, tmp_path: Path) -> None:
    rh.function(subjects.noted).to(box).options(run_name="mine", run_store=tmp_path / "a")(str(tmp_path / "ledger"))
    listener = box.listen()
    at = {"host": "127.0.0.1", "server_port": listener.port, "server_connection_type": "none"}
    calls = rh.cluster("run-places-calls", **at, token=box.create_token("calls", scope="call"))
    noted = calls.get("noted", remote=True)
    with pytest.raises(rh.NotAllowed):
        noted.options(run_name="theirs", run_store=tmp_path / "b")(str(tmp_path / "ledger"))
    request = {"name": "theirs", "service": "noted", "method": "call", "encoding": 2, "store": str(tmp_path / "b")}
    with pytest.raises(rh.NotAllowed, match="run in a store"):
        calls._ask("run_start", request)
    with pytest.raises(rh.NotAllowed, match="roundhouse-run-stores"):
        calls._link.call("roundhouse-run-stores", "call", 2, [b'{"kwargs": {"step": "keep"}}'])
    assert not (tmp_path / "b").exists()
    box.unlisten()
    box.revoke_token("calls")
