"""A project's code on its way: what is imported there is an immutable snapshot of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh
from projects import Project, snapshots


@pytest.fixture
def project(tmp_path: Path, box: rh.Cluster) -> Iterator[Project]:
    """A package with relative imports and data beside its code."""
    made = Project(tmp_path / "project", box)
    made.write("pyproject.toml", "[project]\nname = 'shop'\n")
    made.write("shop/__init__.py", "")
    made.write("shop/prices.py", "from .rates import RATE\n\ndef price(x):\n    return x * RATE\n")
    made.write(
        "shop/rates.py", "from pathlib import Path\nRATE = int((Path(__file__).parent / 'data/rate.txt').read_text())\n"
    )
    made.write("shop/data/rate.txt", "3\n")
    yield made
    box.delete(box.keys())


_DEPLOY = """
from shop.prices import price
remote = rh.function(price).to(box)
told["value"] = remote(2)
"""


def test_a_package_is_imported_from_its_snapshot(project: Project) -> None:
    project.write(
        "shop/where.py",
        "from . import rates\nimport sys\ndef where():\n    return __file__, rates.__file__, sys.path\n",
    )
    told = project.run("from shop.where import where\ntold['where'] = rh.function(where).to(box)()")
    here, rates, path = told["where"]
    folder = str(Path(project.box.state_folder) / "code" / "snapshots") + os.sep
    assert here.startswith(folder)
    assert here.endswith("/shop/where.py")
    assert rates.startswith(folder)
    assert str(project.root) not in path


def test_the_order_of_the_path_is_the_callers(project: Project) -> None:
    for folder in ("first", "second"):
        project.write(f"{folder}/which.py", f"def which():\n    return {folder!r}\n")
    source = (
        "sys.path[:0] = [{first!r}, {second!r}]\nfrom which import which\ntold['which'] = rh.function(which).to(box)()"
    )
    first, second = (str(project.root / folder) for folder in ("first", "second"))
    assert project.run(source.format(first=first, second=second)) == {"which": "first"}
    assert project.run(source.format(first=second, second=first)) == {"which": "second"}


def test_an_edit_is_a_new_snapshot(project: Project) -> None:
    before = snapshots(project.box)
    assert project.run(_DEPLOY) == {"value": 6}
    first = snapshots(project.box) - before
    assert len(first) == 1
    # The same again is the same.
    assert project.run(_DEPLOY) == {"value": 6}
    assert snapshots(project.box) - before == first
    project.write("shop/data/rate.txt", "5\n")
    assert project.run(_DEPLOY) == {"value": 10}
    project.write("shop/prices.py", "def price(x):\n    return -x\n")
    (project.root / "shop/rates.py").unlink()
    assert project.run(_DEPLOY) == {"value": -2}
    made = snapshots(project.box) - before
    assert len(made) == 3
    for each in made:
        (prices,) = (Path(project.box.state_folder) / "code" / "snapshots" / each).glob("shop/prices.py")
        assert prices.stat().st_mode & 0o222 == 0
        assert (prices.parent / "rates.py").exists() == ("RATE" in prices.read_text())


def test_an_edit_is_seen_by_the_program_that_made_it(project: Project) -> None:
    """Its own module is the old one; the node runs what is in the file."""
    told = project.run(
        """
        from shop import prices
        remote = rh.function(prices.price).to(box)
        told["values"] = [remote(2)]
        pathlib.Path(prices.__file__).write_text("def price(x):\\n    return x + 100\\n")
        again = rh.function(prices.price).to(box)
        told["values"] += [again(2), remote(2), prices.price(2)]
        """
    )
    assert told == {"values": [6, 102, 102, 6]}


def test_a_running_call_ends_on_its_own_snapshot(project: Project) -> None:
    project.write(
        "shop/slow.py",
        """
        import time
        from pathlib import Path

        def slow(begun, go):
            Path(begun).touch()
            while not Path(go).exists():
                time.sleep(0.01)
            from shop.late import VALUE
            return VALUE
        """,
    )
    project.write("shop/late.py", "VALUE = 'old'\n")
    begun, go = str(project.root.parent / "begun"), str(project.root.parent / "go")
    told = project.run(
        f"""
        import time
        from shop import slow
        remote = rh.function(slow.slow).to(box)
        call = remote.submit({begun!r}, {go!r})
        while not os.path.exists({begun!r}):
            time.sleep(0.01)
        pathlib.Path(slow.__file__).with_name("late.py").write_text("VALUE = 'new'\\n")
        again = rh.function(slow.slow).to(box, replace=True)
        open({go!r}, "w").close()
        told["values"] = [call.result(), again({begun!r}, {go!r})]
        """
    )
    assert told == {"values": ["old", "new"]}


def test_live_instances_keep_their_code(project: Project) -> None:
    project.write(
        "shop/till.py",
        "class Till:\n    def version(self):\n        from shop.late import VALUE\n        return VALUE\n",
    )
    project.write("shop/late.py", "VALUE = 'old'\n")
    told = project.run(
        """
        from shop import till
        first = rh.cls(till.Till).to(box)(name="first-till")
        pathlib.Path(till.__file__).with_name("late.py").write_text("VALUE = 'new'\\n")
        second = rh.cls(till.Till).to(box)(name="second-till")
        told["versions"] = [first.version(), second.version()]
        """
    )
    assert told == {"versions": ["old", "new"]}


def test_a_process_gets_new_code_and_keeps_its_state(project: Project) -> None:
    project.write(
        "shop/kept.py",
        """
        import builtins
        import os

        VERSION = 1

        def count():
            builtins.n = getattr(builtins, "n", 0) + 1
            return os.getpid(), builtins.n, VERSION
        """,
    )
    told = project.run(
        """
        from shop import kept
        told["counts"] = [rh.function(kept.count).to(box, process="shop-process")()]
        file = pathlib.Path(kept.__file__)
        file.write_text(file.read_text().replace("VERSION = 1", "VERSION = 2"))
        told["counts"].append(rh.function(kept.count).to(box, process="shop-process")())
        """
    )
    (pid, one, old), (same_pid, two, new) = told["counts"]
    assert (pid, one, old, two, new) == (same_pid, 1, 1, 2, 2)


def test_byte_code_is_taken_over(project: Project) -> None:
    assert project.run(_DEPLOY) == {"value": 6}
    before = snapshots(project.box)
    project.write("shop/prices.py", "from .rates import RATE\n\ndef price(x):\n    return x * RATE + 1\n")
    assert project.run("from shop import prices\nrh.function(prices.price).to(box, name='unused')") == {}
    (new,) = snapshots(project.box) - before
    cached = {
        file.name.partition(".")[0]
        for file in (Path(project.box.state_folder) / "code/snapshots" / new / "shop/__pycache__").glob("*.pyc")
    }
    assert {"__init__", "rates", "prices"} <= cached
    # It is the old file, which Python found valid.
    inodes = [
        {
            file.stat().st_ino
            for file in (Path(project.box.state_folder) / "code/snapshots" / each).glob("shop/__pycache__/rates.*.pyc")
        }
        for each in (new, *before)
    ]
    assert any(inodes[0] & others for others in inodes[1:])


def test_what_git_ignores_stays_unless_it_is_loaded(project: Project) -> None:
    (project.root / ".git").mkdir()
    project.write(".gitignore", "*.secret\nbuilt_*\n")
    project.write(".roundhouseignore", "large/\n")
    project.write("shop/key.secret", "hidden")
    project.write("large/file.bin", "x")
    project.write("shop/built_module.py", "VALUE = 7\n")
    project.write("shop/built_other.py", "VALUE = 8\n")
    project.write(
        "shop/listing.py",
        """
        from pathlib import Path
        from shop.built_module import VALUE

        def listing():
            root = Path(__file__).parents[1]
            files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"]
            return VALUE, sorted(str(path.relative_to(root)) for path in files)
        """,
    )
    value, there = project.run("from shop.listing import listing\ntold['there'] = rh.function(listing).to(box)()")[
        "there"
    ]
    assert value == 7
    assert {"shop/built_module.py", "shop/listing.py"} <= set(there)
    assert not {"shop/key.secret", "large/file.bin", "shop/built_other.py"} & set(there)
    assert not any(path.startswith(".git/") for path in there)


def test_two_projects_may_use_the_same_names(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other", project.box)
    other.write("setup.py", "")
    other.write("shop/__init__.py", "")
    other.write("shop/prices.py", "def price(x):\n    return 'other'\n")
    source = (
        "from shop.prices import price\n"
        "told['value'] = rh.function(price).to(box, name={name!r}, process={process!r})(2)"
    )
    assert project.run(source.format(name="one", process=None)) == {"value": 6}
    assert other.run(source.format(name="two", process=None)) == {"value": "other"}
    # Also in one process, where what is there goes on with what it has.
    assert project.run(source.format(name="one-there", process="both")) == {"value": 6}
    assert other.run(source.format(name="two-there", process="both")) == {"value": "other"}
    assert project.run("told['values'] = [box.get('one-there')(2), box.get('two-there')(2)]") == {
        "values": [6, "other"]
    }


def test_an_editable_install_is_in_the_snapshot(project: Project) -> None:
    """What no folder of sys.path leads to, because a finder of the environment's does."""
    project.write("src/hidden/__init__.py", "")
    project.write("src/hidden/code.py", "def where():\n    return __file__\n")
    folder = str(project.root / "src/hidden")
    told = project.run(
        f"""
        import importlib.util
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name == "hidden":
                    return importlib.util.spec_from_file_location(
                        name, {folder + "/__init__.py"!r}, submodule_search_locations=[{folder!r}]
                    )
        sys.meta_path.append(Finder)
        from hidden.code import where
        told["where"] = rh.function(where).to(box)()
        """
    )
    assert told["where"].startswith(project.box.state_folder)
    assert told["where"].endswith("/src/hidden/code.py")


def test_without_sync_the_files_are_imported_where_they_are(project: Project) -> None:
    before = snapshots(project.box)
    project.write("shop/where.py", "def where():\n    return __file__\n")
    told = project.run("from shop.where import where\ntold['where'] = rh.function(where).to(box, sync_local=False)()")
    assert told["where"] == str(project.root / "shop/where.py")
    assert snapshots(project.box) == before


def test_threads_deploy_at_once(project: Project) -> None:
    told = project.run(
        """
        from concurrent.futures import ThreadPoolExecutor
        from shop.prices import price
        def deploy(n):
            return rh.function(price).to(box, name=f"price-{n}")(n)
        with ThreadPoolExecutor(6) as pool:
            told["values"] = list(pool.map(deploy, range(6)))
        """
    )
    assert told == {"values": [0, 3, 6, 9, 12, 15]}
