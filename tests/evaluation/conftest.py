"""A student of two layers with random weights."""

from pathlib import Path

import pytest

from tests.tiny_student import save_student


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"))
