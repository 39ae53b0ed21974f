"""Choice of the attention implementation by which transformers reads a packed line.

processors, Apple and Intel cards   the model's own (SDPA or eager), with a dense mask
CUDA                                FlexAttention, which skips blocks that nobody sees;
FlashAttention for lines that share nothing, where installed
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tutelage.student.packed_layout import Line

DENSE_TOKENS = 2048
"""Most tokens of a line with a dense mask."""

FLEX, FLASH = "flex_attention", "flash_attention_2"

_BLOCK = 128
"""Block size of FlexAttention; padding to whole blocks avoids recompilation."""


class Kernels:
    """Attention implementations of one loaded model.

    Args:
        model: Model of transformers.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._own = model.config._attn_implementation  # noqa: SLF001  (its public name is a setter)
        self._flex = self._can_use_flex()
        self._flash = self._can_use_flash()

    @property
    def skip_blocks(self) -> bool:
        """Whether attention skips blocks, so that a line costs no more than its passages."""
        return self._flex

    def use_dense_masks(self) -> None:
        """Fall back to dense masks."""
        self._flex = self._flash = False

    def kernel(self, line: Line) -> str:
        """Name, in transformers, of the best attention for a line."""
        if self._flash and not any(strand.shared for strand in line.strands):
            return FLASH
        return FLEX if self._flex else self._own

    def padded(self, line: Line) -> Line:
        """Line padded to whole blocks where the attention needs them.

        What is added belongs to no passage, and nothing sees it.
        """
        missing = -len(line.ids_N) % _BLOCK if self.kernel(line) == FLEX else 0
        if not missing:
            return line
        more = np.zeros(missing, dtype=np.int64)
        return replace(
            line,
            ids_N=np.concatenate([line.ids_N, more]),
            positions_N=np.concatenate([line.positions_N, more]),
        )

    @contextmanager
    def of(self, line: Line) -> Iterator[str]:
        """Context manager that sets the best attention for a line and gives its name."""
        name = self.kernel(line)
        if name == self._own:
            yield name
            return
        self._model.set_attn_implementation(name)
        try:
            yield name
        finally:
            self._model.set_attn_implementation(self._own)

    def _can_use_flex(self) -> bool:
        from transformers.utils import is_torch_flex_attn_available

        on_cuda = self._model.device.type == "cuda"
        return (
            on_cuda
            and bool(is_torch_flex_attn_available())
            and bool(getattr(self._model, "_supports_flex_attn", False))
        )

    def _can_use_flash(self) -> bool:
        from transformers.utils import is_flash_attn_2_available

        return (
            self._flex  # lines that share need it
            and self._model.dtype.itemsize == 2  # noqa: PLR2004  (bytes: it has no float32)
            and bool(is_flash_attn_2_available())
            and bool(getattr(self._model, "_supports_flash_attn", False))
        )
