"""Reads any causal language model through its own forward pass, in padded batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.student.engine import OutOfMemoryError
from tutelage.student.head import Head, head_of, measure
from tutelage.student.loading import memory_errors
from tutelage.student.ops import Ops
from tutelage.student.passage import Measured, Passage

if TYPE_CHECKING:
    from torch import Tensor

_PROBE_IDS = tuple(range(2, 10))
_TOLERANCE = 1e-3


class TransformersEngine:
    """The general engine.

    Rows are padded on the right, which a causal model cannot see; only the hidden states at the
    targets are multiplied with the head. Where the model does more after its head than a linear
    map (soft caps, scaling), it is read one passage at a time through its whole forward pass.
    """

    def __init__(self, model: Any, *, batch_tokens: int, ops: Ops) -> None:
        self._model = model
        self._batch_tokens = batch_tokens
        self._head = plain_head(model)
        self._ops = ops

    @property
    def name(self) -> str:
        """What the manifest calls it."""
        return "transformers"

    @property
    def lanes(self) -> int:
        """One."""
        return 1

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Divide passages into batches of like lengths under the token budget."""
        return plan_padded([len(p.ids_T) for p in passages], batch_tokens=self._batch_tokens)

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        """Read one batch, in the order given.

        Raises:
            OutOfMemoryError: The batch is too large.
        """
        import torch

        with torch.inference_mode(), memory_errors(OutOfMemoryError):
            if self._head is None:
                return [self._read_whole(p, full=full) for p in passages]
            return self._read_padded(passages, head=self._head, full=full)

    def close(self) -> None:
        """Give the memory back."""
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
        hidden_B_T_H = self._model.base_model(
            input_ids=torch.from_numpy(ids_B_T).to(device),
            attention_mask=torch.from_numpy(mask_B_T).to(device),
            use_cache=False,
        ).last_hidden_state
        hidden_N_H = hidden_B_T_H[torch.tensor(rows), torch.tensor(columns)]
        wanted = torch.from_numpy(np.concatenate(targets).astype(np.int64)).to(device)
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
        logits_B_T_V = self._model(
            input_ids=ids_T[None], use_cache=False, logits_to_keep=passage.targets + 1
        ).logits
        logits_N_V: Tensor = logits_B_T_V[0, -passage.targets - 1 : -1]
        head = Head(logits_of=None, vocabulary=logits_N_V.shape[1])
        wanted = ids_T[passage.target_start :]
        return measure(
            logits_N_V, wanted, head=head, counts=[passage.targets], full=full, ops=self._ops
        )[0]


def plan_padded(lengths: Sequence[int], *, batch_tokens: int) -> list[list[int]]:
    """Batches of like lengths whose padded size stays under a budget.

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


def plain_head(model: Any) -> Head | None:
    """The model's head, or None where its logits are not simply the head's."""
    import torch

    layer = model.get_output_embeddings()
    if not isinstance(layer, torch.nn.Linear):
        return None
    ids_B_T = torch.tensor([_PROBE_IDS], device=model.device)
    with torch.inference_mode():
        whole = model(input_ids=ids_B_T, use_cache=False).logits.float()
        hidden = model.base_model(input_ids=ids_B_T, use_cache=False).last_hidden_state
        ours = layer(hidden).float()
    if whole.shape != ours.shape or not torch.allclose(whole, ours, atol=_TOLERANCE, rtol=1e-2):
        return None
    return head_of(layer)
