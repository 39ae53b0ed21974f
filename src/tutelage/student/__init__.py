"""What does the student find surprising?

    candidates --> views --> passages --> batches --> token statistics --> readings
                 (template,  (token ids)  (engine)    (one each target)
                  tokenizer)                 ^
                                          cache: a text that was read is not read again

`open_student` loads nothing; what the cache has is answered without torch and transformers.

Tensor names end in their dimensions: `B` rows, `T` positions, `N` tokens of several rows in a
line, `H` features, `V` vocabulary, `A` attention heads, `K` key-value heads, `D` features of a
head. Counted are only targets: position t of the logits predicts token t + 1.
"""

from tutelage.student.bundled import BUNDLED, BundledModel, bundled_model
from tutelage.student.cache import Cache
from tutelage.student.chunks import chunks_of
from tutelage.student.examination import check_template, devices
from tutelage.student.folder import resolve_device, resolve_dtype
from tutelage.student.memory import give_memory_back
from tutelage.student.model import StudentModel, TextPair, open_student
from tutelage.student.reads import Reads
from tutelage.student.settings import Statistics, StudentSettings
from tutelage.student.table import TableStudent

__all__ = [
    "BUNDLED",
    "BundledModel",
    "Cache",
    "Reads",
    "Statistics",
    "StudentModel",
    "StudentSettings",
    "TableStudent",
    "TextPair",
    "bundled_model",
    "check_template",
    "chunks_of",
    "devices",
    "give_memory_back",
    "open_student",
    "resolve_device",
    "resolve_dtype",
]
