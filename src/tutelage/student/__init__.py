"""Student models: token statistics of candidates, measured by an engine and cached.

    candidates --> views --> passages --> batches --> token statistics --> readings
                 (template,  (token ids)  (engine)    (one each target)
                  tokenizer)                 ^
                                          cache: a text that was read is not read again

`open_student` loads nothing; what the cache has is answered without torch and transformers.

Tensor names end in their dimensions: `B` rows, `T` positions, `N` tokens of several rows in a
line, `H` features, `V` vocabulary, `A` attention heads, `K` key-value heads, `D` features of a
head. Counted are only targets: position t of the logits predicts token t + 1.
"""

from tutelage.student.cache import Cache
from tutelage.student.components import check_template, devices, unread_fields
from tutelage.student.config import Statistics, StudentSettings
from tutelage.student.fakes import TableStudent
from tutelage.student.passages import chunks_of
from tutelage.student.student import Reads, StudentModel, TextPair, open_student

__all__ = [
    "Cache",
    "Reads",
    "Statistics",
    "StudentModel",
    "StudentSettings",
    "TableStudent",
    "TextPair",
    "check_template",
    "chunks_of",
    "devices",
    "open_student",
    "unread_fields",
]
