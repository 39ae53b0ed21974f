"""Loss of a training on the CPU, only at the tokens that carry it; and microbatches of rows.

On a CPU the trainer's own loss multiplies every position with the whole vocabulary, twice, and
spends more than half of a step on it. Here each logit of a token with loss is computed once, and
its gradient at once with it. `N` tokens with loss, `V` vocabulary, `C` a slice of it, `H` width.

A microbatch holds rows that are computed together, and is split where memory is short:

    padded          A A A A .            input_ids, labels, attention_mask: (B, T)
                    B B B B B
    padding-free    A A A A B B B B B    input_ids, labels, position_ids: (1, N)
    position_ids    0 1 2 3 0 1 2 3 4    a row begins at each 0, and sees nothing in front of it
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
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


_ROUNDING = 1e-2
"""Largest relative difference of logits, in any dtype, that counts as rounding."""


class JoinedRows:
    """Collator that concatenates rows without padding.

    Positions start again with each row. From that, transformers sees where a row ends, whichever
    attention it uses; the weight of a row is that of each of its tokens.
    """

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Concatenate rows to one sequence."""
        ids = [token for row in rows for token in row["input_ids"]]
        # The token in front of a row belongs to another one, which does not predict its first.
        labels = [label for row in rows for label in (NO_LOSS, *row["labels"][1:])]
        positions = [at for row in rows for at in range(len(row["input_ids"]))]
        batch = {
            "input_ids": torch.tensor([ids]),
            "labels": torch.tensor([labels]),
            "position_ids": torch.tensor([positions]),
        }
        if TRAIN_WEIGHT in rows[0]:
            weights = [row[TRAIN_WEIGHT] for row in rows for _ in row["input_ids"]]
            batch[TRAIN_WEIGHT] = torch.tensor([weights], dtype=torch.float32)
        return batch


def rows_in(inputs: Mapping[str, Tensor]) -> int:
    """Number of rows in a microbatch."""
    if "position_ids" in inputs:
        return int((inputs["position_ids"] == 0).sum())
    return len(inputs["input_ids"])


def in_parts(inputs: Mapping[str, Tensor], *, rows: int) -> list[dict[str, Tensor]]:
    """Split a microbatch into smaller ones.

    Args:
        inputs: What a collator made.
        rows: The most rows of a part.
    """
    if "position_ids" not in inputs:
        batch_rows = len(inputs["input_ids"])
        return [
            _without_padding({name: value[at : at + rows] for name, value in inputs.items()})
            for at in range(0, batch_rows, rows)
        ]
    starts = (inputs["position_ids"][0] == 0).nonzero()[:, 0].tolist()
    borders = [*starts[::rows], inputs["position_ids"].shape[1]]
    return [
        {name: value[:, start:end] for name, value in inputs.items()}
        for start, end in pairwise(borders)
    ]


def _without_padding(part: dict[str, Tensor]) -> dict[str, Tensor]:
    """Part of a microbatch without columns that are now padding only."""
    longest = int(part["attention_mask"].sum(dim=1).max())
    return {name: value[:, :longest] if value.ndim > 1 else value for name, value in part.items()}


def reads_joined_rows(model: Any) -> bool:
    """Whether a causal language model gives the same logits for joined rows as for each row alone.

    Models with recurrent states, or with positions that are not told, read on across the border.
    """
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    ids_T = torch.tensor([(2 + 7 * at) % vocabulary for at in range(13)], device=model.device)
    rows = (ids_T[:8], ids_T[8:])
    positions = [torch.arange(len(row), device=model.device) for row in rows]
    trains = model.training
    model.eval()
    try:
        with torch.no_grad():
            joined_T_V = model(
                input_ids=ids_T[None], position_ids=torch.cat(positions)[None], use_cache=False
            ).logits[0]
            alone_T_V = model(input_ids=rows[1][None], use_cache=False).logits[0]
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    finally:
        model.train(trains)
    off = (joined_T_V[8:].float() - alone_T_V.float()).norm() / alone_T_V.float().norm()
    return bool(off < _ROUNDING)
