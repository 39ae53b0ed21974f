"""Folders of the cache on a local disk, and memory that is given back."""

import ctypes
from pathlib import Path

import pytest

from tutelage.models import config, give_memory_back
from tutelage.models.config import file_system, readings_path

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/with\\040space xfs rw 0 0
tmpfs /scratch tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/user/.cache", "nfs4"),
        ("/home", "nfs4"),
        ("/homes/user", "ext4"),
        ("/home/with space/x", "xfs"),
        ("/scratch/x", "tmpfs"),
    ],
)
def test_the_deepest_mount_decides(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system(Path(path), mounts=mounts) == kind


def test_a_system_without_mounts_says_nothing(tmp_path: Path) -> None:
    assert file_system(Path("/home"), mounts=tmp_path / "none") == ""


@pytest.mark.parametrize("kind", ["nfs", "lustre", "ext4"])
def test_readings_are_not_kept_on_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    home = tmp_path / kind
    monkeypatch.setattr(config, "cache_folder", lambda: home)
    monkeypatch.setattr(config, "file_system", lambda _path: kind)
    monkeypatch.setattr(config.tempfile, "gettempdir", lambda: str(tmp_path))
    path = readings_path()
    assert path.name == "readings.sqlite"
    assert (path.parent == home) is (kind == "ext4")
    if kind != "ext4":
        assert path.parent.stat().st_mode & 0o077 == 0


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
