"""Does a model fit onto a device? Its weights and what reading takes, against the free memory."""

from collections.abc import Callable
from dataclasses import dataclass

from tutelage.errors import StudentError
from tutelage.models.config import DtypeName
from tutelage.models.folder import StudentFolder, text_config
from tutelage.models.hardware import Memory, device_count, kind_of, memory_of
from tutelage.models.weight_files import stored_weights

_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
_READING_TOKENS = 1024
"""The smallest batch that is worth a device's while."""

_STATES_A_TOKEN = 16
"""How many vectors of a model's width a layer holds for each token at one time, about."""

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What a model takes, in bytes.

    Attributes:
        weights: All of its weights.
        reading: The states and logits of a small batch.
    """

    weights: int
    reading: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.weights + self.reading


def needed(folder: StudentFolder, *, dtype: DtypeName) -> Needed:
    """Estimate what a model takes on a device.

    Args:
        folder: The model's.
        dtype: Of its weights, unless they are quantised: then they stay as they are stored.
    """
    count, stored = stored_weights(folder.weights)
    size = _BYTES[dtype]
    weights = stored if "quantization_config" in folder.config else count * size
    text = text_config(folder.config)
    width = text.get("hidden_size") or text.get("n_embd") or text.get("d_model") or 1024
    vocabulary = folder.vocabulary_tokens or 32_000
    states = _READING_TOKENS * int(width) * _STATES_A_TOKEN * size
    return Needed(weights=weights, reading=states + 64 * vocabulary * 8)


def check_fit(
    folder: StudentFolder,
    *,
    device: str,
    dtype: DtypeName,
    memory: Callable[[str], Memory | None] = memory_of,
    count: Callable[[str], int] = device_count,
) -> None:
    """See that a model fits before it is loaded.

    A processor's memory can be swapped, so there only weights that exceed all of it are refused.

    Args:
        folder: The model's.
        device: Where it is to compute.
        dtype: Of its weights.
        memory: Of a device.
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
    """What to change, the smallest change first."""
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
        return "set device_map to auto: a part of it stays in the processor's memory, which is slow"
    return "use a smaller or a quantised student, or a vLLM server on larger cards (backend vllm)"
