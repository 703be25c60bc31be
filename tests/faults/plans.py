"""Where a relay (relay.py) cuts a connection: as classes there, as dictionaries on the way there."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from tests.python import raw_peer
from tests.python.raw_peer import CHUNK, RESULT

from . import ledger

TO_NODE, TO_CLIENT = "to the node", "to the client"


@dataclass
class Frame:
    direction: str
    # From 0, of this connection in this direction; and of its first byte.
    index: int
    offset: int
    raw: bytes

    def messages(self) -> list[raw_peer.Message]:
        header_bytes, _ = struct.unpack_from("<II", self.raw)
        return raw_peer.decode(raw_peer.FRAME, self.raw[8 : 8 + header_bytes]).get("messages", [])  # type: ignore[no-any-return]


class Plan:
    """Cuts once, where `wants` says so, and lets everything else pass."""

    def __init__(self) -> None:
        self.cut: dict[str, Any] | None = None

    def bytes_that_pass(self, frame: Frame) -> int | None:
        size = None if self.cut else self.wants(frame)
        if size is not None:
            self.cut = {
                "direction": frame.direction,
                "frame": frame.index,
                "frame_bytes": len(frame.raw),
                "bytes_of_it_sent": size,
                "cut_at_offset": frame.offset + size,
                **self.about(),
            }
        return size

    def wants(self, frame: Frame) -> int | None:
        """None: all of it may pass. Otherwise so many of its first bytes do, and then the connection is cut."""
        return None

    def about(self) -> dict[str, Any]:
        """What else there is to say of the cut."""
        return {}


class AtBoundary(Plan):
    """Between a frame and the next."""

    def __init__(self, direction: str, index: int) -> None:
        super().__init__()
        self.direction, self.index = direction, index

    def wants(self, frame: Frame) -> int | None:
        return 0 if frame.direction == self.direction and frame.index == self.index else None


class InsideChunk(Plan):
    """In the middle of a body of more than one frame."""

    def __init__(self, direction: str, share: float, skip: int) -> None:
        super().__init__()
        self.direction, self.share, self.left = direction, share, skip

    def wants(self, frame: Frame) -> int | None:
        if frame.direction != self.direction or not any(message["kind"] == CHUNK for message in frame.messages()):
            return None
        self.left -= 1
        return None if self.left >= 0 else max(1, min(len(frame.raw) - 1, int(len(frame.raw) * self.share)))


class TheResponse(Plan):
    """The frame with a result of code that has ended: it was executed, and nobody is told."""

    def __init__(self, folder: str, skip: int) -> None:
        super().__init__()
        self.folder, self.left = folder, skip
        self.ended: list[str] = []

    def wants(self, frame: Frame) -> int | None:
        if frame.direction != TO_CLIENT or not any(message["kind"] == RESULT for message in frame.messages()):
            return None
        # Answers to questions about the node itself are results as well, and end no code.
        ended = [row["call"] for row in ledger.read(self.folder, ledger.CODE, "ended")]
        self.left -= 1
        if not ended or self.left >= 0:
            return None
        self.ended = ended
        return 0

    def about(self) -> dict[str, Any]:
        return {"code_that_had_ended": self.ended}


_PLANS: dict[str, type[Plan]] = {
    "nowhere": Plan,
    "boundary": AtBoundary,
    "chunk": InsideChunk,
    "response": TheResponse,
}


def plan_of(described: dict[str, Any]) -> Plan:
    """`{"where": one of those, and what its class is given}`."""
    given = dict(described)
    return _PLANS[given.pop("where")](**given)
