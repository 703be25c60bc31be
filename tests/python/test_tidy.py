"""tools/tidy.py finds what it says it finds, and passes this repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIDY = ROOT / "tools" / "tidy.py"
UNFINISHED = "TO" + "DO"


def tidy(root: Path) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, TIDY, root], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_this_repository_is_tidy() -> None:
    code, lines = tidy(ROOT)
    assert lines == []
    assert code == 0


HEADER = "#pragma once\n"

BAD = [
    ("src/base/a.h", HEADER + '#include "wire/frame.h"\n', 2, "base may not include wire/frame.h"),
    ("src/wire/a.h", HEADER + '#include "net/stream.h"\n', 2, "wire may not include net/stream.h"),
    ("src/client/a.h", HEADER + '#include "daemon/daemon.h"\n', 2, "client may not include daemon/daemon.h"),
    ("src/daemon/a.h", HEADER + '#include "client/client.h"\n', 2, "daemon may not include client/client.h"),
    ("src/http/a.h", HEADER + '#include "daemon/daemon.h"\n', 2, "http may not include daemon/daemon.h"),
    ("src/keeper/a_test.cpp", '#include "daemon/daemon.h"\n', 1, "keeper may not include daemon/daemon.h"),
    ("src/daemon/a.h", HEADER + "#include <roundhouse/client.h>\n", 2, "daemon may not include roundhouse/client.h"),
    ("src/wire/a.h", HEADER + '#include "frame.h"\n', 2, 'write "wire/frame.h"'),
    ("src/worker/a.h", HEADER + "#include <boost/asio.hpp>\n", 2, "boost/asio.hpp is included in worker"),
    ("src/rpc/a.h", HEADER + "#include <boost/beast.hpp>\n", 2, "boost/beast.hpp is included in rpc"),
    ("src/client/a.h", HEADER + '#include "protocol/messages.pb.h"\n', 2, "belongs to wire, rpc"),
    ("src/daemon/a.h", HEADER + "#include <google/protobuf/message_lite.h>\n", 2, "belongs to wire, rpc"),
    ("src/rpc/a.h", HEADER + "#include <openssl/ssl.h>\n", 2, "belongs to net"),
    ("src/daemon/a.h", HEADER + "#include <sqlite3.h>\n", 2, "belongs to store, registry"),
    ("src/launch/a.h", HEADER + "#include <CLI/CLI.hpp>\n", 2, "belongs to cli"),
    ("src/client/a.h", HEADER + "#include <Python.h>\n", 2, "belongs to binding"),
    ("src/base/a.h", HEADER + "#include <nanobind/nanobind.h>\n", 2, "belongs to binding"),
    ("src/base/a.h", HEADER + "#include <absl/strings/cord.h>\n", 2, "a library that is not on the list"),
    ("src/base/a.h", HEADER + "#include <gtest/gtest.h>\n", 2, "outside a *_test.cpp"),
    ("include/roundhouse/a.h", HEADER + "#include <fmt/format.h>\n", 2, "only the standard library"),
    ("include/roundhouse/a.h", HEADER + '#include "base/result.h"\n', 2, "only the standard library"),
    ("src/base/a.h", "// no guard\n", 1, "no #pragma once"),
    ("src/base/lonely.cpp", "int x;\n", 1, "has no header of its name"),
    ("src/gadgets/a.h", HEADER, 1, "src/gadgets is not on the map"),
    ("src/base/util/a.h", HEADER, 1, "the folder src/base/util has a name that says nothing"),
    ("tests/helpers/a.py", "x = 1\n", 1, "the folder tests/helpers has a name that says nothing"),
    ("python/roundhouse/client.py", "x = 1\n", 1, "client.py is a public module: call it _client.py"),
    ("python/roundhouse/_a.py", "x = 1\n" * 601, 600, "has 601 lines, more than 600"),
    ("docs/a.md", f"one\n{UNFINISHED}: more\n", 2, f"says {UNFINISHED}"),
    ("docs/a.md", "see /home/" + "jane/src/a.cpp\n", 1, "a path of one machine"),
    ("docs/a.md", "one \n", 1, "white space at its end"),
    ("docs/a.md", "one", 1, "does not end with a new line"),
    ("docs/a.md", "one\n\n", 2, "ends with an empty line"),
]


@pytest.mark.parametrize(("path", "text", "line", "says"), BAD, ids=[f"{path}-{says}" for path, _, _, says in BAD])
def test_a_broken_rule_is_named_with_its_place(tmp_path: Path, path: str, text: str, line: int, says: str) -> None:
    write(tmp_path, path, text)
    code, lines = tidy(tmp_path)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"{path}:{line}: ")
    assert says in lines[0]


def test_a_path_into_the_checkout_itself_is_found(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.md", f"see {tmp_path}/docs\n")
    code, lines = tidy(tmp_path)
    assert code == 1
    assert "a path of one machine" in lines[0]


def test_bytes_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xff\xfe\n")
    assert tidy(tmp_path) == (1, ["a.md:1: is not UTF-8: save it as such"])


def test_what_the_map_allows_passes(tmp_path: Path) -> None:
    good = {
        "include/roundhouse/client.h": HEADER + "#include <memory>\n#include <roundhouse/value.h>\n",
        "src/base/result.h": HEADER + "#include <tl/expected.hpp>\n#include <sys/socket.h>\n",
        "src/wire/frame.h": HEADER + '#include "base/result.h"\n#include "protocol/messages.pb.h"\n',
        "src/wire/frame.cpp": '#include "wire/frame.h"\n#include <google/protobuf/message_lite.h>\n',
        "src/wire/frame_test.cpp": '#include <gtest/gtest.h>\n#include "wire/frame.h"\n',
        "src/base/interfaces.h": HEADER + "#include <net/if.h>\n",
        "src/http/server.h": HEADER + '#include "daemon/api.h"\n#include <boost/beast/http.hpp>\n',
        "src/daemon/daemon.h": HEADER + "#include <boost/asio/io_context.hpp>\n",
        "src/daemon/daemon_calls.cpp": '#include "daemon/daemon.h"\n#include "rpc/session.h"\n',
        "src/binding/module.cpp": "#include <Python.h>\n#include <nanobind/nanobind.h>\n",
        "src/binding/values.cpp": "#include <roundhouse/client.h>\n",
        "src/bin/roundhoused.cpp": '#include "daemon/daemon.h"\n#include <boost/asio/io_context.hpp>\n',
        "python/roundhouse/__init__.py": "x = 1\n",
        "python/roundhouse/_worker/serve.py": "x = 1\n",
        "third_party/x/util/a.h": f"{UNFINISHED} \n",
        "build/a.h": f"{UNFINISHED} \n",
    }
    for path, text in good.items():
        write(tmp_path, path, text)
    assert tidy(tmp_path) == (0, [])
