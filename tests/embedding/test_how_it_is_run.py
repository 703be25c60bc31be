"""Every way to start Python: as a module, from stdin, out of an archive, where the folder is gone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipapp
import zipfile
from pathlib import Path

import pytest
import roundhouse as rh
from e2e.conftest import World

from .conftest import SECONDS

# A program that has it all: a class and an exception of its own, and what a module beside it has.
PROGRAM = """
import sys
import roundhouse as rh

class Refused(Exception):
    pass

class Tally:
    def __init__(self, start): self.total = start
    def add(self, n):
        if n < 0: raise Refused(n)
        self.total += n
        return self.total

OFFSET = 40

def plus(n):
    return n + OFFSET

box = rh.compute("shared")
print(rh.function(plus).to(box)(2))
tally = rh.cls(Tally).to(box)(1, name="tally")
try:
    tally.add(-1)
except Refused as error:
    print("refused", error)
print(tally.add(1))
"""
PRINTS = "42\nrefused -1\n2\n"

BESIDE = """
from {package}parts import WORD

def word(n):
    from {package}parts import also
    return WORD * n + also()
"""
PARTS = """
WORD = "ab"
def also():
    return "!"
"""
ASKS_BESIDE = """
print(rh.function({beside}.word).to(box, name="word")(2))
def through(n):
    from {package}parts import also
    return {beside}.word(n) + also()
print(rh.function(through).to(box)(1))
"""
BESIDE_PRINTS = "abab!\nab!!\n"


def python(world: World, *arguments: object, cwd: Path, **options: int) -> str:
    done = world.run(sys.executable, *arguments, cwd=cwd, timeout=SECONDS, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def write_package(folder: Path) -> None:
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "beside.py").write_text(BESIDE.format(package="."))
    (folder / "parts.py").write_text(PARTS)
    (folder / "program.py").write_text(
        "from . import beside\n" + PROGRAM + ASKS_BESIDE.format(beside="beside", package=".")
    )


@pytest.mark.usefixtures("box")
class TestEveryWay:
    def test_module_of_a_package(self, world: World, tmp_path: Path) -> None:
        write_package(tmp_path / "pack")
        assert python(world, "-m", "pack.program", cwd=tmp_path) == PRINTS + BESIDE_PRINTS

    def test_package_with_a_main(self, world: World, tmp_path: Path) -> None:
        write_package(tmp_path / "pack")
        (tmp_path / "pack" / "program.py").rename(tmp_path / "pack" / "__main__.py")
        assert python(world, "-m", "pack", cwd=tmp_path) == PRINTS + BESIDE_PRINTS

    def test_package_that_a_command_imports(self, world: World, tmp_path: Path) -> None:
        """With -c what is imported comes from the current folder, which is nameless in sys.path."""
        write_package(tmp_path / "pack")
        code = "from pack import beside\n" + PROGRAM + ASKS_BESIDE.format(beside="beside", package="pack.")
        assert python(world, "-c", code, cwd=tmp_path) == PRINTS + BESIDE_PRINTS

    def test_folder_with_a_main(self, world: World, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "__main__.py").write_text(PROGRAM)
        assert python(world, "folder", cwd=tmp_path) == PRINTS

    def test_stdin(self, world: World, tmp_path: Path) -> None:
        path = tmp_path / "program.py"
        path.write_text(PROGRAM)
        with path.open() as file:
            done = world.run(sys.executable, "-", cwd=tmp_path, timeout=SECONDS, stdin=file)
        assert (done.returncode, done.stdout) == (0, PRINTS)

    def test_two_programs_on_stdin_are_not_one(self, world: World, box: rh.Cluster, tmp_path: Path) -> None:
        """What one of them left there is not taken for the other's own because both files are called <stdin>."""
        path = tmp_path / "program.py"
        for source in (PROGRAM + "rh.function(lambda: Refused).to(box, name='refused')\n",
                       "import roundhouse as rh\nclass Refused: pass\n"
                       "assert rh.compute('shared').get('refused', remote=True)() is not Refused\n"):  # fmt: skip
            path.write_text(source)
            with path.open() as file:
                done = world.run(sys.executable, "-", cwd=tmp_path, timeout=SECONDS, stdin=file)
            assert done.returncode == 0, done.stdout

    def test_prompt(self, world: World, tmp_path: Path) -> None:
        """What is typed at Python's prompt."""
        path = tmp_path / "typed.py"
        path.write_text("import roundhouse as rh\ndef plus(n): return n + 40\n\n"
                        "print('says', rh.function(plus).to('shared')(2))\n")  # fmt: skip
        with path.open() as file:
            done = world.run(sys.executable, "-i", "-q", cwd=tmp_path, timeout=SECONDS, stdin=file)
        assert done.returncode == 0, done.stdout
        assert "says 42" in done.stdout
        assert "Traceback" not in done.stdout

    @pytest.mark.parametrize("options", ["-O", "-OO", "-I", "-P", "-u", "-X dev", "-B"])
    def test_options(self, world: World, tmp_path: Path, options: str) -> None:
        if options == "-P" and sys.version_info < (3, 11):
            pytest.skip("Python 3.10 has no -P")
        (tmp_path / "program.py").write_text(PROGRAM)
        assert python(world, *options.split(), "program.py", cwd=tmp_path) == PRINTS

    def test_guarded(self, world: World, tmp_path: Path) -> None:
        """What stands under the guard exists nowhere but in this run."""
        body = "\n".join("    " + line for line in PROGRAM.splitlines())
        (tmp_path / "program.py").write_text(f'if __name__ == "__main__":\n{body}\n')
        assert python(world, "program.py", cwd=tmp_path) == PRINTS

    def test_guarded_in_a_function(self, world: World, tmp_path: Path) -> None:
        body = "\n".join("    " + line for line in PROGRAM.splitlines())
        (tmp_path / "program.py").write_text(f'def main():\n{body}\nif __name__ == "__main__":\n    main()\n')
        assert python(world, "program.py", cwd=tmp_path) == PRINTS

    def test_zipapp(self, world: World, tmp_path: Path) -> None:
        folder = tmp_path / "app"
        folder.mkdir()
        write_package(folder / "pack")
        (folder / "__main__.py").write_text(
            "from pack import beside\n" + PROGRAM + ASKS_BESIDE.format(beside="beside", package="pack.")
        )
        zipapp.create_archive(folder, tmp_path / "app.pyz")
        shutil.rmtree(folder)
        assert python(world, "app.pyz", cwd=tmp_path) == PRINTS + BESIDE_PRINTS

    def test_package_in_a_zip(self, world: World, tmp_path: Path) -> None:
        write_package(tmp_path / "pack")
        with zipfile.ZipFile(tmp_path / "packs.zip", "w") as archive:
            for path in (tmp_path / "pack").iterdir():
                archive.write(path, f"deep/{path.relative_to(tmp_path)}")
        shutil.rmtree(tmp_path / "pack")
        (tmp_path / "program.py").write_text(
            "import sys\nsys.path.insert(0, 'packs.zip/deep')\nimport pack.beside\n"
            + PROGRAM
            + ASKS_BESIDE.format(beside="pack.beside", package="pack.")
        )
        assert python(world, "program.py", cwd=tmp_path) == PRINTS + BESIDE_PRINTS

    @pytest.mark.parametrize("how", ["-c", "stdin", "a file elsewhere"])
    def test_folder_that_is_gone(self, world: World, tmp_path: Path, how: str) -> None:
        gone, program = tmp_path / "gone", tmp_path / "program.py"
        gone.mkdir()
        program.write_text(PROGRAM)
        command = {
            "-c": '"$0" -c "$(cat "$1")"',
            "stdin": '"$0" - <"$1"',
            "a file elsewhere": '"$0" "$1"',
        }[how]
        done = world.run("sh", "-c", f"rmdir ../gone; {command}", sys.executable, program, cwd=gone, timeout=SECONDS)
        assert (done.returncode, done.stdout) == (0, PRINTS)
        assert not gone.exists()

    def test_folder_that_goes_meanwhile(self, world: World, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        write_package(gone)
        (gone / "program.py").write_text("import shutil\nshutil.rmtree('../gone')\n" + PROGRAM)
        assert python(world, "program.py", cwd=gone) == PRINTS
        assert not gone.exists()

    def test_a_cluster_launched_from_a_folder_that_is_gone(self, world: World, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        code = "import roundhouse as rh\nwith rh.compute('brief') as box: print(rh.function(len).to(box)('abc'))"
        done = world.run("sh", "-c", 'rmdir ../gone; "$0" -c "$1"', sys.executable, code, cwd=gone, timeout=SECONDS)
        assert (done.returncode, done.stdout) == (0, "3\n")

    def test_closed_streams(self, world: World, tmp_path: Path) -> None:
        """A service of the machine's, say, that was started with nothing open."""
        (tmp_path / "program.py").write_text(
            "import pathlib, roundhouse as rh\ndef says(n):\n    print('aloud')\n    return n\n"
            "pathlib.Path('said').write_text(str(rh.function(says).to('shared')(42)))\n"
        )
        command = '"$0" program.py <&- >&- 2>&-'
        done = world.run("sh", "-c", command, sys.executable, cwd=tmp_path, timeout=SECONDS)
        assert done.returncode == 0
        assert (tmp_path / "said").read_text() == "42"


def test_the_program_needs_no_script_to_be_found_again(box: rh.Cluster, world: World, tmp_path: Path) -> None:
    """Whoever comes later uses what a program left on the cluster, though its file is gone."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    subprocess.run([sys.executable, program], env=world.env, timeout=SECONDS, check=True, capture_output=True)
    program.unlink()
    assert box.get("tally", remote=True).add(3) == 5
