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
from tutelage.data.example import (
    Example,
    Message,
    context_of,
    instruction_of,
    response_of,
    uses_tools,
)
from tutelage.data.fields import FIELD_NAMES, FieldName, Shape
from tutelage.data.ids import candidate_id_of, content_hash, example_id_of
from tutelage.data.read import (
    DUPLICATE,
    ROW_OK,
    ReadSettings,
    Row,
    Rows,
    read,
    read_records,
)
from tutelage.data.reading import (
    RANK_CLIP,
    SCORING_CONTRACT,
    VIEW_NAMES,
    Reading,
    ReadingOutcome,
    TokenStats,
    Unscored,
    ViewName,
)
from tutelage.data.records import Record
from tutelage.data.sniff import Format
from tutelage.data.source import Source
from tutelage.data.token_table import TargetTokens
from tutelage.data.write import (
    TableWriter,
    candidates_row,
    replacing,
    write_jsonl,
    write_messages,
    write_table,
)

__all__ = [
    "DUPLICATE",
    "FIELD_NAMES",
    "INSTRUCTION_REFLECTION",
    "OK",
    "ORIGINAL",
    "RANK_CLIP",
    "RESPONSE_REFLECTION",
    "ROW_OK",
    "SAMPLE",
    "SCORING_CONTRACT",
    "STEPS",
    "VIEW_NAMES",
    "Candidate",
    "Example",
    "FieldName",
    "Format",
    "Message",
    "ReadSettings",
    "Reading",
    "ReadingOutcome",
    "Record",
    "Row",
    "Rows",
    "Shape",
    "Source",
    "TableWriter",
    "TargetTokens",
    "TokenStats",
    "Unscored",
    "ViewName",
    "candidate_id_of",
    "candidates_row",
    "content_hash",
    "context_of",
    "example_id_of",
    "instruction_of",
    "read",
    "read_records",
    "replacing",
    "response_of",
    "uses_tools",
    "write_jsonl",
    "write_messages",
    "write_table",
]
