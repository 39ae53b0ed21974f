"""The honest baseline: what people write when they score one row at a time.

One row, one forward pass of transformers, logits of all positions, the model's own loss. It
tokenises exactly as the student's room does, so that both count the same tokens.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM


class PlainLoop:
    """Reads passages one by one."""

    def __init__(self, folder: Path, *, dtype: str) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=getattr(torch, dtype), local_files_only=True
        ).eval()

    @torch.no_grad()
    def mean_nll(self, ids_T: np.ndarray, target_start: int) -> float:
        """Mean negative log-likelihood of the targets, nats a token."""
        ids = torch.from_numpy(ids_T.astype(np.int64))[None]
        labels = ids.clone()
        labels[:, :target_start] = -100
        return float(self.model(input_ids=ids, labels=labels, use_cache=False).loss)

    def read(self, passages: Sequence) -> list[float]:
        return [self.mean_nll(p.ids_T, p.target_start) for p in passages]
