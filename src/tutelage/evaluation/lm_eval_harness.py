"""Tasks of the lm-evaluation-harness, with template, seeds and version recorded."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from tutelage.data import content_hash
from tutelage.errors import DataError, MissingExtraError, SettingsError
from tutelage.evaluation.config import CPU_ANSWERS, EvaluateSettings, TaskSettings
from tutelage.evaluation.items import UNITS, ItemResult
from tutelage.models.hardware import kind_of
from tutelage.student import StudentModel

_PREFERRED = ("exact_match", "acc", "acc_norm", "em", "f1", "bleu", "word_perplexity")
"""Preference among the metrics of a task for its value; otherwise the first one."""

_BINARY = ("exact_match", "acc", "acc_norm", "em")

_MOST_NAMED = 5
_MADE_BY_PYTHON = "__pycache__"


def run_harness(
    task: TaskSettings, student: StudentModel, settings: EvaluateSettings
) -> tuple[list[ItemResult], Mapping[str, Any]]:
    """Evaluate a student on one task of the harness.

    Args:
        task: With `harness_task`; `path` is a folder with your own task files.
        student: Only its folder is used: the harness loads the model itself.
        settings: dtype, device, template and seed.

    Returns:
        One result for each document, and what a manifest should say. A metric of which the task
        says that lower is better is negated.

    Raises:
        MissingExtraError: lm_eval is not installed.
        SettingsError: The harness has no such task, or the task no such filter.
        DataError: The harness gives a document more than once.
    """
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtraError(
            f"a task of kind lm_eval needs lm_eval: {error}", hint="pip install 'tutelage[eval]'"
        ) from error
    parts = student.parts
    manager = TaskManager(include_path=task.path, include_defaults=task.path is None)
    name = _known_name(manager, task)
    loaded = _loaded(manager.load([name])["tasks"], task)
    chosen = _filter_of(loaded, task)
    documents = _drawn_documents(loaded, limit=task.limit, seed=settings.seed)
    chat = settings.template != "alpaca" and bool(parts.folder.chat_template())
    found = lm_eval.simple_evaluate(
        model=_harness_model(student, settings),
        tasks=[name],
        num_fewshot=task.shots,
        samples=None if documents is None else {name: documents},
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
    samples = [s for s in found["samples"][name] if s.get("filter") == chosen]
    _unique(samples, task)
    metric = _metric_of(samples)
    higher = loaded.higher_is_better().get(metric)
    about = {
        "lm_eval": lm_eval.__version__,
        "task": name,
        "task_version": found["versions"].get(name),
        "filter": chosen,
        "metric": metric,
        "higher_is_better": higher,
        "unit": UNITS["lm_eval"] + (", negated" if higher is False else ""),
        "shots": task.shots,
        "chat_template": chat,
        "model": "vllm" if settings.backend == "vllm-offline" else "hf",
        "seed": settings.seed,
        "metrics": {k: v for k, v in found["results"][name].items() if isinstance(v, int | float)},
    }
    return list(harness_results(samples, metric=metric, negated=higher is False)), about


def _harness_model(student: StudentModel, settings: EvaluateSettings) -> Any:
    """The student as the harness loads it: by transformers, or by vLLM.

    Raises:
        MissingExtraError: vLLM is asked for and not installed.
    """
    parts = student.parts
    common: dict[str, Any] = {
        "pretrained": str(parts.folder.path),
        "dtype": parts.dtype,
        "trust_remote_code": False,
        "chat_template_args": dict(settings.template_args) or None,
    }
    if settings.backend != "vllm-offline":
        from lm_eval.models.huggingface import HFLM

        batch: int | str = settings.batch_examples
        if batch == "auto" and kind_of(parts.device) == "cpu":
            batch = CPU_ANSWERS
        return HFLM(**common, device=parts.device, batch_size=batch)
    try:
        from lm_eval.models.vllm_causallms import VLLM
    except ImportError as error:
        raise MissingExtraError(
            f"backend vllm-offline needs vLLM: {error}",
            hint="pip install vllm (into an environment of its own), or --backend auto",
        ) from error
    parts.close()  # the card has no room for the student twice
    return VLLM(
        **common,
        tokenizer=str(parts.folder.tokenizer_path),
        batch_size="auto",
        max_model_len=parts.max_length,
        tensor_parallel_size=parts.settings.tensor_parallel,
        gpu_memory_utilization=parts.settings.gpu_memory_fraction,
        seed=settings.seed,
    )


def _known_name(manager: Any, task: TaskSettings) -> str:
    """Name of the task, after checking that the harness has it."""
    name = str(task.harness_task)
    if name not in manager.all_tasks:
        raise SettingsError(
            f"task {task.name}: the harness has no task {name!r}",
            hint="`lm_eval ls tasks` lists them; `path` names a folder with your own",
        )
    return name


def harness_results(
    samples: Sequence[Mapping[str, Any]], *, metric: str | None, negated: bool
) -> Iterator[ItemResult]:
    """Results of the harness's samples.

    Args:
        samples: Samples of one filter.
        metric: Which of their metrics is the value; None where they have none.
        negated: Lower is better in that metric, so the value is its negative. `detail` holds what
            the harness said.
    """
    for sample in samples:
        name = str(sample["doc_id"])
        there = {m: sample[m] for m in _metrics_in(sample)}
        if metric not in there:
            yield ItemResult(item_id=name, status="no_metric")
            continue
        said = float(there[metric])
        if not math.isfinite(said):
            yield ItemResult(item_id=name, status="nonfinite", detail=f"{metric} is {said}")
            continue
        binary = metric in _BINARY and not negated and said in (0.0, 1.0)
        yield ItemResult(
            item_id=name,
            value=0.0 - said if negated else said,
            correct=bool(said) if binary else None,
            text=_response(sample.get("filtered_resps")),
            detail=json.dumps(there),
        )


def folder_digest(folder: Path, *, without: Path) -> str:
    """Content hash of the files of a folder and their names.

    Args:
        folder: With task files.
        without: A folder whose files do not count, as what an evaluation writes.
    """
    left_out = without.resolve()
    digests = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if _MADE_BY_PYTHON in name.parts or path.resolve().is_relative_to(left_out):
            continue
        with path.open("rb") as file:
            digests.append([name.as_posix(), file_digest(file, sha256).hexdigest()])
    return content_hash("folder", digests)


def _loaded(tasks: Mapping[str, Any], task: TaskSettings) -> Any:
    name = str(task.harness_task)
    if name not in tasks:
        raise SettingsError(
            f"task {task.name}: {name!r} is a group of {len(tasks)} tasks of the harness",
            hint=f"name one of them: {', '.join(sorted(tasks)[:_MOST_NAMED])}",
        )
    return tasks[name]


def _filter_of(loaded: Any, task: TaskSettings) -> str:
    """Filter whose results count: the named one, or the task's first."""
    names = [str(f.name) for f in loaded._filters]  # noqa: SLF001  (it has no public name)
    if task.harness_filter is None:
        return names[0]
    if task.harness_filter not in names:
        raise SettingsError(
            f"task {task.name}: {task.harness_task} has no filter {task.harness_filter!r}",
            hint=f"harness_filter is one of: {', '.join(names)}",
        )
    return task.harness_filter


def _drawn_documents(loaded: Any, *, limit: int | None, seed: int) -> list[int] | None:
    """Indices of the sampled documents, ascending; None for all."""
    if limit is None or (count := len(loaded.eval_docs)) <= limit:
        return None
    ranked = sorted(range(count), key=lambda place: content_hash("draw", seed, str(place)))
    return sorted(ranked[:limit])


def _unique(samples: Sequence[Mapping[str, Any]], task: TaskSettings) -> None:
    seen: set[object] = set()
    for sample in samples:
        if sample["doc_id"] in seen:
            raise DataError(
                f"task {task.name}: the harness gave document {sample['doc_id']} twice",
                hint="a task must have one result for each document",
            )
        seen.add(sample["doc_id"])


def _metric_of(samples: Sequence[Mapping[str, Any]]) -> str | None:
    """Metric that is the value of all documents."""
    there = list(dict.fromkeys(m for sample in samples for m in _metrics_in(sample)))
    return next((m for m in _PREFERRED if m in there), there[0] if there else None)


def _metrics_in(sample: Mapping[str, Any]) -> list[str]:
    return [m for m in sample.get("metrics", []) if isinstance(sample.get(m), int | float)]


def _response(response: object) -> str | None:
    return None if response is None else json.dumps(response, ensure_ascii=False, default=str)
