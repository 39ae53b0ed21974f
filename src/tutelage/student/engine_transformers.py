"""General engine: any causal language model through its own forward pass.

Passages that share prefixes are read in one line without padding, in which a prefix occurs once
(`packed_layout`); the others in padded batches. Models in which attention is not the only link
between positions are read in padded batches or row by row.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.models.loading import forward_errors, memory_errors
from tutelage.student.decoder_steps import Head, Ops, measure
from tutelage.student.engine import ForwardError, OutOfMemoryError, out_of_range
from tutelage.student.engine_packed import line_targets
from tutelage.student.model_checks import body_of, forget_lengths, only, probe
from tutelage.student.packed_layout import (
    Line,
    lay_out,
    masks_of,
    plan_packed,
    reads_lines,
    sharing,
)
from tutelage.student.passages import CPU_TOKENS, Gauge, Measured, Passage, Refusal, measured_tokens

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)


class TransformersEngine:
    """Engine that runs the model's own forward pass of transformers.

    Rows are padded on the right, which a causal model cannot see; only the hidden states at the
    targets are multiplied with the head. What the model is found to do otherwise, it is read
    accordingly: row by row where padding changes its states, through its whole forward pass where
    its logits are not the head's, and apart from rows of another length where its rotary
    frequencies depend on the longest row of a batch.

    Raises:
        StudentError: The model's forward pass fails, or it is not a causal language model.
    """

    def __init__(
        self, model: Any, *, batch_tokens: int | None, ops: Ops, gauge: Gauge | None = None
    ) -> None:
        self._model = model
        self._probed = probe(model)
        self._head = self._probed.head
        self._ops = ops
        self._kernels = Kernels(model) if self._head is not None else None
        with torch_inference():
            self._lines = self._can_read_lines()
        if batch_tokens is None:
            batch_tokens = CPU_TOKENS if gauge is None else self._measured(gauge)
        self._batch_tokens = batch_tokens

    @property
    def name(self) -> str:
        """Name in the manifest."""
        return "transformers"

    @property
    def lanes(self) -> int:
        """Always one batch at a time."""
        return 1

    def _can_read_lines(self) -> bool:
        """Test whether lines can be read, with a dense mask if FlexAttention fails."""
        if self._kernels is None:
            return False
        if reads_lines(self._model, self._line_states, self._own_states):
            return True
        if not self._kernels.skip_blocks:
            return False
        _log.warning("FlexAttention does not work here; lines are read with a dense mask")
        self._kernels.use_dense_masks()
        return reads_lines(self._model, self._line_states, self._own_states)

    @property
    def reads_lines(self) -> bool:
        """Whether passages that share a prefix are read together."""
        return self._lines

    def refusal(self, passage: Passage) -> Refusal | None:
        """Reason why a passage cannot be read: token ids outside the vocabulary; else None."""
        return out_of_range(passage, embedded=self._probed.embedded, answered=self._probed.answered)

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Divide passages into batches under the token budget.

        Passages that share a prefix are read together where the model reads lines, and so are all
        passages where its attention leaves out what no token sees. The others make batches of like
        lengths.
        """
        lengths = [len(p.ids_T) for p in passages]
        rope = self._probed.rope
        groups: dict[int, list[int]] = {}
        single = []
        for index, length in enumerate(lengths):
            if not self._probed.padded or rope.alone(length):
                single.append(index)
            else:
                groups.setdefault(rope.group(length), []).append(index)
        batches = [[index] for index in sorted(single, key=lambda i: (-lengths[i], i))]
        for _, group in sorted(groups.items(), reverse=True):
            lined, rest = self._divided(group, passages)
            planned = plan_packed([passages[i] for i in lined], batch_tokens=self._line_tokens)
            batches += [[lined[i] for i in batch] for batch in planned]
            planned = plan_padded([lengths[i] for i in rest], batch_tokens=self._batch_tokens)
            batches += [[rest[i] for i in batch] for batch in planned]
        return batches

    @property
    def _line_tokens(self) -> int:
        """Most tokens of a line; a dense mask grows with the square of them."""
        if self._kernels is not None and self._kernels.skip_blocks:
            return self._batch_tokens
        return min(self._batch_tokens, DENSE_TOKENS)

    def _divided(
        self, group: Sequence[int], passages: Sequence[Passage]
    ) -> tuple[list[int], list[int]]:
        """Passages to be read in lines, and passages to be read in padded batches."""
        if not self._lines or self._kernels is None:
            return [], list(group)
        if self._kernels.skip_blocks:
            return list(group), []
        related = {group[i] for i in sharing([passages[i] for i in group])}
        return [i for i in group if i in related], [i for i in group if i not in related]

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        """Read one batch, in the order given.

        Raises:
            OutOfMemoryError: The batch is too large.
            ForwardError: The forward pass failed on it.
        """
        import torch

        if self._model is None:
            raise ForwardError("the engine is closed")
        with torch.inference_mode(), forward_errors(ForwardError), memory_errors(OutOfMemoryError):
            if self._probed.rope.dynamic:
                forget_lengths(self._model)
            if self._head is None:
                return [self._read_whole(p, full=full) for p in passages]
            line = self._line_of(passages)
            if line is not None:
                return self._read_line(line, passages, head=self._head, full=full)
            return self._read_padded(passages, head=self._head, full=full)

    def shrink(self) -> None:
        """Halve the tokens of all further batches."""
        self._batch_tokens = max(1, self._batch_tokens // 2)

    def _measured(self, gauge: Gauge) -> int:
        longest = _length_limit(self._model.config)

        def read(tokens: int) -> None:
            ids_T = np.arange(2, 2 + tokens, dtype=np.int32) % self._probed.embedded
            self.read([Passage(ids_T=ids_T, target_start=1)], full=True)

        return measured_tokens(gauge, read, longest=longest)

    def _line_of(self, passages: Sequence[Passage]) -> Line | None:
        """Line in which passages are read, or None where they are read as rows."""
        if not self._lines or self._kernels is None or len(passages) == 1:
            return None
        if any(self._probed.rope.alone(len(p.ids_T)) for p in passages):
            return None
        line = lay_out(passages)
        shares = any(strand.shared for strand in line.strands)
        return line if shares or self._kernels.skip_blocks else None

    def _read_line(
        self, line: Line, passages: Sequence[Passage], *, head: Head, full: bool
    ) -> list[Measured]:
        rows_N, targets_N = line_targets(line, [p.target_start for p in passages])
        hidden_N_H = self._line_states(line)
        device = hidden_N_H.device
        return measure(
            hidden_N_H[rows_N.to(device)].to(self._head_dtype),
            targets_N.to(device),
            head=head,
            counts=[p.targets for p in passages],
            full=full,
            ops=self._ops,
        )

    def _line_states(self, line: Line) -> "Tensor":
        """Hidden states of a line, one row per token."""
        import torch

        if self._kernels is None or not {"position_ids", "attention_mask"} <= (
            self._probed.body_arguments
        ):
            raise ValueError("the model takes no position ids")
        padded = self._kernels.padded(line)
        device = self._model.device
        ids_1_N = on_device(padded.ids_N, device)[None]
        with self._kernels.of(line) as kernel, masks_of(padded, device=device):
            hidden_1_N_H = body_of(self._model)(
                input_ids=ids_1_N,
                position_ids=on_device(padded.positions_N, device)[None],
                # Without a mask transformers takes positions that begin again for a border; that
                # is what FlashAttention needs.
                attention_mask=None if kernel == FLASH else torch.ones_like(ids_1_N),
                **only(self._probed.body_arguments, use_cache=False),
            ).last_hidden_state
        states: Tensor = hidden_1_N_H[0, : len(line.ids_N)]
        return states

    def _own_states(self, ids_T: NDArray[np.int64]) -> "Tensor":
        states: Tensor = body_of(self._model)(
            input_ids=on_device(ids_T, self._model.device)[None],
            **only(self._probed.body_arguments, use_cache=False),
        ).last_hidden_state[0]
        return states

    @property
    def _head_dtype(self) -> Any:
        """Dtype of the head's product; Mamba keeps its states in float32 regardless."""
        weight = self._model.get_output_embeddings().weight
        return weight.dtype if weight.is_floating_point() else self._model.dtype

    def close(self) -> None:
        """Free the memory of the model."""
        self._model = None
        self._head = None

    def _read_padded(
        self, passages: Sequence[Passage], *, head: Head, full: bool
    ) -> list[Measured]:
        import torch

        device = self._model.device
        longest = max(len(p.ids_T) for p in passages)
        ids_B_T = np.zeros((len(passages), longest), dtype=np.int64)
        mask_B_T = np.zeros_like(ids_B_T)
        rows: list[int] = []
        columns: list[int] = []
        targets = []
        for row, passage in enumerate(passages):
            length = len(passage.ids_T)
            ids_B_T[row, :length] = passage.ids_T
            mask_B_T[row, :length] = 1
            rows += [row] * passage.targets
            columns += range(passage.target_start - 1, length - 1)
            targets.append(passage.ids_T[passage.target_start :])
        more: dict[str, object] = {"use_cache": False}
        if not mask_B_T.all():
            more["attention_mask"] = on_device(mask_B_T, device)
        hidden_B_T_H = body_of(self._model)(
            input_ids=on_device(ids_B_T, device),
            **only(self._probed.body_arguments, **more),
        ).last_hidden_state
        hidden_N_H = hidden_B_T_H[torch.tensor(rows), torch.tensor(columns)]
        hidden_N_H = hidden_N_H.to(self._head_dtype)
        wanted = on_device(np.concatenate(targets).astype(np.int64), hidden_N_H.device)
        return measure(
            hidden_N_H,
            wanted,
            head=head,
            counts=[p.targets for p in passages],
            full=full,
            ops=self._ops,
        )

    def _read_whole(self, passage: Passage, *, full: bool) -> Measured:
        import torch

        ids_T = torch.from_numpy(passage.ids_T.astype(np.int64)).to(self._model.device)
        more = only(self._probed.arguments, use_cache=False, logits_to_keep=passage.targets + 1)
        logits_B_T_V = self._model(input_ids=ids_T[None], **more).logits
        logits_N_V: Tensor = logits_B_T_V[0, -passage.targets - 1 : -1]
        head = Head(logits_of=None, vocabulary=logits_N_V.shape[1])
        wanted = ids_T[passage.target_start :].to(logits_N_V.device)
        return measure(
            logits_N_V, wanted, head=head, counts=[passage.targets], full=full, ops=self._ops
        )[0]


def plan_padded(lengths: Sequence[int], *, batch_tokens: int) -> list[list[int]]:
    """Batches of similar lengths whose padded size stays under a budget.

    The longest come first, so that a shortage of memory shows at once. A passage that is longer
    than the budget is a batch of its own.

    Args:
        lengths: Tokens of each passage.
        batch_tokens: The budget, padding included.

    Returns:
        Indices; each is in exactly one batch.

    Examples:
        >>> plan_padded([3, 9, 4], batch_tokens=8)
        [[1], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for index in order:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def on_device(values: NDArray[np.int64], device: Any) -> "Tensor":
    """Copy indices to a device without synchronising."""
    import torch

    tensor = torch.from_numpy(values)
    if getattr(device, "type", "cpu") != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def torch_inference() -> AbstractContextManager[Any]:
    """Context manager without gradients."""
    import torch

    return torch.inference_mode()


def _length_limit(config: Any) -> int:
    text = config.get_text_config()
    found = getattr(text, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 1 else CPU_TOKENS


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
