"""Settings of `tutelage audit`: rows, student and accuracy."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.gate import MIN_EXAMPLES
from tutelage.pipeline.config import DataSettings
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings


class AuditSettings(BaseModel):
    """Settings of an audit."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: DataSettings
    student: StudentSettings
    out: Path
    examples: int = Field(default=600, ge=1, description="Number of examples to sample and score.")
    planted: int = Field(
        default=120,
        ge=MIN_EXAMPLES,
        description="Number of these into which faults are planted; each takes about 12 scored "
        "texts.",
    )
    max_false_refusals: float = Field(
        default=0.05,
        gt=0.0,
        le=0.5,
        description="The share of clean rows that the gate may reject.",
    )
    seed: int = Field(
        default=0, description="Seed of the sample, the planted faults and the intervals."
    )

    @model_validator(mode="after")
    def _student_gives_entropies(self) -> Self:
        if self.student.backend == "vllm":
            raise ValueError("an audit needs entropies, which a vLLM server does not provide")
        return self

    @property
    def gate(self) -> SelectSettings:
        """Settings of the calibrated gate that an audit uses."""
        return SelectSettings(
            quality_gate="calibrated",
            quality_gate_examples=self.planted,
            max_false_refusals=self.max_false_refusals,
            seed=self.seed,
        )
