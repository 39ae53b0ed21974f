"""Giving memory back to the system."""

import ctypes
import gc
import sys


def give_memory_back() -> None:
    """Collect what nobody holds, and make the C library hand over what it keeps for later.

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
