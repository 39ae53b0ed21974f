"""Under what a reading is filed: everything that can change it, and nothing else."""

import hashlib
import json
from dataclasses import dataclass

from tutelage.data import Candidate
from tutelage.data.ids import message_parts
from tutelage.student.cache import KEY_BYTES
from tutelage.student.passages import Passage, SideName


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What decides the numbers beside the text itself.

    Attributes:
        model: Hash of weights, architecture and tokenizer, with dtype, kind of device and backend.
        encoding: The same with the template and the settings that turn text into token ids.
    """

    model: str
    encoding: str

    def passage_key(self, passage: Passage) -> bytes:
        """The key of a passage: 16 bytes."""
        return _hash(self.model.encode(), passage.key)

    def side_key(self, candidate: Candidate, side: SideName) -> bytes:
        """The key of one side of a candidate: 16 bytes."""
        text = [message_parts(m) for m in candidate.messages]
        more = [] if candidate.tools is None else [candidate.tools]
        return _hash(self.encoding.encode(), _bytes([side, text, *more]))

    def pair_key(self, context: str, target: str) -> bytes:
        """The key of a context and a target that stand for themselves: 16 bytes."""
        return _hash(self.encoding.encode(), _bytes(["pair", context, target]))


def _bytes(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
