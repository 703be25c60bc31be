"""What docs/from-runhouse.md says is kept or fixed, in the words of a Runhouse user: functions, modules and calls.

Clusters, processes and objects are in test_from_runhouse_clusters.py.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh

from . import runhouse_subjects as subjects
from .pages import ROOT, environment, tear_down
from .runhouse_rows import ROWS

PAGE = ROOT / "docs" / "from-runhouse.md"

# Section by section what a script may do that needs a local cluster only. Under Runhouse its first line was
# `import runhouse as rh`.
SCRIPT = """
import roundhouse as rh
import asyncio
import functools

def square(x):
    return x * x

class Tally:
    def __init__(self, start):
        self.total = start
    def add(self, n):
        self.total += n
        return self.total

class Scaler(rh.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor
    def scale(self, x):
        return self.factor * x

async def main(f):
    return await f(9, run_async=True)

def relay(x):
    return rh.function(square).to(rh.here, name="relayed")(x)

if __name__ == "__main__":
    c = rh.compute(name="patterns").up_if_not()
    f = rh.function(square).to(c, name="square", process="maths")
    print("function", f(3))
    R = rh.cls(Tally).to(c)
    r = R(10, name="tally")
    print("class", r.add(5), c.get("tally", remote=True).add(1))
    print("module", Scaler(3).to(c).scale(2), Scaler(4).get_or_to(c, name="scaler").scale(2))
    print("get_or_to", Scaler(5).get_or_to(c, name="scaler").scale(2))
    pool = f.distribute("pool", num_replicas=8, replicas_per_node=8)
    print("pool", [pool(n) for n in range(4)])
    replicas = [f] + f.replicate(7)
    print("replicate", [replica(n) for n, replica in enumerate(replicas)])
    print("async", asyncio.run(main(f)))
    print("partial", functools.partial(f, stream_logs=False)(4))
    print("here", rh.function(relay).to(c)(5))
    c.teardown()
    print("up", c.is_up())
"""
PRINTED = """\
function 9
class 15 16
module 6 8
get_or_to 8
pool [0, 1, 4, 9]
replicate [0, 1, 4, 9, 16, 25, 36, 49]
async 81
partial 16
here 25
up False
"""


def test_a_script_runs_after_changing_only_its_import(tmp_path: Path) -> None:
    env = environment(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    try:
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        tear_down(env)
    assert done.stdout == PRINTED, done.stderr
    assert done.returncode == 0


# The page itself.


def rows() -> list[tuple[str, str]]:
    """First cell and verdict of each row of the page's tables."""
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [(row[0].strip(), row[1].strip()) for row in cells if row[1].strip() != "here"]


def test_every_row_says_one_of_four_things() -> None:
    verdict = re.compile(
        r"kept|fixed|dropped|later \((launchers|web apps|runs|environments|frameworks)\)",
    )
    assert len(rows()) > 100
    assert [row for row in rows() if not verdict.fullmatch(row[1])] == []


def test_what_is_kept_or_fixed_has_a_test() -> None:
    said = [name for name, verdict in rows() if verdict in ("kept", "fixed")]
    assert sorted(said) == sorted(ROWS)
    there: dict[str, set[str]] = {}
    for test in ROWS.values():
        path, _, function = test.rpartition("::")
        files = [path] if path else [f"tests/docs/test_from_runhouse{part}.py" for part in ("", "_clusters")]
        for file in files:
            if file not in there:
                tree = ast.parse((ROOT / file).read_text())
                there[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert any(function in there[file] for file in files), f"there is no test {test}"


# Functions.


def test_lambdas_and_nested_functions(box: rh.Cluster) -> None:
    factor = 3

    def nested(x: int) -> int:
        return factor * x

    assert rh.fn(nested).to(box)(2) == 6
    assert rh.function(lambda x: x + factor).to(box, name="increment")(2) == 5
    assert rh.function(subjects.add)(1, 2) == 3  # unsent it runs here


def test_getting_by_name(box: rh.Cluster) -> None:
    rh.function(subjects.add).to(box, name="sum")
    assert box.get("sum", remote=True)(1, b=2) == 3
    assert box.get("sum")(4) == 4


def test_many_calls_at_once(box: rh.Cluster) -> None:
    nap = rh.function(subjects.nap).to(box, name="nap", max_concurrency=4)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(nap, [0.01] * 8)) == [0.01] * 8


def test_map(box: rh.Cluster) -> None:
    add = rh.function(subjects.add).to(box, name="mapped", workers=2)
    assert add.map([1, 2, 3], [10, 20, 30]) == [11, 22, 33]
    assert add.starmap([(1, 2), (3, 4)]) == [3, 7]


def test_none(box: rh.Cluster) -> None:
    assert rh.function(subjects.nothing).to(box)() is None


def test_remote_arguments(box: rh.Cluster) -> None:
    add = rh.function(subjects.add).to(box, name="argument")
    assert rh.function(subjects.call_it).to(box)(add, 1, 2) == 3
    account = rh.module(subjects.Account).to(box)(5)
    assert rh.function(subjects.call_it).to(box)(account.deposit, 2) == 7
    assert account.remote.balance == 7


def test_a_missing_import(box: rh.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        rh.function(subjects.imports_what_is_missing).to(box)()


def test_sending_here(box: rh.Cluster) -> None:
    for here in ("here", rh.here):
        with pytest.raises(ValueError, match="here"):
            rh.function(subjects.add).to(here)
    assert rh.function(subjects.sends_here).to(box)() == 5


def test_calling_remote(box: rh.Cluster) -> None:
    add = rh.function(subjects.add).to(box, name="called_remote")
    kept = add.remote(1, 2)
    assert kept.fetch() == 3


# Modules.


def test_classes(box: rh.Cluster) -> None:
    RemoteAccount = rh.module(subjects.Account).to(box, name="account_class")
    assert rh.cls is rh.module
    first, second = RemoteAccount(1), RemoteAccount(2)
    named = RemoteAccount(balance=10, name="named")
    assert (first.deposit(1), second.deposit(1), named.deposit(1)) == (2, 3, 11)
    assert box.get("named", remote=True).deposit(1) == 12
    # The class is still there, and a name that is given again replaces.
    assert box.get("account_class", remote=True)(5).deposit(1) == 6
    assert RemoteAccount(0, name="named").deposit(1) == 1


def test_process_of_a_constructor(box: rh.Cluster) -> None:
    RemoteAccount = rh.module(subjects.Account).to(box)
    apart = RemoteAccount.options(process="apart")(1)
    assert apart.pid() != RemoteAccount(1).pid()
    assert "apart" in box.list_processes()
    with pytest.raises(TypeError):
        subjects.Account(1, process="apart")  # type: ignore[call-arg]


def test_modules(box: rh.Cluster) -> None:
    model = subjects.Model(2)
    assert model.predict(3) == 6
    remote = model.to(box, name="model")
    remote.train(1)
    assert remote.predict(3) == 9
    assert model.predict(3) == 6  # what happens there stays there
    assert remote.kind() == "linear"
    assert remote.place() == os.getpid()
    assert list(remote.trace(2)) == [3, 3]
    again = subjects.Model(100).get_or_to(box, name="model")
    assert again.predict(1) == 3


def test_methods_of_every_kind(box: rh.Cluster) -> None:
    RemoteAccount = rh.module(subjects.Account).to(box)
    account = RemoteAccount(3)
    assert RemoteAccount.of_bank() == account.of_bank() == "first"
    assert RemoteAccount.fee() == account.fee() == 1
    assert asyncio.run(account.wait(4)) == 4
    assert list(account.history(2)) == [3, 4]


def test_the_users_names_win(box: rh.Cluster) -> None:
    RemoteCollides = rh.module(subjects.Collides).to(box)
    mine = RemoteCollides.options(name="collides")(name="theirs", process="one")
    assert mine.get_given() == ("theirs", "one")
    assert mine.save(name="x", timeout=5) == ("x", 5)
    assert mine.fetch(remote=True) is True
    assert mine.status() == "the user's"
    assert mine.to(process="p") == "p"
    assert rh.handle(mine).name == "collides"


def test_attributes(box: rh.Cluster) -> None:
    account = rh.module(subjects.Account).to(box)(5)
    assert (account.remote.balance, account.remote.doubled, account.remote._secret) == (5, 10, "private")
    account.remote.balance = 8
    assert account.deposit(0) == 8
    with pytest.raises(AttributeError, match=r"\.remote"):
        account.balance = 3
    assert account.deposit(0) == 8
    assert account.local is not None


def test_fetch(box: rh.Cluster) -> None:
    account = rh.module(subjects.Account).to(box)(5)
    copy = account.fetch()
    assert type(copy) is subjects.Account
    assert copy.balance == account.fetch("balance") == 5
    copy.deposit(1)
    assert account.remote.balance == 5
    assert isinstance(subjects.Model(2).to(box).fetch(), subjects.Model)


def test_async_attributes(box: rh.Cluster) -> None:
    account = rh.module(subjects.Account).to(box)(5)

    async def both() -> Any:
        await account.set_async("balance", 6)
        return await account.fetch_async("balance")

    assert asyncio.run(both()) == 6


def test_resolve(box: rh.Cluster) -> None:
    account = rh.module(subjects.Account).to(box)(5)
    class_of = rh.function(subjects.class_of).to(box)
    assert class_of(account.resolve()) == "Account"
    assert class_of(account) != "Account"


def test_refresh_and_rename(box: rh.Cluster) -> None:
    RemoteAccount = rh.module(subjects.Account).to(box)
    old = RemoteAccount(1, name="renamed-later")
    other = box.get("renamed-later", remote=True)
    old.rename("renamed")
    assert old.deposit(1) == 2
    assert box.get("renamed", remote=True).deposit(1) == 3
    assert other.deposit(1) == 4
    assert RemoteAccount(7).deposit(0) == 7
    RemoteAccount(50, name="renamed")
    assert old.refresh().deposit(0) == 50


def test_saved_functions_and_modules(box: rh.Cluster) -> None:
    rh.function(subjects.pid).to(box, name="to-be-saved").save("~/saved-pid")
    assert rh.exists("saved-pid")
    assert rh.load("saved-pid")() == box.get("to-be-saved", remote=True)()
    account = rh.module(subjects.Account).to(box)(5, name="saved-account")
    rh.handle(account).save()
    with pytest.raises(ValueError, match="saved-account"):
        rh.handle(account).save(overwrite=False)
    assert rh.load("saved-account").deposit(1) == 6
    rh.handle(account).delete()
    with pytest.raises(rh.NotFound, match="saved-account"):
        rh.load("saved-account")


def test_saved_names_alone(box: rh.Cluster) -> None:
    """What was saved is found by a name in place of the code, too, if it is of that kind."""
    sent = rh.function(subjects.pid).to(box, name="alone-sent")
    sent.save("alone-pid")
    for again in (
        rh.function("alone-pid"),
        rh.function("~/alone-pid"),
        rh.function(name="alone-pid"),
        rh.fn(name="alone-pid", dryrun=True),
    ):
        assert again() == sent()
    rh.module(subjects.Account).to(box, name="alone-class").save()
    assert rh.module(name="alone-class")(3).deposit(1) == rh.cls("alone-class")(3).deposit(1) == 4
    account = rh.cls("alone-class")(5, name="alone-account")
    rh.handle(account).save()
    assert rh.module(name="alone-account").deposit(1) == 6
    assert account.deposit(0) == 6

    # As Runhouse did, and as rh.load does.
    for error in (ValueError, rh.NotFound):
        with pytest.raises(error, match="nothing is saved as 'never-saved'"):
            rh.function("never-saved")
        with pytest.raises(error, match="nothing is saved as 'never-saved'"):
            rh.module(name="never-saved")
        for kind, ask, name in (
            ("function", rh.function, "alone-class"),
            ("function", rh.function, "alone-account"),
            ("class or instance", rh.cls, "alone-pid"),
        ):
            with pytest.raises(error, match=rf"'{name}' is no {kind}: .* Try: rh\.load\('{name}'\)"):
                ask(name)
    with pytest.raises(TypeError, match="two names"):
        rh.function("alone-pid", name="another")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="NoneType"):
        rh.function()  # type: ignore[call-overload]
    with pytest.raises(rh.Unsupported, match="import it"):
        rh.function("https://github.com/someone/code/blob/main/work.py:run")


def test_get_or_to(box: rh.Cluster) -> None:
    first = rh.function(subjects.pid).get_or_to(box, name="pid-of-one")
    assert first() == rh.function(subjects.pid).get_or_to(box, name="pid-of-one")()
    assert first() != rh.function(subjects.pid).get_or_to(box, name="pid-of-another")()


def test_sending_again_leaves_instances_alone(box: rh.Cluster) -> None:
    RemoteAccount = rh.module(subjects.Account).to(box, name="sent-twice")
    old = RemoteAccount(1)
    again = rh.module(subjects.Account).to(box, name="sent-twice")
    assert old.deposit(1) == 2
    assert again(5).pid() != old.pid()
    assert rh.function(subjects.add).to(box).to(box)(1, 1) == 2


def test_where_it_is(box: rh.Cluster) -> None:
    add = rh.function(subjects.add).to(box, name="placed", process="a-place")
    assert (add.name, add.system, add.process) == ("placed", box, "a-place")
    assert add.endpoint().endswith("/v1/services/placed")
    account = rh.module(subjects.Account).to(box)(1, name="placed-account")
    assert rh.handle(account).name == "placed-account"
    assert rh.handle(account).cluster == box


def test_signatures(box: rh.Cluster) -> None:
    account = rh.module(subjects.Account).to(box)(1)
    assert {"deposit", "history", "wait", "of_bank", "fee"} <= set(account.signature())
    assert "amount" in str(account.method_signature("deposit"))


# Calls.


def test_stream_logs(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    speak = rh.function(subjects.speak).to(box, name="quiet")
    speak("silence", stream_logs=False)
    functools.partial(speak, stream_logs=False)("silence")
    speak.options(stream_logs=False)("silence")
    speak("words")
    shown = capsys.readouterr()
    assert "silence" not in shown.out + shown.err
    assert "out: words" in shown.out


def test_results_that_stay(box: rh.Cluster) -> None:
    stays = rh.function(subjects.add).to(box, name="stays")
    assert stays(2, 3, remote=True).fetch() == 5


def test_run_async(box: rh.Cluster) -> None:
    add = rh.function(subjects.add).to(box, name="awaited")
    slowly = rh.function(subjects.slowly).to(box, name="slowly")
    coroutine = rh.function(subjects.a_coroutine).to(box, name="a-coroutine")

    async def all_of_them() -> list[Any]:
        return [await add(1, 2, run_async=True), await slowly(3), await slowly(4, run_async=True)]

    assert asyncio.run(all_of_them()) == [3, 3, 4]
    assert slowly(5, run_async=False) == 5
    assert coroutine(6) == 6


def test_generators(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    up_to = rh.function(subjects.up_to).to(box)
    items = up_to(3)
    assert next(items) == 0
    assert list(items) == [1, 2]
    assert [f"yielding {i}" in capsys.readouterr().out for i in range(1)] == [True]
    echo = rh.function(subjects.echo).to(box)()
    assert next(echo) is None
    assert echo.send("hello") == "hello"
    assert echo.throw(ValueError("that")) == "caught that"
    echo.close()
    up_to_slowly = rh.function(subjects.up_to_slowly).to(box)

    async def collect() -> list[int]:
        return [i async for i in up_to_slowly(3)]

    assert asyncio.run(collect()) == [0, 1, 2]


def test_a_lost_connection(own_state: str, tmp_path: Path) -> None:
    """A call whose connection is lost goes on, and is not sent again: its result comes over the next connection."""
    ledger = tmp_path / "ledger"
    with rh.compute("lost") as cluster:
        call = rh.function(subjects.note_and_nap).to(cluster).submit(str(ledger), 1)
        deadline = time.monotonic() + 30
        while not ledger.exists():
            assert time.monotonic() < deadline, "the call did not begin"
            time.sleep(0.01)
        os.kill(cluster.status()["pid"], signal.SIGKILL)
        assert call.result(timeout=30) is None
        with rh.compute("lost-and-found") as other:  # a lost connection is its cluster's own business
            assert rh.function(subjects.add).to(other)(1, 2) == 3
    assert ledger.read_text() == "begun\n"


def test_exceptions(box: rh.Cluster) -> None:
    refuse = rh.function(subjects.refuse).to(box)
    with pytest.raises(subjects.Refused, match="not today") as refused:
        refuse("plain")
    assert refused.value.code == 7
    assert "in refuse" in str(refused.value.__cause__)
    with pytest.raises(subjects.Unpicklable, match="holds a lock") as told:
        refuse("unpicklable")
    assert not hasattr(told.value, "lock")
    with pytest.raises(rh.RemoteError, match="for ever") as lost:
        refuse("unrebuildable")
    assert "Unrebuildable" in lost.value.type
    assert "in refuse" in lost.value.traceback


def test_missing_things(box: rh.Cluster) -> None:
    account = rh.module(subjects.Account).to(box)(1)
    with pytest.raises(AttributeError, match="deposit"):
        account.depsoit(1)
    with pytest.raises(LookupError, match="no-such-key"):
        box.rename("no-such-key", "other")


def test_a_dead_process(box: rh.Cluster) -> None:
    with pytest.raises(rh.WorkerDied) as died:
        rh.function(subjects.refuse).to(box)("dead")
    assert died.value.exit_code == 3


def test_output(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    rh.function(subjects.speak).to(box, name="speak")("hello")
    shown = capsys.readouterr()
    assert shown.out == "out: hello\n"
    assert "err: hello" in shown.err
    assert "log: hello" in shown.err


def test_notebooks(box: rh.Cluster, tmp_path: Path) -> None:
    """A function of a notebook's cell is sent, and nothing is written beside the notebook."""
    import nbformat
    from nbclient import NotebookClient

    code = f"import roundhouse as rh\ndef f(x): return x + 1\nrh.function(f).to({box.name!r}, name='of-a-cell')(1)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "IPYTHONDIR": str(tmp_path / "ipython")}
    (tmp_path / "work").mkdir()
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path / "work")}}).execute(env=env)
    assert notebook.cells[0].outputs[0]["data"]["text/plain"] == "2"
    assert list((tmp_path / "work").iterdir()) == []


def test_output_of_nested_calls(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    inner = rh.function(subjects.speak).to(box, name="inner")
    rh.function(subjects.call_it).to(box)(inner, "nested")
    assert "out: nested" in capsys.readouterr().out
