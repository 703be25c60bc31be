"""Stands in for `typing.Generic` while the program runs: importing `typing` costs as much as starting Python."""

from __future__ import annotations


class Generic:
    __slots__ = ()

    def __class_getitem__(cls, _: object) -> type:
        return cls


P = R = T = None
