"""Engine that reads any causal language model through its own forward pass, in padded batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.models.loading import forward_errors, memory_errors
from tutelage.student.decoder_steps import Ops
from tutelage.student.engine import ForwardError, OutOfMemoryError, out_of_range
from tutelage.student.model_checks import body_of, only, probe
from tutelage.student.passages import Measured, Passage, Refusal
from tutelage.student.rotary_positions import forget_lengths
from tutelage.student.token_statistics import Head, measure

if TYPE_CHECKING:
    from torch import Tensor


class TransformersEngine:
    """The general engine.

    Rows are padded on the right, which a causal model cannot see; only the hidden states at the
    targets are multiplied with the head. What the model is found to do otherwise, it is read
    accordingly: row by row where padding changes its states, through its whole forward pass where
    its logits are not the head's, and apart from rows of another length where its rotary
    frequencies depend on the longest row of a batch.

    Raises:
        StudentError: The model's forward pass fails, or it is not a causal language model.
    """

    def __init__(self, model: Any, *, batch_tokens: int, ops: Ops) -> None:
        self._model = model
        self._batch_tokens = batch_tokens
        self._probed = probe(model)
        self._head = self._probed.head
        self._ops = ops

    @property
    def name(self) -> str:
        """What the manifest calls it."""
        return "transformers"

    @property
    def lanes(self) -> int:
        """One."""
        return 1

    def refusal(self, passage: Passage) -> Refusal | None:
        """Whether a passage has token ids that the model does not have."""
        return out_of_range(passage, embedded=self._probed.embedded, answered=self._probed.answered)

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Divide passages into batches of like lengths under the token budget."""
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
            planned = plan_padded([lengths[i] for i in group], batch_tokens=self._batch_tokens)
            batches += [[group[i] for i in batch] for batch in planned]
        return batches

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
        more: dict[str, object] = {"use_cache": False}
        if not mask_B_T.all():
            more["attention_mask"] = torch.from_numpy(mask_B_T).to(device)
        hidden_B_T_H = body_of(self._model)(
            input_ids=torch.from_numpy(ids_B_T).to(device),
            **only(self._probed.body_arguments, **more),
        ).last_hidden_state
        hidden_N_H = hidden_B_T_H[torch.tensor(rows), torch.tensor(columns)]
        # Mamba keeps its states in float32 whatever the type of its head.
        hidden_N_H = hidden_N_H.to(self._model.get_output_embeddings().weight.dtype)
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
        more = only(self._probed.arguments, use_cache=False, logits_to_keep=passage.targets + 1)
        logits_B_T_V = self._model(input_ids=ids_T[None], **more).logits
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
