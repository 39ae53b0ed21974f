"""Devices of this machine: which exist, their fast dtypes and their free memory."""

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import SettingsError
from tutelage.models.config import DtypeName

_DEVICE_FILES = {
    "cuda": ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"),
    "xpu": ("/dev/dri",),
}
"""Device files of graphics drivers on Linux; without them torch is not imported."""

_BFLOAT16_CAPABILITY = 8
"""NVIDIA's compute capability from which cards multiply bfloat16 fast; a T4 has 7.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The memory of one device, in bytes.

    Attributes:
        free: What can be taken now.
        total: All there is.
    """

    free: int
    total: int


def kind_of(device: str) -> str:
    """The kind of a device: cuda for cuda:1."""
    return device.partition(":")[0]


def find_device() -> str:
    """Fastest kind of device here; torch is imported only where a graphics card may be present."""
    wanted = [
        kind for kind, files in _DEVICE_FILES.items() if any(Path(file).exists() for file in files)
    ]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        wanted.append("mps")
    if not wanted:
        return "cpu"
    try:
        import torch
    except ImportError:
        return "cpu"
    return next((kind for kind in wanted if is_available(kind, torch=torch)), "cpu")


def is_available(kind: str, *, torch: Any) -> bool:
    """Whether torch can compute on a kind of device."""
    if kind == "mps":
        return bool(torch.backends.mps.is_available())
    module = getattr(torch, kind, None) if kind in _DEVICE_FILES else None
    return kind == "cpu" or (module is not None and bool(module.is_available()))


def device_count(kind: str) -> int:
    """Number of devices of a kind; the CPU counts as one."""
    import torch

    if kind in ("cpu", "mps"):
        return 1
    return int(getattr(torch, kind).device_count())


def usual_dtype(device: str) -> DtypeName:
    """Fast dtype of a device that keeps the range, if it has one.

    bfloat16 where there are units for it; float16 on graphics cards without (T4, V100, Apple);
    float32 on processors without.
    """
    kind = kind_of(device)
    if kind == "cpu":
        return "bfloat16" if cpu_multiplies_bfloat16() else "float32"
    if kind == "mps":
        return "float16"
    import torch

    if kind == "xpu" or torch.version.hip is not None or not torch.cuda.is_available():
        return "bfloat16"
    capability = torch.cuda.get_device_capability(device)
    return "bfloat16" if capability[0] >= _BFLOAT16_CAPABILITY else "float16"


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has matrix or dot-product units for bfloat16."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = set(text.split("\n\n", maxsplit=1)[0].split())
    arm = platform.machine() == "aarch64" and "bf16" in flags
    return arm or bool(flags & {"avx512_bf16", "amx_bf16"})


def check_device(device: str) -> None:
    """Raise an error if a device does not exist, before anything is loaded onto it.

    Raises:
        SettingsError: torch does not have it.
    """
    import torch

    kind, _, number = device.partition(":")
    if kind not in (*_DEVICE_FILES, "cpu", "mps") or not (number or "0").isdecimal():
        raise SettingsError(
            f"device {device!r} is not the name of a device",
            hint="devices are cpu, cuda, cuda:N, mps, xpu and xpu:N, counted from 0",
        )
    if not is_available(kind, torch=torch):
        raise SettingsError(
            f"device {device!r}: torch {torch.__version__} finds no such device here",
            hint="set device to cpu, or leave it out; `tutelage doctor` lists the devices",
        )
    if number and int(number) >= device_count(kind):
        count = device_count(kind)
        raise SettingsError(
            f"device {device!r}: there are {count} devices of that kind, counted from 0",
            hint=f"set device to {kind}:{count - 1} or less",
        )


def memory_of(device: str) -> Memory | None:
    """Memory of a device; None where it cannot be determined."""
    kind = kind_of(device)
    if kind == "cpu":
        return _memory_of_cpu()
    import torch

    if kind == "mps":
        total = int(torch.mps.recommended_max_memory())
        return Memory(free=max(0, total - int(torch.mps.driver_allocated_memory())), total=total)
    try:
        free, total = getattr(torch, kind).mem_get_info(device)
    except (RuntimeError, AssertionError, AttributeError):
        return None
    return Memory(free=int(free), total=int(total))


def _memory_of_cpu() -> Memory | None:
    """Available memory of this machine without swapping, within a container's limit."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    sizes = {name: int(size) * 1024 for name, size in re.findall(r"(\w+):\s+(\d+) kB", text)}
    if "MemAvailable" not in sizes or "MemTotal" not in sizes:
        return None
    free, total = sizes["MemAvailable"], sizes["MemTotal"]
    limit, used = (_number(Path("/sys/fs/cgroup") / f"memory.{n}") for n in ("max", "current"))
    if limit is not None and used is not None:
        free, total = min(free, max(0, limit - used)), min(total, limit)
    return Memory(free=free, total=total)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max": no limit
