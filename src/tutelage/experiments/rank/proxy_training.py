"""Proxy training: small trainings of sources by successive halving, then a sweep over mixes.

    OUT/sources/NAME.jsonl      the rows of each source, without the questions of the tasks
    OUT/probes/rung-N/          an experiment: one arm a source
    OUT/probes/sweep/           an experiment: the best source alone, the best 2, 4, 8, all
    OUT/probes.parquet, sweep.parquet

Items are split in two by their ids: the rungs choose on one half, and the sweep is measured on the
other half with separate seeds. So the result of the sweep is not biased by the choice. Every
training run is an ordinary cell of `prove`: the same call resumes an interrupted one.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.data import OK, content_hash, read, read_records, write_jsonl, write_table, write_text
from tutelage.data.schemas import PROBES, SWEEP, messages_to_arrow
from tutelage.errors import DataError, SettingsError
from tutelage.evaluation import EvaluateSettings, TaskSettings
from tutelage.experiments.prove.config import ProveSettings
from tutelage.experiments.prove.run import read_results, run_experiment
from tutelage.experiments.rank.answer_pool import UNNAMED, Ranked
from tutelage.experiments.rank.standings import asking_order
from tutelage.pipeline.config import DataSettings, checked, yaml_file
from tutelage.progress import Progress, Silent
from tutelage.stats.intervals import Numbers
from tutelage.stats.multiple_testing import shrink, split_winner
from tutelage.stats.paired_design import paired_interval, standard_error
from tutelage.training import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One round of successive halving.

    Attributes:
        number: From 1.
        entrants: Number of entrants.
        examples: Trained on, each.
        keeps: Number that reach the next round.
    """

    number: int
    entrants: int
    examples: int
    keeps: int


def rungs_of(
    entrants: int, *, examples: int, keep_fraction: float, growth: float, rungs: int
) -> list[Rung]:
    """Rounds with fewer entrants and more examples each time.

    Source: successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943).

    Args:
        entrants: At least 1.
        examples: Number of examples of the first round, at least 1.
        keep_fraction: Which part goes on, in (0, 1); at least one does.
        growth: Examples of a round over those of the one before, at least 1.
        rungs: How many at most; it ends earlier when one is left.

    Raises:
        SettingsError: A number is out of its range.

    Examples:
        >>> [(r.entrants, r.examples, r.keeps) for r in
        ...  rungs_of(5, examples=32, keep_fraction=0.5, growth=2.0, rungs=3)]
        [(5, 32, 3), (3, 64, 2), (2, 128, 1)]
    """
    if entrants < 1 or examples < 1 or rungs < 1 or growth < 1 or not 0 < keep_fraction < 1:
        raise SettingsError(
            f"halving of {entrants} entrants with {examples} examples, {rungs} rungs, growth "
            f"{growth} and keep_fraction {keep_fraction} is not possible"
        )
    found: list[Rung] = []
    left, size = entrants, float(examples)
    for number in range(1, rungs + 1):
        last = number == rungs or left == 1
        keeps = 1 if last else max(1, math.ceil(left * keep_fraction))
        found.append(Rung(number=number, entrants=left, examples=round(size), keeps=keeps))
        if last:
            break
        left, size = keeps, size * growth
    return found


# ----------------------------------------------------------------------------------------------
# What trying out sources by training is asked to do, and the tables it comes to.
# ----------------------------------------------------------------------------------------------


class ProbeSettings(BaseModel):
    """Settings of proxy trainings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[TaskSettings, ...] = Field(min_length=1)
    primary: str | None = Field(
        default=None, description="The deciding task; by default the first one."
    )
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    top: int | None = Field(
        default=None,
        ge=2,
        description="Number of best-predicted sources that are tried; by default all.",
    )
    examples: int = Field(default=48, ge=2, description="Examples of a training in the first rung.")
    growth: float = Field(
        default=2.0, ge=1.0, description="Factor of the number of examples from rung to rung."
    )
    keep_fraction: float = Field(
        default=0.5, gt=0.0, lt=1.0, description="Share of the sources that reach the next rung."
    )
    rungs: int = Field(default=2, ge=1)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    sweep: tuple[int, ...] = Field(
        default=(1, 2, 4, 8),
        description="Numbers of best sources to mix; the mix of all is always tried.",
    )
    sweep_examples: int | None = Field(
        default=None,
        ge=2,
        description="Examples of a training on a mix; by default those of the last rung.",
    )
    sweep_seeds: tuple[int, ...] = Field(default=(10, 11), min_length=1)
    seed: int = Field(default=0, ge=0, description="Seed of the sample of rows of a source.")
    lock: Path | None = Field(default=None, description="A lock file, as in `prove`.")
    turn_seconds: float = Field(
        default=0.0, ge=0.0, description="Duration of a turn, as in `prove`."
    )

    @model_validator(mode="after")
    def _seeds_differ(self) -> "ProbeSettings":
        if set(self.seeds) & set(self.sweep_seeds):
            raise ValueError(
                "sweep_seeds must differ from seeds, or the winner's gain stays biased"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """Results of proxy trainings.

    Attributes:
        probes: The PROBES schema: rung by source.
        sweep: The SWEEP schema; empty while it is not finished.
        order: Sources, best first: who got further, then by gain.
        winner: Winner of the last rung: `source`, `measured` gain, `split` gain, `again_fraction`.
        left_out: Sources with fewer rows than the trainings need, with how many they have.
        unfinished: Cells that are still to be trained.
    """

    probes: pa.Table
    sweep: pa.Table
    order: tuple[str, ...]
    winner: Mapping[str, Any]
    left_out: Mapping[str, int]
    unfinished: int


# ----------------------------------------------------------------------------------------------
# Proxy training.
# ----------------------------------------------------------------------------------------------


ROWS_A_DRAW = 8
"""Rows kept of a source, as a multiple of the largest training, so that other seeds can draw
others.
"""
_QUESTIONS = ("question", "instruction", "prompt", "problem", "query", "input")


def probe_sources(
    ranked: Ranked,
    *,
    data: Mapping[str, Any],
    student: Mapping[str, Any],
    probe: Mapping[str, Any],
    most_cells: int | None = None,
    progress: Progress | None = None,
) -> Probed:
    """Train on a little of each source, on more of the better half, then on mixes of the best.

    Args:
        ranked: What `rank_sources` predicted; its folder takes the trainings.
        data: Settings of the data, with `path`.
        student: Settings of the student.
        probe: See `ProbeSettings`.
        most_cells: Stop after this many trainings, to continue another time.
        progress: Notified of each training.

    Raises:
        SettingsError: Some settings are wrong.
        DataError: Fewer than two sources have enough rows.
    """
    settings = checked(ProbeSettings, probe, place="probe")
    reading = checked(DataSettings, data, place="data")
    trial = _Trial(
        root=Path(ranked.out),
        settings=settings,
        student=student,
        left=most_cells,
        progress=progress or Silent(),
    )
    predicted = _predicted(ranked)
    names = list(predicted)[: settings.top]
    rungs = _rungs_for(len(names), settings)
    needed = max(rungs[-1].examples, settings.sweep_examples or 0)
    counts = trial.write_sources(reading, names, most=needed * ROWS_A_DRAW)
    left_out = {name: count for name, count in counts.items() if count < needed}
    names = [name for name in names if name not in left_out]
    if len(names) < 2:  # noqa: PLR2004  (a contest)
        raise DataError(
            f"fewer than two sources have the {needed} rows that the training runs need: {counts}",
            hint="lower examples, growth or sweep_examples",
        )
    rows, order, winner = trial.halve(names, predicted)
    sweep: list[dict[str, Any]] = []
    if not trial.unfinished:
        sweep = trial.sweep(order, examples=settings.sweep_examples or rungs[-1].examples)
    found = Probed(
        probes=pa.Table.from_pylist(rows, schema=PROBES),
        sweep=pa.Table.from_pylist(sweep, schema=SWEEP),
        order=tuple(order),
        winner=winner,
        left_out=left_out,
        unfinished=trial.unfinished,
    )
    write_table(trial.root / "probes.parquet", found.probes)
    write_table(trial.root / "sweep.parquet", found.sweep)
    return found


def _rungs_for(sources: int, settings: ProbeSettings) -> list[Rung]:
    return rungs_of(
        sources,
        examples=settings.examples,
        keep_fraction=settings.keep_fraction,
        growth=settings.growth,
        rungs=settings.rungs,
    )


def _predicted(ranked: Ranked) -> dict[str, int]:
    return {
        row["entrant"]: row["rank"]
        for row in ranked.standings.to_pylist()
        if row["domain"] == "all" and row["predictor"] == ranked.by and row["rank"] is not None
    }


def probe_settings(path: Path) -> dict[str, Any]:
    """Settings of a YAML file; relative paths in it start at its own folder.

    Raises:
        SettingsError: It cannot be read.
    """
    values = yaml_file(path)
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected settings by name", hint="see docs/rank.md")
    settings = checked(ProbeSettings, values, place=str(path))
    folder = path.absolute().parent
    placed = [
        {**task.model_dump(), "path": None if task.path is None else str(folder / task.path)}
        for task in settings.tasks
    ]
    lock = None if settings.lock is None else folder / settings.lock
    return {**settings.model_dump(), "tasks": placed, "lock": lock}


class _Trial:
    def __init__(
        self,
        *,
        root: Path,
        settings: ProbeSettings,
        student: Mapping[str, Any],
        left: int | None,
        progress: Progress,
    ) -> None:
        self.root = root
        self.unfinished = 0
        self._settings = settings
        self._student = student
        self._left = left
        self._progress = progress
        self._task = settings.primary or settings.tasks[0].name
        if self._task not in {task.name for task in settings.tasks}:
            raise SettingsError(f"primary: there is no task {self._task!r}")

    def write_sources(
        self, data: DataSettings, names: Sequence[str], *, most: int
    ) -> dict[str, int]:
        """Write the rows of each source without the tasks' questions, and return their numbers."""
        asked = _asked(self._settings.tasks)
        rows: dict[str, dict[str, list[Any]]] = {name: {} for name in names}
        for row in read(data.path, settings=data):
            source = (row.example.source or UNNAMED) if row.example else None
            if source not in rows or row.example is None:
                continue
            if _plain(row.example.instruction) in asked:
                continue
            for candidate in row.candidates:
                if candidate.status == OK:
                    key = candidate.candidate_id
                    rows[source][key] = messages_to_arrow(candidate.messages)
        for name, found in rows.items():
            drawn = asking_order(sorted(found), seed=self._settings.seed)[:most]
            path = self._file(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl(path, [{"messages": found[key], "source": name} for key in drawn])
        return {name: len(found) for name, found in rows.items()}

    def _file(self, name: str) -> Path:
        return self.root / "sources" / f"{_slug(name)}.jsonl"

    def halve(
        self, names: Sequence[str], predicted: Mapping[str, int]
    ) -> tuple[list[dict[str, Any]], list[str], dict[str, Any]]:
        """Rows of the probes, the sources best first, and the corrected advantage of the winner."""
        settings = self._settings
        rungs = _rungs_for(len(names), settings)
        rows: list[dict[str, Any]] = []
        running, order = list(names), list(names)
        winner: dict[str, Any] = {}
        for rung in rungs:
            if len(running) < 2:  # noqa: PLR2004  (nothing to compare with)
                break
            values = self._train(
                f"rung-{rung.number}",
                {name: self._file(name) for name in running},
                examples=rung.examples,
                seeds=settings.seeds,
                choosing=True,
            )
            if values is None:
                break
            found = _judge(running, values)
            best = sorted(running, key=lambda name: (-found[name]["gain"], predicted[name]))
            order = best + [name for name in order if name not in best]
            winner = _winner(running, values)
            for name in best:
                place = {"rung": rung.number, "source": name, "predicted_rank": predicted[name]}
                goes_on = name in best[: rung.keeps]
                rows.append({**place, "examples": rung.examples, "goes_on": goes_on, **found[name]})
            running = best[: rung.keeps]
        return rows, order, winner

    def sweep(self, order: Sequence[str], *, examples: int) -> list[dict[str, Any]]:
        """Trainings on mixes of the best sources, each with as many examples as the mix of all."""
        counts = sorted({n for n in self._settings.sweep if n < len(order)} | {len(order)})
        mixes = {("all" if n == len(order) else f"best-{n}"): list(order[:n]) for n in counts}
        files = {name: self._write_mix(name, parts, examples) for name, parts in mixes.items()}
        seeds = self._settings.sweep_seeds
        values = self._train("sweep", files, examples=examples, seeds=seeds, choosing=False)
        if values is None:
            return []
        names = list(mixes)
        rows = []
        for place, name in enumerate(names):
            row: dict[str, Any] = {
                "mix": name,
                "sources": mixes[name],
                "examples": examples,
                "seeds": values.shape[1],
                "items": values.shape[2],
                "value": float(values[place].mean()),
            }
            if name != "all":
                found = paired_interval(values[place] - values[names.index("all")])
                row |= {"less_all": found.mean, "low": found.low, "high": found.high}
            rows.append(row)
        return rows

    def _write_mix(self, name: str, parts: Sequence[str], examples: int) -> Path:
        """Write a mix with the same number of rows of each source."""
        texts = [self._file(part).read_text(encoding="utf-8").splitlines() for part in parts]
        each = min(-(-ROWS_A_DRAW * examples // len(parts)), *(len(t) for t in texts))
        path = self.root / "sources" / "mixes" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "\n".join(line for t in texts for line in t[:each]) + "\n")
        return path

    def _train(
        self,
        name: str,
        files: Mapping[str, Path],
        *,
        examples: int,
        seeds: Sequence[int],
        choosing: bool,
    ) -> Numbers | None:
        """Values by arm, seed and item; None while some cells are not trained."""
        settings = self._settings
        arms = {arm: _slug(arm) for arm in files}
        values = {
            "out": str(self.root / "probes" / name),
            "students": [
                {
                    "name": "student",
                    "model": self._student["model"],
                    "template": self._student.get("template", "chat"),
                }
            ],
            "arms": [{"name": arms[arm], "file": str(path)} for arm, path in files.items()],
            "choice": next(iter(arms.values())),
            "reference": list(arms.values())[-1],
            "seeds": list(seeds),
            "examples": examples,
            "balance": ["examples"],
            "tasks": [task.model_dump(mode="json") for task in settings.tasks],
            "primary": self._task,
            "train": settings.train.model_dump(mode="json"),
            "evaluate": settings.evaluate.model_dump(mode="json"),
            "lock": None if settings.lock is None else str(settings.lock),
            "turn_seconds": settings.turn_seconds,
        }
        experiment = checked(ProveSettings, values, place=f"probe {name}")
        before = _done_cells(experiment.out)
        told = run_experiment(experiment, progress=self._progress, most_cells=self._left)
        if self._left is not None:
            self._left = max(0, self._left - max(0, told["done"] - before))
        self.unfinished += told["cells"] - told["done"]
        if told["done"] < told["cells"]:
            return None
        results = read_results(experiment.out).to_pylist()
        return _grid(results, list(arms.values()), seeds, task=self._task, choosing=choosing)


def _done_cells(out: Path) -> int:
    return sum(1 for _ in out.glob("cells/*/results.parquet"))


def _grid(
    results: Sequence[Mapping[str, Any]],
    arms: Sequence[str],
    seeds: Sequence[int],
    *,
    task: str,
    choosing: bool,
) -> Numbers:
    """Values by arm, seed and item, over the items for which all cells have a value."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for row in results:
        wanted = row["task"] == task and row["arm"] in arms and _chooses(row["item_id"]) == choosing
        if wanted and row["value"] is not None:
            found.setdefault((row["arm"], row["train_seed"]), {})[row["item_id"]] = row["value"]
    cells = [[found.get((arm, seed), {}) for seed in seeds] for arm in arms]
    items = sorted(set.intersection(*(set(cell) for line in cells for cell in line)))
    if len(items) < 2:  # noqa: PLR2004  (a spread)
        raise DataError(
            f"task {task}: {len(items)} items have a value in all cells of this half",
            hint="a task needs some dozens of items",
        )
    return np.array([[[cell[item] for item in items] for cell in line] for line in cells])


def _chooses(item_id: str) -> bool:
    """Whether an item belongs to the half by which the rungs choose."""
    return int(content_hash("half", item_id)[:4], 16) % 2 == 0


def _judge(names: Sequence[str], values: Numbers) -> dict[str, dict[str, Any]]:
    """Advantage of each over the mean of all, and its value corrected for luck."""
    gains = values - values.mean(axis=0, keepdims=True)
    means = gains.mean(axis=(1, 2))
    errors = [standard_error(gain)[0] for gain in gains]
    pulled = shrink(means.tolist(), errors)
    return {
        name: {
            "seeds": values.shape[1],
            "items": values.shape[2],
            "value": float(values[i].mean()),
            "gain": float(means[i]),
            "shrunk_gain": float(pulled.values[i]),
            "shrunk_error": float(pulled.errors[i]),
        }
        for i, name in enumerate(names)
    }


def _winner(names: Sequence[str], values: Numbers) -> dict[str, Any]:
    found = split_winner(values)
    return {
        "source": names[found.place],
        "measured": found.measured,
        "split": found.split,
        "again_fraction": found.again_fraction,
    }


def _asked(tasks: Sequence[TaskSettings]) -> set[str]:
    """Questions of the tasks, on which no source may train."""
    found: set[str] = set()
    for task in tasks:
        if task.path is None or not Path(task.path).is_file():
            continue
        names = [task.fields["question"]] if "question" in task.fields else list(_QUESTIONS)
        for record in read_records(task.path):
            if isinstance(record.value, Mapping):
                found |= {_plain(str(record.value[n])) for n in names if record.value.get(n)}
        if task.kind == "held_out":
            found |= {_plain(r.example.instruction) for r in read(task.path) if r.example}
    return found


def _plain(text: str) -> str:
    """Text without case, punctuation and white space, which vary between sources."""
    return re.sub(r"\W+", " ", text.casefold()).strip()


def _slug(name: str) -> str:
    plain = re.sub(r"[^\w.+-]+", "-", name).strip("-") or "source"
    return plain if plain == name else f"{plain}-{content_hash('slug', name)[:4]}"
