"""A user's own metric, rule, filter, check and export, from one file."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.cli import main
from tutelage.data import extensions as module
from tutelage.data.extensions import extension, extensions_of, load_extensions
from tutelage.errors import DataError, SettingsError
from tutelage.metrics import METRICS, table_metrics
from tutelage.pipeline import RunFolder, export, filter_run, run_all, verify_run
from tutelage.progress import Silent

FILE = '''
import tutelage as tt


@tt.extension("metric", better="lower")
def letters_a_token(material):
    """Letters of the response for each of its tokens."""
    return len(material.text) / material.answer.tokens


@tt.extension("rule", metrics=("letters_a_token",))
def fewest_letters(versions):
    best = min(versions, key=lambda v: (v["letters_a_token"], v["candidate_id"]))
    return None if best["letters_a_token"] > LIMIT else best["candidate_id"]


@tt.extension("filter")
def no_tool_3(candidate):
    return "about_tool_3" if "number 3?" in candidate["instruction"] else None


@tt.extension("check")
def cuts(claim):
    if "cuts" not in claim.response:
        return "no_answer"
    return ("right", "it cuts") if "Tool 1" in claim.response else "wrong"


@tt.extension("export")
def question_only(row):
    return {"q": row["messages"][0]["content"], "id": row["example_id"]}


LIMIT = 1000
'''


@pytest.fixture(autouse=True)
def _nothing_stays() -> Any:
    yield
    module._loaded.path = module._loaded.digest = None
    module._loaded.found.clear()
    for listener in module._listeners:
        listener()


def file_of(folder: Path, text: str = FILE) -> Path:
    path = folder / "my_ext.py"
    path.write_text(text)
    return path


def run_with(folder: Path, text: str = FILE) -> tuple[RunFolder, dict[str, Any]]:
    data = write_rows(folder / "rows.jsonl", rows(6))
    made = settings(
        data,
        folder / "run",
        extensions=str(file_of(folder, text)),
        score={"metrics": ["ifd", "r_ifd", "letters_a_token"]},
        select={"rule": "extension", "function": "fewest_letters"},
    )
    done = run_all(made, progress=Silent(), doors=doors(), with_page=False)
    return RunFolder(root=folder / "run"), done


def test_a_run_scores_and_decides_with_an_extension(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path)
    texts = {
        row["candidate_id"]: row["messages"][-1]["content"]
        for row in pq.read_table(run.candidates).to_pylist()
        if row["status"] == "ok"
    }
    scores = {row["candidate_id"]: row for row in pq.read_table(run.scores).to_pylist()}
    for name, row in scores.items():
        assert row["letters_a_token"] == pytest.approx(len(texts[name]) / row["response_tokens"])
    for row in pq.read_table(run.decisions).to_pylist():
        assert (row["kept"], row["reason"]) == (True, "chosen_by_extension")
        versions = [s for s in scores.values() if s["example_id"] == row["example_id"]]
        least = min(s["letters_a_token"] for s in versions)
        assert row["letters_a_token_chosen"] == pytest.approx(least)
    assert run.read_manifest()["settings"]["extensions"].endswith("my_ext.py")


def test_another_file_decides_anew_and_the_same_does_not(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path)
    before = run.read_manifest()["stages"]["select"]
    run_with(tmp_path)
    assert run.read_manifest()["stages"]["select"] == before
    run_with(tmp_path, FILE.replace("LIMIT = 1000", "LIMIT = 0"))
    after = run.read_manifest()["stages"]["select"]
    assert after["key"] != before["key"]
    reasons = set(pq.read_table(run.decisions)["reason"].to_pylist())
    assert reasons == {"dropped_by_extension"}


def test_filter_check_and_export(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path)
    config = tmp_path / "filters.yaml"
    config.write_text("filters:\n  - {kind: extension, function: no_tool_3}\n")
    tally = filter_run(run.root, config=config, progress=Silent())
    assert tally["filters"]["extension"]["about_tool_3"] >= 1
    check = {"check": "extension", "function": "cuts"}
    told = verify_run(run.root, check=check, progress=Silent())
    assert told["check"] == "cuts"
    assert set(told["verdicts"]) == {"no_answer", "right", "wrong"}
    by_evidence = {row["evidence"] for row in pq.read_table(run.verdicts).to_pylist()}
    assert {"it cuts", "said by cuts"} <= by_evidence
    done = export(run, to="question_only", file=tmp_path / "q.jsonl")
    first = json.loads((tmp_path / "q.jsonl").read_text().splitlines()[0])
    assert set(first) == {"q", "id"}
    assert done["rows"] == 6


def test_the_command_line_loads_a_file_too(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path)
    _nothing = module._loaded
    _nothing.path = _nothing.digest = None
    _nothing.found.clear()
    words = ["verify", str(run.root), "--check", "extension", "--function", "cuts"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "no file of extensions is loaded" in result.stderr
    assert "--extensions" in result.stderr
    result = CliRunner().invoke(
        main, ["--extensions", str(tmp_path / "my_ext.py"), *words, "--json"]
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["check"] == "cuts"


def test_a_metric_is_listed_and_forgotten_with_its_file(tmp_path: Path) -> None:
    load_extensions(file_of(tmp_path))
    assert METRICS["letters_a_token"].better == "lower"
    assert METRICS["letters_a_token"].summary.startswith("Letters of the response")
    assert "letters_a_token" in table_metrics()
    other = '@__import__("tutelage").extension("export")\ndef plain(row):\n    return row\n'
    load_extensions(file_of(tmp_path, other))
    assert "letters_a_token" not in METRICS
    assert set(extensions_of("export")) == {"plain"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "it defines no extension"),
        ("def broken(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ('import tutelage as t\n@t.extension("metre")\ndef f(x): ...\n', "unknown kind 'metre'"),
        ('import tutelage as t\n@t.extension("rule", of=1)\ndef f(x): ...\n', "unknown option"),
        ('import tutelage as t\n@t.extension("metric")\ndef ifd(x): ...\n', "name of a metric"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_extensions(file_of(tmp_path, text))
    assert "ifd" in METRICS
    with pytest.raises(SettingsError, match="cannot be read"):
        load_extensions(tmp_path / "none.py")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("/ material.answer.tokens", "/ 0"), "ZeroDivisionError"),
        (("/ material.answer.tokens", "* float('nan')"), "gave nan for candidate"),
        (('return None if best["letters_a_token"] > LIMIT else best["candidate_id"]',
          'return "x"'), "chose 'x' for example"),
    ],
)  # fmt: skip
def test_a_function_that_fails_is_an_error_and_never_a_number(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        run_with(tmp_path, FILE.replace(*change))


def test_what_a_filter_and_a_check_give_is_checked(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path)
    wrong = FILE.replace('"about_tool_3"', '"About tool 3!"').replace('else "wrong"', 'else "bad"')
    load_extensions(file_of(tmp_path, wrong))
    config = tmp_path / "filters.yaml"
    config.write_text("filters:\n  - {kind: extension, function: no_tool_3}\n")
    with pytest.raises(DataError, match="gave 'About tool 3!'"):
        filter_run(run.root, config=config, progress=Silent())
    with pytest.raises(DataError, match="gave 'bad'"):
        verify_run(run.root, check={"check": "extension", "function": "cuts"}, progress=Silent())
    with pytest.raises(SettingsError, match="does not define it"):
        verify_run(run.root, check={"check": "extension", "function": "joins"}, progress=Silent())


def test_an_extension_in_python_needs_no_file() -> None:
    @extension("export")
    def upper(row: dict[str, Any]) -> dict[str, Any]:
        return row

    assert extensions_of("export")["upper"].function is upper


def test_a_file_that_ends_the_program_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ends.py"
    path.write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(SettingsError, match=r"ends\.py: SystemExit: 0"):
        load_extensions(path)
