from __future__ import annotations

import signal
import traceback

import pytest
import roundhouse as rh
import subjects


@pytest.fixture(scope="module")
def fail(box: rh.Cluster):  # type: ignore[no-untyped-def]
    return rh.function(subjects.fail).to(box)


def test_the_exception_itself_arrives(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FileNotFoundError) as caught:
        fail("some/path")
    assert (caught.value.errno, caught.value.filename) == (2, "some/path")


def test_an_odd_constructor(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(subjects.CustomError) as caught:
        fail("custom")
    assert (caught.value.code, caught.value.reason, str(caught.value)) == (7, "asked to", "7 because asked to")


def test_the_remote_traceback_is_shown_without_our_frames(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(subjects.CustomError) as caught:
        fail("custom")
    shown = "".join(traceback.format_exception(caught.value.__cause__))
    assert "subjects.py" in shown
    assert "raise CustomError(7" in shown
    assert "_worker" not in shown


def test_cause_and_notes(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="outer") as caught:
        fail("cause")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ValueError, match="noted") as caught:
        fail("note")
    assert caught.value.__notes__ == ["seen on Monday"]  # type: ignore[attr-defined]


def test_unpicklable(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(rh.RemoteError) as caught:
        fail("unpicklable")
    assert caught.value.type == "subjects.Unpicklable"
    assert caught.value.message == "holds a lock"
    assert "subjects.py" in caught.value.traceback


def test_an_attribute_that_cannot_be_pickled_is_left_out(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="has a lock") as caught:
        fail("attribute")
    assert not hasattr(caught.value, "lock")
    assert "cannot be pickled: lock" in caught.value.__notes__[0]  # type: ignore[attr-defined]


def test_a_type_error_from_inside_is_the_users(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError, match="from inside") as caught:
        fail("type")
    assert type(caught.value) is TypeError


def test_exit_is_an_exception_like_any_other(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit) as caught:
        fail("exit")
    assert caught.value.code == 3
    with pytest.raises(OSError, match="still there"):
        fail("still there")


def test_our_own_exception_raised_by_the_user(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(rh.NotFound, match="the user's own use") as caught:
        fail("cancelled")
    assert caught.value.facts == {"place": "there"}
    assert caught.value.__cause__ is not None


def test_a_submitted_call_raises_in_result(fail) -> None:  # type: ignore[no-untyped-def]
    call = fail.submit("custom")
    assert isinstance(call.exception(timeout=10), subjects.CustomError)
    for _ in range(2):
        with pytest.raises(subjects.CustomError):
            call.result()


def test_a_failing_import_at_deployment(box: rh.Cluster, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "broken_there.py").write_text(
        "import os\nif os.environ.get('ROUNDHOUSE_WORKER'): raise RuntimeError('broken there')\ndef f(): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import broken_there  # type: ignore[import-not-found]

    with pytest.raises(RuntimeError, match="broken there"):
        rh.function(broken_there.f).to(box)
    assert rh.function(subjects.add).to(box, name="after")(1) == 2


@pytest.mark.parametrize(
    ("how", "signal_number", "exit_code"),
    [("kill", signal.SIGKILL, None), ("exit", None, 3), ("segfault", signal.SIGSEGV, None)],
)
def test_worker_death(
    box: rh.Cluster,
    how: str,
    signal_number: int | None,
    exit_code: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    neighbour = rh.function(subjects.pid).to(box, name="neighbour")
    before = neighbour()
    remote_die = rh.function(subjects.die).to(box, name=f"die-{how}")
    slow = remote_die.submit("later")
    with pytest.raises(rh.WorkerDied) as caught:
        remote_die(how)
    error = caught.value
    assert (error.signal, error.exit_code) == (signal_number, exit_code)
    assert capsys.readouterr().err == "last words\n" * 2  # of both calls, shown here as they were printed
    assert f"die-{how}" in str(error)
    if how == "segfault":
        assert "subjects.py" in error.stderr_tail
    # Everybody who called it hears, and nobody else.
    with pytest.raises(rh.WorkerDied):
        slow.result(timeout=10)
    assert neighbour() == before
    # Another worker took its place.
    assert remote_die("not at all") is None
    assert rh.function(subjects.add).to(box, name=f"die-{how}")(1) == 2


def test_stderr_of_the_process_itself_is_in_the_tail(box: rh.Cluster) -> None:
    def scream() -> None:
        import os

        os.write(2, b"written to fd 2\n")
        os._exit(9)

    with pytest.raises(rh.WorkerDied, match="written to fd 2") as caught:
        rh.function(scream).to(box)()
    assert caught.value.exit_code == 9


def test_a_forked_child_that_comes_back_answers_nobody(box: rh.Cluster) -> None:
    remote = rh.function(subjects.fork_and_return).to(box)
    assert remote() == "parent 0"
    assert remote() == "parent 0"
