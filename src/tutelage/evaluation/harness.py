"""Any task of the lm-evaluation-harness, with its template, seeds and version written down."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.errors import MissingExtraError, SettingsError
from tutelage.evaluation.results import ItemResult
from tutelage.evaluation.settings import EvaluateSettings, TaskSettings
from tutelage.student import StudentModel

_PREFERRED = ("exact_match", "acc", "acc_norm", "em", "f1", "bleu", "word_perplexity")
"""Which of several metrics of a task is its value, in this order; the first other one else."""


def run_harness(
    task: TaskSettings, student: StudentModel, settings: EvaluateSettings
) -> tuple[list[ItemResult], Mapping[str, Any]]:
    """Evaluate a student on one task of the harness.

    Args:
        task: With `harness_task`; `path` is a folder with task files of one's own.
        student: Only its folder is used: the harness loads the model itself.
        settings: dtype, device, template and seed.

    Returns:
        One result for each document, and what a manifest should say.

    Raises:
        MissingExtraError: lm_eval is not installed.
        SettingsError: The harness has no such task.
    """
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtraError(
            f"a task of kind lm_eval needs lm_eval: {error}", hint="pip install 'tutelage[eval]'"
        ) from error
    parts = student.parts
    manager = TaskManager(include_path=task.path, include_defaults=task.path is None)
    name = str(task.harness_task)
    if name not in manager.all_tasks:
        raise SettingsError(
            f"task {task.name}: the harness knows no task {name!r}",
            hint="`lm_eval ls tasks` lists them; `path` names a folder with your own",
        )
    chat = settings.template != "alpaca" and bool(parts.folder.chat_template())
    model = HFLM(
        pretrained=str(parts.folder.path),
        device=parts.device,
        dtype=parts.dtype,
        batch_size=settings.batch_examples,
        trust_remote_code=False,
    )
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=[name],
        num_fewshot=task.shots,
        limit=task.limit,
        task_manager=manager,
        apply_chat_template=chat,
        log_samples=True,
        bootstrap_iters=0,
        random_seed=settings.seed,
        numpy_random_seed=settings.seed,
        torch_random_seed=settings.seed,
        fewshot_random_seed=settings.seed,
        verbosity="ERROR",
    )
    about = {
        "lm_eval": lm_eval.__version__,
        "task": name,
        "task_version": found["versions"].get(name),
        "shots": task.shots,
        "chat_template": chat,
        "seed": settings.seed,
        "metrics": {k: v for k, v in found["results"][name].items() if isinstance(v, int | float)},
    }
    return list(_results(found["samples"][name])), about


def _results(samples: list[Mapping[str, Any]]) -> Iterator[ItemResult]:
    for sample in samples:
        there = [m for m in sample.get("metrics", []) if isinstance(sample.get(m), int | float)]
        if not there:
            yield ItemResult(item_id=str(sample["doc_id"]), status="no_metric")
            continue
        metric = next((m for m in _PREFERRED if m in there), there[0])
        value = float(sample[metric])
        binary = value in (0.0, 1.0) and metric in ("exact_match", "acc", "acc_norm", "em")
        yield ItemResult(
            item_id=str(sample["doc_id"]),
            value=value,
            correct=bool(value) if binary else None,
            text=_response(sample.get("filtered_resps")),
            detail=json.dumps({m: sample[m] for m in there}),
        )


def _response(response: object) -> str | None:
    return None if response is None else json.dumps(response, ensure_ascii=False, default=str)
