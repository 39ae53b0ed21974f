"""Which engine reads which student."""

import logging

from tutelage.errors import StudentError
from tutelage.student.engine import Engine
from tutelage.student.folder import StudentFolder
from tutelage.student.loading import load_model
from tutelage.student.native import load_native
from tutelage.student.ops import TorchOps
from tutelage.student.settings import DtypeName, StudentSettings
from tutelage.student.vllm_engine import open_vllm

_log = logging.getLogger(__name__)


def open_engine(
    folder: StudentFolder, settings: StudentSettings, *, device: str, dtype: DtypeName
) -> Engine:
    """Load a student into the engine that the settings ask for, or the fastest that can read it.

    Raises:
        StudentError: The model cannot be loaded, or not into the engine that was asked for.
        MissingExtraError: torch or transformers is not installed.
    """
    if settings.base_url is not None:
        return open_vllm(settings)
    from tutelage.student.packed_engine import open_packed
    from tutelage.student.transformers_engine import TransformersEngine

    model = load_model(folder, settings, device=device, dtype=dtype)
    ops = _ops(settings, device=device, dtype=dtype)
    if settings.backend == "packed" or (settings.backend == "auto" and device == "cpu"):
        lanes = _lanes(device)
        packed = open_packed(model, batch_tokens=settings.batch_tokens, lanes=lanes, ops=ops)
        if packed is not None:
            return packed
        if settings.backend == "packed":
            raise StudentError(
                f"{settings.model}: the packed engine cannot read a {folder.model_type} model",
                hint="set backend to auto or transformers",
            )
        _log.info("%s: read through transformers' own forward pass", settings.model)
        model = load_model(folder, settings, device=device, dtype=dtype)
    return TransformersEngine(model, batch_tokens=settings.batch_tokens, ops=ops)


def _lanes(device: str) -> int:
    """Two halves of a processor's threads read faster than all of them together."""
    import torch

    return 2 if device == "cpu" and torch.get_num_threads() % 2 == 0 else 1


def _ops(settings: StudentSettings, *, device: str, dtype: DtypeName) -> TorchOps:
    """The steps in C where they can be had, or in torch."""
    if device != "cpu" or not settings.native:
        return TorchOps()
    import torch

    return load_native(dtype=dtype, threads=torch.get_num_threads()) or TorchOps()
