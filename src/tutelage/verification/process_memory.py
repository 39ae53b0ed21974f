"""The processes that come from one, and the memory that all of them use together."""

import os
from pathlib import Path

_PAGE_BYTES = 4096 if not hasattr(os, "sysconf") else os.sysconf("SC_PAGE_SIZE")


def descendants(ancestor: int) -> list[int]:
    """The processes that come from one, as far as they can still be seen; itself left out."""
    found, todo = [], [ancestor]
    while todo:
        children = _children(todo.pop())
        found += children
        todo += children
    return found


def _children(parent: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{parent}/task").iterdir())
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    except OSError:
        return []  # it ended meanwhile


def used_bytes(ancestor: int) -> int:
    """The memory of all descendants: what each has for itself, and what some of them share, once.

    Of shared memory the whole of each mapping counts, since pages that nobody looks at are there
    all the same.
    """
    own, shared = 0, {}
    for pid in descendants(ancestor):
        try:
            pages = [int(n) for n in Path(f"/proc/{pid}/statm").read_text().split()]
        except OSError:
            continue  # it ended meanwhile
        mappings = _shared_mappings(pid)
        own += (pages[1] if mappings is None else max(pages[1] - pages[2], 0)) * _PAGE_BYTES
        shared.update(mappings or {})
    return own + sum(shared.values())


def _shared_mappings(pid: int) -> dict[tuple[str, str, int], int] | None:
    """The bytes of each writable shared mapping, by file and offset; None where it is not shown."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = {}
    for line in lines:
        span, rights, offset, device, inode, *_ = line.split(maxsplit=5)
        if rights[3] == "s":
            start, _, end = span.partition("-")
            found[device, inode, int(offset, 16)] = int(end, 16) - int(start, 16)
    return found
