"""Choice of the engine for a student."""

import logging
from functools import partial

from tutelage.errors import StudentError
from tutelage.models.config import DtypeName
from tutelage.models.folder import StudentFolder
from tutelage.models.hardware import kind_of
from tutelage.models.loading import load_model
from tutelage.student.batch_budget import CPU_TOKENS, TorchGauge
from tutelage.student.config import StudentSettings
from tutelage.student.decoder_steps import TorchOps
from tutelage.student.engine import Engine
from tutelage.student.engine_vllm import open_vllm, open_vllm_offline
from tutelage.student.native_kernels import load_native

_log = logging.getLogger(__name__)


def open_engine(
    folder: StudentFolder, settings: StudentSettings, *, device: str, dtype: DtypeName
) -> Engine:
    """Load a student into the requested engine, or the fastest one that can read it.

    Args:
        folder: The student's folder.
        settings: Its settings.
        device: Where it runs.
        dtype: The dtype in which it computes.

    Raises:
        StudentError: The model cannot be loaded, or not into the engine that was asked for.
        MissingExtraError: torch or transformers is not installed.
    """
    if settings.base_url is not None:
        return open_vllm(settings)
    if settings.backend == "vllm-offline":
        return open_vllm_offline(folder, settings, dtype=dtype)
    from tutelage.student.engine_packed import open_packed
    from tutelage.student.engine_transformers import TransformersEngine

    load = partial(
        load_model, folder, settings, device=device, dtype=dtype, device_map=settings.device_map
    )
    model = load()
    ops = _ops(settings, device=device, dtype=dtype)
    tokens = None if settings.batch_tokens == "auto" else settings.batch_tokens
    if settings.backend == "packed" or (
        settings.backend == "auto" and device == "cpu" and _is_plain(folder, settings)
    ):
        lanes = _lanes(device)
        packed = open_packed(model, batch_tokens=tokens or CPU_TOKENS, lanes=lanes, ops=ops)
        if packed is not None:
            return packed
        if settings.backend == "packed":
            raise StudentError(
                f"{settings.model}: the packed engine cannot read a {folder.model_type} model",
                hint="set backend to auto or transformers",
            )
        _log.info("%s: read through transformers' own forward pass", settings.model)
        model = load()
    gauge = None if kind_of(device) == "cpu" else TorchGauge(device)
    return TransformersEngine(model, batch_tokens=tokens, ops=ops, gauge=gauge)


def _is_plain(folder: StudentFolder, settings: StudentSettings) -> bool:
    """Whether a model's weights are matrices on one device, which can be joined."""
    return settings.device_map is None and folder.quantization is None


def _lanes(device: str) -> int:
    """Lanes for a device: on a CPU two halves of the threads read faster than all together."""
    import torch

    return 2 if device == "cpu" and torch.get_num_threads() % 2 == 0 else 1


def _ops(settings: StudentSettings, *, device: str, dtype: DtypeName) -> TorchOps:
    """Operations in C where they can be compiled, else in torch."""
    if device != "cpu" or not settings.native:
        return TorchOps()
    import torch

    return load_native(dtype=dtype, threads=torch.get_num_threads()) or TorchOps()
