"""pdb at the user's own code: where an exception came from."""

from __future__ import annotations

from pdb import Pdb

from roundhouse import _code_digest
from roundhouse._worker.traces import OURS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType


class PostMortem(Pdb):
    """Stops at the innermost frame of the user's own code; those of libraries it called are further `down`, and ours,
    from which it was called, are left out."""

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        stack, _ = super().get_stack(f, t)
        kept = [entry for entry in stack if not entry[0].f_code.co_filename.startswith(OURS)] or stack
        own = [at for at, (frame, _) in enumerate(kept) if _code_digest.is_own_file(frame.f_code.co_filename)]
        return kept, own[-1] if own else len(kept) - 1


def post_mortem(error: BaseException) -> None:
    """Lets the user look around where it was raised, until they quit."""
    debugger = PostMortem()
    debugger.reset()
    debugger.interaction(None, error.__traceback__)
