"""A student of two layers with random weights, and rows to train it on."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_student import save_student


def write_rows(path: Path, count: int = 12) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Name colour number {n}."},
                {"role": "assistant", "content": "red, blue and green " * (1 + n % 4) + str(n)},
            ]
        }
        for n in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def base_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("base"), template=None, bos=True)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl")


@pytest.fixture(name="write_rows")
def _write_rows() -> Any:
    return write_rows
