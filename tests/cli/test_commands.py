import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.cli import main
from tutelage.pipeline import run_all
from tutelage.progress import Silent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    data = write_rows(folder / "data.jsonl", rows(8))
    run_all(settings(data, folder / "run"), progress=Silent(), doors=doors())
    return folder / "run"


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_select_decides_again_and_prints_its_tally_as_json(run: Path) -> None:
    result = call("select", str(run), "--rule", "ifd_top", "--keep-count", "3", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["kept"] <= 3
    assert json.loads(result.stdout)["rule"]["rule"] == "ifd_top"
    call("select", str(run), "--rule", "srt")


def test_explain_shows_one_example(run: Path) -> None:
    result = call("explain", str(run), "row:0")
    assert result.exit_code == 0, result.stderr
    assert "tool number 0" in result.stdout
    assert "decision:" in result.stdout


def test_a_failure_is_a_message_and_a_hint_and_exit_code_1(tmp_path: Path) -> None:
    result = call("select", str(tmp_path))
    assert result.exit_code == 1
    assert "there is no run here" in result.stderr
    assert "hint: give the folder that `tutelage run`" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_path_and_a_file_are_not_called_a_folder_without_a_run(tmp_path: Path) -> None:
    missing = call("score", str(tmp_path / "nowhere.jsonl"), "--student", "smollm2-135m")
    assert "there is no such file or folder" in missing.stderr
    (tmp_path / "rows.jsonl").write_text("{}")
    file = call("score", str(tmp_path / "rows.jsonl"), "--student", "smollm2-135m")
    assert "is a file; a run folder is needed here" in file.stderr
    assert "needs --out" in file.stderr
    assert (missing.exit_code, file.exit_code) == (1, 1)


def test_misuse_is_exit_code_2_and_names_every_wrong_setting(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("data: {path: x.jsonl}\nstudent: {model: m, dtyp: x}\nselect: {margin: -1}\n")
    result = call("run", str(config))
    assert result.exit_code == 2
    for place in ("student.dtyp", "select.margin", "out"):
        assert place in result.stderr


def test_an_unknown_metric_is_named_with_those_there_are(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(1))
    out = tmp_path / "s.parquet"
    result = call(
        "score", str(data), "--student", "smollm2-135m", "--metrics", "ifdd", "--out", str(out)
    )
    assert result.exit_code == 2
    assert "'ifdd'" in result.stderr
    assert "r_ifd" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("flag", ["nonsense", "=x"])
def test_a_flag_that_is_no_pair_is_misuse(tmp_path: Path, flag: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("out: x\n")
    result = call("run", str(config), "--set", flag)
    assert result.exit_code == 2
    assert "expected NAME=VALUE" in result.stderr


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("data: {path: x.jsonl}\nstudent: {model: m}\nout: a\n")
    result = call("run", str(config), "--set", "select.rule=nonsense")
    assert result.exit_code == 2
    assert "select.rule" in result.stderr


def test_export_prints_what_to_paste(run: Path, tmp_path: Path) -> None:
    result = call(
        "export", str(run), "--to", "llamafactory", "--out", str(tmp_path / "t.jsonl"), "--json"
    )
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert json.loads(said["snippet"])["tutelage"]["file_name"] == "t.jsonl"


def test_report_prints_the_same_facts_as_text(run: Path) -> None:
    result = call("report", str(run), "--text")
    assert result.exit_code == 0, result.stderr
    assert "8" in result.stdout


@pytest.mark.parametrize("old", [["--beside", "{run}"], ["--beside={run}"]])
def test_an_option_works_by_its_old_name_for_a_while(run: Path, old: list[str]) -> None:
    named = call("report", str(run), "--text", "--compare-with", str(run))
    result = call("report", str(run), "--text", *(word.format(run=run) for word in old))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == named.stdout
    assert "--beside is now called --compare-with" in result.stderr
    assert "now called" not in named.stderr


def test_what_is_no_option_keeps_its_name() -> None:
    result = call("report", "--", "--beside")
    assert "now called" not in result.stderr
    other = call("metrics", "--beside", "x")
    assert other.exit_code == 2
    assert "No such option" in other.stderr
    assert "--beside" in other.stderr


def test_the_metrics_are_listed_with_their_direction() -> None:
    result = call("metrics")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("r_ifd ")]
    assert line.split()[:3] == ["r_ifd", "pair", "lower"]


def test_ctrl_c_leaves_a_run_that_continues(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.jsonl", rows(40))
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.pipeline.fakes import doors, improves, settings\n"
        "import tutelage.pipeline.resources as resources\n"
        "from tutelage.cli import main\n"
        "def slow(request):\n"
        "    time.sleep(0.2)\n"
        "    return improves(request)\n"
        "resources.Doors = lambda **_: doors(slow)\n"
        f"main(['run', {str(tmp_path / 'c.yaml')!r}])\n"
    )
    (tmp_path / "c.yaml").write_text(
        f"data: {{path: {data}}}\nstudent: {{model: t}}\nteacher: {{model: s}}\n"
        f"out: {tmp_path / 'run'}\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    journal = tmp_path / "run" / "journal.sqlite"
    deadline = time.monotonic() + 600
    while not journal.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert "the same command continues" in said
    assert "Traceback" not in said
    made = settings(data, tmp_path / "run")
    summary = run_all(made, progress=Silent(), doors=doors(), with_page=False)
    assert summary["load"]["examples"] == 40
