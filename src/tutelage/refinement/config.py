"""Settings of rewriting (reflection) and of sampling."""

from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.refinement.prompt import PromptVersion

StepName: TypeAlias = Literal["instruction", "response"]

INSTRUCTION_CRITERIA = (
    "Is it clear, with only one way to read it?",
    "Is it specific about what is wanted, with every fact and text that is needed to answer?",
    "Does it ask for real knowledge or reasoning, and not only for a few words?",
)
RESPONSE_CRITERIA = (
    "Is every statement in it correct?",
    "Does it do what the instruction asks, all of it and nothing else?",
    "Does it explain enough that a learner can follow it?",
    "Is it well ordered and easy to read?",
)


class RefineSettings(BaseModel):
    """Settings of rewriting: steps, prompts, layout of replies and attempts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[StepName, ...] = Field(
        default=("instruction", "response"),
        min_length=1,
        description="The rewrites to request, in this order.",
    )
    source: Literal["original", "student"] = Field(
        default="original",
        description="The response to rewrite: the one in the data, or one that the student "
        "writes itself to the same instruction. student: only the step response.",
    )
    answer_temperature: float = Field(
        default=0.7, ge=0.0, description="source student: temperature of the student's own answers."
    )
    answer_max_tokens: int = Field(
        default=512, ge=1, description="source student: the most tokens of an own answer."
    )
    prompt_version: PromptVersion = Field(
        default="v1", description="Version of the package's prompts."
    )
    instruction_prompt: Path | None = Field(
        default=None, description="Path of your own prompt for rewriting instructions."
    )
    response_prompt: Path | None = Field(
        default=None, description="Path of your own prompt for rewriting responses."
    )
    instruction_criteria: tuple[str, ...] = Field(
        default=INSTRUCTION_CRITERIA,
        description="Criteria by which the teacher judges an instruction.",
    )
    response_criteria: tuple[str, ...] = Field(
        default=RESPONSE_CRITERIA, description="Criteria by which the teacher judges a response."
    )
    use_schema: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Request JSON under a schema: where the teacher supports it, always, or "
        "never (markers in plain text).",
    )
    max_tokens: int = Field(default=1024, ge=1, description="The most tokens of one reply.")
    temperature: float = Field(default=0.0, ge=0.0, description="Temperature of the first attempt.")
    retry_temperature: float = Field(
        default=0.7, ge=0.0, description="Temperature of later attempts, if it is higher."
    )
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int = Field(
        default=0, ge=0, description="Seed of the first attempt; each later one adds 1."
    )
    attempts: int = Field(
        default=2,
        ge=1,
        le=10,
        description="The most attempts for a candidate while replies do not follow the format.",
    )
    min_instruction_chars: int = Field(default=1, ge=1)
    max_instruction_chars: int = Field(default=20_000, ge=1)
    min_response_chars: int = Field(default=1, ge=1)
    max_response_chars: int = Field(default=100_000, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _rewrites_answers_only(cls, values: Any) -> Any:
        # Whoever asks for the student's own answers need not say that only these are rewritten.
        if isinstance(values, dict) and values.get("source") == "student":
            return {"steps": ("response",), **values}
        return values

    @property
    def own_answers(self) -> "SampleSettings":
        """Settings of the student's own answers, where `source` is the student."""
        return SampleSettings(
            n=1,
            temperature=self.answer_temperature,
            top_p=self.top_p,
            max_tokens=self.answer_max_tokens,
            seed=self.seed,
            min_response_chars=self.min_response_chars,
            max_response_chars=self.max_response_chars,
        )

    def decisive(self) -> dict[str, Any]:
        """Settings that decide what is written; those of own answers only where they are used."""
        apart = {"source", "answer_temperature", "answer_max_tokens"}
        return self.model_dump(mode="json", exclude=apart if self.source == "original" else None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "student" and self.steps != ("response",):
            raise ValueError(
                f"source student rewrites the student's own answers: steps must be [response], "
                f"got {', '.join(self.steps)}"
            )
        if len(set(self.steps)) != len(self.steps):
            raise ValueError(f"steps names a step twice: {', '.join(self.steps)}")
        for part in ("instruction", "response"):
            least, most = getattr(self, f"min_{part}_chars"), getattr(self, f"max_{part}_chars")
            if least > most:
                raise ValueError(f"min_{part}_chars {least} is above max_{part}_chars {most}")
        return self


class SampleSettings(BaseModel):
    """Settings of sampling N responses to each instruction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(
        default=16,
        ge=1,
        description="Number of responses to each instruction; with `accepted`, the most that "
        "are requested.",
    )
    accepted: int | None = Field(
        default=None,
        ge=1,
        description="Sample until this many responses to an instruction are accepted by a check.",
    )
    system: str | None = Field(
        default=None,
        description="A system prompt for the teacher only; it precedes the example's own and is "
        "not stored in the candidate.",
    )
    keep_reasoning: bool = Field(
        default=False,
        description="Store the teacher's thinking as the `reasoning` of the assistant turn; it "
        "is in the teacher cache in any case.",
    )
    max_tokens: int = Field(default=1024, ge=1, description="The most tokens of one response.")
    temperature: float = Field(default=0.8, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int = Field(
        default=0,
        ge=0,
        description="Seed, combined with the example's id and the index of the sample.",
    )
    min_response_chars: int = Field(default=1, ge=1)
    max_response_chars: int = Field(default=100_000, ge=1)

    @model_validator(mode="after")
    def _is_within_the_budget(self) -> Self:
        if self.accepted is not None and self.accepted > self.n:
            raise ValueError(f"accepted {self.accepted} is above the budget n {self.n}")
        return self
