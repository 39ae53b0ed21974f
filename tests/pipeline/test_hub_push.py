"""A set is pushed to the hub with card, configurations and splits, and read back at its commit."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tests.pipeline.hub_server import Hub, hub
from tutelage.cli import main
from tutelage.data.sources import hub_commit
from tutelage.pipeline import run_all
from tutelage.progress import Silent

pytest.importorskip("huggingface_hub")
TOKEN = "hf_" + "NotARealTokenButLongEnough0123456789"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pushed")
    data = write_rows(folder / "data.jsonl", rows(24))
    run_all(settings(data, folder / "run"), progress=Silent(), doors=doors(), with_page=False)
    return folder / "run"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made


def export(run: Path, out: Path, *more: str) -> Result:
    words = ["export", str(run), "--out", str(out), *more, "--json"]
    return CliRunner().invoke(main, words)


def card_of(served: Hub, repo: str) -> dict[str, Any]:
    text = served.repos[repo]["README.md"].decode()
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_a_set_becomes_a_private_dataset_with_its_card(
    run: Path, tmp_path: Path, served: Hub
) -> None:
    done = export(run, tmp_path / "train.jsonl", "--push-to", "hub:me/chosen")
    assert done.exit_code == 0, done.output
    pushed = json.loads(done.stdout)["pushed"]
    assert served.private == {"me/chosen": True}
    assert pushed["revision"] == served.commits["me/chosen"]
    assert pushed["configs"] == {"selected": ["train"]}
    files = served.repos["me/chosen"]
    assert files["data/selected/train.jsonl"] == (tmp_path / "train.jsonl").read_bytes()
    text = files["README.md"].decode()
    assert "# chosen" in text
    assert "Who wrote and who chose" in text
    head = card_of(served, "me/chosen")
    assert "license" not in head  # "not recorded" is no licence that the hub takes
    assert head["configs"] == [
        {
            "config_name": "selected",
            "data_files": [{"split": "train", "path": "data/selected/train.jsonl"}],
            "default": True,
        }
    ]


def test_further_sets_are_configurations_and_a_question_is_in_one_split(
    run: Path, tmp_path: Path, served: Hub
) -> None:
    more = ("--push-set", "random", "--push-set", "all_original", "--test-fraction", "0.3")
    done = export(run, tmp_path / "t.jsonl", "--push-to", "hub:me/sets", *more, "--public")
    assert done.exit_code == 0, done.output
    assert served.private == {"me/sets": False}
    assert [c["config_name"] for c in card_of(served, "me/sets")["configs"]] == [
        "selected",
        "random",
        "all_original",
    ]
    ids: dict[str, set[str]] = {"train": set(), "test": set()}
    for name, held in served.repos["me/sets"].items():
        for line in held.splitlines() if name.startswith("data/") else []:
            ids[Path(name).stem].add(json.loads(line)["example_id"])
    assert ids["train"]
    assert ids["test"]
    assert not ids["train"] & ids["test"]
    originals = [
        json.loads(line)
        for split in ids
        for line in served.repos["me/sets"][f"data/all_original/{split}.jsonl"].splitlines()
    ]
    assert len(originals) == len({row["example_id"] for row in originals})


def test_a_second_push_replaces_what_the_first_one_left(
    run: Path, tmp_path: Path, served: Hub
) -> None:
    export(run, tmp_path / "t.jsonl", "--push-to", "hub:me/again", "--push-set", "random")
    served.repos["me/again"]["notes.md"] = b"by hand"
    export(run, tmp_path / "t.jsonl", "--push-to", "hub:me/again")
    assert set(served.repos["me/again"]) == {"README.md", "data/selected/train.jsonl", "notes.md"}


def test_the_token_goes_to_the_hub_and_is_written_nowhere(
    run: Path, tmp_path: Path, served: Hub
) -> None:
    done = export(run, tmp_path / "t.jsonl", "--push-to", "hub:me/x")
    assert any(TOKEN in h.get("authorization", "") for h in map(lowered, served.headers))
    assert TOKEN not in done.output
    for folder in (tmp_path, run):
        for path in folder.rglob("*"):
            assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    served.refuses, served.says = 403, f"the token {TOKEN} may not write"
    done = export(run, tmp_path / "t.jsonl", "--push-to", "hub:me/x")
    assert done.exit_code == 1
    assert "hub:me/x: the hub refused" in done.output
    assert TOKEN not in done.output
    assert "hf auth login" in done.output


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def test_data_that_holds_the_token_is_not_pushed(
    tmp_path: Path, served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [*rows(6), {"instruction": "What is my key?", "output": f"It is {TOKEN} of course."}]
    data = write_rows(tmp_path / "data.jsonl", held)
    wanted = settings(data, tmp_path / "run", teacher=None, select={"rule": "all_original"})
    run_all(wanted, progress=Silent(), doors=doors(), with_page=False)
    done = export(tmp_path / "run", tmp_path / "t.jsonl", "--push-to", "hub:me/leak")
    assert done.exit_code == 1
    assert "holds the token" in done.output
    assert TOKEN not in done.output
    assert "me/leak" not in served.repos


@pytest.mark.parametrize("target", ["me/chosen", "hub:", "hub:a/b/c", "hub:../x", "hub:a b"])
def test_a_wrong_name_is_said_before_anything_is_written(
    run: Path, tmp_path: Path, target: str
) -> None:
    done = export(run, tmp_path / "t.jsonl", "--push-to", target)
    assert done.exit_code in (1, 2)
    assert "expected hub:NAME" in done.output
    assert not (tmp_path / "t.jsonl").exists()


def test_options_of_a_push_without_one_are_refused(run: Path, tmp_path: Path) -> None:
    done = export(run, tmp_path / "t.jsonl", "--push-set", "random")
    assert "belong to --push-to" in done.output
    assert not (tmp_path / "t.jsonl").exists()


def test_the_commit_of_a_hub_set_is_found_and_of_a_file_not(
    run: Path, tmp_path: Path, served: Hub
) -> None:
    export(run, tmp_path / "t.jsonl", "--push-to", "hub:me/read")
    assert hub_commit("me/read", revision=None) == served.commits["me/read"]
    assert hub_commit("hf://datasets/me/read", revision="main") == served.commits["me/read"]
    assert hub_commit(tmp_path / "t.jsonl", revision=None) is None
    assert hub_commit("me/nobody", revision=None) is None
    served.refuses = 500
    assert hub_commit("hf://datasets/me/read", revision=None) is None


READ = """
import json, sys
from tutelage.pipeline.jobs import load_data
from tutelage.progress import Silent
from pathlib import Path
load_data(data={"path": "me/back"}, out=Path(sys.argv[1]), progress=Silent())
"""


def test_what_was_pushed_can_be_read_and_the_manifest_names_the_commit(
    run: Path, tmp_path: Path, served: Hub
) -> None:
    pytest.importorskip("datasets")
    done = export(run, tmp_path / "t.jsonl", "--push-to", "hub:me/back")
    env = {**os.environ, "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf")}
    out = tmp_path / "loaded"
    read = subprocess.run(
        [sys.executable, "-c", READ, str(out)], env=env, capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    commit = served.commits["me/back"]
    assert manifest["inputs"] == {"me/back": f"commit {commit}"}
    tally = manifest["stages"]["load"]["tally"]
    assert tally["revisions"] == {"me/back": commit}
    assert tally["examples"] == json.loads(done.stdout)["rows"]
