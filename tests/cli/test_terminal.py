"""What a terminal gets, and what nothing else does: colour, progress, questions."""

from __future__ import annotations

from .shell import Shell

ESCAPE = "\x1b"


def test_colour_on_a_terminal_only(rh: Shell, box: str) -> None:
    assert ESCAPE + "[1m" in rh.terminal("list").out
    assert ESCAPE not in rh("list").out
    assert ESCAPE not in rh.terminal("list", NO_COLOR="1").out
    assert ESCAPE not in rh.terminal("list", TERM="dumb").out
    assert ESCAPE + "[1;31m" in rh.terminal("status", "nowhere").out
    assert ESCAPE not in rh("status", "nowhere", code=3).err
    assert ESCAPE not in rh.terminal("list", "--json").out


def test_progress_on_a_terminal_only(rh: Shell) -> None:
    shown = rh.terminal("up", "shown").out
    assert "starting shown ..." in shown
    assert "shown started in" in shown
    done = rh("up", "silent")
    assert (done.out, done.err) == ("silent is up\n", "")
    rh("down", "shown", "silent")


def test_down_asks_when_something_lives_there(rh: Shell) -> None:
    rh("run", "digits.py::train", "--on", "precious", "--keep", "--quiet")
    refused = rh.terminal("down", "precious", answer="n")
    assert (refused.code, "1 service live" in refused.out or "services live" in refused.out) == (1, True)
    assert rh("status", "precious").code == 0
    assert rh.terminal("down", "precious", answer="y").code == 0
    rh("status", "precious", code=3)
    rh("up", "empty")
    assert "[y/N]" not in rh.terminal("down", "empty").out


def test_ctrl_c_at_a_terminal(rh: Shell, box: str) -> None:
    done = rh.terminal("call", box, "slowly", "60", interrupt_at="begun")
    assert done.code == 130
    assert "cancelling" in done.out


def test_bytes_are_not_for_a_terminal(rh: Shell, box: str) -> None:
    done = rh.terminal("call", box, "blob", "1024")
    assert (done.code, "-o FILE" in done.out) == (2, True)


def test_wide_letters_keep_columns_aligned(rh: Shell) -> None:
    rh("config", "set", "日本語", "1")
    rh("config", "set", "plain-key", "2")
    header, *rows = rh("config").out.splitlines()
    at = header.index("VALUE")
    for row in rows:
        key = row.split()[0]
        wide = sum(2 if ord(letter) > 0x2E80 else 1 for letter in key)
        assert len(row) - len(key) + wide == at + 1, row
    rh("config", "unset", "日本語")
    rh("config", "unset", "plain-key")


def test_text_from_elsewhere_cannot_steer_the_terminal(rh: Shell) -> None:
    rh("config", "set", "evil\x1b]0;title\x07", "1")
    assert "\x1b]" not in rh.terminal("config").out
    rh("config", "unset", "evil\x1b]0;title\x07")
