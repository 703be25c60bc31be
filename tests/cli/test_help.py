"""The page, --help, the man page and completion tell of the same commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .shell import PROGRAM, ROOT, Shell

PAGE = (ROOT / "docs" / "cli.md").read_text()
MAN = ROOT / "docs" / "roundhouse.1"


def commands_of_the_overview(rh: Shell) -> dict[str, str]:
    lines = re.findall(r"^  ([a-z][a-z ]*[a-z])  +(\S.*)$", rh("--help").out, re.MULTILINE)
    return {name: summary for name, summary in lines if not name.startswith("roundhouse")}


def test_the_page_lists_every_command(rh: Shell) -> None:
    rows = re.findall(r"^\| `roundhouse ([^`]+)` \| ([^|]+) \|$", PAGE, re.MULTILINE)
    listed = {}
    for usage, summary in rows:
        words = usage.split()
        plain = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        listed[" ".join(plain[:2] if len(plain) > 1 and words[1] == plain[1] else plain[:1])] = summary
    assert listed == commands_of_the_overview(rh)


def test_each_command_explains_itself_with_an_example(rh: Shell) -> None:
    names = commands_of_the_overview(rh)
    assert len(names) > 20
    for name, summary in names.items():
        for words in ([*name.split(), "--help"], ["help", *name.split()], [*name.split(), "-h"]):
            told = rh(*words).out
            assert told.startswith(f"roundhouse {name}: {summary}\n"), name
            assert re.search(r"^Examples?\n  .*roundhouse ", told, re.MULTILINE), name
            assert max(map(len, told.splitlines())) <= 132, name


def test_the_options_of_examples_exist(rh: Shell) -> None:
    """An example that shows an option which its command has not would be a lie."""
    for name in commands_of_the_overview(rh):
        told = rh(*name.split(), "--help").out
        usage, _, examples = told.partition("\nExample")
        for line in examples.splitlines()[1:]:
            ours = line.partition(" -- ")[0] if name == "run" else line
            if name == "call":
                ours = re.sub(r"( box \S+).*", r"\1", ours)
            for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", ours):
                assert option in usage, f"{name}: {line}"


def test_the_man_page_is_the_programs_own(rh: Shell) -> None:
    assert rh("help", "--man").out == MAN.read_text(), "roundhouse help --man > docs/roundhouse.1"
    for name, _ in commands_of_the_overview(rh).items():
        assert f".SS {name}\n" in MAN.read_text()


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here to read the man page with")
def test_the_man_page_is_sound() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-c", str(MAN)], capture_output=True, text=True, check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "roundhouse run" in done.stdout


def test_exit_codes_are_the_same_everywhere() -> None:
    on_the_page = set(re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE))
    source = (ROOT / "src" / "cli" / "command.h").read_text()
    in_the_code = set(
        re.findall(r"^    \w+ = (\d+),", source.partition("enum class Exit")[2].partition("};")[0], re.MULTILINE)
    )
    assert on_the_page | {"143"} == in_the_code


def test_no_command_at_all(rh: Shell) -> None:
    done = rh(code=2)
    assert (done.out, "roundhouse COMMAND" in done.err) == ("", True)
    assert rh("--version").out == rh("version").out == f"roundhouse {rh('version', '--json').value['version']}\n"
    assert "server start, server stop" in rh("server", code=2).err


COMPLETE = """
source <(roundhouse completion bash)
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_roundhouse
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(rh: Shell, *words: str) -> set[str]:
    done = rh.bash(COMPLETE.format(words=" ".join(f"'{word}'" for word in ("roundhouse", *words))))
    assert (done.code, done.err) == (0, "")
    return set(done.out.split())


def test_completion_in_bash(rh: Shell, box: str) -> None:
    assert completed(rh, "sta") == {"status", "stack"}
    assert completed(rh, "stack", "tra") == {"train"}
    assert completed(rh, "token", "") == {"create", "list", "revoke"}
    assert {"up", "down", "run", "call", "server", "token"} <= completed(rh, "")
    assert "box" in completed(rh, "status", "b")
    assert completed(rh, "call", "box", "tra") == {"train"}
    assert completed(rh, "run", "--k") == {"--keep"}
    assert completed(rh, "run", "digits.py::train", "--on", "bo") == {"box"}
    assert completed(rh, "call", "--prints", "s") == {"split", "stderr"}
    assert completed(rh, "cluster", "st") == {"status"}
    rh("call", "--as", "counted", "box", "Counter")
    assert "counted.add" in completed(rh, "call", "box", "counted.")
    assert completed(rh, "nosuch", "") == set()
    assert completed(rh, "call", "nosuch", "") == set()


def test_scripts_for_other_shells(rh: Shell, tmp_path: Path) -> None:
    for shell, check in {"zsh": ["zsh", "-n"], "fish": ["fish", "-n"], "bash": ["bash", "-n"]}.items():
        script = tmp_path / shell
        script.write_text(rh("completion", shell).out)
        assert "__complete" in script.read_text()
        if shutil.which(shell):
            subprocess.run([*check, str(script)], check=True)


def test_it_is_rh_as_well(rh: Shell, tmp_path: Path) -> None:
    (tmp_path / "rh").symlink_to(PROGRAM)
    done = subprocess.run(
        [str(tmp_path / "rh"), "up", "short"], env=rh.env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "short is up\n", "")
    rh("down", "short")
