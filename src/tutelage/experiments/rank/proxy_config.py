"""What trying out sources by training is asked to do, and the tables it comes to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.evaluation import EvaluateSettings, TaskSettings
from tutelage.training import TrainSettings


class ProbeSettings(BaseModel):
    """How sources are tried out by training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[TaskSettings, ...] = Field(min_length=1)
    primary: str | None = Field(default=None, description="Decides; by default the first task.")
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    top: int | None = Field(
        default=None, ge=2, description="Only the best by prediction take part; default all."
    )
    examples: int = Field(default=48, ge=2, description="Trained on in the first rung.")
    growth: float = Field(default=2.0, ge=1.0, description="Of the examples, rung by rung.")
    keep_fraction: float = Field(default=0.5, gt=0.0, lt=1.0, description="Go on to the next.")
    rungs: int = Field(default=2, ge=1)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    sweep: tuple[int, ...] = Field(
        default=(1, 2, 4, 8), description="How many of the best are mixed; all are always tried."
    )
    sweep_examples: int | None = Field(
        default=None, ge=2, description="By default those of the last rung."
    )
    sweep_seeds: tuple[int, ...] = Field(default=(10, 11), min_length=1)
    seed: int = Field(default=0, ge=0, description="Of the rows that are kept of a source.")
    lock: Path | None = Field(default=None, description="As in `prove`.")
    turn_seconds: float = Field(default=0.0, ge=0.0, description="As in `prove`.")

    @model_validator(mode="after")
    def _seeds_differ(self) -> "ProbeSettings":
        if set(self.seeds) & set(self.sweep_seeds):
            raise ValueError("sweep_seeds must differ from seeds, or the winner's luck stays in")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the trainings came to.

    Attributes:
        probes: The PROBES schema: rung by source.
        sweep: The SWEEP schema; empty while it is not finished.
        order: Sources, best first: who got further, then by gain.
        winner: Of the last rung: `source`, `measured` gain, `split` gain, `again_fraction`.
        left_out: Sources with fewer rows than the trainings need, with how many they have.
        unfinished: Cells that are still to be trained.
    """

    probes: pa.Table
    sweep: pa.Table
    order: tuple[str, ...]
    winner: Mapping[str, Any]
    left_out: Mapping[str, int]
    unfinished: int
