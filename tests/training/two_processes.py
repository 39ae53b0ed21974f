"""Two processes that train together, as `accelerate launch` would start them.

    python -m tests.training.two_processes ROWS STUDENT OUT_OF_DDP OUT_OF_FSDP

Libraries are imported once, then each pair of processes is forked.
"""

import multiprocessing
import os
import socket
import sys
from pathlib import Path

import peft  # noqa: F401  (imported before the processes begin)

import tutelage.training.trainer  # noqa: F401
from tests.training.fsdp_on_cpu import divide_weights_on_cpus
from tutelage.training import TrainSettings, train_student


def one_of_two(rank: int, port: int, rows: str, student: str, out: str) -> None:
    import torch

    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    torch.set_num_threads(1)
    if out.endswith("fsdp"):
        divide_weights_on_cpus()
    settings = TrainSettings(
        batch_examples=6,
        microbatch_examples=3,
        learning_rate=1e-2,
        dtype="float32",
        device="cpu",
    )
    done = train_student(Path(rows), model=student, settings=settings, out=Path(out))
    Path(out, f"steps-{rank}").write_text(str(done.steps), encoding="utf-8")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def main() -> int:
    rows, student, *outs = sys.argv[1:]
    fork = multiprocessing.get_context("fork")
    failed = 0
    for out in outs:
        port = free_port()
        pair = [
            fork.Process(target=one_of_two, args=(rank, port, rows, student, out), daemon=True)
            for rank in range(2)
        ]
        for process in pair:
            process.start()
        for process in pair:
            process.join(timeout=500)
            failed += process.exitcode != 0
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
