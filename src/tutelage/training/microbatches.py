"""Microbatches: rows that are computed together, padded or joined, split where memory is short.

padded          A A A A .       input_ids, labels, attention_mask: (B, T)
B B B B B
padding-free    A A A A B B B B B    input_ids, labels, position_ids: (1, N)
position_ids    0 1 2 3 0 1 2 3 4    a row begins at each 0, and sees nothing in front of it
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tutelage.training.tokenized_rows import NO_LOSS, TRAIN_WEIGHT

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
