"""Loss of a training on the CPU, computed only at the tokens that carry it.

On a CPU the trainer's own loss multiplies every position with the whole vocabulary, twice, and
spends more than half of a step on it. Here each logit of a token with loss is computed once, and
its gradient at once with it. `N` tokens with loss, `V` vocabulary, `C` a slice of it, `H` width.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tutelage.training.tokenized_rows import NO_LOSS, TRAIN_WEIGHT

TOKENS = 512
"""Tokens whose logits are in memory together: 512 of them are 0.25 GiB for a vocabulary of 262k."""

SLICE = 4096
"""Logits of a token in one block: with 512 tokens they stay in the cache."""


def base_of(model: Any) -> Any:
    """Base language model inside an adapter's wrapper, if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def summed_loss(model: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Summed loss of a microbatch by a causal language model.

    Args:
        model: A model whose logits are one product of its last hidden states with its head.
        inputs: `labels` (B, T), `NO_LOSS` where there is no loss; perhaps `train_weight` (B,), how
            much the loss of each row counts; the rest is the model's.

    Returns:
        The weighted sum in nats, with its gradient, and the number of tokens summed over.
    """
    given = {name: value for name, value in inputs.items() if name not in ("labels", TRAIN_WEIGHT)}
    hidden_B_T_H = model.base_model(**given, use_cache=False).last_hidden_state[:, :-1]
    labels_B_T = inputs["labels"][:, 1:]
    counted = labels_B_T != NO_LOSS
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    weight = model.get_output_embeddings().weight
    apply: Any = SummedLoss.apply
    row_weight_N = token_weights(inputs.get(TRAIN_WEIGHT), counted)
    loss = apply(
        hidden_B_T_H[counted], weight, labels_B_T[counted], dtype or weight.dtype, row_weight_N
    )
    return loss, counted.sum()


def fused_loss(model: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Summed loss by liger-kernel's fused product and loss, unweighted.

    Args:
        model: As of `summed_loss`.
        inputs: As of `summed_loss`, without weights.

    Returns:
        The sum in nats, with its gradient, and the number of tokens summed over.
    """
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    given = {name: value for name, value in inputs.items() if name != "labels"}
    hidden_B_T_H = model.base_model(**given, use_cache=False).last_hidden_state[:, :-1]
    labels_B_T = inputs["labels"][:, 1:]
    counted = labels_B_T != NO_LOSS
    weight = model.get_output_embeddings().weight
    hidden_N_H = hidden_B_T_H[counted].to(weight.dtype)
    loss: Any = LigerFusedLinearCrossEntropyLoss(reduction="sum")
    return loss(weight, hidden_N_H, labels_B_T[counted]), counted.sum()


def token_weights(weight_B: Tensor | None, counted_B_T: Tensor) -> Tensor | None:
    """Weight of each token with loss, float32: that of its row."""
    if weight_B is None:
        return None
    if weight_B.ndim > 1:  # rows that are joined in one line: a weight for each token
        return weight_B[:, 1:].float()[counted_B_T]
    return weight_B.float()[:, None].expand(counted_B_T.shape)[counted_B_T]


def weighted_loss(model: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Summed loss from a model's own logits, for heads that are more than one product.

    Args:
        model: A causal language model.
        inputs: As of `summed_loss`.

    Returns:
        The weighted sum in nats, and the number of tokens summed over.
    """
    given = {name: value for name, value in inputs.items() if name not in ("labels", TRAIN_WEIGHT)}
    logits_B_T_V = model(**given, use_cache=False).logits[:, :-1]
    labels_B_T = inputs["labels"][:, 1:]
    counted = labels_B_T != NO_LOSS
    nats_N = cross_entropy(logits_B_T_V[counted].float(), labels_B_T[counted], reduction="none")
    weight_N = token_weights(inputs.get(TRAIN_WEIGHT), counted)
    return (nats_N if weight_N is None else nats_N * weight_N).sum(), counted.sum()


class SummedLoss(torch.autograd.Function):
    """Sum of -log p(target) in nats, with both gradients computed in the forward pass.

    `forward(hidden_N_H, weight_V_H, targets_N, dtype, row_weight_N)`: products are in `dtype`, sums
    in float32; each token counts as `row_weight_N` says, all the same where it is None.
    """

    @staticmethod
    def forward(  # noqa: PLR0917  (autograd passes all by position)
        ctx: Any,
        hidden_N_H: Tensor,
        weight_V_H: Tensor,
        targets_N: Tensor,
        dtype: torch.dtype,
        row_weight_N: Tensor | None = None,
    ) -> Tensor:
        """Sum of the losses as a float32 scalar; stores what `backward` scales.

        Args:
            ctx: Context of autograd.
            hidden_N_H: Hidden states of the tokens with loss.
            weight_V_H: Weight of the head.
            targets_N: Target ids.
            dtype: Dtype of the products.
            row_weight_N: Weight of each token, or None.
        """
        rows, multiplied = hidden_N_H.detach().to(dtype), weight_V_H.detach().to(dtype)
        to_hidden = torch.zeros(rows.shape, dtype=torch.float32)
        to_weight = (
            torch.zeros(weight_V_H.shape, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        )
        total = torch.zeros((), dtype=torch.float32)
        for start in range(0, len(rows), TOKENS):
            part = slice(start, start + TOKENS)
            total += _part(
                rows[part],
                multiplied,
                targets_N[part],
                to_hidden[part],
                to_weight,
                row_weight_N=None if row_weight_N is None else row_weight_N[part],
            )
        ctx.save_for_backward(to_hidden.to(hidden_N_H.dtype), to_weight)
        ctx.weight_dtype = weight_V_H.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """Both gradients, scaled with that of the sum."""
        to_hidden, to_weight = ctx.saved_tensors
        scaled = None if to_weight is None else to_weight.mul_(outer[0]).to(ctx.weight_dtype)
        return to_hidden * outer[0], scaled, None, None, None


def _part(
    rows_N_H: Tensor,
    weight_V_H: Tensor,
    targets_N: Tensor,
    to_hidden_N_H: Tensor,
    to_weight_V_H: Tensor | None,
    *,
    row_weight_N: Tensor | None,
) -> Tensor:
    """Add the gradients of some tokens to both and return their summed loss."""
    logits_N_V = torch.empty((len(rows_N_H), len(weight_V_H)), dtype=rows_N_H.dtype)
    sums = []
    for part in _slices(len(weight_V_H)):
        logits_N_V[:, part] = rows_N_H @ weight_V_H[part].T
        sums.append(logits_N_V[:, part].float().logsumexp(dim=1))
    log_sum_N = torch.stack(sums).logsumexp(dim=0)
    nats_N = log_sum_N - logits_N_V.gather(1, targets_N[:, None])[:, 0].float()
    loss = (nats_N if row_weight_N is None else nats_N * row_weight_N).sum()
    for part in _slices(len(weight_V_H)):
        slope_N_C = logits_N_V[:, part].float().sub_(log_sum_N[:, None]).exp_()
        here = ((targets_N >= part.start) & (targets_N < part.stop)).nonzero()[:, 0]
        slope_N_C[here, targets_N[here] - part.start] -= 1.0
        if row_weight_N is not None:
            slope_N_C *= row_weight_N[:, None]
        slope = slope_N_C.to(rows_N_H.dtype)
        to_hidden_N_H += slope @ weight_V_H[part]
        if to_weight_V_H is not None:
            to_weight_V_H[part] += slope.T @ rows_N_H
    return loss


def _slices(vocabulary: int) -> Iterator[slice]:
    return (slice(at, min(at + SLICE, vocabulary)) for at in range(0, vocabulary, SLICE))
