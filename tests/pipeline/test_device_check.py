"""`tutelage doctor --device` on a processor, with a tiny model."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.cli.summaries import device_text
from tutelage.errors import SettingsError
from tutelage.pipeline import environment_check
from tutelage.student import device_benchmark as bench

pytest.importorskip("trl")


@pytest.fixture(name="report")
def _report(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command prints as JSON; lm-eval is said not to be there, which saves its import."""

    def found(*arguments: str) -> tuple[int, dict[str, Any]]:
        shown = CliRunner().invoke(main, ["doctor", "--json", "--device", *arguments])
        return shown.exit_code, json.loads(shown.stdout)

    there = environment_check.find_spec
    monkeypatch.setattr(
        environment_check, "find_spec", lambda name: None if name == "lm_eval" else there(name)
    )
    return found


def lines_of(found: dict[str, Any]) -> dict[str, str]:
    return {line["check"]: line["result"] for line in found["lines"]}


def test_every_line_is_there_and_tools_that_are_absent_say_so(
    report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(work: Any, **_: Any) -> float:
        work()
        return 2.0

    train = environment_check._losses
    known: dict[str, tuple[float, ...]] = {}

    def trained_once(*files: Path, device: str, **more: Any) -> tuple[float, ...]:
        name = json.dumps(more)
        known[name] = known.get(name) or train(*files, device=device, **more)
        return known[name]

    def shared(scratch: Path, _out: Path, *, kind: str, variables: Any) -> tuple[float, ...]:
        assert (kind, variables, (scratch / "rows.jsonl").is_file()) == ("cpu", {}, True)
        assert "microbatch_examples" in environment_check._SETTINGS
        return known["{}"]

    monkeypatch.setattr(environment_check, "_losses", trained_once)
    monkeypatch.setattr(bench, "seconds_of", timed)
    monkeypatch.setattr(environment_check, "_losses_of_processes", shared)
    code, found = report("cpu")
    assert (code, found["healthy"]) == (0, True)
    lines = lines_of(found)
    assert lines["lm_eval"] == "absent"
    assert lines["speed of lm-eval hf"] == "absent: lm_eval is not installed"
    assert lines["several devices"] == "not run: there is one device"
    assert "without padding, shared prefixes once" in lines["golden rows, float32"]
    assert "of its cores" in lines["device"]
    assert "everything runs, and no more" in lines["model of the checks below"]
    # 4 rows of 32 tokens in 2 s; in bfloat16 where the processor has units for it
    (speed,) = (v for k, v in lines.items() if k.startswith("speed, tiny, rows of 32 tokens"))
    assert "tutelage 64, plain loop 64" in speed
    trained = [name for name in lines if name.startswith("training loss")]
    assert len(trained) == 3 + 2
    # Padded and joined rows are not added in the order of single ones: a line that says 0 would
    # compare a training with itself.
    for mode in ("padded", "padding-free"):
        assert "at most 0 nats" not in lines[f"training loss, float32, {mode}"]
    assert "from one process" in lines["training loss, DDP, 2 processes"]
    assert "among GPUs only" in lines["training loss, FSDP2, 2 processes"]


def test_a_device_that_computes_otherwise_makes_the_report_unhealthy(
    report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all = bench.read_all

    def wrong(engine: Any, passages: Any) -> Any:
        found = read_all(engine, passages)
        found[0].logprobs_T[:] -= 0.01
        return found

    monkeypatch.setattr(bench, "read_all", wrong)
    for check in ("_matrix_peak", "_speed", "_pool", "_long_rows", "_training", "_shared_training"):
        monkeypatch.setattr(environment_check, check, lambda _work: iter(()))
    code, found = report("cpu")
    assert (code, found["healthy"]) == (1, False)
    assert [line["check"] for line in found["lines"] if not line["healthy"]] == [
        "golden rows, float32"
    ]


def test_a_check_that_fails_does_not_hide_the_others(
    report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: Any) -> float:
        raise RuntimeError("CUDA error: no kernel image\nis available")

    monkeypatch.setattr(bench, "peak_flops", fails)
    for check in ("_golden", "_speed", "_pool", "_long_rows", "_training", "_shared_training"):
        monkeypatch.setattr(environment_check, check, lambda _work: iter(()))
    code, found = report("cpu")
    assert code == 1
    lines = lines_of(found)
    assert lines["matrix peak"] == "failed: RuntimeError: CUDA error: no kernel image"
    assert "several devices" in lines


def test_processes_are_launched_as_the_launcher_does_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []

    class Popen:
        def __init__(self, command: list[str], **how: Any) -> None:
            begun.append({"command": command, **how})
            out = Path(command[command.index("--out") + 1])
            out.mkdir(exist_ok=True)
            result = {"first_loss": 1.5, "last_loss": 0.5}
            (out / "manifest.json").write_text(json.dumps({"result": result}))

        def wait(self, **_: float) -> int:
            return 0

        def kill(self) -> None:
            pass

    monkeypatch.setattr(environment_check.subprocess, "Popen", Popen)
    monkeypatch.setattr(environment_check, "_training_files", lambda s: (s / "student", s / "rows"))
    monkeypatch.setattr(environment_check, "_losses", lambda *_, **__: (1.5, 0.6))
    monkeypatch.setattr(environment_check, "device_count", lambda _: 2)
    lines = list(
        environment_check._shared_training(environment_check._Bench(device="cuda:1", small=False))
    )
    assert [line.check for line in lines] == [
        "training loss, DDP, 2 processes",
        "training loss, FSDP2, 2 processes",
    ]
    assert all("at most 0.1 nats" in line.result and not line.healthy for line in lines)
    variables = [one["env"] for one in begun]
    assert [(v["RANK"], v["LOCAL_RANK"], v["WORLD_SIZE"]) for v in variables] == [
        ("0", "0", "2"),
        ("1", "1", "2"),
    ] * 2
    assert [v.get("ACCELERATE_USE_FSDP") for v in variables] == [None, None, "true", "true"]
    assert variables[0]["MASTER_PORT"] == variables[1]["MASTER_PORT"]
    words = begun[0]["command"][3:]
    with main.make_context("tutelage", words) as context:  # they are words the program knows
        command = main.get_command(context, words[0])
        assert command is not None
        given = command.make_context(words[0], words[1:], parent=context).params
    assert (given["device"], given["batch_examples"], given["dtype"]) == ("cuda", 4, "float32")


def test_a_launched_process_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = environment_check.subprocess.Popen

    def failing(_: list[str], **how: Any) -> Any:
        return real([sys.executable, "-c", "raise SystemExit('no such backend: nccl')"], **how)

    monkeypatch.setattr(environment_check.subprocess, "Popen", failing)
    with pytest.raises(RuntimeError, match="no such backend: nccl"):
        environment_check._losses_of_processes(
            tmp_path, tmp_path / "out", kind="cuda", variables={}
        )


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SettingsError, match="no such device"):
        environment_check.device_report("cuda:7")


def test_the_report_is_a_table_that_an_issue_shows() -> None:
    lines = [
        {"check": "dtype", "result": "auto is float32", "healthy": True},
        {"check": "golden rows", "result": "a | b", "healthy": False},
    ]
    assert list(device_text({"device": "cpu", "lines": lines})) == [
        "Device cpu",
        "",
        "| check | result |",
        "|---|---|",
        "| dtype | auto is float32 |",
        "| golden rows | a \\| b |",
        "",
        "Failed checks: golden rows",
    ]


def test_the_operations_of_a_row_are_counted() -> None:
    shape = bench.Shape(name="x", width=4, inner=8, layers=2, heads=2, keys=1, vocabulary=10)
    # a layer: q 16, k 8, v 8, o 16; three matrices of 4 by 8; the head: 4 by 10
    assert shape.weights == 2 * (48 + 96) + 40
    (row,) = bench.rows_of(shape, tokens=6, count=1)
    # 3 targets; attention: 2 products of 6 by 6 by 4 in each of 2 layers, half of it masked
    assert shape.flops([row]) == 2 * 288 * 6 + 2 * 40 * 3 + 2 * 2 * 4 * 36
