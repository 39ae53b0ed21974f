"""Settings of an experiment in one YAML file: sets, students and seeds."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tutelage.data.yaml_settings import problem_in_words
from tutelage.errors import SettingsError
from tutelage.evaluation import EvaluateSettings, TaskSettings
from tutelage.pipeline.config import checked, yaml_file
from tutelage.selection import SelectSettings
from tutelage.student.config import TemplateSettings
from tutelage.training import TrainSettings

Balance: TypeAlias = Literal["examples", "tokens"]
UNTRAINED = "untrained"
HELD_OUT_TASKS = frozenset({"held_out_original", "held_out_refined"})
"""Outcomes of `held_out`; the second one needs rewrites in the runs."""
FEWEST_EXAMPLES = 2
"""Fewest examples in a set."""
QUICK_EXAMPLES, QUICK_SEEDS, QUICK_ITEMS = 64, 2, 80


class ArmSettings(BaseModel):
    """Settings of one arm: the set that a rule selects from the student's run, or given rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[\w.+-]+$")
    select: SelectSettings | None = Field(default=None, description="A rule over the run's scores.")
    selection: str | None = Field(
        default=None, description="A selection of the run, made with `tutelage select --name`."
    )
    chooser: str | None = Field(
        default=None,
        description="The student whose scores decide; by default the one that is trained.",
    )
    file: Path | None = Field(default=None, description="A file of rows, instead of a rule.")
    draw: int = Field(
        default=0,
        description="Arms with the same number sample the same questions for a seed; another "
        "number samples independently, as an A/A test needs.",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = (self.select, self.file, self.selection)
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("an arm has either `select`, `selection` or `file`")
        if self.name == UNTRAINED:
            raise ValueError(f"{UNTRAINED!r} is reserved for the student before training")
        if self.chooser is not None and self.file is not None:
            raise ValueError("`chooser` belongs to `select` or `selection`")
        return self


class ProveStudent(TemplateSettings):
    """A student with the run that holds its scores."""

    name: str = Field(min_length=1, pattern=r"^[\w.+-]+$")
    model: str
    template: str = "chat"
    run: Path | None = Field(default=None, description="A run folder with this student's scores.")
    train: dict[str, Any] = Field(
        default_factory=dict,
        description="Training settings of this student, instead of `train` below.",
    )


class ProveSettings(BaseModel):
    """Settings of an experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    students: tuple[ProveStudent, ...] = Field(min_length=1)
    arms: tuple[ArmSettings, ...] = Field(min_length=2)
    choice: str = Field(default="choice", description="The arm to test.")
    reference: str = Field(default="random", description="The arm to compare it with.")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(0, 1, 2),
        min_length=1,
        description="Seeds of the sample of examples and of the training.",
    )
    examples: int = Field(
        default=300, ge=FEWEST_EXAMPLES, description="Number of examples in each set."
    )
    balance: tuple[Balance, ...] = Field(
        default=("examples", "tokens"),
        min_length=1,
        description="examples: as many examples in each set. tokens: as many trained tokens as "
        "the reference has.",
    )
    held_out: int = Field(
        default=0,
        ge=0,
        description="Number of examples of the runs to hold out of every set; the likelihood of "
        "their answers is measured.",
    )
    tasks: tuple[TaskSettings, ...] = ()
    primary: str | None = Field(
        default=None, description="The deciding task; by default the first one."
    )
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    level: float = Field(
        default=0.95, gt=0.5, lt=1.0, description="Confidence level of the intervals."
    )
    correction: Literal["holm", "fixed_sequence"] = Field(
        default="holm",
        description="Correction of the p-values of one outcome. fixed_sequence: chosen against "
        "refused versions, choice against reference, then the other arms in their "
        "order; each at the full error rate as long as all tests before it are significant.",
    )
    keep_models: bool = Field(
        default=False, description="Keep the trained models, which are large."
    )
    lock: Path | None = Field(
        default=None,
        description="A lock file that is held while a cell runs, so that programs with the same "
        "file take turns on the machine.",
    )
    turn_seconds: float = Field(
        default=0.0,
        ge=0.0,
        description="lock: time for which a turn lasts, over several cells.",
    )

    @model_validator(mode="after")
    def _names_are_there(self) -> Self:
        arms, students = {a.name for a in self.arms}, {s.name for s in self.students}
        everybody = [*(a.name for a in self.arms), *(s.name for s in self.students)]
        twice = [name for name, count in Counter(everybody).items() if count > 1]
        if twice:
            raise ValueError(f"two arms or students have the name {twice[0]!r}")
        for which in ("choice", "reference"):
            if getattr(self, which) not in arms:
                raise ValueError(f"{which}: there is no arm {getattr(self, which)!r}")
        for arm in self.arms:
            if arm.chooser is not None and arm.chooser not in students:
                raise ValueError(f"arm {arm.name}: there is no student {arm.chooser!r}")
        return self

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        if not self.tasks and not self.held_out:
            raise ValueError("nothing is measured: give tasks, or held_out")
        if any(a.file is None for a in self.arms) and any(s.run is None for s in self.students):
            raise ValueError("an arm with `select` or `selection` needs a `run` of every student")
        if self.held_out and all(s.run is None for s in self.students):
            raise ValueError("held_out takes examples from a `run`")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed occurs twice")
        return self

    @model_validator(mode="after")
    def _nothing_is_given_in_vain(self) -> Self:
        names = {task.name for task in self.tasks}
        if self.held_out:
            names |= HELD_OUT_TASKS
        if self.primary is not None and self.primary not in names:
            raise ValueError(f"primary: there is no task {self.primary!r} among {sorted(names)}")
        given = {
            "train": _changed(self.train, TrainSettings()),
            "evaluate": _changed(self.evaluate, EvaluateSettings()),
        }
        given |= {f"students, {s.name}, train": set(s.train) for s in self.students}
        for place, fields in given.items():
            for name in sorted(fields & {"seed", "template"}):
                if (place, name) != ("evaluate", "seed"):
                    better = "seeds" if name == "seed" else "the student's own template"
                    raise ValueError(f"{place}: {name} has no effect here; set {better}")
        for student in self.students:
            try:
                TrainSettings.model_validate(self.train.model_dump() | student.train)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise ValueError(
                    f"students, {student.name}, train, {where}: "
                    f"{problem_in_words(TrainSettings, first)}"
                ) from error
        return self

    def with_choice(self, selection: str) -> "ProveSettings":
        """Same experiment with a named selection of each run as the choice."""
        update = {"select": None, "file": None, "selection": selection}
        arms = (
            arm.model_copy(update=update) if arm.name == self.choice else arm for arm in self.arms
        )
        return self.model_copy(update={"arms": tuple(arms)})

    def quick(self) -> "ProveSettings":
        """Quick version of the experiment: fewer examples, items, seeds and arms."""
        small = tuple(
            task.model_copy(update={"limit": min(task.limit or QUICK_ITEMS, QUICK_ITEMS)})
            for task in self.tasks
        )
        arms = tuple(a for a in self.arms if a.name in (self.choice, self.reference))
        return self.model_copy(
            update={
                "out": self.out.with_name(f"{self.out.name}-quick"),
                "students": self._needed(arms),
                "arms": arms,
                "seeds": self.seeds[:QUICK_SEEDS],
                "examples": min(self.examples, QUICK_EXAMPLES),
                "balance": ("examples",),
                "held_out": min(self.held_out, QUICK_ITEMS),
                "tasks": small,
            }
        )

    def _needed(self, arms: tuple[ArmSettings, ...]) -> tuple[ProveStudent, ...]:
        """First student, and the students on which it depends."""
        needed = {self.students[0].name, *(arm.chooser for arm in arms)}
        kept = [s for s in self.students if s.name in needed]
        if self.held_out and all(s.run is None for s in kept):
            kept.append(next(s for s in self.students if s.run is not None))
        return tuple(kept)


def _changed(settings: BaseModel, default: BaseModel) -> set[str]:
    names = type(settings).model_fields
    return {name for name in names if getattr(settings, name) != getattr(default, name)}


def load_prove_settings(
    path: Path | Mapping[str, Any], *, out: Path | None = None
) -> ProveSettings:
    """Read an experiment's YAML file; relative paths in it start at its own folder.

    Args:
        path: The file, or what it would hold: then relative paths are those of the working
            directory.
        out: Instead of the folder it names.

    Raises:
        SettingsError: It cannot be read, or some settings are wrong.
    """
    if isinstance(path, Mapping):
        values, place, folder = dict(path), "prove", Path.cwd()
    else:
        values, place, folder = _values_of(path), str(path), path.absolute().parent
    if out is not None:
        values["out"] = str(out.absolute())
    return _placed(checked(ProveSettings, values, place=place), folder)


def _values_of(path: Path) -> dict[str, Any]:
    values = yaml_file(path)
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected settings by name", hint="see docs/prove.md")
    return values


def _placed(settings: ProveSettings, folder: Path) -> ProveSettings:
    """Settings with absolute paths."""
    return settings.model_copy(
        update={
            "out": folder / settings.out,
            "students": tuple(
                s.model_copy(
                    update={
                        "run": None if s.run is None else folder / s.run,
                        # A name of the hub or an alias is no folder.
                        "model": str(folder / s.model) if (folder / s.model).is_dir() else s.model,
                    }
                )
                for s in settings.students
            ),
            "arms": tuple(
                a.model_copy(update={"file": None if a.file is None else folder / a.file})
                for a in settings.arms
            ),
            "tasks": tuple(
                t.model_copy(update={"path": None if t.path is None else str(folder / t.path)})
                for t in settings.tasks
            ),
            "lock": None if settings.lock is None else folder / settings.lock,
        }
    )
