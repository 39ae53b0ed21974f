"""Operations of `decoder_steps` in C, compiled once with the machine's own compiler."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.data import RANK_CLIP
from tutelage.models.config import DtypeName, cache_folder
from tutelage.student.decoder_steps import Columns, Heads, Norm, Scores, TorchOps

if TYPE_CHECKING:
    from torch import Tensor

_SOURCE = Path(__file__).with_name("kernels.c")
_FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp-simd",
    "-shared",
    "-fPIC",
)
_COMPILE_SECONDS = 60.0
_ROWS_WORTH_A_THREAD = 8
_LARGEST_HEAD = 1024  # kernels.c keeps one head on its stack
_ACTIVATIONS = {"silu": 0, "swish": 0, "gelu_pytorch_tanh": 1, "gelu_new": 1}

_log = logging.getLogger(__name__)


class NativeStatistics(TorchOps):
    """Statistics in C and everything else in torch, for models on the CPU in another dtype."""

    def __init__(self, library: ctypes.CDLL, *, threads: int) -> None:
        self._library = library
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="tutelage-rows")

    def statistics(self, logits_N_V: "Tensor", targets_N: "Tensor", *, full: bool) -> Columns:
        """Statistics of one target per row; all four cost hardly more than one."""
        import torch

        kinds = {
            torch.bfloat16: self._library.statistics_bf16,
            torch.float32: self._library.statistics_f32,
        }
        kernel = kinds.get(logits_N_V.dtype)
        if kernel is None:
            return super().statistics(logits_N_V, targets_N, full=full)
        logits_N_V = logits_N_V.contiguous()
        out_N_4 = torch.empty(len(logits_N_V), 4, dtype=torch.float32)
        args = (logits_N_V, logits_N_V.shape[1], targets_N.contiguous(), out_N_4, int(full))
        self._over_rows(kernel, args, rows=len(logits_N_V))
        logprobs, ranks, entropies, squares = out_N_4.unbind(dim=1)
        if not full:
            return (logprobs,)
        return logprobs, ranks.clamp(max=RANK_CLIP), entropies.clamp(min=0.0), squares

    def _over_rows(
        self, kernel: Callable[..., None], args: tuple[object, ...], *, rows: int
    ) -> None:
        """Run a kernel on equal shares of the rows, one for each of torch's threads."""
        import torch

        plain = [_argument(arg) for arg in args]
        parts = max(1, min(torch.get_num_threads(), rows // _ROWS_WORTH_A_THREAD))
        bounds = [ctypes.c_int64(rows * part // parts) for part in range(parts + 1)]
        waiting = [
            self._pool.submit(kernel, *plain, bounds[part], bounds[part + 1])
            for part in range(1, parts)
        ]
        kernel(*plain, bounds[0], bounds[1])
        for future in waiting:
            future.result()


class NativeOps(NativeStatistics):
    """Operations in C, for models on the CPU in bfloat16."""

    @property
    def needs_masks(self) -> bool:
        """Always false for these operations."""
        return False

    def norm(self, states_N_H: "Tensor", norm: Norm) -> "Tensor":
        """Apply the norm to each row."""
        import torch

        states_N_H = states_N_H.contiguous()
        out_N_H = torch.empty_like(states_N_H)
        size = states_N_H.shape[-1]
        args = (states_N_H, norm.weight_H, size, norm.eps, int(norm.late), out_N_H)
        self._over_rows(self._library.norm, args, rows=states_N_H.numel() // size)
        return out_N_H

    def add_norm(
        self, states_N_H: "Tensor", block_N_H: "Tensor", norm: Norm
    ) -> "tuple[Tensor, Tensor]":
        """Add a block's output to the states in place; return the sum and its norm."""
        import torch

        out_N_H = torch.empty_like(states_N_H)
        size = states_N_H.shape[1]
        block_N_H = block_N_H.contiguous()
        args = (states_N_H, block_N_H, norm.weight_H, size, norm.eps, int(norm.late), out_N_H)
        self._over_rows(self._library.add_norm, args, rows=len(states_N_H))
        return states_N_H, out_N_H

    def split_and_turn(
        self, joined_N_X: "Tensor", angles: "tuple[Tensor, Tensor]", heads: Heads
    ) -> "tuple[Tensor, Tensor, Tensor]":
        """Queries, keys and values, one row per (token, head)."""
        if heads.size > _LARGEST_HEAD:
            return super().split_and_turn(joined_N_X, angles, heads)
        rows = len(joined_N_X)
        query = joined_N_X.new_empty(rows * heads.queries, heads.size)
        key = joined_N_X.new_empty(rows * heads.keys, heads.size)
        value = joined_N_X.new_empty(rows * heads.keys, heads.size)
        first = heads.query_norm
        second = heads.key_norm
        args = (
            joined_N_X,
            *angles,
            None if first is None else first.weight_H,
            None if second is None else second.weight_H,
            0.0 if first is None else first.eps,
            int(first is not None and first.late),
            heads.queries,
            heads.keys,
            heads.size,
            query,
            key,
            value,
        )
        self._over_rows(self._library.split_and_turn, args, rows=rows)
        return query, key, value

    def softmax(
        self, scores_R_S: "Tensor", allowed: Scores, *, window: int | None, scale: float
    ) -> "Tensor":
        """Scaled and masked softmax over each row, in place."""
        tiles, queries = allowed.positions_B_Q.shape
        keys = scores_R_S.shape[-1]
        rows = scores_R_S.numel() // keys
        group = rows // (tiles * queries * allowed.kv_heads)
        shape = (allowed.kv_heads, queries, group, keys)
        args = (scores_R_S, allowed.positions_B_Q, *shape, window or 0, scale)
        self._over_rows(self._library.causal_softmax, args, rows=rows)
        return scores_R_S

    def gate(self, joined_N_2I: "Tensor", activation: str, module: Any) -> "Tensor":
        """Activate the left half of each row and multiply it with the right half."""
        if activation not in _ACTIVATIONS:
            return super().gate(joined_N_2I, activation, module)
        size = joined_N_2I.shape[1] // 2
        out_N_I = joined_N_2I.new_empty(len(joined_N_2I), size)
        args = (joined_N_2I, size, _ACTIVATIONS[activation], out_N_I)
        self._over_rows(self._library.gate, args, rows=len(joined_N_2I))
        return out_N_I


def load_native(*, dtype: DtypeName, threads: int) -> NativeStatistics | None:
    """Compile the operations or load the compiled ones; None where that is not possible."""
    source = _SOURCE.read_bytes()
    name = hashlib.sha256(b"\n".join([source, repr(_FLAGS).encode(), _machine()])).hexdigest()[:24]
    path = cache_folder() / "native" / f"{name}.so"
    if not path.is_file() and not _compile(path):
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        _log.info("the compiled steps cannot be loaded, so plain torch is used: %s", error)
        return None
    kind = NativeOps if dtype == "bfloat16" else NativeStatistics
    return kind(library, threads=threads)


def _compile(path: Path) -> bool:
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        _log.info("there is no C compiler, so plain torch is used, which is slower")
        return False
    partial = path.with_suffix(f".{os.getpid()}.part")
    command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(partial), "-lm"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command, check=True, capture_output=True, timeout=_COMPILE_SECONDS)  # noqa: S603  (fixed words)
        partial.replace(path)
    except (OSError, subprocess.SubprocessError) as error:
        with suppress(OSError):  # on a read-only file system even this fails
            partial.unlink(missing_ok=True)
        _log.info("the C compiler failed, so plain torch is used, which is slower: %s", error)
        return False
    return True


def _machine() -> bytes:
    """Description of the processor, so that machines with one home folder compile separately."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = platform.processor()
    flags = sorted({line for line in text.splitlines() if line.startswith(("flags", "Features"))})
    return "\n".join([platform.machine(), *flags]).encode()


def _argument(value: object) -> object:
    if isinstance(value, float):
        return ctypes.c_float(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if value is None:
        return ctypes.c_void_p(None)
    return ctypes.c_void_p(value.data_ptr())  # type: ignore[attr-defined]  # a tensor
