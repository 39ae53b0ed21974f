"""The notebooks in examples/ do what they say: their cells are run, in order, by a tiny student.

The code of the cells is run in one namespace, as a kernel would; no notebook server is needed.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gate.gate_rows import CountingStudent
from tests.tiny_student import save_student
from tutelage.pipeline import jobs

pytest.importorskip("trl")
NOTEBOOKS = Path(__file__).parent.parent / "examples" / "notebooks"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_student(tmp_path_factory.mktemp("tiny"))
    config = json.loads((folder / "config.json").read_text())  # its tokens are short
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2048}))
    return folder


def cells(name: str) -> list[str]:
    notebook = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def run(name: str, folder: Path, student: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the cells defined; the student is another one, and its cache is not the user's."""
    shutil.copy(NOTEBOOKS / "pairs.jsonl", folder)
    monkeypatch.chdir(folder)
    readings = folder / "readings.sqlite"
    monkeypatch.setattr("tutelage.student.student.readings_path", lambda: readings)
    monkeypatch.setattr(jobs, "write_report", lambda root, **_: root)  # pictures take seconds
    names: dict[str, Any] = {}
    smaller = {
        '"smollm2-135m"': repr(str(student)),
        ": 24,": ": 8,",
        "dry_run=True": "dry_run=True, measure_seconds=0.1",
    }
    monkeypatch.setattr("tutelage.pipeline.work_estimate.cache_folder", lambda: folder / "home")
    for text in cells(name):
        made = text
        for old, new in smaller.items():
            made = made.replace(old, new)
        exec(made, names)  # noqa: S102
    return names


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert notebook["cells"][0]["source"][0].startswith("# ")


def test_the_audit_counts_every_row_and_writes_its_page(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def counting(*_: Any) -> Iterator[CountingStudent]:
        yield CountingStudent()  # two thousand texts are too many for a real one

    monkeypatch.setattr("tutelage.experiments.audit.run.opened_student", counting)
    found = run("audit_my_data.ipynb", tmp_path, tiny, monkeypatch)
    assert len(found["rows"]) == 100
    assert {row.status for row in found["rows"]} == {"ok"}
    assert (tmp_path / "audit" / "audit.html").is_file()
    told = capsys.readouterr().out
    assert found["found"].summary["in_words"] in told
    assert "score planted faults: " in told


def test_the_worth_of_a_rewrite_is_decided_and_compared(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run("is_my_rewrite_worth_it.ipynb", tmp_path, tiny, monkeypatch)
    assert found["chosen"].table.num_rows == 100
    compared = found["proof"].table.to_pylist()
    assert {"choice", "random"} <= {row["arm"] for row in compared} | {
        row["against"] for row in compared
    }
    assert found["proof"].in_words[0] in capsys.readouterr().out
