"""up, down, list, status, ps: what people see, what programs see, and how each ends."""

from __future__ import annotations

import json

from .shell import Shell


def test_a_cluster_from_up_to_down(rh: Shell) -> None:
    assert rh("up", "life").out == "life is up\n"
    assert rh("up", "life").out == "life is up, and was before\n"
    told = rh("status", "life", "--json").value
    assert (told["name"], told["up"], told["services"]) == ("life", True, [])
    assert "life is up for" in rh("status", "life").out
    assert rh("down", "life").out == "life is down\n"
    assert rh("down", "life").out == "life is down, and was before\n"
    assert "roundhouse up life" in rh("status", "life", code=3).err


def test_up_says_in_json_whether_it_started_it(rh: Shell) -> None:
    first, second = (rh("up", "twice", "--json").value for _ in range(2))
    assert (first["started"], second["started"], first["up"]) == (True, False, True)
    assert first["state_folder"] == second["state_folder"]
    assert rh("down", "twice", "--json").value == [{"name": "twice", "ended": True}]
    assert rh("down", "twice", "--json").value == [{"name": "twice", "ended": False}]


def test_sizes_are_the_clusters(rh: Shell) -> None:
    rh("up", "sized", "--cpus", "1", "--memory", "1GiB")
    resources = rh("status", "sized", "--json").value["resources"]
    assert (len(resources["cpus"]), resources["memory"]) == (1, 1 << 30)
    rh("down", "sized", "--delete")
    assert "sized" not in [row["name"] for row in rh("list", "--json").value]
    for size in ("lots", "0", "-1", "5 parsecs", "nan", "inf", "1e300"):
        assert "memory" in rh("up", "sized", f"--memory={size}", code=2).err


def test_list_aligns_its_columns(rh: Shell) -> None:
    rh("up", "a-much-longer-name")
    rh("up", "b")
    header, *rows = rh("list").out.splitlines()
    at = header.index("STATE")
    assert len(rows) >= 2
    assert all(row[at - 2 : at] == "  " and row[at] != " " for row in rows)
    assert [row["up"] for row in rh("list", "--json").value if row["name"] == "b"] == [True]
    rh("down", "a-much-longer-name", "b")
    names = [row["name"] for row in rh("list", "--up", "--json").value]
    assert "b" not in names


def test_names_that_runhouse_had(rh: Shell, box: str) -> None:
    assert rh("cluster", "status", box, "--json").value["name"] == box
    assert rh("cluster", "list", "--json").value == rh("list", "--json").value


def test_ps_shows_what_lives_there(rh: Shell, box: str) -> None:
    rows = {row["service"]: row for row in rh("ps", box, "--json").value}
    assert rows["train"]["kind"] == "function"
    assert rows["Counter"]["kind"] == "class"
    assert rows["train"]["memory"] > 1_000_000
    assert rows["train"]["cluster"] == box
    assert "train" in rh("ps").out


def test_a_name_that_is_nearly_right(rh: Shell, box: str) -> None:
    assert "Did you mean box?" in rh("status", "bxo", code=3).err
    assert 'did you mean "train"' in rh("call", box, "trian", code=3).err
    assert "Did you mean --cpus?" in rh("up", "x", "--cpsu", "2", code=2).err
    for typed, meant in {"statsu": "status", "pz": "ps", "cal": "call", "token crate": "token create"}.items():
        assert f'Did you mean "{meant}"?' in rh(*typed.split(), code=2).err


def test_bad_words_are_usage_errors(rh: Shell) -> None:
    for words in (["up"], ["up", "a", "b"], ["down"], ["down", "--all", "x"], ["run"], ["call", "box"], ["--frob"],
                  ["completion", "tcsh"], ["token"], ["up", "x", "--cpus", "-1"], ["up", "x", "--cpus", "1.5"],
                  ["up", "../x"], ["up", "x y"], ["up", "x" * 500]):  # fmt: skip
        done = rh(*words, code=2)
        assert done.out == ""
        assert done.err.startswith("roundhouse: "), words


def test_empty_words(rh: Shell, box: str) -> None:
    for words in (
        [""],
        ["up", ""],
        ["up", "a", ""],
        ["up", "a", "--cpus", ""],
        ["call", "", "train"],
        ["config", "a", ""],
    ):
        assert rh(*words, code=2).err.startswith("roundhouse: "), words
    assert rh("call", box, "show", "", "--x", "").value == {"args": [""], "kwargs": {"x": ""}}


def test_closed_descriptors(rh: Shell, box: str) -> None:
    assert rh.bash(f"roundhouse call {box} show 1 >&-").code == 0
    assert rh.bash(f"roundhouse call {box} show 1 <&- >&- 2>&-").code == 0
    assert rh("call", box, "show", "1").value["args"] == [1]


def test_errors_as_json_go_to_stderr(rh: Shell) -> None:
    done = rh("status", "nowhere", "--json", code=3)
    error = json.loads(done.err)["error"]
    assert done.out == ""
    assert (error["code"], error["type"], error["traceback"]) == ("not_found", "NotFound", None)
    assert "nowhere" in error["message"]
    assert json.loads(rh("--json", "frobnicate", code=2).err)["error"]["code"] == "usage"


def test_a_cluster_elsewhere_that_does_not_answer(rh: Shell) -> None:
    there = json.dumps({"url": "http://127.0.0.1:1", "pin": "", "token": "secret-token"})
    done = rh("status", "far-away", code=3, ROUNDHOUSE_CLUSTER_FAR_AWAY=there)
    assert "127.0.0.1:1" in done.err
    assert "secret-token" not in done.err
    row = next(r for r in rh("list", "--json", ROUNDHOUSE_CLUSTER_FAR_AWAY=there).value if r["launcher"] == "elsewhere")
    assert (row["name"], row["url"], row["up"]) == ("far_away", "http://127.0.0.1:1", None)
    assert "secret-token" not in rh("list", ROUNDHOUSE_CLUSTER_FAR_AWAY=there).out
    assert "is elsewhere" in rh("up", "far-away", code=1, ROUNDHOUSE_CLUSTER_FAR_AWAY=there).err


def test_a_variable_that_is_none_is_refused_without_its_text(rh: Shell) -> None:
    for text in ("secret-token", '{"token": "secret-token"}', '{"url": "ftp://x", "token": "secret-token"}'):
        done = rh("status", "far", code=2, ROUNDHOUSE_CLUSTER_FAR=text)
        assert "roundhouse export" in done.err
        assert "secret-token" not in done.err


def test_settings(rh: Shell) -> None:
    rh("config", "set", "default_provider", "kubernetes")
    rh("config", "set", "numbers", "[1, 2]")
    assert rh("config", "default_provider").value == "kubernetes"
    assert rh("config", "--json").value["numbers"] == [1, 2]
    assert "default_provider" in rh("config").out
    rh("config", "unset", "numbers")
    assert "Did you mean" not in rh("config", "numbers", code=3).err
    assert "Did you mean default_provider?" in rh("config", "defualt_provider", code=3).err
    rh("config", "unset", "default_provider")
