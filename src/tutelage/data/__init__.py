"""Data model and file formats: examples, candidates, token statistics, readers and writers."""

from tutelage.data.attempts import Attempts
from tutelage.data.example import (
    INSTRUCTION_REFLECTION,
    OK,
    ORIGINAL,
    RESPONSE_REFLECTION,
    SAMPLE,
    STEPS,
    Candidate,
    Example,
    Message,
    context_of,
    instruction_of,
    response_of,
    uses_tools,
)
from tutelage.data.field_aliases import FIELD_NAMES, FieldName, Shape
from tutelage.data.file_formats import Format
from tutelage.data.file_lock import lock_file, open_guarded
from tutelage.data.file_records import Record
from tutelage.data.ids import candidate_id_of, content_hash, example_id_of
from tutelage.data.readers import DUPLICATE, ROW_OK, ReadSettings, Row, Rows, read, read_records
from tutelage.data.sources import Source
from tutelage.data.token_stats import (
    RANK_CLIP,
    SCORING_CONTRACT,
    VIEW_NAMES,
    Reading,
    ReadingOutcome,
    TokenStats,
    Unscored,
    ViewName,
)
from tutelage.data.token_table import TargetTokens
from tutelage.data.writers import (
    TableWriter,
    candidates_row,
    copy_file,
    make_folder,
    remove_leftovers,
    replacing,
    temporary_beside,
    write_jsonl,
    write_messages,
    write_table,
    write_text,
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
    "Attempts",
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
    "copy_file",
    "example_id_of",
    "instruction_of",
    "lock_file",
    "make_folder",
    "open_guarded",
    "read",
    "read_records",
    "remove_leftovers",
    "replacing",
    "response_of",
    "temporary_beside",
    "uses_tools",
    "write_jsonl",
    "write_messages",
    "write_table",
    "write_text",
]
