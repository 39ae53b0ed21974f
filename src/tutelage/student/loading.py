"""Loading a model with transformers, from safetensors and without foreign code."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tutelage.errors import MissingExtraError, StudentError
from tutelage.student.folder import StudentFolder
from tutelage.student.settings import DtypeName, StudentSettings


def load_model(
    folder: StudentFolder, settings: StudentSettings, *, device: str, dtype: DtypeName
) -> Any:
    """Load a causal language model for reading: no gradients, no dropout.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        StudentError: The folder cannot be loaded, or the device cannot be used.
    """
    model = load_weights(folder, settings, dtype=dtype)
    try:
        model = model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise StudentError(
            f"device {device!r} cannot be used: {error}", hint="set device to cpu"
        ) from error
    model.requires_grad_(False)
    return model.eval()


def load_weights(folder: StudentFolder, settings: StudentSettings, *, dtype: DtypeName) -> Any:
    """Load a causal language model as transformers does, on the CPU.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        StudentError: The folder cannot be loaded.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError(
            "reading a student needs torch and transformers",
            hint="pip install 'tutelage[student]'",
        ) from error
    try:
        with _quiet():
            return AutoModelForCausalLM.from_pretrained(
                str(folder.path),
                dtype=getattr(torch, dtype),
                trust_remote_code=settings.trust_remote_code,
                use_safetensors=settings.weights == "safetensors",
                local_files_only=True,
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise StudentError(
            f"{folder.path}: the model cannot be loaded: {error}",
            hint="code from a model's repository only runs with trust_remote_code",
        ) from error
    except RuntimeError as error:  # shapes that do not fit, or no memory
        raise StudentError(f"{folder.path}: the model cannot be loaded: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loading bar of transformers off the screen, where our own progress stands."""
    from transformers.utils import logging as hf_logging

    shown = hf_logging.is_progress_bar_enabled()
    logger = logging.getLogger("transformers")
    level = logger.level
    hf_logging.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            hf_logging.enable_progress_bar()


@contextmanager
def memory_errors(kind: type[Exception]) -> Iterator[None]:
    """Turn every way in which torch says that memory is short into one exception.

    Args:
        kind: The exception to raise instead.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise kind(str(error)) from error
    except RuntimeError as error:
        # The allocator of the CPU has no exception class of its own.
        if "DefaultCPUAllocator" in str(error) or "not enough memory" in str(error):
            raise kind(str(error)) from error
        raise


@contextmanager
def forward_errors(kind: type[Exception]) -> Iterator[None]:
    """Turn what a forward pass raises on rows it cannot take into one exception.

    Learned positions that end early, an index outside a table, a length that a model's chunks do
    not divide: each costs the rows concerned and not the run.

    Args:
        kind: The exception to raise instead.
    """
    try:
        yield
    except (IndexError, ValueError, RuntimeError, TypeError, AssertionError) as error:
        first = (str(error).strip() or "without a message").splitlines()[0]
        raise kind(f"{type(error).__name__}: {first}") from error
