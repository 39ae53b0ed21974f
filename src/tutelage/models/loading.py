"""Loading of models with transformers, from safetensors and without foreign code."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tutelage.errors import MissingExtraError, StudentError
from tutelage.models.config import DtypeName, ModelSettings
from tutelage.models.folder import StudentFolder, merged, text_config
from tutelage.models.hardware import Memory, check_device, device_count, kind_of, memory_of
from tutelage.models.weight_files import quantized_tensor, stored_weights

# Does a model fit onto a device? Its weights and what reading takes, against the free memory.


_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
_READING_TOKENS = 1024
"""Smallest useful batch, in tokens."""

_STATES_A_TOKEN = 16
"""Activations of a layer for each token, as a multiple of the model's width, roughly."""

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """Memory that a model needs, in bytes.

    Attributes:
        weights: All of its weights.
        reading: The states and logits of a small batch.
    """

    weights: int
    reading: int

    @property
    def total(self) -> int:
        """Sum of weights and batch."""
        return self.weights + self.reading


def needed(folder: StudentFolder, *, dtype: DtypeName) -> Needed:
    """Estimate the memory that a model needs on a device.

    Args:
        folder: The model's.
        dtype: Dtype of its weights, unless they are quantised: then they stay as they are stored.
    """
    count, stored = stored_weights(folder.weights)
    size = _BYTES[dtype]
    weights = stored if folder.quantization is not None else count * size
    text = text_config(folder.config)
    width = text.get("hidden_size") or text.get("n_embd") or text.get("d_model") or 1024
    vocabulary = folder.vocabulary_tokens or 32_000
    states = _READING_TOKENS * int(width) * _STATES_A_TOKEN * size
    return Needed(weights=weights, reading=states + 64 * vocabulary * 8)


def bytes_a_token(folder: StudentFolder, *, dtype: DtypeName) -> int:
    """About how many bytes a token takes while text is generated: its keys, values and states.

    Args:
        folder: The model's.
        dtype: Of what is computed.
    """
    text = text_config(folder.config)
    width = int(text.get("hidden_size") or text.get("n_embd") or text.get("d_model") or 1024)
    heads = int(text.get("num_attention_heads") or text.get("n_head") or 1)
    keys = int(text.get("num_key_value_heads") or heads)
    head = int(text.get("head_dim") or width // heads)
    layers = int(text.get("num_hidden_layers") or text.get("n_layer") or 1)
    return _BYTES[dtype] * (2 * layers * keys * head + _STATES_A_TOKEN * width)


def check_fit(
    folder: StudentFolder,
    *,
    device: str,
    dtype: DtypeName,
    memory: Callable[[str], Memory | None] = memory_of,
    count: Callable[[str], int] = device_count,
) -> None:
    """Raise an error if a model does not fit into memory, before it is loaded.

    A processor's memory can be swapped, so there only weights that exceed all of it are rejected.

    Args:
        folder: The model's.
        device: Where it is to compute.
        dtype: Dtype of its weights.
        memory: Memory of a device.
        count: How many devices there are of a kind.

    Raises:
        StudentError: It does not fit; the hint names the nearest setting with which it does.
    """
    has = memory(device)
    if has is None:
        return
    takes = needed(folder, dtype=dtype)
    limit, wanted = (
        (has.total, takes.weights) if kind_of(device) == "cpu" else (has.free, takes.total)
    )
    if wanted <= limit:
        return
    raise StudentError(
        f"{folder.path}: needs about {takes.weights / _GIB:.1f} GiB for its weights in {dtype} and "
        f"{takes.reading / _GIB:.1f} GiB to read, but {device} has {has.free / _GIB:.1f} GiB free "
        f"of {has.total / _GIB:.1f}",
        hint=_nearest(folder, device=device, dtype=dtype, has=has, memory=memory, count=count),
    )


def _nearest(
    folder: StudentFolder,
    *,
    device: str,
    dtype: DtypeName,
    has: Memory,
    memory: Callable[[str], Memory | None],
    count: Callable[[str], int],
) -> str:
    """Suggested changes, the smallest first."""
    kind = kind_of(device)
    limit = has.total if kind == "cpu" else has.free
    if dtype == "float32" and needed(folder, dtype="bfloat16").total <= limit:
        return "set dtype to bfloat16 (--dtype bfloat16): half the memory"
    wanted = needed(folder, dtype=dtype).total
    if wanted <= has.total and kind != "cpu":
        return (
            f"other programs hold {(has.total - has.free) / _GIB:.1f} GiB of {device}: end them, "
            "or choose another device"
        )
    cards = count(kind) if kind != "cpu" else 0
    found = [m for n in range(cards) if (m := memory(f"{kind}:{n}")) is not None]
    if len(found) > 1 and wanted <= sum(m.free for m in found):
        return f"set device_map to auto (--device-map auto): {cards} cards hold it together"
    processor = memory("cpu") if kind != "cpu" else None
    if processor is not None and wanted <= processor.free + sum(m.free for m in found):
        return "set device_map to auto: a part of it stays in CPU memory, which is slow"
    return "use a smaller or a quantised student, or a vLLM server on larger cards (backend vllm)"


def load_model(
    folder: StudentFolder,
    settings: ModelSettings,
    *,
    device: str,
    dtype: DtypeName,
    device_map: str | None = None,
) -> Any:
    """Load a causal language model for inference, without gradients and dropout.

    Args:
        folder: The model's.
        settings: Which files and which code may be loaded.
        device: Where it computes.
        dtype: Dtype of the weights; those of a quantised model stay as they are stored.
        device_map: How transformers divides it among all devices, such as `auto`; None for
            `device` alone.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        SettingsError: There is no such device.
        StudentError: The folder cannot be loaded, does not fit into memory, or the device cannot
            be used.
    """
    if kind_of(device) != "cpu":
        _with_torch()
        check_device(device)
    if device_map is None:
        check_fit(folder, device=device, dtype=dtype)
    quantised = folder.quantization is not None
    placement: dict[str, Any] = {}
    if device_map is not None:
        placement = {"device_map": device_map}
    elif quantised:
        placement = {"device_map": {"": device}}
    model = load_weights(folder, settings, dtype=dtype, placement=placement)
    try:
        if not placement:
            model = model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise StudentError(
            f"device {device!r} cannot be used: {error}", hint="set device to cpu"
        ) from error
    model.requires_grad_(False)
    return model.eval()


def load_weights(
    folder: StudentFolder,
    settings: ModelSettings,
    *,
    dtype: DtypeName,
    placement: Mapping[str, Any] | None = None,
) -> Any:
    """Load a causal language model on the CPU, as transformers does.

    A model that also sees is loaded whole, and reads text. An adapter is merged into the weights
    of its base model.

    Args:
        folder: The model's.
        settings: Which files and which code may be loaded.
        dtype: Dtype of the weights.
        placement: Further arguments of `from_pretrained`: `device_map`, `quantization_config`.

    Raises:
        MissingExtraError: A library is not installed.
        StudentError: The folder cannot be loaded, or lacks weights that the model needs.
    """
    _with_torch()
    _check_quantization(folder)
    import torch
    from transformers import AutoConfig

    path, trusted = str(folder.model_path), settings.trust_remote_code
    missing: list[str] = []
    with _explained(folder), quiet_libraries():
        config = AutoConfig.from_pretrained(path, trust_remote_code=trusted, local_files_only=True)
        for kind in _kinds(config):
            model, about = kind.from_pretrained(
                path,
                dtype=getattr(torch, dtype),
                trust_remote_code=trusted,
                use_safetensors=settings.weights == "safetensors",
                local_files_only=True,
                output_loading_info=True,
                **(placement or {}),
            )
            missing = sorted(about["missing_keys"])
            if not missing:
                return model if folder.adapter is None else merged(model, folder.adapter)
    raise StudentError(
        f"{folder.model_path}: {len(missing)} weights of the model are not in its files, such as "
        f"{missing[0]}: transformers would initialise them at random",
        hint="is it a language model's folder, complete, and with the right config.json?",
    )


def _check_quantization(folder: StudentFolder) -> None:
    """Raise an error about a format of quantised weights that transformers does not know.

    Transformers only logs it, and takes the stored numbers for the weights themselves.
    """
    found, config = folder.quantization, folder.model_path / "config.json"
    unquantised = "use the model that is not quantised, or a vLLM server that reads the format"
    if found is None:
        tensor = quantized_tensor(folder.weights)
        if tensor is not None:
            raise StudentError(
                f"{config}: has no quantization_config, but the weights are quantised ({tensor}): "
                "without it their numbers would be taken for the weights",
                hint=f"copy the model's own config.json again, or {unquantised}",
            )
        return
    import transformers
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as KNOWN

    where = f"{config}: quantization_config"
    if not isinstance(found, Mapping):
        raise StudentError(f"{where} is {found!r:.80}, not an object", hint=unquantised)
    if found.get("load_in_4bit") or found.get("load_in_8bit"):  # older folders name no method
        return
    method = found.get("quant_method")
    if isinstance(method, str) and method in KNOWN:
        return
    named = "has no quant_method" if method is None else f"has the quant_method {method!r:.80}"
    raise StudentError(
        f"{where} {named}, which transformers {transformers.__version__} cannot read: it would "
        "take the quantised numbers for the weights",
        hint=f"{unquantised} (backend vllm); a newer transformers may know it",
    )


def _with_torch() -> None:
    try:
        import torch  # noqa: F401  (is it there?)
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "reading a student needs torch and transformers",
            hint="pip install 'tutelage[student]'",
        ) from error


def _kinds(config: Any) -> list[Any]:
    """Transformers classes that may load a model, the one named in its config first."""
    import transformers as hf
    from transformers.models.auto import modeling_auto as known

    classes = [
        (hf.AutoModelForCausalLM, known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        (hf.AutoModelForImageTextToText, known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
        (hf.AutoModelForMultimodalLM, known.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES),
    ]
    named = set(getattr(config, "architectures", None) or ())
    own = [kind for kind, names in classes if config.model_type in names]
    own.sort(
        key=lambda kind: (
            not any(
                k is kind and names[config.model_type] in named
                for k, names in classes
                if config.model_type in names
            )
        )
    )
    return own or [hf.AutoModelForCausalLM]  # which says what it cannot load


@contextmanager
def _explained(folder: StudentFolder) -> Iterator[None]:
    """Turn any exception about a damaged or unknown model folder into one error."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (StudentError, MissingExtraError):
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise StudentError(
            f"{folder.model_path}: the model cannot be loaded: {error}",
            hint="install what it asks for, or use the model that is not quantised"
            if "pip install" in str(error)
            else "code from a model's repository only runs with trust_remote_code",
        ) from error
    except (
        RuntimeError,  # shapes that do not fit, or no memory
        TypeError,
        AttributeError,
        IndexError,
        ArithmeticError,
        AssertionError,
        StrictDataclassError,
        SafetensorError,
    ) as error:
        raise StudentError(
            f"{folder.model_path}: the model cannot be loaded: {type(error).__name__}: {error}",
            hint="are config.json and the weights those of one model, and complete?",
        ) from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Context manager that silences the progress bars and warnings of transformers."""
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


_SHORT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory")


@contextmanager
def memory_errors(kind: type[Exception]) -> Iterator[None]:
    """Context manager that turns every out-of-memory error of torch into one exception.

    Args:
        kind: The exception to raise instead.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise kind(str(error)) from error
    except RuntimeError as error:
        # The allocators of the CPU and of Apple's GPUs have no exception class of their own.
        if any(words in str(error) for words in _SHORT_OF_MEMORY):
            raise kind(str(error)) from error
        raise


@contextmanager
def forward_errors(kind: type[Exception]) -> Iterator[None]:
    """Context manager that turns errors of a forward pass on unsuitable rows into one exception.

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
