"""Attention masks by which any transformers model reads a line of passages with shared prefixes.

A line is a forest: its tokens stand in the order in which one walks through it, so the tokens
behind a token that belong to its passages come right after it, up to `ends_N`.

    A   s s s x x x        line    s s s x x x y y z
    B   s s s y y          index   0 1 2 3 4 5 6 7 8
    C   s s s y z          end     9 9 9 6 6 6 9 8 9

Token q may see token k where k <= q < end of k, and where the model's own rule (causal, a sliding
window, chunks) allows it. The model's rule is asked about positions in the passage, not in the
line. All attention functions of transformers get their masks from one place, so this works for
eager, SDPA and FlexAttention (which skips blocks that no token attends to).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.student.packed_layout import Line, lay_out
from tutelage.student.passages import passage_of

if TYPE_CHECKING:
    from torch import Tensor

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
