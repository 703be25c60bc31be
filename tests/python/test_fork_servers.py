"""Fresh workers that are forks of a warm interpreter: as fresh as any other, only sooner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fork_subjects as subjects
import pytest
import roundhouse as rh
from daemons import kill_daemon
from leftovers import processes_of
from patience import wait_until

PATIENCE = 60.0
COMMAND = str(Path(sys.executable).parent / "roundhouse")


def servers(box: rh.Cluster) -> list[dict[str, Any]]:
    return box.status()["fork_servers"]  # type: ignore[no-any-return]


def warm(box: rh.Cluster, *modules: str) -> dict[str, Any]:
    """The fork server, once it has imported those, which a worker did before."""

    def imported() -> bool:
        return any(each["ready"] and {*modules} <= {*each["modules"]} for each in servers(box))

    wait_until(imported, PATIENCE, f"a fork server with {modules}")
    return next(each for each in servers(box) if {*modules} <= {*each["modules"]})


def about(box: rh.Cluster, *modules: str) -> dict[str, Any]:
    return rh.function(subjects.about).to(box, replace=True)(*modules)


def warmed(box: rh.Cluster, *modules: str) -> dict[str, Any]:
    """The same, with a worker that imports them."""
    for module in modules:
        rh.function(subjects.has).to(box, name=f"warms-{module}", replace=True)(module, "nothing")
    wait_until(lambda: about(box, *modules)["before"] == [*modules], PATIENCE, f"a fork with {modules}")
    return warm(box, *modules)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Installs a package of one module for this test's workers."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])

    def install(name: str, source: str) -> Path:
        path = folder / f"{name}.py"
        path.write_text(source)
        return path

    return install


def test_a_fresh_worker_is_a_fork_and_a_process_of_its_own(box: rh.Cluster) -> None:
    first = rh.function(subjects.leave).to(box, name="first")
    first("numpy", "left_here")
    cold = rh.function(subjects.about).to(box, name="cold")("numpy")
    server = warm(box, "numpy")
    forked = about(box, "numpy")
    assert forked["before"] == ["numpy"]
    assert forked["parent"] == box.status()["keeper_pid"]
    assert forked["pid"] == forked["session"] != server["pid"]
    for same in ("main", "argv", "cwd", "paths"):
        assert forked[same] == cold[same], same
    assert not rh.function(subjects.has).to(box)("numpy", "left_here")
    assert rh.function(subjects.multiply).to(box)(200) == 200.0**3
    wait_until(lambda: warm(box, "numpy")["forks"] >= 3, PATIENCE, "it says how many")


def test_what_proc_shows_is_its_own(box: rh.Cluster) -> None:
    warmed(box, "numpy")
    forked = about(box, "numpy")
    assert forked["before"]
    worker = next(each for each in box.status()["workers"] if each["pid"] == forked["pid"])
    entries = forked["shown"].split(b"\0")
    assert f"ROUNDHOUSE_WORKER={worker['id']}".encode() in entries
    inherited = {entry.decode() for entry in forked["inherited"].split(b"\0") if entry}
    assert inherited == {f"{name}={value}" for name, value in forked["variables"].items()}
    command = Path(f"/proc/{forked['pid']}/cmdline").read_bytes()
    assert b"--fork-server" not in command
    assert command.startswith(sys.executable.encode())
    assert forked["files"][0] == "/dev/null"
    assert all(worker["id"] in file for file in forked["files"][1:])


def test_two_forks_draw_other_numbers(box: rh.Cluster) -> None:
    rh.function(subjects.drawn).to(box, name="draws")()
    wait_until(lambda: about(box, "numpy.random")["before"] == ["numpy.random"], PATIENCE, "its generator")
    drawn = [rh.function(subjects.drawn).to(box, name=f"drawn-{i}")() for i in range(2)]
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]
    keys = {rh.function(subjects.key_of_children).to(box, name=f"key-{i}")() for i in range(3)}
    assert len(keys) == 3


def test_torch_computes_in_a_fork(box: rh.Cluster) -> None:
    pytest.importorskip("torch", reason="torch is not installed here")
    warmed(box, "torch")
    drawn = [rh.function(subjects.torch_drawn).to(box, name=f"torch-{i}")(300) for i in range(2)]
    assert [each[0] for each in drawn] == [300.0**3] * 2
    assert drawn[0][1:] != drawn[1][1:]


def test_what_only_looks_for_its_own_variables_is_imported_ahead(
    box: rh.Cluster, packages: Callable[[str, str], Path]
) -> None:
    packages("runs", "import ctypes.util\nvalue = ctypes.util.find_library('c')\n")
    warmed(box, "runs")
    assert about(box, "runs")["before"] == ["runs"]


def test_a_module_that_reads_the_environment_sees_its_own_process(
    box: rh.Cluster, packages: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages("reads_one", "import os\nvalue = os.environ.get('FORK_TEST_VALUE')\nos.environ['FORK_TEST_SET'] = 'yes'\n")
    monkeypatch.setenv("FORK_TEST_VALUE", "a")
    warmed(box, "reads_one")
    for value in ("a", "b", "b"):
        monkeypatch.setenv("FORK_TEST_VALUE", value)
        read = rh.function(subjects.value_of).to(box, replace=True)
        assert read("reads_one", "value") == value
        assert read("os", "environ")["FORK_TEST_SET"] == "yes"
    # For the other value there is another one by now.
    wait_until(lambda: sum("reads_one" in each["modules"] for each in servers(box)) == 2, PATIENCE, "another")
    assert about(box, "reads_one")["before"] == ["reads_one"]
    assert rh.function(subjects.value_of).to(box, replace=True)("reads_one", "value") == "b"


def test_what_is_a_workers_own_is_imported_after_the_fork(
    box: rh.Cluster, packages: Callable[[str, str], Path]
) -> None:
    packages("copies", "import os\nvalue = dict(os.environ)['ROUNDHOUSE_WORKER']\n")
    packages(
        "starts", "import threading, time\nthreading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
    )
    packages("uses", "import json\nimport starts\nvalue = 7\n")
    packages("prints", "print('hello')\n")
    packages("opens", "kept = open(__file__)\n")
    packages("plain", "value = 1\n")
    import_all = rh.function(subjects.has).to(box, name="imports-all")
    for name in ("copies", "uses", "prints", "opens", "plain"):
        import_all(name, "nothing")
    left = warm(box, "plain")["after_fork"]
    assert left["copies"] == "it copies the environment"
    assert left["starts"] == "it starts a thread"
    assert left["uses"] == "it imports starts"
    assert left["prints"] == "it prints"
    assert left["opens"].startswith("it opens ")
    found = about(box, "copies", "starts", "uses", "prints", "opens", "plain")
    assert found["before"] == ["plain"]
    value_of = rh.function(subjects.value_of).to(box)
    assert value_of("uses", "value") == 7
    assert value_of("copies", "value") != ""
    again = rh.function(subjects.value_of).to(box, name="again")
    assert again("copies", "value") != value_of("copies", "value")


def test_a_stream_that_a_module_keeps_is_the_calls(
    box: rh.Cluster, packages: Callable[[str, str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    packages("talks", "from sys import stdout as kept\n\ndef say(text):\n    print(text, file=kept)\n")
    warmed(box, "talks")
    assert about(box, "talks")["before"] == ["talks"]
    rh.function(subjects.call_in).to(box)("talks", "say", "by a kept stream")
    assert "by a kept stream" in capfd.readouterr().out


def test_a_module_that_asks_for_the_folder_is_told_its_own(
    box: rh.Cluster, packages: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages("asks", "import os\nfolder = os.getcwd()\n")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        warmed(box, "asks")
        assert rh.function(subjects.value_of).to(box, replace=True)("asks", "folder") == str(tmp_path / name)


def test_a_project_module_is_not_hidden_by_what_is_there(
    box: rh.Cluster, packages: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages("colours", "whose = 'package'\n")
    warmed(box, "colours")
    project = tmp_path / "project"
    project.mkdir()
    (project / "colours.py").write_text("whose = 'project'\n")
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    assert rh.function(subjects.value_of).to(box, replace=True)("colours", "whose") == "project"


def test_a_package_that_was_installed_over_is_imported_anew(
    box: rh.Cluster, packages: Callable[[str, str], Path]
) -> None:
    packages("versioned", "value = 1\n")
    first = warmed(box, "versioned")
    packages("versioned", "value = 1 + 1\n")
    assert rh.function(subjects.value_of).to(box, replace=True)("versioned", "value") == 2
    wait_until(lambda: first["pid"] not in [each["pid"] for each in servers(box)], PATIENCE, "its end")
    assert warm(box, "versioned")["pid"] != first["pid"]
    assert rh.function(subjects.value_of).to(box, replace=True)("versioned", "value") == 2


def test_it_can_be_turned_off(box: rh.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed(box, "numpy")
    monkeypatch.setenv("ROUNDHOUSE_FORK_SERVER", "0")
    assert about(box, "numpy")["before"] == []


def test_a_killed_fork_server_costs_time_only(box: rh.Cluster) -> None:
    killed = warmed(box, "numpy")
    os.kill(killed["pid"], signal.SIGKILL)
    assert about(box)["pid"] > 0
    wait_until(lambda: killed["pid"] not in [each["pid"] for each in servers(box)], PATIENCE, "its end")
    warmed(box, "numpy")
    assert about(box, "numpy")["before"] == ["numpy"]


def test_a_stopped_fork_server_costs_time_only(box: rh.Cluster) -> None:
    stopped = warmed(box, "numpy")
    os.kill(stopped["pid"], signal.SIGSTOP)
    assert about(box, "numpy")["before"] == []
    wait_until(lambda: stopped["pid"] not in [each["pid"] for each in servers(box)], PATIENCE, "its end")


def test_it_outlives_the_daemon(box: rh.Cluster) -> None:
    server = warmed(box, "numpy")
    kill_daemon(box)
    assert [each["pid"] for each in servers(box) if "numpy" in each["modules"]] == [server["pid"]]
    assert about(box, "numpy")["before"] == ["numpy"]


def test_a_forked_worker_that_dies_is_explained(box: rh.Cluster) -> None:
    warmed(box, "numpy")
    waits = rh.function(subjects.say_and_wait).to(box, name="waits", replace=True)
    pid = next(each["pid"] for each in box.status()["services"] if each["name"] == "waits")
    call = waits.submit("last words\n")
    wait_until(lambda: _printed(pid), PATIENCE, "its words")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(rh.WorkerDied) as caught:
        call.result(timeout=PATIENCE)
    assert caught.value.signal == signal.SIGKILL
    assert "last words" in caught.value.stderr_tail


def _printed(pid: int) -> bool:
    return b"last words" in Path(f"/proc/{pid}/fd/2").read_bytes()


def test_a_forked_worker_keeps_to_its_memory(box: rh.Cluster) -> None:
    warmed(box, "numpy")
    limit = 192 << 20
    found = rh.function(subjects.about).to(box, name="limited", memory=limit)
    assert found("numpy")["before"] == ["numpy"]
    greedy = rh.function(subjects.take).to(box, name="greedy", memory=limit)
    with pytest.raises(rh.OutOfMemory) as caught:
        greedy(600)
    assert caught.value.limit == limit
    assert caught.value.peak > limit // 2


def test_all_that_a_forked_worker_starts_ends_with_it(box: rh.Cluster) -> None:
    warmed(box, "numpy")
    starts = rh.function(subjects.start_children).to(box, name="starts")
    worker = next(each["worker"] for each in box.status()["services"] if each["name"] == "starts")
    starts()
    state = box.status()["state_folder"]
    marked = f"ROUNDHOUSE_WORKER={worker}"
    assert len(_marked(marked)) == 3  # Itself, the first child, and its copy.
    before = len(processes_of(state))
    box.delete("starts")
    wait_until(lambda: not _marked(marked), PATIENCE, "their end")
    assert len(processes_of(state)) < before


def _marked(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_process_is_a_fork_too(box: rh.Cluster) -> None:
    warmed(box, "numpy")
    with_process = rh.function(subjects.about).to(box, name="in-process", process="forked")
    assert with_process("numpy")["before"] == ["numpy"]
    assert with_process("numpy")["session"] == box.list_processes()["forked"]["pid"]


def test_what_the_command_line_sends_is_a_fork_too(box: rh.Cluster, tmp_path: Path) -> None:
    file = tmp_path / "sent.py"
    file.write_text(
        "import numpy\n\ndef before():\n    from roundhouse import _context\n"
        "    return 'numpy' in _context.local_object.__self__.known\n"
    )
    command = [COMMAND, "--json", "run", f"{file}::before", "--on", box.name, "--python", sys.executable]

    def is_fork() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return json.loads(done.stdout) is True

    wait_until(is_fork, PATIENCE, "a fork")


def test_there_are_few_of_them(box: rh.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        monkeypatch.setenv("OMP_NUM_THREADS", str(number + 1))
        before = [each["pid"] for each in servers(box)]
        rh.function(subjects.drawn).to(box, replace=True)()

        def new(before: list[int] = before) -> bool:
            return any(each["pid"] not in before and "numpy" in each["modules"] for each in servers(box))

        wait_until(new, PATIENCE, "another fork server")
        assert rh.function(subjects.value_of).to(box, replace=True)("os", "environ")["OMP_NUM_THREADS"] == str(
            number + 1
        )
        wait_until(lambda: len(servers(box)) <= 4, PATIENCE, "the end of the oldest")


def test_a_hundred_workers_at_once(box: rh.Cluster) -> None:
    warmed(box, "numpy")
    slow = rh.function(subjects.slow).to(box, workers=100)
    assert len(set(slow.map([0.3] * 200))) == 100
    assert sum(each["forks"] for each in servers(box)) >= 100
    box.delete("slow")


def test_nothing_is_left() -> None:
    with rh.compute("fork-servers-end") as box:
        server = warmed(box, "numpy")
        about(box)
        state = box.status()["state_folder"]
    assert processes_of(state) == []
    with rh.compute("fork-servers-killed") as box:
        server = warmed(box, "numpy")
        pid = about(box)["pid"]
        os.kill(box.status()["keeper_pid"], signal.SIGKILL)
        wait_until(
            lambda: not any(Path(f"/proc/{each}").exists() for each in (pid, server["pid"])), PATIENCE, "its end"
        )
