"""Products with a weight that stays: packed once, where that makes each of them faster.

On a CPU with bfloat16 matrix units oneDNN reorders a plain weight at every call. Its own packed
layout spares that; torch offers it to its compiler as `mkldnn._linear_pointwise`.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Product: TypeAlias = "Callable[[Tensor], Tensor]"
"""Rows (N, in) to rows (N, out)."""

ROWS = 1024
"""The number of rows that a packed layout is chosen for; others work, too."""

_LARGEST_COPY_BYTES = 128 << 20
"""A weight that the model needs in its plain form as well is not packed beyond this size."""

_log = logging.getLogger(__name__)


def product(weight_O_I: "Tensor", bias_O: "Tensor | None", *, shared: bool = False) -> Product:
    """Prepare the products with a weight.

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
    """The weight in oneDNN's layout, or None where this torch or this processor has none."""
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
