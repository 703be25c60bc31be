#!/usr/bin/env python3
"""Makes a C++ source that holds a file's text: tools/embed.py FILE NAME OUTPUT

`FILE` is a YAML document, which is held as JSON, or a page, beside which its Content-Security-Policy is held. The
source defines `rh::http::NAME`, and for a page `rh::http::NAME_policy`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

# Compilers bound the length of one literal.
PIECE = 8_000


def literal(text: str) -> str:
    pieces = []
    for start in range(0, len(text), PIECE):
        pieces.append(f'R"embedded({text[start : start + PIECE]})embedded"')
    return "\n".join(pieces)


def as_json(text: str) -> str:
    import yaml

    return json.dumps(yaml.safe_load(text), separators=(",", ":"), ensure_ascii=True)


def policy(page: str) -> str:
    """Nothing runs but what stands in the page, and nothing is loaded or asked but from where it came."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in found)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def main(arguments: list[str]) -> int:
    file, name, output = arguments
    text = Path(file).read_text(encoding="utf-8")
    held = {name: as_json(text)} if file.endswith((".yaml", ".yml")) else {name: text, f"{name}_policy": policy(text)}
    lines = ["#include <string_view>", "namespace rh::http {"]
    for each, value in held.items():
        lines.append(f"extern const std::string_view {each};")
        lines.append(f"constinit const std::string_view {each} =\n{literal(value)};")
    lines += ["}", ""]
    Path(output).write_text("\n".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
