"""Environment check (`tutelage doctor`): libraries, devices, sandbox, template; test of a device.

The models of the device test (`--device`) have random weights from a seed, so that nothing has to
be fetched. Each line says what was measured, or why it was not; a line whose two numbers should be
equal and are not makes the report unhealthy. On a CPU the same lines are filled with a tiny model.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.data import VIEW_NAMES, Candidate, Message, Reading
from tutelage.errors import MissingExtraError, TutelageError
from tutelage.models import give_memory_back
from tutelage.models.hardware import (
    check_device,
    device_count,
    find_device,
    kind_of,
    memory_of,
    usual_dtype,
)
from tutelage.pipeline.config import checked
from tutelage.pipeline.resources import opened_student, versions
from tutelage.progress import Progress, Silent
from tutelage.student import StudentSettings, check_template, devices
from tutelage.student import device_benchmark as bench
from tutelage.student.passages import Passage, TorchGauge
from tutelage.verification.sandbox import (
    MECHANISMS,
    memory_groups,
    sandbox_mechanism,
    why_not,
)
from tutelage.version import __version__, installed_version

EXTRAS = {
    "student": ("torch", "transformers"),
    "demo": ("torch", "transformers", "accelerate", "gguf"),
    "report": ("altair", "vl_convert"),
    "maths": ("math_verify",),
    "filters": ("fasttext", "model2vec"),
    "ray": ("ray",),
    "ui": ("starlette", "uvicorn"),
    "datasets": ("datasets",),
    "train": ("accelerate", "datasets", "peft", "trl"),
    "eval": ("lm_eval",),
}
"""Import names of the libraries of each extra."""

_PROBE = Candidate(
    candidate_id="probe",
    example_id="probe",
    messages=(
        Message(role="user", content="Name a colour."),
        Message(role="assistant", content="Blue is a colour."),
    ),
)


def examine(
    *, student: str | None, template: str, arguments: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Examine this machine, and a student if one is named.

    Args:
        student: A folder, a hub id or an alias; None looks at the machine alone.
        template: As in the student's settings.
        arguments: Its other settings about the template, such as `template_args`.

    Returns:
        Findings by topic; `healthy` is false where the student cannot be used.
    """
    findings: dict[str, Any] = {
        "versions": versions(),
        "extras": {
            name: "installed"
            if not _missing(libraries)
            else f"missing {', '.join(_missing(libraries))}"
            for name, libraries in EXTRAS.items()
        },
        "cpus": os.cpu_count(),
        "devices": _devices(),
        "sandbox": _sandbox(),
        "healthy": True,
    }
    if student is not None:
        findings["student"] = _student(student, template, arguments or {})
        findings["healthy"] = "error" not in findings["student"]
    return findings


def _missing(libraries: tuple[str, ...]) -> list[str]:
    return [name for name in libraries if find_spec(name) is None]


def _sandbox() -> dict[str, str]:
    """Isolation of `verify --check code` on this machine, and why other mechanisms do not work."""
    used = sandbox_mechanism()
    found = {str(name): why_not(name) or "works" for name in MECHANISMS}
    above, why_none = memory_groups()
    memory = f"counted every 50 ms: {why_none}" if above is None else f"control group in {above}"
    return {"used": used or "none: programs are not run", **found, "memory": memory}


def _devices() -> list[str]:
    return list(devices()) if not _missing(("torch",)) else []


def _student(model: str, template: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        settings = checked(
            StudentSettings,
            {"model": model, "template": template, "use_cache": False, **arguments},
            place="doctor",
        )
        with opened_student(settings) as opened:
            (outcome,) = opened.read([_PROBE], views=VIEW_NAMES)
            readable = isinstance(outcome, Reading)
            return {
                **opened.describe(),
                "probe": "read" if readable else f"not read: {outcome}",
                "template_problems": list(check_template(settings)),
            }
    except TutelageError as error:
        return {"model": model, "error": str(error), "hint": error.hint}


_TOOLS = {
    "flash-attn": "flash_attn",
    "vllm": "vllm",
    "lm_eval": "lm_eval",
    "liger-kernel": "liger_kernel",
    "bitsandbytes": "bitsandbytes",
    "accelerate": "accelerate",
}
_TOLERANCES = {"float32": 5e-4, "bfloat16": 0.03, "float16": 0.03}
"""Largest difference of a row's mean loss from the plain loop on the CPU in float32, in nats."""
_GIB = 1 << 30
_TERA = 1e12
_TRAINED_ROWS = 8
_SAME_LOSS = 1e-3
"""The largest difference of two training losses, in nats: sums are made in another order."""
_LAUNCH_SECONDS = 900
_PROCESSES = 2
_MODES: dict[str, Mapping[str, str]] = {
    "DDP": {},
    "FSDP2": {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
    },
}
"""Environment variables that `accelerate launch` sets, apart from ranks and addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLine:
    """One line of the device report.

    Attributes:
        check: What was looked at.
        result: What was found, or why it was not looked at.
        healthy: False where it should have been otherwise.
    """

    check: str
    result: str
    healthy: bool = True


@dataclass(slots=True, kw_only=True)
class _Bench:
    """One device with the size of its test work."""

    device: str
    small: bool
    seed: int = 0
    peaks: dict[str, float] = field(default_factory=dict)

    @property
    def shapes(self) -> tuple[bench.Shape, ...]:
        return (bench.SMALL,) if self.small else bench.SHAPES

    @property
    def lengths(self) -> tuple[int, ...]:
        return (32, 128) if self.small else (128, 500, 2000)

    def rows(self, tokens: int) -> int:
        return 4 if self.small else max(4, 32_000 // tokens)


def device_report(device: str = "auto", *, progress: Progress | None = None) -> dict[str, Any]:
    """Test a device: correctness, speed, memory and training.

    Args:
        device: `auto`, or the name of one.
        progress: Notified of each line.

    Returns:
        The device, its lines, and whether all of them are as they should be.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        SettingsError: There is no such device.
    """
    progress = progress or Silent()
    for library in ("torch", "transformers"):
        if find_spec(library) is None:
            raise MissingExtraError(
                f"testing a device needs {library}", hint="pip install 'tutelage[student]'"
            )
    device = find_device() if device == "auto" else device
    check_device(device)
    work = _Bench(device=device, small=kind_of(device) == "cpu")
    checks: tuple[Callable[[_Bench], Iterator[DeviceLine]], ...] = (
        _facts,
        _tools,
        _golden,
        _matrix_peak,
        _speed,
        _pool,
        _long_rows,
        _training,
        _several,
        _shared_training,
    )
    progress.begin("test device", total=len(checks), unit="checks")
    lines: list[DeviceLine] = []
    for check in checks:
        lines += _guarded(check, work)
        progress.advance(note=lines[-1].check if lines else None)
    progress.end()
    return {
        "device": device,
        "lines": [
            {"check": line.check, "result": line.result, "healthy": line.healthy} for line in lines
        ],
        "healthy": all(line.healthy for line in lines),
    }


def _guarded(check: Callable[[_Bench], Iterator[DeviceLine]], work: _Bench) -> Iterator[DeviceLine]:
    """Lines of a check; a check that fails is reported and the others still run."""
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(work)
    except TutelageError as error:
        yield DeviceLine(check=name, result=f"failed: {error}", healthy=False)
    except (RuntimeError, ValueError, OSError, ImportError, TypeError, AttributeError) as error:
        first = (str(error).splitlines() or [""])[0]
        yield DeviceLine(
            check=name, result=f"failed: {type(error).__name__}: {first}", healthy=False
        )


def _facts(work: _Bench) -> Iterator[DeviceLine]:
    memory = memory_of(work.device)
    named = bench.device_name(work.device)
    size = (
        ""
        if memory is None
        else f", {memory.free / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    )
    yield DeviceLine(check="device", result=f"{work.device}: {named}{size}")
    libraries = ("torch", "transformers", "trl")
    found = ", ".join(f"{name} {installed_version(name) or 'absent'}" for name in libraries)
    ours = f"tutelage {__version__}, Python {platform.python_version()}"
    yield DeviceLine(check="versions", result=f"{ours}, {found}")
    yield DeviceLine(
        check="dtype", result=f"{usual_dtype(work.device)} is what `--dtype auto` means here"
    )
    if work.small:
        small = "tiny, with random weights: its speeds show that everything runs, and no more"
        yield DeviceLine(check="model of the checks below", result=small)


def _tools(_: _Bench) -> Iterator[DeviceLine]:
    for tool, module in _TOOLS.items():
        there = find_spec(module) is not None
        yield DeviceLine(check=tool, result=(there and installed_version(tool)) or "absent")


def _golden(work: _Bench) -> Iterator[DeviceLine]:
    """Rows on the device compared with the CPU's plain loop in float32."""
    shape = bench.SMALL
    passages = [
        *bench.rows_of(shape, tokens=90, count=4, shared=60, seed=work.seed),
        *bench.rows_of(shape, tokens=40, count=3, seed=work.seed + 1),
    ]
    exact = np.array(
        bench.plain_loop(
            bench.random_model(shape, device="cpu", dtype="float32", seed=work.seed), passages
        )
    )
    dtypes = ["float32"] if work.small else ["float32", "bfloat16"]
    for dtype in dict.fromkeys([*dtypes, usual_dtype(work.device)]):
        model = bench.random_model(shape, device=work.device, dtype=dtype, seed=work.seed)
        engine = bench.engine_of(model, device=work.device, batch_tokens=4096)
        means = [-m.logprobs_T.mean(dtype=np.float64) for m in bench.read_all(engine, passages)]
        worst = float(np.abs(np.array(means) - exact).max())
        limit = _TOLERANCES[dtype]
        how = "without padding, shared prefixes once" if engine.reads_lines else "padded"
        yield DeviceLine(
            check=f"golden rows, {dtype}",
            result=f"at most {worst:.2g} nats from the plain loop on the CPU in float32 "
            f"(limit {limit:g}); rows are read {how}",
            healthy=worst <= limit,
        )


def _matrix_peak(work: _Bench) -> Iterator[DeviceLine]:
    for dtype in dict.fromkeys(["float32", usual_dtype(work.device)]):
        size = 256 if work.small else 8192
        work.peaks[dtype] = bench.peak_flops(device=work.device, dtype=dtype, size=size)
        yield DeviceLine(
            check=f"matrix peak, {dtype}", result=f"{work.peaks[dtype] / _TERA:.3g} TFLOP/s"
        )


def _speed(work: _Bench) -> Iterator[DeviceLine]:
    """Tokens per second by row length and model size, compared with other methods."""
    dtype = usual_dtype(work.device)
    for shape in work.shapes:
        model = bench.random_model(shape, device=work.device, dtype=dtype, seed=work.seed)
        engine = bench.engine_of(model, device=work.device)
        for tokens in work.lengths:
            passages = bench.rows_of(shape, tokens=tokens, count=work.rows(tokens), seed=work.seed)
            took = _seconds_by_way(work, engine, model, passages)
            total = sum(len(p.ids_T) for p in passages)
            share = shape.flops(passages) / took["tutelage"] / work.peaks.get(dtype, float("inf"))
            speeds = ", ".join(f"{name} {total / s:,.0f}" for name, s in took.items())
            yield DeviceLine(
                check=f"speed, {shape.name}, rows of {tokens} tokens, {dtype}",
                result=f"tokens/s: {speeds}; {share:.0%} of the matrix peak",
            )
        engine.close()
        model = None
        give_memory_back()
    if find_spec("lm_eval") is None:
        yield DeviceLine(check="speed of lm-eval hf", result="absent: lm_eval is not installed")
    yield _vllm_speed(work, dtype)


def _seconds_by_way(
    work: _Bench, engine: Any, model: Any, passages: Sequence[Passage]
) -> dict[str, float]:
    """Seconds of each method for the same passages, ours first."""
    ways: dict[str, Callable[[], object]] = {
        "tutelage": lambda: bench.read_all(engine, passages),
        "plain loop": lambda: bench.plain_loop(model, passages),
    }
    if find_spec("lm_eval") is not None:
        ways["lm-eval hf"] = lambda: bench.harness_losses(model, passages)
    return {name: bench.seconds_of(way, device=work.device) for name, way in ways.items()}


def _vllm_speed(work: _Bench, dtype: str) -> DeviceLine:
    check = f"speed of vLLM, {work.shapes[0].name}, {dtype}"
    if find_spec("vllm") is None:
        return DeviceLine(check=check, result="absent: vllm is not installed")
    if kind_of(work.device) != "cuda":
        return DeviceLine(check=check, result="not run: vLLM is run on GPUs only")
    tokens = work.lengths[1]
    passages = bench.rows_of(work.shapes[0], tokens=tokens, count=work.rows(tokens), seed=work.seed)
    with tempfile.TemporaryDirectory() as folder:
        seconds = bench.vllm_seconds(
            work.shapes[0], passages, folder=folder, device=work.device, dtype=dtype
        )
    total = sum(len(p.ids_T) for p in passages)
    return DeviceLine(
        check=check, result=f"rows of {tokens} tokens: {total / seconds:,.0f} tokens/s"
    )


def _pool(work: _Bench) -> Iterator[DeviceLine]:
    """Sixteen answers to one instruction."""
    dtype = usual_dtype(work.device)
    shape = work.shapes[0]
    tokens, shared = (96, 64) if work.small else (800, 500)
    passages = bench.rows_of(shape, tokens=tokens, count=16, shared=shared, seed=work.seed)
    model = bench.random_model(shape, device=work.device, dtype=dtype, seed=work.seed)
    engine = bench.engine_of(model, device=work.device)
    ours = bench.seconds_of(lambda: bench.read_all(engine, passages), device=work.device)
    plain = bench.seconds_of(lambda: bench.plain_loop(model, passages), device=work.device)
    yield DeviceLine(
        check=f"pool of 16, {shape.name}, {shared} of {tokens} tokens shared, {dtype}",
        result=f"{16 / ours:,.1f} candidates/s, {plain / ours:.1f} times the plain loop",
    )


def _long_rows(work: _Bench) -> Iterator[DeviceLine]:
    dtype = usual_dtype(work.device)
    shape = work.shapes[0]
    model = bench.random_model(shape, device=work.device, dtype=dtype, seed=work.seed)
    engine = bench.engine_of(model, device=work.device, batch_tokens=4096)
    for tokens in (512, 1024) if work.small else (8192, 32_768):
        (passage,) = bench.rows_of(shape, tokens=tokens, count=1, seed=work.seed)

        def read(row: Any = passage) -> None:
            engine.read([row], full=True)

        if work.small:
            read()
            found = "read; memory is not measured on a CPU"
        else:
            found = f"{TorchGauge(work.device).peak(read) / _GIB:.2f} GiB above the weights"
        yield DeviceLine(check=f"a row of {tokens} tokens, {shape.name}, {dtype}", result=found)


def _training(work: _Bench) -> Iterator[DeviceLine]:
    """Loss of a training on the device compared with one row at a time on the CPU."""
    missing = [name for name in ("trl", "peft") if find_spec(name) is None]
    if missing:
        yield DeviceLine(check="training loss", result=f"absent: {', '.join(missing)}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        student, rows = _training_files(Path(scratch))
        exact = _losses(student, rows, Path(scratch) / "exact", device="cpu", **_ONE_BY_ONE)
        modes: dict[str, Mapping[str, Any]] = {
            "float32, padded": {},
            "float32, padding-free": {"padding_free": "on"},
            "float32, gradient checkpointing": {"gradient_checkpointing": "on"},
        }
        for number, (mode, more) in enumerate(modes.items()):
            out = Path(scratch) / f"mode-{number}"
            found = _losses(student, rows, out, device=work.device, **more)
            off = max(abs(a - b) for a, b in zip(found, exact, strict=True))
            yield DeviceLine(
                check=f"training loss, {mode}",
                result=f"at most {off:.2g} nats from one row at a time on the CPU "
                f"(limit {_SAME_LOSS:g})",
                healthy=off < _SAME_LOSS,
            )


def _training_files(scratch: Path) -> tuple[Path, Path]:
    student = scratch / "student"
    bench.save_student(student)
    rows = scratch / "rows.jsonl"
    lines = [
        {"instruction": f"count to {n}", "output": " ".join(map(str, range(n + 1)))}
        for n in range(2, 2 + _TRAINED_ROWS)
    ]
    rows.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return student, rows


_ONE_BY_ONE = {"microbatch_examples": 1}
_SETTINGS: dict[str, Any] = {
    "batch_examples": 4,
    "microbatch_examples": 4,
    "epochs": 2,
    "dtype": "float32",
    "template": "alpaca",
    "learning_rate": 1e-3,
}


def _losses(student: Path, rows: Path, out: Path, *, device: str, **more: Any) -> tuple[float, ...]:
    from tutelage.training import TrainSettings, train_student

    settings = TrainSettings(device=device, **{**_SETTINGS, **more})
    done = train_student(rows, model=str(student), settings=settings, out=out)
    return done.first_loss, done.last_loss


def _shared_training(work: _Bench) -> Iterator[DeviceLine]:
    """A training shared by two processes against one process, as `accelerate launch` starts it."""
    kind = kind_of(work.device)
    missing = [name for name in ("trl", "accelerate") if find_spec(name) is None]
    few = kind != "cpu" and device_count(kind) < _PROCESSES
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        exact: tuple[float, ...] = ()
        for mode, variables in _MODES.items():
            check = f"training loss, {mode}, {_PROCESSES} processes"
            reason = None
            if missing:
                reason = f"absent: {', '.join(missing)}"
            elif few:
                reason = "not run: there is one device"
            elif kind == "cpu" and variables:
                reason = "not run: accelerate divides weights among GPUs only"
            if reason is not None:
                yield DeviceLine(check=check, result=reason)
                continue
            if not exact:
                student, rows = _training_files(scratch)
                exact = _losses(student, rows, scratch / "exact", device="cpu", **_ONE_BY_ONE)
            found = _losses_of_processes(scratch, scratch / mode, kind=kind, variables=variables)
            off = max(abs(a - b) for a, b in zip(found, exact, strict=True))
            yield DeviceLine(
                check=check,
                result=f"at most {off:.2g} nats from one process and one row at a time on the CPU "
                f"(limit {_SAME_LOSS:g})",
                healthy=off < _SAME_LOSS,
            )


def _losses_of_processes(
    scratch: Path, out: Path, *, kind: str, variables: Mapping[str, str]
) -> tuple[float, ...]:
    """The losses of a training that processes of this program share."""
    options = {name.replace("_examples", "").replace("_", "-"): v for name, v in _SETTINGS.items()}
    words = [str(scratch / "rows.jsonl"), "--student", str(scratch / "student"), "--out", str(out)]
    words += [f"--{name}={value}" for name, value in {**options, "device": kind}.items()]
    command = [sys.executable, "-c", "from tutelage.cli import main; main()", "train", *words]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(_PROCESSES), "LOCAL_WORLD_SIZE": str(_PROCESSES)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **variables}
    shared |= {"ACCELERATE_USE_CPU": "true"} if kind == "cpu" else {}
    processes = []
    for rank in range(_PROCESSES):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        with (scratch / f"told-{rank}").open("w", encoding="utf-8") as told:
            processes.append(
                subprocess.Popen(  # noqa: S603  (this very program)
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=told,
                    env={**os.environ, **shared, **own},
                )
            )
    try:
        codes = [process.wait(timeout=_LAUNCH_SECONDS) for process in processes]
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not finished after {_LAUNCH_SECONDS} s") from error
    finally:
        for process in processes:
            process.kill()
    if any(codes):
        told_by_failed = (scratch / f"told-{codes.index(max(codes, key=bool))}").read_text()
        raise RuntimeError((told_by_failed.strip().splitlines() or ["a process failed"])[-1])
    result = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["result"]
    return float(result["first_loss"]), float(result["last_loss"])


def _several(work: _Bench) -> Iterator[DeviceLine]:
    kind, count = kind_of(work.device), device_count(kind_of(work.device))
    if count < 2:  # noqa: PLR2004  (one is not several)
        yield DeviceLine(check="several devices", result="not run: there is one device")
        return
    shape = bench.SMALL
    passages = bench.rows_of(shape, tokens=90, count=4, shared=60, seed=work.seed)
    means = []
    for number in range(count):
        model = bench.random_model(shape, device=f"{kind}:{number}", dtype="float32")
        engine = bench.engine_of(model, device=f"{kind}:{number}", batch_tokens=4096)
        read = bench.read_all(engine, passages)
        means.append([float(m.logprobs_T.mean(dtype=np.float64)) for m in read])
    spread = float(np.ptp(np.array(means), axis=0).max())
    yield DeviceLine(
        check=f"{count} devices",
        result=f"mean losses of the same rows differ by at most {spread:.2g} nats",
        healthy=spread <= _TOLERANCES["float32"],
    )
