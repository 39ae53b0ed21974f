"""What a training has freed does not stay with the process."""

import ctypes
from pathlib import Path

import pytest

from tutelage.models import give_memory_back

MIB = 1 << 20


def resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def test_freed_memory_goes_back_though_something_behind_it_lives_on() -> None:
    try:
        ctypes.CDLL(None).malloc_trim  # noqa: B018  (only whether it is there)
    except (AttributeError, OSError, TypeError):
        pytest.skip("needs glibc's allocator")
    if not Path("/proc/self/statm").is_file():
        pytest.skip("needs /proc")
    blocks = [
        b"x" * 60_000 for _ in range(5000)
    ]  # 286 MiB, in pieces too small for mappings of their own
    last = blocks[-1]
    full = resident()
    del blocks
    kept = resident()
    give_memory_back()
    assert len(last) == 60_000
    assert full - kept < 100 * MIB, "the allocator gave it back by itself: the test shows nothing"
    assert full - resident() > 200 * MIB


def test_a_c_library_without_trim_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    give_memory_back()
