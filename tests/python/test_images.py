"""Images: real packages in real environments, commands, variables; and what a step that fails leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
from image_subjects import SIX, from_here, install_from_here, surroundings
from patience import wait_until


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a cluster of this test's own."""
    name = "images-" + request.node.name.replace("[", "-").replace("]", "").removeprefix("test_")[:40]
    yield name
    rh.Cluster(name).teardown_and_delete()


def environments(state_folder: Path) -> set[str]:
    """Those that are taken for complete."""
    return {path.parent.name for path in (state_folder / "environments").glob("*/.complete")}


def frozen() -> str:
    return subprocess.run([sys.executable, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout


def test_packages_variables_and_commands(node: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = frozen()
    image = rh.Image("all").pip_install([SIX]).set_env_vars({"SHOUT": "yes"})
    image.run_bash("echo $SHOUT; python -c 'import six; print(six.__version__)'; basename $(dirname $(which python))")
    with rh.compute(node, image=image) as box:
        told = capfd.readouterr().out
        assert "image 'all': step 1 of 3: pip_install(['six==1.16.0'])" in told
        assert told.endswith("yes\n1.16.0\nbin\n")
        remote = rh.function(surroundings).to(box)
        interpreter, version, shout = remote("six")
        assert (version, shout) == ("1.16.0", "yes")
        assert interpreter != sys.executable
        # What is installed here is not there, and what is not installed anywhere is.
        assert remote("pytest")[1] is None
        assert remote("subjects")[1] == "there"
        assert rh.function(lambda: __import__("six").__version__).to(box, process="p")() == "1.16.0"
        assert box.run_bash("echo $SHOUT; which python", stream_logs=False)[1] == f"yes\n{interpreter}\n"
        assert box.run_python(["import six; print(six.__version__)"], stream_logs=False)[0][1] == "1.16.0\n"
    assert frozen() == before


def test_a_package_is_installed_at_the_version_that_is_here(node: str) -> None:
    with rh.compute(node, image=rh.Image().pip_install("iniconfig")) as box:
        there = rh.function(lambda: __import__("importlib.metadata").metadata.version("iniconfig")).to(box)
        assert there() == metadata.version("iniconfig")


def test_a_package_that_does_not_exist(node: str, state_folder: Path) -> None:
    before = environments(state_folder)
    image = rh.Image("wrong").set_env_vars({"A": "1"}).pip_install(["no-such-package-of-roundhouse==9"])
    with pytest.raises(rh.SetupError, match=r"step 2 of the image 'wrong', pip_install\(\['no-such") as caught:
        rh.compute(node, image=image).up_if_not()
    assert "No matching distribution found for no-such-package-of-roundhouse==9" in caught.value.output
    assert "No matching distribution" in str(caught.value)
    assert caught.value.step == 2
    # The bare one that all begin with may have been the first.
    assert len(environments(state_folder) - before) <= 1
    # Without the image it is a cluster like another; and a context manager leaves nothing.
    assert rh.function(len).to(rh.compute(node))("four") == 4
    rh.compute(node).teardown()
    with pytest.raises(rh.SetupError), rh.compute(node, image=image):
        pass
    assert not rh.compute(node).is_up()


def test_a_command_that_fails(node: str) -> None:
    image = rh.Image("bad").run_bash("true").run_bash("echo to stdout; echo to stderr >&2; exit 7").run_bash("false")
    with pytest.raises(rh.SetupError, match=r"step 2 of .* failed with exit code 7") as caught:
        rh.compute(node, image=image).up_if_not()
    assert sorted(caught.value.output.split("\n")) == ["", "to stderr", "to stdout"]


def test_each_step_once(node: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    image = rh.Image("once").run_bash(f"echo first >>{ledger}")
    with rh.compute(node, image=image) as box:
        rh.function(len).to(box)
        rh.compute(node, image=rh.Image("once").run_bash(f"echo first >>{ledger}")).up_if_not()
        assert ledger.read_text() == "first\n"
        image.run_bash(f"echo second >>{ledger}")
        rh.function(len).to(box)
        assert ledger.read_text() == "first\nsecond\n"
        # What stands before a step belongs to it.
        other = rh.Image("once").set_env_vars({"A": "1"}).run_bash(f"echo first >>{ledger}")
        rh.compute(node, image=other).up_if_not()
        assert ledger.read_text() == "first\nsecond\nfirst\n"
    # A node that is launched anew is a new machine for all that it knows.
    with rh.compute(node, image=image):
        assert ledger.read_text() == "first\nsecond\nfirst\nfirst\nsecond\n"


def test_others_find_what_the_cluster_has(node: str, run_script: Callable[..., Any]) -> None:
    with rh.compute(node, image=rh.Image("shared").set_env_vars({"SHOUT": "all"})) as box:
        script = f"import roundhouse as rh; print(rh.compute({node!r}).image.name)\n"
        script += f"print(rh.function(lambda: __import__('os').environ['SHOUT']).to(rh.compute({node!r}))())"
        assert run_script(script).stdout == "shared\nall\n"
        box.save()
        box.teardown()
        assert run_script(
            f"import roundhouse as rh; print(rh.compute({node!r}).image.config()['setup_steps'])"
        ).stdout == ("[{'step': 'set_env_vars', 'env_vars': {'SHOUT': 'all'}}]\n")


def test_adding_to_a_cluster(node: str) -> None:
    with rh.compute(node) as box:
        assert box.image is None
        box.pip_install([SIX])
        assert rh.function(surroundings).to(box)("six")[1] == "1.16.0"
        with pytest.raises(rh.SetupError, match="step 2"):
            box.pip_install("no-such-package-of-roundhouse")
        assert [step["step"] for step in box.image.steps] == ["pip_install"]
        # Begins with a copy of what is there, in which programs know their new place.
        box.install_packages(["iniconfig"])
        box.set_env_vars_globally({"SHOUT": "later"})
        remote = rh.function(surroundings).to(box)
        assert (remote("six")[1], remote("iniconfig")[1] is not None) == ("1.16.0", True)
        location = box.run_bash("pip --version", stream_logs=False)[1].split()[3]
        assert location.startswith(str(Path(remote("six")[0]).parent.parent))


def test_inside_of_a_worker(node: str) -> None:
    with rh.compute(node, image=rh.Image().pip_install([SIX])) as box:
        own, (interpreter, version, _) = rh.function(from_here).to(box)()
        assert (interpreter, version) == (own, "1.16.0")
    with rh.compute(node) as box:
        assert rh.function(install_from_here).to(box)() == "1.16.0"


def test_an_environment_that_was_removed_is_made_again(node: str) -> None:
    import shutil

    with rh.compute(node, image=rh.Image().pip_install([SIX])) as box:
        interpreter = rh.function(surroundings).to(box)("six")[0]
        shutil.rmtree(Path(interpreter).parent.parent)
        assert rh.function(surroundings).to(rh.compute(node))("six")[1] == "1.16.0"


BUILDER = """
import os
import sys
import roundhouse as rh
name, ledger = sys.argv[1:]
image = rh.Image("race").pip_install(["six==1.16.0", "iniconfig==2.0.0"])
image.run_bash(f"echo $ROUNDHOUSE_CLUSTER >>{ledger}")
box = rh.compute(name, image=image).up_if_not()
print(rh.function(lambda: __import__("iniconfig").__file__).to(box, name=f"ask-{os.getpid()}")())
"""


@pytest.mark.parametrize("same", [True, False], ids=["one-node", "two-nodes"])
def test_two_who_build_the_same(node: str, same: bool, tmp_path: Path, run_script: Callable[..., Any]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = [node, node if same else node + "-other"]
    ledger = tmp_path / "ledger"
    try:
        with ThreadPoolExecutor() as threads:
            done = [threads.submit(run_script, BUILDER, n, str(ledger), name=f"{i}.py") for i, n in enumerate(names)]
            printed = {job.result().stdout.splitlines()[-1] for job in done}
    finally:
        for name in names:
            rh.Cluster(name).teardown_and_delete()
    assert len(printed) == 1
    assert sorted(ledger.read_text().split()) == sorted({*names})


def hangs_once(tmp_path: Path) -> rh.Image:
    script = f"test -e {tmp_path}/go || {{ echo $$ >{tmp_path}/pid; mv {tmp_path}/pid {tmp_path}/begun; sleep 1000; }}"
    return rh.Image("hangs").pip_install([SIX]).run_bash(script)


def test_a_build_that_is_killed(node: str, tmp_path: Path, state_folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    box = rh.compute(node, image=rh.Image().pip_install([SIX])).up_if_not()
    before = environments(state_folder)
    with ThreadPoolExecutor() as threads:
        building = threads.submit(rh.compute(node, image=hangs_once(tmp_path)).up_if_not)
        wait_until((tmp_path / "begun").exists, 60, "the step")
        pids = [row["pid"] for row in box.status()["workers"]]
        for pid in pids:
            os.kill(pid, 9)
        with pytest.raises(rh.WorkerDied):
            building.result(60)
    assert environments(state_folder) == before
    (tmp_path / "go").touch()
    finished = rh.compute(node, image=hangs_once(tmp_path)).up_if_not()
    assert rh.function(surroundings).to(finished)("six")[1] == "1.16.0"


def test_ctrl_c_ends_a_step_that_hangs(node: str, tmp_path: Path) -> None:
    import signal

    script = f"""
import roundhouse as rh
image = rh.Image("hangs").run_bash("echo $$ >{tmp_path}/pid; mv {tmp_path}/pid {tmp_path}/begun; sleep 1000")
rh.compute({node!r}, image=image).up_if_not()
"""
    caller = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    wait_until((tmp_path / "begun").exists, 60, "the step")
    pid = int((tmp_path / "begun").read_text())
    caller.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in caller.communicate(timeout=60)[1]
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 30, "the end of the command")
    assert rh.function(len).to(rh.compute(node))("four") == 4


def test_what_a_command_installs_is_the_images(node: str) -> None:
    before = frozen()
    with rh.compute(node, image=rh.Image().run_bash(f"pip install -q {SIX} && pip --version")) as box:
        remote = rh.function(surroundings).to(box)
        assert remote("six")[1] == "1.16.0"
        # Without packages of its own it has what is here.
        assert remote("pytest")[1] == pytest.__version__
        assert box.run_bash("python -c 'import six'", stream_logs=False)[0] == 0
    assert frozen() == before
