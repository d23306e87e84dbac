"""Cuts a file down to its end while others append to it."""

import os
from pathlib import Path

_CHUNK_BYTES = 1 << 18


def cut_down(path: Path, keep_bytes: int) -> None:
    """Keep the last whole lines of a file, at most so many bytes and what is appended meanwhile.

    The file stays the same one, so that a shell or a monitor which has it open for appending goes on at its
    new end. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        start = _start(descriptor, os.fstat(descriptor).st_size - keep_bytes)
        moved = 0
        # what came while this was copying is copied too, until a look at the size finds nothing new
        while os.fstat(descriptor).st_size > start + moved:
            piece = os.pread(descriptor, _CHUNK_BYTES, start + moved)
            moved += os.pwrite(descriptor, piece, moved)
        if start > 0:
            os.ftruncate(descriptor, moved)
    finally:
        os.close(descriptor)


def _start(descriptor: int, offset: int) -> int:
    """Return where the first whole line at or after the offset begins; the offset where none ends there."""
    if offset <= 0:
        return 0
    piece = os.pread(descriptor, _CHUNK_BYTES, offset - 1)
    end = piece.find(b"\n")
    return offset if end < 0 else offset + end
