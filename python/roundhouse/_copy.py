"""Copies of files and folders on one machine, without what a .gitignore names."""

from __future__ import annotations

import os
import re
import shlex
import shutil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class _Rule:
    """One line of a .gitignore, in the folder `base` (relative to the root of the copy, "" or with a slash behind)."""

    def __init__(self, base: str, line: str) -> None:
        self.keeps = line[:1] == "!"
        line = line.lstrip("!") if self.keeps else line.removeprefix("\\")
        self.folders_only = line.endswith("/")
        line = line.rstrip("/")
        anchored = "/" in line
        text = re.escape(base) + ("" if anchored else "(?:.*/)?") + _expression(line.lstrip("/"))
        try:
            self._pattern = re.compile(text)
        except re.error:
            # As git does: it names nothing.
            self._pattern = re.compile("(?!)")

    def names(self, path: str, is_folder: bool) -> bool:
        return (is_folder or not self.folders_only) and self._pattern.fullmatch(path) is not None


def _expression(glob: str) -> str:
    found = ""
    for part in re.split(r"(\*\*/|/\*\*|\*|\?|\[[^\]]*\])", glob):
        if part == "**/":
            found += "(?:.*/)?"
        elif part == "/**":
            found += "/.*"
        elif part == "*":
            found += "[^/]*"
        elif part == "?":
            found += "[^/]"
        elif part[:1] == "[" and part[-1:] == "]":
            found += part.replace("[!", "[^", 1)
        else:
            found += re.escape(part)
    return found


def excluded(filter_options: str | None) -> list[str]:
    """The patterns of "--exclude PATTERN"; ValueError for other options."""
    patterns = []
    words = iter(shlex.split(filter_options or ""))
    for word in words:
        option, equals, value = word.partition("=")
        if option != "--exclude":
            raise ValueError(f"filter_options= may have --exclude PATTERN, not {word!r}. Try: leave it out")
        patterns.append(value if equals else next(words, ""))
    return patterns


def copy(
    source: str, dest: str, contents: bool = False, exclude: Sequence[str] = (), ignore_existing: bool = False
) -> int:
    """Copies a file, or a folder as such or (with `contents`, or a slash behind its name) what is in it, into the
    folder `dest`, and returns how many files were not there as they are. What else is in `dest` stays;
    with `ignore_existing` so does what would be replaced."""
    contents = contents or source.endswith("/")
    if not os.path.exists(source):
        raise ValueError(f"there is nothing at {source} to be copied. Try: another path")
    if not os.path.isdir(source):
        into = os.path.join(dest, os.path.basename(source)) if dest.endswith("/") or os.path.isdir(dest) else dest
        os.makedirs(os.path.dirname(into) or ".", exist_ok=True)
        return _copy_file(source, into, ignore_existing)
    source = source.rstrip("/")
    into = dest if contents else os.path.join(dest, os.path.basename(source))
    inside = os.path.realpath(into)
    if (inside + "/").startswith(os.path.realpath(source) + "/"):
        raise ValueError(f"{into} is inside of {source}, and would be copied into itself. Try: another folder")
    return _copy_folder(source, into, "", [_Rule("", pattern) for pattern in exclude], ignore_existing)


def _copy_folder(source: str, into: str, base: str, rules: list[_Rule], ignore_existing: bool) -> int:
    os.makedirs(into, exist_ok=True)
    rules = [*rules, *_rules_in(source, base)]
    count = 0
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = base + entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name == ".git" or _is_ignored(rules, path, is_folder):
                continue
            target = os.path.join(into, entry.name)
            if is_folder:
                count += _copy_folder(entry.path, target, path + "/", rules, ignore_existing)
            elif entry.is_symlink() or entry.is_file():
                count += _copy_file(entry.path, target, ignore_existing)
    return count


def _rules_in(folder: str, base: str) -> list[_Rule]:
    try:
        with open(os.path.join(folder, ".gitignore"), encoding="utf-8", errors="replace") as file:
            lines = [line.rstrip() for line in file]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []
    return [_Rule(base, line) for line in lines if line and line[0] != "#"]


def _is_ignored(rules: list[_Rule], path: str, is_folder: bool) -> bool:
    for rule in reversed(rules):
        if rule.names(path, is_folder):
            return not rule.keeps
    return False


def _copy_file(source: str, into: str, ignore_existing: bool) -> int:
    if ignore_existing and os.path.lexists(into):
        return 0
    if os.path.islink(source):
        target = os.readlink(source)
        if os.path.islink(into) and os.readlink(into) == target:
            return 0
        if os.path.lexists(into):
            os.unlink(into)
        os.symlink(target, into)
        return 1
    file = os.stat(source)
    try:
        there = os.lstat(into)
        same = (there.st_mode, there.st_size, there.st_mtime_ns) == (file.st_mode, file.st_size, file.st_mtime_ns)
    except FileNotFoundError:
        same = False
    if same:
        return 0
    # Whole or not at all, also for whoever reads it just now.
    beside = f"{into}.{os.getpid()}.new"
    try:
        shutil.copy2(source, beside)
        os.replace(beside, into)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    return 1
