"""Rows in every form that the Python API takes, and a home of its own for each test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import write_rows


def as_polars(rows: list[Any], _: Path) -> Any:
    return pytest.importorskip("polars").DataFrame(rows)


def as_lazy_polars(rows: list[Any], _: Path) -> Any:
    return pytest.importorskip("polars").DataFrame(rows).lazy()


def as_pandas(rows: list[Any], _: Path) -> Any:
    frame = pytest.importorskip("pandas").DataFrame(rows)
    frame.index = [f"row {n}" for n in range(len(rows))]  # which is no column
    return frame


def as_dataset(rows: list[Any], _: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    behind = datasets.Dataset.from_list([{**rows[0], "instruction": "Not this one."}, *rows[::-1]])
    return behind.select(range(len(rows), 0, -1))  # another order and another set than its table


def as_dataset_dict(rows: list[Any], folder: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.DatasetDict({"train": as_dataset(rows, folder)})


def as_parquet(rows: list[Any], folder: Path) -> Any:
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


FORMS: dict[str, Callable[[list[Any], Path], Any]] = {
    "path": lambda rows, folder: write_rows(folder / "rows.jsonl", rows),
    "text": lambda rows, folder: str(write_rows(folder / "rows.jsonl", rows)),
    "paths": lambda rows, folder: [write_rows(folder / "rows.jsonl", rows)],
    "parquet": as_parquet,
    "settings": lambda rows, folder: {"path": str(write_rows(folder / "rows.jsonl", rows))},
    "settings with rows": lambda rows, _: {"path": rows},
    "dicts": lambda rows, _: rows,
    "iterator": lambda rows, _: iter(rows),
    "arrow": lambda rows, _: pa.Table.from_pylist(rows),
    "batches": lambda rows, _: pa.Table.from_pylist(rows).to_reader(),
    "dataset": as_dataset,
    "dataset dict": as_dataset_dict,
    "pandas": as_pandas,
    "polars": as_polars,
    "lazy polars": as_lazy_polars,
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[list[Any]], Any]:
    return lambda rows: FORMS[request.param](rows, tmp_path)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
