"""The keys of the JSON that commands print on stdout.

Only keys that this project chose are written down; under a key that ends in `*` the names come
from the data (statuses, reasons, steps), so they are left open.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import FILTERS, call
from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.pipeline import run_all
from tutelage.progress import Silent

OPEN = {
    "rows_by_status", "candidates_by_step", "teacher_candidates", "failures", "scores_by_status",
    "gated", "reasons", "steps_kept", "unwritten", "unscored", "quotas", "by_status", "verdicts",
    "versions", "extras",
}  # fmt: skip

LOAD = ["candidates_by_step*", "examples", "rows", "rows_by_status*"]
RULE = [
    "best_by", "best_is", "diversity", "diversity_of", "embedder.kind", "function", "gate",
    "gate_check", "gate_order", "keep_count", "keep_fraction", "keep_per_example", "margin",
    "max_false_refusals", "max_unscored_fraction", "mix", "mode", "of", "one_teacher",
    "per_source", "quality_gate", "quality_gate_examples", "quality_gate_rejected", "quotas*",
    "rule", "seed", "truth", "truth_clean", "use_filters",
]  # fmt: skip
SELECT = [
    "candidates", "examples", "gated*", "kept", "reasons*", "rows_kept",
    *(f"rule.{name}" for name in RULE),
    "scored", "steps_kept*", "student", "unscored*", "unwritten*", "written",
]  # fmt: skip
TEACHER = [
    "answered", "asked", "completion_tokens", "cost", "cost_estimated", "cost_from_journal",
    "currency", "failed", "failures*", "from_journal", "max_cost", "prompt_tokens", "seconds",
    "spent_before", "under_way",
]  # fmt: skip
RUN = [
    "in_words",
    *(f"load.{name}" for name in LOAD),
    "refine.away",
    *(f"refine.teacher.{name}" for name in TEACHER),
    "refine.teacher_candidates*",
    "report", "run",
    "score.metrics", "score.response_tokens", "score.scores_by_status*", "score.statistics",
    "score.student",
    *(f"select.{name}" for name in SELECT),
]  # fmt: skip
FILTERED = [
    "candidates",
    "filters.exact_duplicates.seconds", "filters.exact_duplicates.unique",
    "filters.length.in_band", "filters.length.seconds",
    "kept", "out",
]  # fmt: skip
COMPARED = [
    "filters[].candidates", "filters[].filter", "filters[].kept", "filters[].kept_fraction",
    "filters[].kind", "filters[].length_correlation", "filters[].mean_characters_dropped",
    "filters[].mean_characters_kept", "filters[].measured",
    "overlaps[].filter_a", "overlaps[].filter_b", "overlaps[].jaccard",
    "overlaps[].jaccard_by_chance", "overlaps[].kept_by_both", "overlaps[].kept_by_either",
    "reasons[].candidates", "reasons[].filter", "reasons[].kept", "reasons[].reason",
]  # fmt: skip
LINE = [
    "baseline", "change", "change_high", "change_low", "high", "low", "measure", "name", "noise",
    "subject", "texts", "unit", "value",
]  # fmt: skip


def keys(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all keys, `a.b` inside an object and `a[].b` inside a list of objects."""
    if path.rpartition(".")[2] in OPEN and isinstance(value, dict):
        yield f"{path}*"
    elif isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from keys(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from {f"{path}[].{name}": None for row in value for name in row}
    else:
        yield path


def printed(*words: object) -> list[str]:
    done = call(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return sorted(keys(json.loads(done.stdout)))


def test_the_summary_of_a_run(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(2))
    summary = run_all(settings(data, tmp_path / "run"), progress=Silent(), doors=doors())
    assert sorted(keys(json.loads(json.dumps(summary, default=str)))) == sorted(RUN)


def test_select(run: Path) -> None:
    assert printed("select", run) == sorted([*SELECT, "gate_check", "out_of_date"])


def test_load(run: Path, tmp_path: Path) -> None:
    found = printed("load", run.parent / "data.jsonl", "--out", tmp_path / "l")
    assert found == [*(f"load.{name}" for name in LOAD), "run"]


def test_verify(run: Path, tmp_path: Path) -> None:
    assert printed("verify", run, "--check", "number") == ["check", "out", "rows", "verdicts*"]
    data = run.parent / "data.jsonl"
    words = ("verify", data, "--check", "number", "--response", "output")
    assert printed(*words, "--out", tmp_path / "v.parquet") == ["out", "rows", "verdicts*"]


def test_filter(run: Path, tmp_path: Path) -> None:
    config = tmp_path / "filters.yaml"
    config.write_text(FILTERS, encoding="utf-8")
    assert printed("filter", run, "--config", config) == FILTERED
    assert printed("filter", run, "--config", config, "--compare") == sorted(COMPARED)


def test_export(run: Path, tmp_path: Path) -> None:
    found = printed("export", run, "--to", "trl", "--out", tmp_path / "t.jsonl")
    assert found == ["card", "file", "notes", "rows", "set", "snippet", "to"]


def test_recompute(run: Path, tmp_path: Path) -> None:
    words = ("recompute", run / "statistics.parquet", "--metrics", "upd")
    assert printed(*words, "--out", tmp_path / "r.parquet") == ["by_status*", "out", "rows"]


def test_delta(run: Path, tmp_path: Path) -> None:
    assert printed("delta", run, run / "scores.parquet", "--out", tmp_path / "d.parquet") == [
        "by_status*", "candidates", "examples", "interval_95", "mean_delta_loss", "out", "seed",
        "share_likelier",
    ]  # fmt: skip


def test_metrics(run: Path) -> None:
    names = ["better", "formula", "level", "name", "needs", "source", "statistics", "summary"]
    assert printed("metrics") == [f"metrics[].{name}" for name in names]
    names = ["a", "b", "examples", "high", "low", "n", "spearman", "student"]
    found = printed("metrics", "--agreement", run)
    assert found == [f"agreement[].{name}" for name in names]


def test_doctor() -> None:
    assert printed("doctor") == [
        "cpus", "devices", "extras*", "healthy", "sandbox.bubblewrap", "sandbox.jail",
        "sandbox.memory", "sandbox.used", "versions*",
    ]  # fmt: skip


@pytest.mark.parametrize("out", [True, False])
def test_drift(run: Path, tmp_path: Path, out: bool) -> None:  # noqa: FBT001
    other = write_rows(tmp_path / "b.jsonl", rows(4))
    more = ("--out", tmp_path / "d") if out else ()
    expected = ["baseline", *(f"lines[].{name}" for name in LINE), "seed", "sets.b", "sets.data"]
    found = printed("drift", run.parent / "data.jsonl", other, *more)
    assert found == sorted([*expected, "students", *(["out"] if out else [])])
