"""How many tokens a student is trained on in a second of processor time, setting by setting.

    python benchmarks/train_speed.py smollm2-135m chat rows.jsonl '{"batch_examples": 8}' ...

Processor seconds, because a shared machine makes wall time meaningless; loading is not counted.
`"loss": "trl"` among the settings takes the trainer's own loss, to compare. One thread beside
another: set OMP_NUM_THREADS.
"""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tutelage.progress import Silent
from tutelage.student import open_student
from tutelage.training import TrainSettings, encode_file
from tutelage.training import trainer as trainer_module
from tutelage.training.model_weights import quiet
from tutelage.training.train import student_settings
from tutelage.training.trainer import build_trainer


def main() -> None:
    model, template, rows, *given = sys.argv[1:]
    plain = trainer_module.has_plain_head
    for text in given:
        values = json.loads(text)
        trls = values.pop("loss", None) == "trl"
        trainer_module.has_plain_head = (lambda _: False) if trls else plain
        settings = TrainSettings(template=template, **values)
        student = open_student(student_settings(model, settings))
        encoded = encode_file(Path(rows), student)
        with TemporaryDirectory() as folder:
            trainer = build_trainer(
                encoded, student.parts, settings, checkpoints=Path(folder), progress=Silent()
            )
            wall, cpu = time.monotonic(), time.process_time()
            with quiet():
                trainer.train()
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        found = {
            "model": Path(model).name,
            "settings": json.loads(text),
            "rows": len(encoded.rows),
            "tokens": encoded.tokens,
            "loss_tokens": encoded.loss_tokens,
            "threads": torch.get_num_threads(),
            "cpu_seconds": round(cpu, 2),
            "wall_seconds": round(wall, 2),
            "tokens_per_cpu_second": round(encoded.tokens / cpu, 1),
        }
        print(json.dumps(found), flush=True)
        del trainer


if __name__ == "__main__":
    main()
