"""A candidate: one version of an example."""

from dataclasses import dataclass

from tutelage.data.example import Message, context_of, instruction_of, response_of
from tutelage.errors import DataError

OK = "ok"
"""The only status with which a candidate may be scored and chosen."""

ORIGINAL = "original"
INSTRUCTION_REFLECTION = "instruction_reflection"
RESPONSE_REFLECTION = "response_reflection"
SAMPLE = "sample"
STEPS = (ORIGINAL, INSTRUCTION_REFLECTION, RESPONSE_REFLECTION, SAMPLE)

OWN_ANSWER = "the student's own answer"
"""The detail of a sample that the student wrote itself, for a teacher to rewrite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One version of an example, or the record that one could not be had.

    Attributes:
        candidate_id: Content hash; see `tutelage.data.ids.candidate_id_of`.
        example_id: The example it is a version of.
        parent_id: The candidate it was made from; None for originals and samples.
        step: One of `STEPS`.
        teacher: Who wrote it; None for the user's own text.
        messages: The whole conversation, ending with the response; empty unless status is ok.
        status: `ok`, or a reason in snake_case why there is no text to score.
        finish_reason: What the teacher's server gave as the reason to stop, if it wrote this.
        detail: For people: the exception's type and message, or what was wrong with a reply.
        criticism: What the teacher said was wrong with the parent, if it said something.
        request_key: The key of the reply in the journal it was made from, if any.
        tools: The tools the assistant may call, as in `Example.tools`; part of the prompt.
    """

    candidate_id: str
    example_id: str
    parent_id: str | None = None
    step: str = ORIGINAL
    teacher: str | None = None
    messages: tuple[Message, ...] = ()
    status: str = OK
    finish_reason: str | None = None
    detail: str | None = None
    criticism: str | None = None
    request_key: str | None = None
    tools: str | None = None

    def __post_init__(self) -> None:
        if self.step not in STEPS:
            raise DataError(f"candidate {self.candidate_id}: unknown step {self.step!r}")
        if (self.status == OK) != bool(self.messages):
            raise DataError(
                f"candidate {self.candidate_id}: status {self.status!r} with "
                f"{len(self.messages)} messages",
                hint="a candidate has text exactly when its status is ok",
            )
        if self.messages and self.messages[-1].role != "assistant":
            raise DataError(f"candidate {self.candidate_id}: does not end with an assistant turn")

    @property
    def context(self) -> tuple[Message, ...]:
        """Everything in front of the response."""
        return context_of(self.messages)

    @property
    def instruction(self) -> str:
        """The last user turn."""
        return instruction_of(self.messages)

    @property
    def response(self) -> str:
        """The text of the assistant turn that is trained on; empty where it only calls tools."""
        response = response_of(self.messages)
        if response is None:
            raise DataError(f"candidate {self.candidate_id}: has no response")
        return response
