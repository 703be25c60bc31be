"""C++ through the doors: its client over TCP and TLS, with a token that may only call; its services from the shell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import roundhouse as rh

from . import cpp
from .conftest import BUILD, World

# Where, a token and a pin (each may be empty), and what to do there. Says the result, or the code and the message.
PROGRAM = r"""
#include <cstdio>
#include <cstdlib>

#include "roundhouse/client.h"

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const std::string what = argv[4];
    const auto said = [](const roundhouse::Error& error) {
        std::printf("%s: %s\n", error.code.c_str(), error.message.c_str());
        return 1;
    };
    const roundhouse::Access access{.token = argv[2], .pin = argv[3]};
    auto box = what == "up" ? roundhouse::Cluster::up(argv[1]) : roundhouse::Cluster::connect(argv[1], access);
    if (!box) return said(box.error());
    if (what == "deploy") {
        const auto made = box->deploy("another", {"/bin/true"});
        return made ? 0 : said(made.error());
    }
    const auto scale = box->get("scale");
    if (!scale) return said(scale.error());
    const std::vector<double> values{1, 2};
    const auto result = scale->call<std::vector<double>>("call", values, roundhouse::named("factor", 3.0));
    if (!result) return said(result.error());
    std::printf("%g %g\n", (*result)[0], (*result)[1]);
    return 0;
}
"""

Reached = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def reached(world: World, subjects: Path, cpp_box: rh.Cluster) -> Iterator[Reached]:
    """Runs the program, in an environment that knows no cluster by name."""
    source, program = world.folder / "reached.cpp", world.folder / "reached"
    source.write_text(PROGRAM)
    cpp.compile_program(source, program)
    rh.program(subjects).function("scale").to(cpp_box)

    def run(
        where: str, token: str = "", pin: str = "", what: str = "call", **env: str
    ) -> subprocess.CompletedProcess[str]:
        elsewhere = {**world.env, "ROUNDHOUSE_STATE": str(world.folder / "out"), **env}
        return subprocess.run(
            [str(program), where, token, pin, what], env=elsewhere,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    yield run
    cpp_box.unlisten()


@pytest.fixture(scope="module", params=[False, True], ids=["tcp", "tls"])
def listener(request: pytest.FixtureRequest, cpp_box: rh.Cluster) -> rh.Listener:
    return cpp_box.listen(tls=request.param)


def test_a_token_that_may_call(reached: Reached, cpp_box: rh.Cluster, listener: rh.Listener) -> None:
    token, pin = cpp_box.create_token(scope="call"), listener.pin or ""
    scheme = "tls" if listener.tls else "tcp"
    for where in (listener.url, f"{scheme}://{listener.host}:{listener.port}"):
        done = reached(where, token, pin)
        assert (done.returncode, done.stdout) == (0, "3 6\n"), done.stderr
    refused = reached(listener.url, token, pin, "deploy")
    assert refused.stdout.startswith("not_allowed: ")
    assert token not in refused.stdout


def test_tokens_that_may_not(reached: Reached, cpp_box: rh.Cluster, listener: rh.Listener) -> None:
    name = f"revoked-{listener.port}"
    token = cpp_box.create_token(name)
    cpp_box.revoke_token(name)
    for given in ("", "wrong", token, "with spaces"):
        done = reached(listener.url, given, listener.pin or "")
        assert done.stdout.startswith("not_allowed: "), done
        assert token not in done.stdout


def test_a_name_that_the_environment_explains(reached: Reached, cpp_box: rh.Cluster, listener: rh.Listener) -> None:
    exported = cpp_box.export(f"for-{listener.port}")
    for what in ("call", "up"):
        done = reached("cpp-subjects", what=what, **exported)
        assert (done.returncode, done.stdout) == (0, "3 6\n"), done.stderr
    # What the program says wins.
    assert reached("cpp-subjects", "wrong", **exported).stdout.startswith("not_allowed: ")
    assert reached("cpp-subjects").returncode == 1


def test_another_certificate_is_refused(reached: Reached, cpp_box: rh.Cluster) -> None:
    listener = cpp_box.listen(tls=True)
    token = cpp_box.create_token()
    for pin in ("sha256/" + "A" * 43 + "=", ""):
        done = reached(listener.url, token, pin)
        assert done.returncode == 1
        assert "certificate" in done.stdout or "pin" in done.stdout, done.stdout
        assert token not in done.stdout


@pytest.mark.parametrize("where", ["carrier-pigeon:somewhere", "tls:no.slashes:1", "tcp://127.0.0.1", "tls://u@h:1"])
def test_endpoints_that_are_none(reached: Reached, where: str) -> None:
    assert reached(where, "token").stdout.startswith("bad_arguments: ")


def test_a_service_called_from_the_shell(world: World, subjects: Path, cpp_box: rh.Cluster) -> None:
    program = rh.program(subjects)
    for name in ("scale", "move", "count", "throw_something"):
        program.function(name).to(cpp_box)

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return world.run(BUILD / "bin" / "roundhouse", "call", *words)

    assert json.loads(call("cpp-subjects", "scale", "[1, 2]", "--factor", "3").stdout) == [3.0, 6.0]
    assert json.loads(call("cpp-subjects", "move", '{"x": 1, "tags": ["a"]}').stdout) == {
        "x": 2.0,
        "y": 2.0,
        "tags": ["a"],
    }
    assert call("--prints", "none", "cpp-subjects", "count", "3").stdout.split()[:3] == ["0", "1", "2"]
    refused = call("cpp-subjects", "scale", "[1, 2]", "--fctor", "3")
    assert refused.returncode != 0
    assert "fctor" in refused.stdout
    raised = call("cpp-subjects", "throw_something", "far")
    assert raised.returncode == 4
    assert "std::out_of_range" in raised.stdout
