"""Packed layout: passages in one line of tokens, without padding, with shared prefixes read once.

Sorted by their ids, passages with a common beginning are neighbours. Each then only adds
the tokens that the one before does not have; `where_T` gives the positions of all of its tokens:

    A   s s s x x x           line      s s s x x x y y z
    B   s s s y y             index     0 1 2 3 4 5 6 7 8
    C   s s s y z             where(C)  0 1 2 6 8
                              end       9 9 9 6 6 6 9 8 9

A token's state depends on nothing but the tokens in front of it, so sharing changes no number
beyond rounding. All candidates of one instruction share its context this way, and all views of a
batch share the start of the template.

The line is a forest in depth-first order: the tokens behind a token that belong to its passages
come right after it, up to `ends_N`. So attention masks let any transformers model read it: token q
may see token k where k <= q < end of k, and where the model's own rule (causal, a sliding window,
chunks) allows it. The model's rule is asked about positions in the passage, not in the line. All
attention functions of transformers get their masks from one place, so this works for eager, SDPA
and FlexAttention (which skips blocks that no token attends to).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tutelage.student.passages import Passage, passage_of

if TYPE_CHECKING:
    from torch import Tensor


_WORTH_A_BATCH_TOKENS = 1024
_WORTH_SHARING_TOKENS = 8
_FAMILY_FRACTION = 1 / 2
_WORTH_SHARING_FRACTION = 1 / 32
"""Common prefixes below this fraction are read again: one stretch of line is cheaper to attend to
than two.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strand:
    """One passage in the line.

    Attributes:
        where_T: int64: the place in the line of each of its tokens.
        shared: How many tokens it found there already.
    """

    where_T: NDArray[np.int64]
    shared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Token line of one batch.

    Attributes:
        ids_N: int64.
        positions_N: int64: how many tokens precede each in its passage.
        strands: One for each passage, in the order they were given.
    """

    ids_N: NDArray[np.int64]
    positions_N: NDArray[np.int64]
    strands: tuple[Strand, ...]


def lay_out(passages: Sequence[Passage]) -> Line:
    """Lay out the passages of one batch in one line."""
    strands: dict[int, Strand] = {}
    ids: list[NDArray[np.int32]] = []
    positions: list[NDArray[np.int64]] = []
    length = 0
    before: int | None = None
    for index in _sorted(passages):
        ids_T = passages[index].ids_T
        shared = 0 if before is None else _shared(passages[before].ids_T, ids_T)
        new = len(ids_T) - shared
        known = np.empty(0, np.int64) if before is None else strands[before].where_T[:shared]
        where_T = np.concatenate([known, np.arange(length, length + new)])
        strands[index] = Strand(where_T=where_T, shared=shared)
        ids.append(ids_T[shared:])
        positions.append(np.arange(shared, len(ids_T)))
        length += new
        before = index
    return Line(
        ids_N=np.concatenate(ids).astype(np.int64),
        positions_N=np.concatenate(positions).astype(np.int64),
        strands=tuple(strands[index] for index in range(len(passages))),
    )


def plan_packed(passages: Sequence[Passage], *, batch_tokens: int) -> list[list[int]]:
    """Batches of passages that share prefixes, under a budget of computed tokens.

    Passages that share much of their length form a family, and a family that fits into one batch
    is not split over two: its context would be computed twice. A passage that is longer than the
    budget is a batch of its own. Batches are of about one size and, where that is possible, an
    even number, so that two lanes end together; how many lanes there are changes nothing here,
    since the plan decides the last bits of a number.

    Returns:
        Indices; each is in exactly one batch.
    """
    families = _families(passages)
    sizes = [sum(new for _, new in family) for family in families]
    share = _share(sum(sizes), batch_tokens=batch_tokens)
    batches: list[list[int]] = [[]]
    spent = planned = 0
    for family, size in zip(families, sizes, strict=True):
        alone = len(passages[family[0][0]].ids_T) + size - family[0][1]
        too_much = batch_tokens < spent + size and alone <= batch_tokens
        if batches[-1] and (too_much or planned + size / 2 > share * len(batches)):
            batches.append([])
        planned += size
        for index, new in family:
            if batches[-1] and spent + new > batch_tokens:
                batches.append([])
            if not batches[-1]:
                spent = 0
            batches[-1].append(index)
            spent += new if len(batches[-1]) > 1 else len(passages[index].ids_T)
    return [batch for batch in batches if batch]


def sharing(passages: Sequence[Passage]) -> list[int]:
    """Indices of passages that share much of their length with another one."""
    families = [family for family in _families(passages) if len(family) > 1]
    return sorted(index for family in families for index, _ in family)


def _share(tokens: int, *, batch_tokens: int) -> float:
    """Target tokens of each batch."""
    count = max(1, -(-tokens // batch_tokens))
    if tokens >= 2 * _WORTH_A_BATCH_TOKENS:
        count += count % 2
    return tokens / count


def _families(passages: Sequence[Passage]) -> list[list[tuple[int, int]]]:
    """Runs of passages that share much with the previous one, with the tokens that each adds."""
    families: list[list[tuple[int, int]]] = []
    before: int | None = None
    for index in _sorted(passages):
        ids_T = passages[index].ids_T
        shared = 0 if before is None else _shared(passages[before].ids_T, ids_T)
        if not families or shared < len(ids_T) * _FAMILY_FRACTION:
            families.append([])
        families[-1].append((index, len(ids_T) - shared))
        before = index
    return families


def _sorted(passages: Sequence[Passage]) -> list[int]:
    """Indices sorted by token ids; equal passages keep their order."""
    return sorted(
        range(len(passages)),
        key=lambda i: (passages[i].ids_T.astype(">i4").tobytes(), i),
    )


def _shared(before_T: NDArray[np.int32], ids_T: NDArray[np.int32]) -> int:
    """Tokens that a passage shares with the one before it."""
    shortest = min(len(before_T), len(ids_T))
    differs_T = before_T[:shortest] != ids_T[:shortest]
    common = int(differs_T.argmax()) if differs_T.any() else shortest
    worth = max(_WORTH_SHARING_TOKENS, len(ids_T) * _WORTH_SHARING_FRACTION)
    return common if common >= worth else 0


# Products with a weight that stays: packed once, where that makes each of them faster.
#
# On a CPU with bfloat16 matrix units oneDNN reorders a plain weight at every call. Its own packed
# layout spares that; torch offers it to its compiler as `mkldnn._linear_pointwise`.


Product: TypeAlias = "Callable[[Tensor], Tensor]"
"""Function type: rows (N, in) to rows (N, out)."""

ROWS = 1024
"""Rows for which the packed weight layout is chosen; other numbers work too."""

_LARGEST_COPY_BYTES = 128 << 20
"""Largest weight that is packed although the model also needs its plain form."""

_log = logging.getLogger(__name__)


def product(weight_O_I: "Tensor", bias_O: "Tensor | None", *, shared: bool = False) -> Product:
    """Prepared product with a weight.

    Args:
        weight_O_I: As `torch.nn.Linear` holds it.
        bias_O: Added to each row, or None.
        shared: The plain weight lives on, so that packing costs its size once more.
    """
    import torch

    packed = None if shared and _bytes(weight_O_I) > _LARGEST_COPY_BYTES else _packed(weight_O_I)
    if packed is None:
        return lambda rows_N_I: torch.nn.functional.linear(rows_N_I, weight_O_I, bias_O)
    multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001  (there is no public name for it)
    return lambda rows_N_I: multiply(rows_N_I, packed, bias_O, "none", [], "")


def _packed(weight_O_I: "Tensor") -> "Tensor | None":
    """Weight in oneDNN's layout, or None where torch or the processor does not support it."""
    import torch

    if weight_O_I.device.type != "cpu" or weight_O_I.dtype != torch.bfloat16:
        return None
    try:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001  (as above)
            return None
        return torch.ops.mkldnn._reorder_linear_weight(weight_O_I.detach(), ROWS)  # type: ignore[no-any-return]  # noqa: SLF001
    except (AttributeError, RuntimeError) as error:
        _log.info("weights cannot be packed, so plain products are used: %s", error)
        return None


def _bytes(tensor: "Tensor") -> int:
    return tensor.numel() * tensor.element_size()


_KINDS = ("eager", "sdpa", "flex_attention")
_ATTENDS = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
"""Layer types whose states depend on other tokens through attention alone."""
_ROUNDING = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 6e-2}
"""Largest relative difference of states that counts as rounding."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """Visibility of the tokens in a line.

    Attributes:
        positions_N: int64: of each token in its passage.
        ends_N: int64: the index behind the last token that sees a token.
    """

    positions_N: "Tensor"
    ends_N: "Tensor"

    def rule(self, of_model: Callable[..., Any]) -> Callable[..., Any]:
        """Mask rule of a model for a line."""

        def sees(batch: Any, head: Any, query: Any, key: Any) -> Any:
            own = (key <= query) & (query < self.ends_N[key])
            return own & of_model(batch, head, self.positions_N[query], self.positions_N[key])

        return sees


_LINE: ContextVar[_Seen | None] = ContextVar("tutelage_line", default=None)
_installing = Lock()


def line_ends(line: Line) -> NDArray[np.int64]:
    """For each token of a line, the index behind the last token that attends to it."""
    ends_N = np.full(len(line.ids_N), len(line.ids_N), dtype=np.int64)
    # In the order of the line; each strand ends what the one before does not share with it.
    order = sorted(line.strands, key=lambda strand: int(strand.where_T[-1]))
    for before, strand in pairwise(order):
        begins = int(strand.where_T[strand.shared]) if strand.shared < len(strand.where_T) else None
        if begins is not None:
            ends_N[before.where_T[strand.shared :]] = begins
    return ends_N


@contextmanager
def masks_of(line: Line, *, device: Any) -> Iterator[None]:
    """Context manager in which a model's attention masks follow a line.

    Args:
        line: What the model reads, as one row.
        device: Where it reads it.
    """
    import torch

    _install()
    seen = _Seen(
        positions_N=torch.from_numpy(line.positions_N).to(device),
        ends_N=torch.from_numpy(line_ends(line)).to(device),
    )
    token = _LINE.set(seen)
    try:
        yield
    finally:
        _LINE.reset(token)


def _install() -> None:
    """Register the mask functions with transformers; without a line nothing changes."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS

    with _installing:
        for kind in _KINDS:
            if kind in MASKS and not hasattr(MASKS[kind], "of_lines"):
                MASKS[kind] = _of_lines(MASKS[kind])


def _of_lines(original: Callable[..., Any]) -> Callable[..., Any]:
    def masked(*arguments: Any, **named: Any) -> Any:
        seen = _LINE.get()
        if seen is None:
            return original(*arguments, **named)
        if arguments or "mask_function" not in named or named.get("use_vmap"):
            raise ValueError("the model creates its masks in a way that lines do not support")
        named["mask_function"] = seen.rule(named["mask_function"])
        named["allow_is_causal_skip"] = False
        return original(**named)

    masked.of_lines = True  # type: ignore[attr-defined]
    return masked


def may_read_lines(model: Any) -> bool:
    """Whether a config allows reading lines; `reads_lines` tests it."""
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    stateful = any(getattr(module, "_is_stateful", False) for module in model.modules())
    return not stateful and kinds <= _ATTENDS


def reads_lines(
    model: Any, read: "Callable[[Line], Tensor]", alone: "Callable[[NDArray[np.int64]], Tensor]"
) -> bool:
    """Whether a model gives the same states in a line as for each passage alone.

    Args:
        model: A loaded model.
        read: Its states, one row a token of a line.
        alone: Its states, one row a token of a passage.
    """
    import torch

    if not may_read_lines(model):
        return False
    embedded = int(model.get_input_embeddings().weight.shape[0])
    drawn = np.random.default_rng(0).integers(min(2, embedded - 1), embedded, size=60).tolist()
    probes = [
        passage_of(drawn[:20], drawn[20:30]),
        passage_of(drawn[:20], drawn[30:36]),
        passage_of(drawn[40:52], drawn[52:60]),
    ]
    line = lay_out(probes)
    tolerance = _ROUNDING[str(model.dtype).removeprefix("torch.")]
    try:
        found_N_H = read(line).float()
        for strand in line.strands:
            expected = alone(line.ids_N[strand.where_T]).float()
            where = torch.from_numpy(strand.where_T).to(found_N_H.device)
            off = (found_N_H[where] - expected).norm() / expected.norm().clamp(min=1e-12)
            if not bool(off < tolerance):
                return False
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError):
        return False
    return True
