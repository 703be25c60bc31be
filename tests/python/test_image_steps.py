"""What an image may be made of: how steps are written down, which are refused, and other bases than this Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh
from roundhouse import _copy, _environments, _image, _packages


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[str]:
    name = "steps-" + request.node.name.removeprefix("test_")[:40]
    yield name
    rh.Cluster(name).teardown_and_delete()


def test_every_method_returns_the_image_and_is_described(tmp_path: Path) -> None:
    (tmp_path / "env.yml").write_text("dependencies: [python]\n")
    image = rh.Image("all", python_version="3.11")
    assert image.pip_install(["a"]).uv_install("b").install_packages(["c", "conda:d"]).conda_install(["e"]) is image
    assert image.setup_conda_env("env", str(tmp_path / "env.yml")).sync_package(str(tmp_path)).run_bash("true") is image
    assert (
        image.rsync("x", "y", contents=True).set_env_vars({"A": "1"}).set_env_vars(".env").sync_secrets(["aws"])
        is image
    )
    config = json.loads(json.dumps(image.config()))
    assert rh.Image.from_config(config).config() == image.config()
    assert set(config) == {
        *("name", "python_version", "image_id", "docker_secret", "conda_env_name", "venv_path", "setup_steps")
    }
    assert [step["step"] for step in config["setup_steps"]] == [
        *("pip_install", "uv_install", "install_packages", "conda_install", "conda_install", "setup_conda_env"),
        *("sync_package", "run_bash", "rsync", "set_env_vars", "set_env_vars", "sync_secrets"),
    ]
    docker = rh.Image("d").from_docker("python:3.11", docker_secret="registry")
    assert rh.Image.from_config(docker.config()) == docker
    assert docker.image_id == "docker:python:3.11"
    assert rh.Image("e", image_id="docker:python:3.11").image_id == docker.image_id
    assert rh.images.pytorch().config()["setup_steps"] == [{"step": "pip_install", "reqs": ["torch"]}]
    assert rh.images.ray().steps[0]["reqs"] == ["ray[tune,data,train]"]
    assert rh.images.dask().steps[0]["reqs"] == ["dask[distributed,dataframe]", "dask-ml"]


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="already"):
        rh.Image("x").from_docker("a").from_docker("b")
    with pytest.raises(ValueError, match="one of set_venv"):
        rh.Image().set_venv("v").setup_conda_env("c", {})
    with pytest.raises(ValueError, match="installs nothing"):
        rh.Image().pip_install([])
    with pytest.raises(rh.Unsupported, match="no other"):
        rh.Image().pip_install(["a"], venv_path="/elsewhere")
    with pytest.raises(ValueError, match="no step 'rm'"):
        rh.Image.from_config({"setup_steps": [{"step": "rm"}]})
    with pytest.raises(TypeError, match="takes an"):
        rh.compute("steps-no-image", image="python:3.11")
    with pytest.raises(TypeError, match="a list"):
        rh.Image().sync_secrets("aws")
    with pytest.raises(ValueError, match="--exclude"):
        rh.Image().rsync("a", "b", filter_options="--delete")


def test_a_container_on_this_machine_is_refused_before_anything_is_launched(node: str) -> None:
    with pytest.raises(rh.Unsupported, match=r"from_docker\(\) of the image 'd' .* 'local'"):
        rh.compute(node, image=rh.Image("d").from_docker("python:3.11"))
    image = rh.Image("d")
    box = rh.compute(node, image=image)
    image.from_docker("python:3.11")
    with pytest.raises(rh.Unsupported, match="from_docker"):
        box.up_if_not()
    assert not box.is_up()


def test_without_conda(node: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(rh.SetupError, match="needs one of micromamba, mamba, conda"):
        rh.compute(node, image=rh.Image().conda_install(["zlib"])).up_if_not()
    with pytest.raises(rh.SetupError, match=r"step 1 of .* needs one of"):
        rh.compute(node, image=rh.Image().setup_conda_env("e", {"dependencies": ["python"]})).up_if_not()
    with pytest.raises(rh.SetupError, match="needs one of"):
        rh.compute(node).create_conda_env("e", {"dependencies": ["python"]})


ENV_FILE = """
# a comment
PLAIN=one two # and a comment
export EXPORTED=yes
QUOTED="three # four\\nfive"
SINGLE='six\\n$seven'
EMPTY=
HASH=a#b
"""


def test_an_env_file(node: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV_FILE)
    assert _image.read_env_file(str(tmp_path / ".env")) == {
        "PLAIN": "one two",
        "EXPORTED": "yes",
        "QUOTED": "three # four\nfive",
        "SINGLE": "six\\n$seven",
        "EMPTY": "",
        "HASH": "a#b",
    }
    image = rh.Image().set_env_vars(str(tmp_path / ".env"))
    assert "one two" not in json.dumps(image.config())
    with rh.compute(node, image=image) as box:
        assert rh.function(os.getenv).to(box)("SINGLE") == "six\\n$seven"
        (tmp_path / ".env").write_text("SINGLE=changed")
        assert rh.function(os.getenv).to(box)("SINGLE") == "changed"
        (tmp_path / ".env").write_text("a secret without a name")
        with pytest.raises(rh.SetupError, match="line 1 of") as caught:
            rh.function(os.getenv).to(box)
        assert "a secret" not in str(caught.value)
    with pytest.raises(rh.SetupError, match="cannot be read"):
        _image.read_env_file(str(tmp_path / "none"))


def test_a_bare_virtual_environment(node: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    site = next((tmp_path / "bare" / "lib").glob("python*")) / "site-packages"
    (site / "only_there.py").write_text("answer = 42")
    with rh.compute(node, image=rh.Image().set_venv(str(tmp_path / "bare"))) as box:
        assert box.venv_path == str(tmp_path / "bare")
        # By value, with cloudpickle, which is not installed there.
        ask = rh.function(lambda: (__import__("only_there").answer, __import__("sys").executable)).to(box)
        assert ask() == (42, str(tmp_path / "bare" / "bin" / "python"))
        assert rh.function(lambda: lambda: 43).to(box, name="back")()() == 43
        with pytest.raises(ModuleNotFoundError):
            rh.function(lambda: __import__("pytest")).to(box, name="not-there")()
        # What is installed goes beside it.
        box.pip_install(["six==1.16.0"])
        both = rh.function(lambda: (__import__("only_there").answer, __import__("six").__version__)).to(
            box, name="both"
        )
        assert both() == (42, "1.16.0")
        assert [path.name for path in site.iterdir() if "six" in path.name] == []
    with pytest.raises(rh.SetupError, match="no virtual environment"):
        rh.compute(node, image=rh.Image().set_venv(str(tmp_path))).up_if_not()


def test_another_python(node: str) -> None:
    here = ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(rh.SetupError, match=rf"python_version '3.8', and you run Python {here}"):
        rh.compute(node, image=rh.Image(python_version="3.8")).up_if_not()
    with rh.compute(node, image=rh.Image(python_version=here.rpartition(".")[0])) as box:
        there = rh.function(lambda: (sys.version_info[:2], sys.prefix)).to(box)()
        assert there[0] == sys.version_info[:2]
        assert there[1] != sys.prefix


def test_uv_is_used_where_it_is(node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path), "uv==0.9.5"]
    subprocess.run(install, check=True, timeout=120)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    # Not the bare environment of the other tests, which pip made.
    venv = tmp_path / "base"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    with rh.compute(node, image=rh.Image().set_venv(str(venv)).uv_install(["six==1.16.0"])) as box:
        assert rh.function(lambda: __import__("six").__version__).to(box)() == "1.16.0"
        interpreter = box.run_bash("which python", stream_logs=False)[1]
        assert "uv = " in (Path(interpreter.strip()).parent.parent / "pyvenv.cfg").read_text()


def test_packages_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    read = rh.Package.from_string
    for text, method, target in [
        ("numpy", "pip", "numpy"),
        ("pip:numpy>=2", "pip", "numpy>=2"),
        ("uv:numpy", "uv", "numpy"),
        ("conda:gcc", "conda", "gcc"),
        ("local:./", "local", str(tmp_path)),
        ("./mine", "local", str(tmp_path / "mine")),
        ("torch[all] --index-url https://x", "pip", "torch[all] --index-url https://x"),
        ("git+https://x/y.git", "pip", "git+https://x/y.git"),
        ("name @ https://x/y.whl", "pip", "name @ https://x/y.whl"),
    ]:
        assert (read(text).install_method, read(text).install_target) == (method, target), text
    for wrong in ("reqs:x", "local:./none", " "):
        with pytest.raises(ValueError, match=r"package|installer"):
            read(wrong)
    assert rh.package("numpy", install_str="numpy>=2") == read("numpy>=2")
    import importlib.metadata

    pytest_here = importlib.metadata.version("pytest")
    assert _packages.resolved("pytest") == f"pytest=={pytest_here}"
    assert _packages.resolved("pytest[dev] --pre") == f"pytest[dev]=={pytest_here} --pre"
    for as_it_is in ("pytest>=1", "pytest >= 1", "nowhere-installed", "-r file", "pytest ; python_version > '3'"):
        assert _packages.resolved(as_it_is) == as_it_is


def test_files_are_copied_without_what_git_ignores(node: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in ("a.py", "b.pyc", "keep.pyc", "sub/c.py", "sub/build/x", "build/y", ".git/HEAD", "sub/deep/data.csv"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
    (source / ".gitignore").write_text("# what is built\n*.pyc\n!keep.pyc\n/build/\nsub/**/data.csv\n")
    (source / "link").symlink_to("a.py")

    def there(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())

    expected = [".gitignore", "a.py", "keep.pyc", "link", "sub/build/x", "sub/c.py"]
    assert _copy.copy(str(source), str(tmp_path / "one")) == 6
    assert there(tmp_path / "one" / "source") == expected
    assert _copy.copy(str(source), str(tmp_path / "one")) == 0
    (source / "a.py").write_text("changed")
    assert _copy.copy(str(source) + "/", str(tmp_path / "one" / "source"), ignore_existing=True) == 0
    assert _copy.copy(str(source) + "/", str(tmp_path / "one" / "source"), exclude=["sub"]) == 1
    with pytest.raises(ValueError, match="nothing at"):
        rh.compute(node).rsync(str(tmp_path / "none"), "x")
    with pytest.raises(ValueError, match="into itself"):
        _copy.copy(str(source), str(source / "sub"))
    image = rh.Image().rsync(str(source), str(tmp_path / "two"), contents=True)
    with rh.compute(node, image=image) as box:
        assert there(tmp_path / "two") == expected
        (tmp_path / "mine" / "src" / "synced").mkdir(parents=True)
        (tmp_path / "mine" / "src" / "synced" / "__init__.py").write_text("answer = 43")
        box.sync_package(str(tmp_path / "mine"))
        assert rh.function(lambda: __import__("synced").answer).to(box)() == 43
        with pytest.raises(rh.SetupError, match="nothing at"):
            box.sync_package("never-there")


def test_old_environments_are_collected(tmp_path: Path) -> None:
    for number, name in enumerate(("newest", "second", "used", "oldest", "half-built")):
        (tmp_path / name).mkdir()
        if name != "half-built":
            _environments.complete(str(tmp_path / name))
            os.utime(tmp_path / name / ".complete", (time.time() - 100 * number, time.time() - 100 * number))
    (tmp_path / "failed.lock").touch()
    _environments.collect(str(tmp_path), ["used"], kept_max=2, kept_seconds=1000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "second", "used"]
    _environments.collect(str(tmp_path), [], kept_max=2, kept_seconds=150)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "second"]


def test_what_a_file_of_packages_says_is_what_is_installed(node: str, tmp_path: Path) -> None:
    (tmp_path / "reqs.txt").write_text("six==1.15.0\n")
    ask = rh.function(lambda: __import__("six").__version__)
    with rh.compute(node, image=rh.Image().pip_install([f"-r {tmp_path}/reqs.txt"])) as box:
        assert ask.to(box)() == "1.15.0"
        (tmp_path / "reqs.txt").write_text("six==1.16.0\n")
        assert ask.to(box)() == "1.16.0"
        (tmp_path / "reqs.txt").unlink()
        with pytest.raises(rh.SetupError, match="cannot be read"):
            ask.to(box)
    assert rh.compute(node).image is None
