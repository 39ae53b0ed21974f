"""Packed engine: common decoders over lines of tokens, without padding, with shared prefixes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tutelage.models.loading import forward_errors, memory_errors
from tutelage.student.decoder import Decoder, is_known, line_targets
from tutelage.student.decoder_steps import Ops
from tutelage.student.engine import ForwardError, OutOfMemoryError, out_of_range
from tutelage.student.model_checks import plain_head
from tutelage.student.packed_layout import lay_out, plan_packed
from tutelage.student.passages import Measured, Passage, Refusal, passage_of
from tutelage.student.token_statistics import Head, measure

_PROBE_TOKENS = 40
_TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Largest relative difference from transformers' states on the probe."""


class PackedEngine:
    """Fast engine for decoders whose forward pass `decoder` implements.

    Made by `open_packed`, which first compares it with the model's own forward pass.
    """

    def __init__(
        self,
        decoder: Decoder,
        head: Head,
        *,
        embedded: int,
        batch_tokens: int,
        lanes: int,
        ops: Ops,
    ) -> None:
        self._embedded, self._answered = embedded, head.vocabulary
        self._decoder: Decoder | None = decoder
        self._head: Head | None = head
        self._batch_tokens = batch_tokens
        self._lanes = lanes
        self._ops = ops

    @property
    def name(self) -> str:
        """Name in the manifest."""
        return "packed"

    @property
    def lanes(self) -> int:
        """Number of lanes given at construction."""
        return self._lanes

    def refusal(self, passage: Passage) -> Refusal | None:
        """Reason why a passage cannot be read: token ids outside the vocabulary; else None."""
        return out_of_range(passage, embedded=self._embedded, answered=self._answered)

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Divide passages into batches that share prefixes, under the token budget."""
        return plan_packed(passages, batch_tokens=self._batch_tokens)

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        """Read one batch, in the order given.

        Raises:
            OutOfMemoryError: The batch is too large.
            ForwardError: The forward pass failed on it.
        """
        import torch

        if self._decoder is None or self._head is None:
            raise RuntimeError("the engine is closed")
        with torch.inference_mode(), forward_errors(ForwardError), memory_errors(OutOfMemoryError):
            line = lay_out(passages)
            rows_N, targets_N = line_targets(line, [p.target_start for p in passages])
            hidden_N_H = self._decoder.hidden(line).index_select(0, rows_N)
            counts = [p.targets for p in passages]
            return measure(
                hidden_N_H, targets_N, head=self._head, counts=counts, full=full, ops=self._ops
            )

    def shrink(self) -> None:
        """Halve the tokens of all further batches."""
        self._batch_tokens = max(1, self._batch_tokens // 2)

    def close(self) -> None:
        """Free the memory of the model."""
        self._decoder = None
        self._head = None


def open_packed(model: Any, *, batch_tokens: int, lanes: int, ops: Ops) -> PackedEngine | None:
    """Packed engine of a loaded model, or None where the architecture is not supported.

    The model is taken apart only after its own states on a probe are noted; where the new forward
    pass does not give the same, the caller has to load the model again.

    Args:
        model: The loaded model, which is taken apart.
        batch_tokens: Tokens of a batch.
        lanes: Batches that are read at the same time.
        ops: The operations between matrix products.

    Returns:
        The engine, or None where the decoder is not known or does not agree.
    """
    import torch

    head = plain_head(model) if is_known(model.config) else None
    if head is None or head.after is not None:
        return None
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    ids = np.random.default_rng(0).integers(0, vocabulary, size=_PROBE_TOKENS).tolist()
    probes = [passage_of(ids[:20], ids[20:]), passage_of(ids[:12], ids[25:])]
    with torch.inference_mode():
        expected = [
            model.base_model(
                input_ids=torch.from_numpy(p.ids_T.astype(np.int64))[None], use_cache=False
            ).last_hidden_state[0]
            for p in probes
        ]
        decoder = Decoder(model, ops=ops)
        line = lay_out(probes)
        found_N_H = decoder.hidden(line).float()
        for strand, states_T_H in zip(line.strands, expected, strict=True):
            difference = found_N_H[torch.from_numpy(strand.where_T)] - states_T_H.float()
            relative = float(difference.norm() / states_T_H.float().norm())
            if not relative < _TOLERANCES[str(model.dtype).removeprefix("torch.")]:
                return None
    return PackedEngine(
        decoder, head, embedded=vocabulary, batch_tokens=batch_tokens, lanes=lanes, ops=ops
    )
