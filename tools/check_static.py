#!/usr/bin/env python3
"""Fails unless a program is fully static and free of glibc's name service and dynamic loader.

It reads the unstripped program as the linker left it, and looks for four things:

1. a PT_INTERP segment: the program would need a dynamic loader on the host it runs on;
2. DT_NEEDED entries in a dynamic section: it would need shared libraries there;
3. symbols of glibc that find names by loading a shared object at run time. That object would have to come from the very
   glibc the program was linked with, and a bare host has another one, so such a program crashes there or answers wrong:
   getaddrinfo and its kin (hosts), getpwuid and its kin (users and groups), dlopen, and what implements them: nss_*
   (the name service switch; nss_keylog_int is OpenSSL's, of another NSS), nscd (its cache), res_query and kin (the DNS
   resolver; res_init only reads a file, and every program with threads has it);
4. what makes the fault build of roundhoused (tests/faults/faulty_daemon.cpp): its disk and its clock.

The linker sends every call of such a function to a stub that fails (--wrap in cmake/product.cmake, stubs in
src/bin/no_name_service.cpp). A symbol found here means that a function is missing from both lists.
"""

from __future__ import annotations

import argparse
import re
import struct
import subprocess
import sys
from pathlib import Path

FORBIDDEN = re.compile(
    r"""^_*(?:
        getaddrinfo | getnameinfo
      | (?:new_)?gethostby(?:name2?|addr)(?:_r)? | (?:new_)?getservby(?:name|port)(?:_r)?
      | (?:new_)?getprotoby(?:name|number)(?:_r)? | (?:new_)?getnetby(?:name|addr)(?:_r)?
      | (?:new_)?get(?:pwuid|pwnam|grgid|grnam|spnam)(?:_r)? | getgrouplist | initgroups
      | dlopen | dlmopen | libc_dlopen_mode | dl_open
      | wrap_(?:p?write(?:64)?|f(?:data)?sync|clock_gettime)
      | nss_(?!keylog_int$)\w+ | nscd_\w+ | res_(?:context_)?n?(?:query|search|send)\w*
    )$""",
    re.VERBOSE,
)

PT_DYNAMIC, PT_INTERP, DT_NEEDED = 2, 3, 1


def program_headers(image: bytes) -> list[tuple[int, int, int]]:
    """(type, offset in the file, size) of each segment of a 64-bit little-endian ELF file."""
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", image, 32)
    entry_bytes, count = struct.unpack_from("<HH", image, 54)
    headers = []
    for index in range(count):
        kind, _flags, offset, _vaddr, _paddr, size = struct.unpack_from("<IIQQQQ", image, table + index * entry_bytes)
        headers.append((kind, offset, size))
    return headers


def needed_count(image: bytes, offset: int, size: int) -> int:
    tags = (struct.unpack_from("<qQ", image, offset + step)[0] for step in range(0, size - 15, 16))
    return sum(tag == DT_NEEDED for tag in tags)


def forbidden_symbols(names: list[str]) -> list[str]:
    """Those of `names` that belong to the name service or the loader. The stubs are called __wrap_<name> and pass."""
    return sorted({name for name in names if FORBIDDEN.match(name)})


def problems(program: Path, nm: str) -> list[str]:
    found = []
    image = program.read_bytes()
    for kind, offset, size in program_headers(image):
        if kind == PT_INTERP:
            interpreter = image[offset : offset + size].rstrip(b"\0").decode()
            found.append(f"has PT_INTERP {interpreter}: it is not static; link it with -static")
        if kind == PT_DYNAMIC and (count := needed_count(image, offset, size)):
            found.append(f"needs {count} shared libraries; link their archives instead")
    listing = subprocess.run(
        [nm, "--defined-only", "--format=posix", program], capture_output=True, text=True, check=True
    )
    names = [line.split()[0] for line in listing.stdout.splitlines() if line]
    if "main" not in names:
        found.append(
            "has no symbol main: it was stripped, so that nothing can be told; check the one in the build folder"
        )
    for name in forbidden_symbols(names):
        found.append(f"contains {name}: wrap the function that brings it in (cmake/product.cmake, no_name_service.cpp)")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Fails unless a program is static and calls no name service.")
    parser.add_argument("program", type=Path)
    parser.add_argument("--nm", default="nm")
    arguments = parser.parse_args()
    found = problems(arguments.program, arguments.nm)
    for problem in found:
        print(f"{arguments.program.name}: {problem}")
    if not found:
        print(f"{arguments.program.name}: static, no interpreter, no name service, no loader")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
