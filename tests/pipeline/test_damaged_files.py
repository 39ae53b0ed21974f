"""A run folder cut short, edited by hand or asked nonsense: a reason, never a traceback."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.damaged_folders import WAYS, try_folders
from tests.fuzzed_files import write_experiment
from tests.pipeline.fakes import doors, rows, settings, write_rows
from tests.pipeline.ledger import check_ledger
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.experiments.prove.run import report_experiment
from tutelage.experiments.rounds.model import RoundsFolder
from tutelage.experiments.rounds.page import write_rounds_report
from tutelage.filters import FiltersSettings
from tutelage.pipeline import (
    RunFolder,
    explain_example,
    export,
    filter_run,
    report_text,
    run_all,
    score_run,
    select_again,
    verify_run,
)
from tutelage.progress import Silent
from tutelage.training.train import left_out_rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    data = write_rows(folder / "data.jsonl", rows(6))
    run_all(settings(data, folder / "run"), progress=Silent(), doors=doors())
    return folder


@pytest.fixture(scope="module")
def whole_checked(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("checked") / "run"
    shutil.copytree(whole / "run", copy)
    with pytest.raises(RunError, match="none of the responses could be checked"):
        verify_run(copy, check={"check": "exact"}, progress=Silent())  # there are no references
    return copy


@pytest.fixture
def checked(whole_checked: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(whole_checked, tmp_path / "run")
    return RunFolder(root=tmp_path / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(whole / "run", tmp_path / "run")
    return RunFolder(root=tmp_path / "run")


def again(run: RunFolder, **given: object) -> object:
    return select_again(run.root, given=given, student=None, progress=Silent())


USES: dict[str, Callable[[RunFolder], object]] = {
    "select": lambda run: again(run, rule="grape"),
    "explain": lambda run: explain_example(run.root, "row:1"),
    "report": lambda run: report_text(run.root),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ["candidates", "scores", "examples"])
def test_a_table_that_was_cut_short_is_named(run: RunFolder, name: str, use: str) -> None:
    path: Path = getattr(run, name)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RunError, match=rf"{name}\.parquet: is damaged"):
        USES[use](run)


@pytest.mark.parametrize("name", ["rows", "candidates", "scores", "decisions"])
def test_the_same_command_makes_a_damaged_table_again_and_asks_nobody(
    whole: Path, run: RunFolder, name: str
) -> None:
    path: Path = getattr(run, name)
    path.write_bytes(path.read_bytes()[:300])
    asked: list[str] = []
    run_all(settings(whole / "data.jsonl", run.root), progress=Silent(), doors=doors(asked=asked))
    assert asked == []
    check_ledger(run)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("text", ["[1]", '{"schema_version": 1, "stages": []}', "{", "null"])
def test_a_manifest_that_is_none_is_an_error_that_names_it(
    run: RunFolder, text: str, use: str
) -> None:
    run.manifest.write_text(text)
    with pytest.raises(RunError, match=r"manifest\.json"):
        USES[use](run)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("stages.select", [], "stages.select is [], not an object"),
        ("stages.select.tally.kept", "x", "stages.select.tally.kept is 'x', not a whole number"),
        ("stages.select.tally.rule", None, "stages.select.tally.rule is None, not an object"),
        ("stages.load.seconds", "soon", "stages.load.seconds is 'soon', not a number"),
        ("stages.refine.tally.teacher", 3, "stages.refine.tally.teacher is 3, not an object"),
        ("student", "table", "student is 'table', not an object"),
        ("inputs", {"data.jsonl": 7}, "inputs.data.jsonl is 7, not a text"),
    ],
)
def test_a_value_of_a_manifest_that_has_another_type_is_named(
    run: RunFolder, place: str, value: object, told: str, use: str
) -> None:
    manifest = json.loads(run.manifest.read_text())
    *above, last = place.split(".")
    holder = manifest
    for name in above:
        holder = holder[name]
    holder[last] = value
    run.manifest.write_text(json.dumps(manifest))
    with pytest.raises(RunError) as caught:
        USES[use](run)
    assert str(caught.value) == f"{run.manifest}: is not a manifest that tutelage wrote: {told}"
    assert "restore it" in (caught.value.hint or "")


def test_a_value_that_a_manifest_lacks_is_named_where_it_is_needed(tmp_path: Path) -> None:
    def written(name: str, content: dict[str, object]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps(content))
        return folder

    training = written("training", {"key": "k", "state": "done"})
    with pytest.raises(RunError, match=r"training/manifest\.json: rows is missing"):
        left_out_rows(training)
    looped = written("rounds", {"schema_version": 1, "settings": {}})
    with pytest.raises(RunError, match=r"rounds/manifest\.json: settings\.guard is missing"):
        write_rounds_report(RoundsFolder(root=looped))
    plan = write_experiment(tmp_path / "experiment")
    manifest = json.loads((plan.out / "manifest.json").read_text())
    del manifest["sets"]
    (plan.out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"experiment/manifest\.json: sets is missing") as caught:
        report_experiment(plan, {"cells": 2, "done": 2})
    assert "writes it again" in (caught.value.hint or "")


def test_a_manifest_without_its_stages_is_no_traceback(run: RunFolder) -> None:
    manifest = run.read_manifest()
    del manifest["stages"]
    run.write_manifest(manifest)
    with pytest.raises(RunError, match="which rule decided"):
        explain_example(run.root, "row:1")
    with pytest.raises(RunError, match="has not been done"):
        again(run, rule="grape")


def test_a_refused_selection_does_not_change_what_the_next_one_starts_from(run: RunFolder) -> None:
    before = run.manifest.read_bytes()
    with pytest.raises(SettingsError, match="no scores of a student 'nobody'"):
        select_again(run.root, given={"rule": "rsr"}, student="nobody", progress=Silent())
    assert run.manifest.read_bytes() == before


def test_an_export_of_nothing_leaves_the_file_of_an_earlier_export(
    run: RunFolder, tmp_path: Path
) -> None:
    kept = json.dumps({"rows": "of an earlier export"})
    file = tmp_path / "train.jsonl"
    file.write_text(kept)
    decisions = pq.read_table(run.decisions)
    nothing = pa.array([False] * decisions.num_rows)
    place = decisions.schema.get_field_index("kept")
    pq.write_table(decisions.set_column(place, "kept", nothing), run.decisions)
    with pytest.raises(RunError, match="is empty"):
        export(run, to="messages", file=file)
    assert file.read_text() == kept


@pytest.mark.parametrize("name", ["", "zzz", "a'b\"; --", "row:-1", "row:²", "row:99", "row:1e3"])
def test_an_example_that_is_none_is_a_message(run: RunFolder, name: str) -> None:
    with pytest.raises(DataError, match=r"no input row|several examples|no example"):
        explain_example(run.root, name)


@pytest.mark.parametrize("way", ["flip", "cut_out", "change_type", "replace_by_text"])
def test_a_table_damaged_in_the_middle_is_named(run: RunFolder, way: str) -> None:
    WAYS[way](run.scores, random.Random(3))
    with pytest.raises(RunError, match=r"scores\.parquet: is damaged") as caught:
        again(run, rule="grape")
    assert caught.value.hint


def test_a_check_of_verdicts_that_is_no_text_is_named(run: RunFolder) -> None:
    with pytest.raises(RunError, match="none of the responses could be checked"):
        verify_run(run.root, check={"check": "exact"}, progress=Silent())
    table = pq.read_table(run.verdicts)
    strange = pa.array([{"x": 1}] * table.num_rows)
    place = table.column_names.index("check")
    pq.write_table(table.set_column(place, "check", strange), run.verdicts)
    with pytest.raises(RunError, match="its column 'check' holds struct"):
        USES["explain"](run)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ["scores", "decisions"])
def test_a_column_of_numbers_that_holds_something_else_is_named(
    run: RunFolder, name: str, use: str
) -> None:
    path: Path = getattr(run, name)
    table = pq.read_table(path)
    strange = pa.array([{"x": 1}] * table.num_rows)
    place = [pa.types.is_floating(field.type) for field in table.schema].index(True)
    column = table.column_names[place]
    pq.write_table(table.set_column(place, column, strange), path)
    if name == "decisions" and use == "select":
        return  # they are made again
    with pytest.raises(RunError, match=rf"its column '{column}' holds struct"):
        USES[use](run)


def test_an_example_that_its_table_lacks_is_named(run: RunFolder) -> None:
    pq.write_table(pq.read_table(run.examples).slice(0, 0), run.examples)
    with pytest.raises(RunError, match=r"examples\.parquet: has 0 rows, .* noted 6"):
        explain_example(run.root, "row:1")


def with_rows(path: Path, change: Callable[[list[dict[str, object]]], object]) -> None:
    """Change the rows of a table in place; the schema stays."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_reasons_nobody_knows_are_explained_as_such(run: RunFolder) -> None:
    with_rows(run.decisions, lambda rows: [row.update(reason="new") for row in rows])
    assert "This version does not know that reason" in explain_example(run.root, "row:1")


ONE_ROW: dict[str, tuple[str, Callable[[list[dict[str, object]]], object], str]] = {
    "doubled version": ("candidates", lambda r: r.append(r[2]), "occurs twice"),
    "doubled id": (
        "candidates",
        lambda r: r[2].update(candidate_id=r[5]["candidate_id"]),
        "occurs twice",
    ),
    "no id": ("candidates", lambda r: r[2].update(candidate_id=None), "1 row has no candidate_id"),
    "no text": ("candidates", lambda r: r[0].update(messages=None), "status ok but no messages"),
    "step": ("candidates", lambda r: r[2].update(step="dream"), "'dream', which is none of"),
    "status": ("candidates", lambda r: r[2].update(status="\x1b[31m"), "which is no word"),
    "no status": ("candidates", lambda r: r[2].update(status=None), "1 row has no status"),
    "stranger": ("candidates", lambda r: r[2].update(example_id="of_nobody"), "'of_nobody'"),
    "lost original": ("candidates", lambda r: r.pop(0), "lacks 1 of the candidates that came"),
    "lost example": ("examples", lambda r: r.pop(), "has candidates of 1 example|has 5 rows"),
    "doubled example": ("examples", lambda r: r.append(r[0]), "occurs twice"),
    "doubled score": ("scores", lambda r: r.append(r[0]), "occurs twice"),
    "verdict": ("verdicts", lambda r: r[0].update(verdict="perhaps"), "'perhaps', which is none"),
    "doubled verdict": ("verdicts", lambda r: r.append(r[0]), "occurs twice"),
}
READERS: dict[str, Callable[[RunFolder], object]] = {
    "score": lambda run: score_run(
        run.root, student={"model": "c"}, metrics=["ifd"], progress=Silent(), doors=doors()
    ),
    "verify": lambda run: verify_run(run.root, check={"check": "choice"}, progress=Silent()),
    "select": lambda run: again(run, rule="grape", gate="not_wrong"),
    "filter": lambda run: filter_run(
        run.root,
        config=FiltersSettings.model_validate({"filters": [{"kind": "length"}]}),
        progress=Silent(),
    ),
}
READ_BY = {
    "candidates": ("score", "verify", "select", "filter"),
    "examples": ("verify", "select"),
    "scores": ("score", "select", "filter"),
    "verdicts": ("verify", "select"),
}


@pytest.mark.parametrize(
    ("fault", "use"),
    [(fault, use) for fault, (name, *_) in ONE_ROW.items() for use in READ_BY[name]],
)
def test_one_wrong_row_is_found_before_anything_is_written(
    checked: RunFolder, fault: str, use: str
) -> None:
    name, change, words = ONE_ROW[fault]
    with_rows(getattr(checked, name), change)
    written = ("*.parquet", "*.jsonl")
    before = {path: path.read_bytes() for kind in written for path in checked.root.glob(kind)}
    with pytest.raises(RunError, match=words):
        READERS[use](checked)
    now = {path: path.read_bytes() for kind in written for path in checked.root.glob(kind)}
    assert now == before


def test_a_run_writes_doubled_candidates_again_before_it_scores_them(
    whole: Path, run: RunFolder
) -> None:
    right, scores = run.candidates.read_bytes(), run.scores.read_bytes()
    with_rows(run.candidates, lambda rows: rows.append(rows[2]))
    asked: list[str] = []
    run_all(settings(whole / "data.jsonl", run.root), progress=Silent(), doors=doors(asked=asked))
    assert (asked, run.candidates.read_bytes(), run.scores.read_bytes()) == ([], right, scores)


def test_a_choice_of_before_there_were_weights_is_read(run: RunFolder, tmp_path: Path) -> None:
    table = pq.read_table(run.chosen)
    pq.write_table(table.drop_columns(["weight"]), run.chosen)
    with pytest.raises(RunError, match="none of the responses could be checked"):
        verify_run(run.root, check={"check": "exact"}, progress=Silent())
    kept = export(run, to="messages", file=tmp_path / "train.jsonl")["rows"]
    assert kept == table.num_rows
    older = pq.read_table(run.candidates).drop_columns(["detail", "criticism", "tools"])
    pq.write_table(older, run.candidates)
    assert "decision: " in explain_example(run.root, "row:1")


def test_a_share_of_the_damaged_folders() -> None:
    found = try_folders(24, seed=11, kinds=("run", "ranking", "experiment"))
    assert sum(found.values()) == 24
    assert not [name for name in found if name.endswith("traceback")]


def test_a_link_in_the_place_of_the_lock_is_refused(run: RunFolder, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    (run.root / ".lock").unlink(missing_ok=True)
    (run.root / ".lock").symlink_to(precious)
    with pytest.raises(RunError, match="is a symbolic link"):
        again(run, rule="grape")
    assert precious.read_text() == "keep me"


@pytest.mark.parametrize("name", ["manifest.json", "overrides.jsonl", "decisions.parquet"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_can_be_read_without_end_is_refused_before_it_is_opened(
    run: RunFolder, name: str, kind: str
) -> None:
    (run.root / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(run.root / name)
    else:
        (run.root / name).symlink_to("/dev/zero")
    for use in (lambda: again(run, rule="grape"), lambda: report_text(run.root)):
        with pytest.raises(RunError, match=f"{name}: is neither a file nor a folder"):
            use()


def test_leftovers_are_removed_by_the_next_command_that_writes(run: RunFolder) -> None:
    for name in (".scores.parquet.999999999.0123abcd.tmp", "candidates.part"):
        (run.root / name).write_text("half")
    again(run, rule="grape")
    assert not [p for p in run.root.iterdir() if p.suffix in (".tmp", ".part")]


def test_a_selection_whose_files_do_not_belong_together_is_made_again(run: RunFolder) -> None:
    before = run.decisions.read_bytes()
    again(run, rule="all_original")
    other = run.selected.read_bytes()
    again(run, rule="srt")
    assert run.decisions.read_bytes() == before
    run.selected.write_bytes(other)  # as a kill between the two files would leave it
    again(run, rule="srt")
    assert run.selected.read_bytes() != other


def test_a_run_folder_whose_name_is_not_utf_8_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    root = tmp_path / os.fsdecode(b"run\xff")
    with pytest.raises(RunError, match="has to be UTF-8"):
        RunFolder(root=root).create()
    with pytest.raises(RunError, match="has to be UTF-8"):
        RunFolder(root=root).existing()
    assert not root.exists()
