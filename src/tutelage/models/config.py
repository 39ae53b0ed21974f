"""Settings of models, and the folders of the cache."""

import ctypes
import gc
import logging
import os
import re
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

DtypeName: TypeAlias = Literal["float32", "bfloat16", "float16"]

DEVICE_PATTERN = r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$"
DEVICES = "auto, cpu, cuda, cuda:N, mps, xpu or xpu:N."


class ModelSettings(Protocol):
    """Settings needed to locate and load a model."""

    @property
    def model(self) -> str:
        """A model folder, a hub id, or the alias of a bundled model."""
        ...

    @property
    def dtype(self) -> Literal["auto"] | DtypeName:
        """The type to compute in."""
        ...

    @property
    def device(self) -> str:
        """Device: auto, cpu, cuda, cuda:N, mps, xpu or xpu:N."""
        ...

    @property
    def max_length(self) -> int | None:
        """Most tokens of a view; None for the model's own limit."""
        ...

    @property
    def weights(self) -> Literal["safetensors", "pickle"]:
        """Weight files that may be loaded."""
        ...

    @property
    def trust_remote_code(self) -> bool:
        """Whether Python code from the model's repository may run."""
        ...


_NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "panfs",
        "smb3",
        "wekafs",
    }
)
"""File systems on which SQLite's locks are unsafe."""

_log = logging.getLogger(__name__)


def name_of_a_key(value: str | None) -> str | None:
    """Validator of a setting that names the environment variable of a key."""
    if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", value):
        raise ValueError("must be the NAME of an environment variable, in capitals, not the key")
    return value


def cache_folder() -> Path:
    """Cache folder, which can be deleted without losing results."""
    return Path.home() / ".cache" / "tutelage"


def models_folder() -> Path:
    """Folder of unpacked bundled models, one folder for each."""
    return cache_folder() / "models"


@cache
def _local(usual: Path) -> Path:
    """Folder of this user on a local disk, used instead of a network folder."""
    local = Path(tempfile.gettempdir()) / f"tutelage-{os.getuid()}"
    local.mkdir(mode=0o700, exist_ok=True)
    if local.is_symlink() or local.stat().st_uid != os.getuid():  # made by somebody else
        local = Path(tempfile.mkdtemp(prefix="tutelage-"))
    _log.warning(
        "%s is on a network file system, where SQLite is not safe: readings are kept in %s; "
        "set cache_path to a folder on a local disk to keep them longer",
        usual,
        local,
    )
    return local


def readings_path() -> Path:
    """Default file of the student's cache, always on a local disk.

    Home folders of clusters are often on a network file system. Readings are then kept in the
    machine's folder for temporary files.
    """
    usual = cache_folder()
    if file_system(usual) not in _NETWORK:
        return usual / "readings.sqlite"
    return _local(usual) / "readings.sqlite"


def file_system(path: Path, *, mounts: Path = Path("/proc/mounts")) -> str:
    """File system type of a path; empty where the system does not report it."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    real, found, deepest = path.absolute(), "", -1
    for line in lines:
        parts = line.split()
        if len(parts) < 3:  # noqa: PLR2004  (device, place, type)
            continue
        place = Path(parts[1].replace("\\040", " "))
        if (place == real or place in real.parents) and len(place.parts) >= deepest:
            found, deepest = parts[2], len(place.parts)
    return found


def give_memory_back() -> None:
    """Run garbage collection and return free memory of the C library to the system.

    glibc keeps freed blocks below 32 MiB for the next use: after a training most of what the
    gradients and the optimizer took. Other C libraries are left to themselves.
    """
    gc.collect()  # a trainer and its model, optimizer and gradients hold each other
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return  # not glibc
    trim(ctypes.c_size_t(0))
