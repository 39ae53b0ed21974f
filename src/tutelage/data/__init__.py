"""What is an example, and how is it written down?"""

from tutelage.data.candidate import (
    INSTRUCTION_REFLECTION,
    OK,
    ORIGINAL,
    RESPONSE_REFLECTION,
    SAMPLE,
    STEPS,
    Candidate,
)
from tutelage.data.example import Example, Message, context_of, response_of
from tutelage.data.ids import candidate_id_of, content_hash, example_id_of
from tutelage.data.reading import (
    RANK_CLIP,
    VIEW_NAMES,
    Reading,
    ReadingOutcome,
    TokenStats,
    Unscored,
    ViewName,
)

__all__ = [
    "INSTRUCTION_REFLECTION",
    "OK",
    "ORIGINAL",
    "RANK_CLIP",
    "RESPONSE_REFLECTION",
    "SAMPLE",
    "STEPS",
    "VIEW_NAMES",
    "Candidate",
    "Example",
    "Message",
    "Reading",
    "ReadingOutcome",
    "TokenStats",
    "Unscored",
    "ViewName",
    "candidate_id_of",
    "content_hash",
    "context_of",
    "example_id_of",
    "response_of",
]
