"""Projected gradients: the gradient of a response's loss, as a short random projection.

A gradient has as many numbers as the student has weights, so it is projected: every entry gets a
random sign and is added to one of d sums. Inner products of such sketches are those of the
gradients, on average over signs (Charikar, Chen and Farach-Colton 2002).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.data import Candidate, Unscored
from tutelage.models.loading import load_model
from tutelage.student.passages import Passage, Refusal
from tutelage.student.student import StudentModel
from tutelage.student.views import blank_reason

NO_LOSS = -100
_LEFT_OUT = ("embed", "lm_head")
"""Parts of names of weights whose gradients are not used: the table of tokens is most of a small
model, and moves for other reasons than how well an answer suits it."""


def projected_gradients(
    candidates: Iterable[Candidate],
    *,
    student: StudentModel,
    dimensions: int = 128,
    seed: int = 0,
) -> Iterator[NDArray[np.float32] | Unscored]:
    """Projected gradient of each response's mean loss with respect to the inner weights.

    One forward and one backward pass each, in float32, without dropout. The projection depends on
    the seed and the shapes of the weights alone, so vectors of different calls can be compared.

    Args:
        candidates: One after another.
        student: Whose weights; its cache is not used.
        dimensions: Dimensions of the vectors, at least 1.
        seed: Seed of the signs.

    Yields:
        float32 of length `dimensions`, in nats per token by weight; or why there is none.
    """
    parts = student.parts
    model = load_model(parts.folder, parts.settings, device=parts.device, dtype="float32")
    sketch = _Sketch(model, dimensions=dimensions, seed=seed)
    for candidate in candidates:
        blank = blank_reason(candidate)
        if blank is not None:
            yield blank
            continue
        side = parts.builder.encode(candidate, "response")
        if isinstance(side, Refusal):
            yield Unscored(
                candidate_id=candidate.candidate_id, reason=side.reason, detail=side.detail
            )
            continue
        found = sketch.of(side.given)
        if np.isfinite(found).all():
            yield found
        else:
            yield Unscored(candidate_id=candidate.candidate_id, reason="nonfinite")


class _Sketch:
    """Accumulator of the signed gradients of all inner matrices while they are computed."""

    def __init__(self, model: Any, *, dimensions: int, seed: int) -> None:
        import torch

        self._torch = torch
        self._model = model
        self._dimensions = dimensions
        generator = torch.Generator().manual_seed(seed)
        self._sums = torch.zeros(dimensions, device=model.device)
        for name, weight in sorted(model.named_parameters()):
            if weight.dim() == 2 and not any(part in name for part in _LEFT_OUT):  # noqa: PLR2004
                signs = torch.randint(0, 2, (weight.numel(),), generator=generator).to(torch.int8)
                weight.requires_grad_(True)
                weight.register_post_accumulate_grad_hook(self._adder(signs.to(model.device)))

    def _adder(self, signs: Any) -> Any:
        def add(weight: Any) -> None:
            signed = weight.grad.flatten() * (2 * signs - 1)
            left = -signed.numel() % self._dimensions
            padded = self._torch.nn.functional.pad(signed, (0, left))
            self._sums += padded.view(-1, self._dimensions).sum(dim=0)
            weight.grad = None

        return add

    def of(self, passages: tuple[Passage, ...]) -> NDArray[np.float32]:
        """Projected gradient of the mean loss over the targets of some passages."""
        torch = self._torch
        self._sums.zero_()
        targets = sum(passage.targets for passage in passages)
        for passage in passages:
            ids_1_T = torch.as_tensor(
                passage.ids_T, dtype=torch.long, device=self._model.device
            ).unsqueeze(0)
            labels_1_T = ids_1_T.clone()
            labels_1_T[:, : passage.target_start] = NO_LOSS
            loss = self._model(input_ids=ids_1_T, labels=labels_1_T, use_cache=False).loss
            (loss * (passage.targets / targets)).backward()
        found: NDArray[np.float32] = self._sums.float().cpu().numpy().copy()
        return found
