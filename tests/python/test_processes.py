"""Processes with names, their environment, and commands that run in them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import roundhouse as rh
import subjects


@pytest.fixture(autouse=True)
def tidy(box: rh.Cluster) -> Iterator[None]:
    yield
    box.clear()
    for name in box.list_processes():
        box.kill_process(name)


def variable(name: str) -> str | None:
    return os.environ.get(name)


def place() -> tuple[int, int, str | None]:
    return os.getpid(), len(os.sched_getaffinity(0)), os.environ.get("CUDA_VISIBLE_DEVICES")


def test_the_default_one_is_always_listed(box: rh.Cluster) -> None:
    listed = box.list_processes()
    assert list(listed) == ["default_process"]
    assert listed["default_process"]["pid"] is None
    assert box.keys("default_process") == []
    box.put("key", 1)
    listed = box.list_processes()
    assert listed["default_process"]["services"] == ["key"]
    assert isinstance(listed["default_process"]["pid"], int)
    box.kill_process("default_process")
    assert box.get("key") is None
    box.kill_process("default_process")


def test_create_and_list(box: rh.Cluster) -> None:
    assert box.create_process("p", env_vars={"A": "1"}, compute={"CPU": 1, "memory": "64MiB"}) == "p"
    listed = box.list_processes()["p"]
    assert listed["name"] == "p"
    assert listed["compute"] == {"CPU": 1, "memory": 64 << 20}
    assert listed["env_vars"] == {"A": "1"}
    assert listed["runtime_env"] == {}
    remote = rh.function(place).to(box, process="p")
    assert remote() == (listed["pid"], 1, None)
    assert box.keys("p") == ["place"]


def test_create_again(box: rh.Cluster) -> None:
    box.create_process("p", env_vars={"A": "1"}, compute={"CPU": 1})
    pid = box.list_processes()["p"]["pid"]
    assert box.create_process("p", env_vars={"A": "1"}, compute={"CPU": 1}) == "p"
    assert box.create_process("p") == "p"
    with pytest.raises(rh.NameTaken, match="A='1'"):
        box.create_process("p", env_vars={"A": "2"})
    with pytest.raises(rh.NameTaken, match="1 cpus"):
        box.create_process("p", compute={"CPU": 2})
    assert box.ensure_process_created("p", env_vars={"A": "2"}, compute={"CPU": 2}) == "p"
    assert box.list_processes()["p"]["pid"] == pid
    assert box.list_processes()["p"]["env_vars"] == {"A": "1"}


def test_more_than_there_is(box: rh.Cluster) -> None:
    with pytest.raises(rh.LimitExceeded, match="4096 CPUs"):
        box.create_process("p", compute={"CPU": 4096})
    assert "p" not in box.list_processes()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"compute": {"CPU": 1.5}}, ValueError, "whole"),
        ({"compute": {"CPU": -1}}, ValueError, "whole"),
        ({"compute": {"TPU": 1}}, ValueError, "'TPU'"),
        ({"compute": {"node_idx": 1}}, ValueError, "one, node 0"),
        ({"compute": {"node_idx": 0, "CPU": 1}}, ValueError, "not both"),
        ({"compute": {"memory": "lots"}}, ValueError, "2GiB"),
        ({"env_vars": {"A": 1}}, ValueError, "'1'"),
        ({"env_vars": ["A"]}, TypeError, "dict"),
        ({"runtime_env": {"pip": ["numpy"]}}, rh.Unsupported, "pip"),
    ],
)
def test_bad_arguments(box: rh.Cluster, arguments: dict[str, object], error: type[Exception], match: str) -> None:
    for create in (box.create_process, box.ensure_process_created):
        with pytest.raises(error, match=match):
            create("p", **arguments)  # type: ignore[arg-type]
    assert "p" not in box.list_processes()


def test_what_changes_nothing(box: rh.Cluster) -> None:
    box.create_process("p", {}, {"node_idx": 0, "CPU": None, "GPU": 0}, {"env_vars": {"A": "1"}, "conda_env": None})
    assert box.list_processes()["p"]["env_vars"] == {"A": "1"}
    assert box.list_processes()["p"]["compute"] == {}


def test_kill(box: rh.Cluster) -> None:
    box.create_process("p")
    remote = rh.function(place).to(box, process="p")
    pid = remote()[0]
    box.put("key", 1, process="p")
    box.kill_process("p")
    assert "p" not in box.list_processes()
    assert box.get("key") is None
    assert box.keys() == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(rh.NotFound):
        remote()
    with pytest.raises(KeyError, match="no process"):
        box.kill_process("p")


def test_environment(box: rh.Cluster) -> None:
    box.create_process("one", env_vars={"RH_TEST_MINE": "one"})
    box.create_process("two")
    one = rh.function(variable).to(box, name="one-variable", process="one")
    two = rh.function(variable).to(box, name="two-variable", process="two")
    assert (one("RH_TEST_MINE"), two("RH_TEST_MINE")) == ("one", None)
    box.set_process_env_vars("one", {"RH_TEST_MINE": "changed", "RH_TEST_OTHER": "other"})
    assert (one("RH_TEST_MINE"), one("RH_TEST_OTHER"), two("RH_TEST_OTHER")) == ("changed", "other", None)
    box.set_process_env_vars("one", {"RH_TEST_OTHER": None})
    assert one("RH_TEST_OTHER") is None
    box.set_env_vars_globally({"RH_TEST_ALL": "all"})
    box.create_process("three")
    box.create_process("four", env_vars={"RH_TEST_ALL": "own"})
    assert [
        box.run_bash("echo $RH_TEST_ALL", process=p, stream_logs=False)[1] for p in ("one", "two", "three", "four")
    ] == [
        "all\n",
        "all\n",
        "all\n",
        "own\n",
    ]
    box.set_env_vars_globally({"RH_TEST_ALL": None})
    with pytest.raises(ValueError, match="text"):
        box.set_process_env_vars("one", {"A": 1})  # type: ignore[dict-item]
    with pytest.raises(rh.NotFound, match="five"):
        box.set_process_env_vars("five", {"A": "1"})
    box.set_process_env_vars("default_process", {"RH_TEST_MINE": "default"})
    assert box.run_bash("echo $RH_TEST_MINE", stream_logs=False)[1] == "default\n"


def test_run_bash_returns(box: rh.Cluster) -> None:
    assert box.run_bash("echo out; echo err >&2; exit 3", stream_logs=False) == [3, "out\n", "err\n"]
    assert box.run_bash(["echo one", "exit 2"], stream_logs=False) == [[0, "one\n", ""], [2, "", ""]]
    assert box.run_bash([], stream_logs=False) == []
    assert box.run_bash("exit 4", require_outputs=False) == 4
    assert box.run_bash(["true", "false"], require_outputs=False) == [0, 1]
    assert box.run_bash("echo x", node="all", stream_logs=False) == [[0, "x\n", ""]]
    assert box.run_bash(["echo x"], node="all", stream_logs=False) == [[[0, "x\n", ""]]]
    for node in (0, "head", box.head_ip):
        assert box.run_bash("echo x", node=node, stream_logs=False) == [0, "x\n", ""]
    assert box.run(["echo x"], stream_logs=False) == [[0, "x\n", ""]]
    assert box.run_bash_over_ssh("echo x", stream_logs=False) == [[0, "x\n", ""]]
    assert box.run_bash("kill -9 $$", stream_logs=False)[0] == -9


def test_each_command_has_a_shell_of_its_own(box: rh.Cluster) -> None:
    here = os.getcwd()
    assert box.run_bash(["cd /; A=1; pwd", "pwd; echo $A"], stream_logs=False) == [
        [0, "/\n", ""],
        [0, f"{here}\n\n", ""],
    ]
    assert box.run_bash('[[ "a b" == a* ]] && echo "it\'s bash"', stream_logs=False)[1] == "it's bash\n"


def test_run_bash_refuses(box: rh.Cluster) -> None:
    box.create_process("p")
    for arguments in ({"node": 0, "process": "p"}, {"node": 1}, {"node": "10.0.0.1"}, {"process": "missing"}):
        with pytest.raises(ValueError):  # noqa: PT011 - the kind is what Runhouse promises
            box.run_bash("echo x", **arguments)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="missing"):
        box.run_bash("echo x", process="missing")
    with pytest.raises(TypeError, match="text"):
        box.run_bash([1])  # type: ignore[list-item]


def test_run_python(box: rh.Cluster) -> None:
    lines = ["import os, sys", "word = 'it\\'s'", 'print(word, "and", \'"quoted"\', "$HOME")', "sys.exit(5)"]
    assert box.run_python(lines, stream_logs=False) == [[5, 'it\'s and "quoted" $HOME\n', ""]]
    done = box.run_python(["def f(x):", "    return x / 0", "f(1)"], stream_logs=False)
    assert done[0][0] == 1
    assert "ZeroDivisionError" in done[0][2]
    box.create_process("p", env_vars={"RH_TEST_MINE": "p"})
    assert (
        box.run_python(["import os", "print(os.environ['RH_TEST_MINE'])"], process="p", stream_logs=False)[0][1]
        == "p\n"
    )


def test_output_appears_here_meanwhile(box: rh.Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    box.run_bash("echo seen; echo complaint >&2")
    box.run_bash("echo unseen", stream_logs=False)
    box.run_python(["print('seen too')"])
    out, err = capfd.readouterr()
    assert out.splitlines() == ["seen", "seen too"]
    assert "complaint" in err


def test_from_inside(box: rh.Cluster) -> None:
    def inside() -> tuple[list[object], str]:
        import roundhouse

        here = roundhouse.here
        assert isinstance(here, roundhouse.Cluster)
        try:
            here.run_bash_over_ssh("true")
            refused = ""
        except ValueError as error:
            refused = str(error)
        return here.run_bash("echo here", stream_logs=False), refused

    result, refused = rh.function(inside).to(box)()
    assert result == [0, "here\n", ""]
    assert "run_bash()" in refused


def test_services_of_a_process_share_it(box: rh.Cluster) -> None:
    box.create_process("shared")
    first = rh.function(place).to(box, process="shared")
    second = rh.function(subjects.pid).to(box, process="shared")
    assert first()[0] == second() == box.list_processes()["shared"]["pid"]
    assert box.keys("shared") == ["pid", "place"]


def test_what_is_set_for_all_reaches_a_worker_that_takes_the_place_of_another(box: rh.Cluster) -> None:
    remote = rh.function(variable).to(box, name="replaced")
    box.set_env_vars_globally({"SET_LATER": "yes"})
    os.kill(remote._service.description["pid"], signal.SIGKILL)  # type: ignore[union-attr]
    assert remote.options(retries=3, idempotent=True)("SET_LATER") == "yes"
    box.set_env_vars_globally({"SET_LATER": None})
