"""A tokenizer that says where in the text each token starts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import MissingExtraError, StudentError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokens:
    """One text as tokens.

    Attributes:
        ids_T: int32.
        starts_T: int32, in characters of the text; tokens that share a character share its start.
        ends_T: int32, in characters of the text, exclusive.
    """

    ids_T: NDArray[np.int32]
    starts_T: NDArray[np.int32]
    ends_T: NDArray[np.int32]


class Tokenize(Protocol):
    """What the room needs to know of a tokenizer."""

    @property
    def bos_ids(self) -> tuple[int, ...]:
        """What the tokenizer puts in front of a text by itself: a BOS token, or nothing."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts without adding special tokens, in the order given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FastTokenizer:
    """A tokenizer of the `tokenizers` library.

    Attributes:
        backend: The library's tokenizer, with no post-processor, truncation or padding.
        bos_ids: What the tokenizer puts in front of a text by itself.
    """

    backend: "Tokenizer"
    bos_ids: tuple[int, ...]

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts without adding special tokens, in the order given."""
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        found = []
        for encoding in encodings:
            offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
            found.append(
                Tokens(
                    ids_T=np.array(encoding.ids, dtype=np.int32),
                    starts_T=offsets[:, 0],
                    ends_T=offsets[:, 1],
                )
            )
        return found


def load_hf_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Load a folder's tokenizer as transformers does.

    Raises:
        MissingExtraError: transformers is not installed.
        StudentError: There is no tokenizer that can be loaded.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "reading a student needs torch and transformers",
            hint="pip install 'tutelage[student]'",
        ) from error
    try:
        return AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise StudentError(
            f"{folder}: the tokenizer cannot be loaded: {error}",
            hint="the folder needs tokenizer.json and tokenizer_config.json",
        ) from error


def fast_tokenizer(hf_tokenizer: Any, *, place: str) -> FastTokenizer:
    """Take the library tokenizer out of a transformers tokenizer.

    The post-processor is left out: without special tokens all it can do is to move the offsets
    (byte-level ones may cut leading spaces off, which would hide a token that straddles a border).

    Raises:
        StudentError: It is a tokenizer in Python, which cannot say where its tokens start.
    """
    from tokenizers import Tokenizer, processors

    if not getattr(hf_tokenizer, "is_fast", False):
        raise StudentError(
            f"{place}: the tokenizer cannot say where its tokens start",
            hint="save it as a fast tokenizer (tokenizer.json)",
        )
    backend = Tokenizer.from_str(hf_tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.Sequence([])
    backend.no_padding()
    backend.no_truncation()
    first = hf_tokenizer("a")["input_ids"][:1]
    bos = hf_tokenizer.bos_token_id
    return FastTokenizer(backend=backend, bos_ids=tuple(first) if first == [bos] else ())


def control_token_pattern(hf_tokenizer: Any) -> re.Pattern[str] | None:
    """What finds the text of a special token; None where the tokenizer has none.

    Opening and closing tags of thinking are left out: they belong into responses.
    """
    texts = {
        token.content
        for token in hf_tokenizer.added_tokens_decoder.values()
        if token.special and token.content.strip() and "think" not in token.content.lower()
    }
    if not texts:
        return None
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)))
