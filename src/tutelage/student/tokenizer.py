"""Tokenizer with the start of each token in the text."""

import re
import unicodedata
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
    """Tokens of one text.

    Attributes:
        ids_T: int32.
        starts_T: int32, in characters of the text; tokens that share a character share its start.
        ends_T: int32, in characters of the text, exclusive.
    """

    ids_T: NDArray[np.int32]
    starts_T: NDArray[np.int32]
    ends_T: NDArray[np.int32]


class Tokenize(Protocol):
    """Protocol of a tokenizer."""

    @property
    def bos_ids(self) -> tuple[int, ...]:
        """Tokens that the tokenizer itself adds in front of a text: a BOS token, or nothing."""
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
        normalizes = self.backend.normalizer is not None
        found = []
        for text, encoding in zip(texts, encodings, strict=True):
            offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
            starts_T, ends_T = offsets[:, 0], offsets[:, 1]
            if normalizes and not text.isascii():
                ends_T = _composed_ends(text, starts_T, ends_T)
            found.append(
                Tokens(
                    ids_T=np.array(encoding.ids, dtype=np.int32), starts_T=starts_T, ends_T=ends_T
                )
            )
        return found


def _composed_ends(
    text: str, starts_T: NDArray[np.int32], ends_T: NDArray[np.int32]
) -> NDArray[np.int32]:
    """End of each token, including characters that a normalizer composed into its last one.

        text      c a f e +́ s          e and the accent become one character
        library   0 1 2 3   5          which ends at 4
        here                           which ends at 5, so that a border at 4 is inside it

    Args:
        text: As it was before the tokenizer normalized it.
        starts_T: In characters of the text.
        ends_T: The library's, in characters of the text, exclusive.
    """
    found_T = ends_T.copy()
    limit = len(text)
    for at in range(len(found_T) - 1, -1, -1):
        start, end = int(starts_T[at]), int(ends_T[at])
        follows = at + 1 < len(found_T)
        if follows and starts_T[at + 1] == start:
            found_T[at] = max(end, int(found_T[at + 1]))  # tokens of one character end together
            continue
        gap = int(starts_T[at + 1]) if follows else limit
        if start < end < gap and _composes(text[start:end], text[end:gap]):
            found_T[at] = gap
    return found_T


def _composes(before: str, after: str) -> bool:
    apart = unicodedata.normalize("NFKC", before) + unicodedata.normalize("NFKC", after)
    return unicodedata.normalize("NFKC", before + after) != apart


def load_hf_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Load a folder's tokenizer with transformers.

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
    from huggingface_hub.errors import StrictDataclassError

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, local_files_only=True
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        ArithmeticError,
        AssertionError,
        ImportError,
        RuntimeError,
        StrictDataclassError,
    ) as error:
        raise StudentError(
            f"{folder}: the tokenizer cannot be loaded: {type(error).__name__}: {error}",
            hint="the folder needs tokenizer.json and tokenizer_config.json, and a config.json "
            "that is right",
        ) from error
    if not isinstance(tokenizer.model_max_length, int | float):
        raise StudentError(
            f"{folder / 'tokenizer_config.json'}: model_max_length is "
            f"{tokenizer.model_max_length!r}, expected a number of tokens",
            hint="correct the file, or remove the entry",
        )
    return tokenizer


def fast_tokenizer(hf_tokenizer: Any, *, place: str) -> FastTokenizer:
    """Tokenizer of the `tokenizers` library inside a transformers tokenizer.

    The post-processor is left out: without special tokens all it can do is to move the offsets
    (byte-level ones may cut leading spaces off, which would hide a token that straddles a border).

    Raises:
        StudentError: It is a tokenizer in Python, which cannot say where its tokens start.
    """
    from tokenizers import Tokenizer, processors

    if not getattr(hf_tokenizer, "is_fast", False):
        raise StudentError(
            f"{place}: the tokenizer does not report where its tokens start",
            hint="save it as a fast tokenizer (tokenizer.json)",
        )
    backend = Tokenizer.from_str(hf_tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.Sequence([])
    # Not part of its serialized form; set, control tokens in a text are read letter by letter.
    backend.encode_special_tokens = bool(getattr(hf_tokenizer, "split_special_tokens", False))
    backend.no_padding()
    backend.no_truncation()
    first = hf_tokenizer("a")["input_ids"][:1]
    bos = hf_tokenizer.bos_token_id
    return FastTokenizer(backend=backend, bos_ids=tuple(first) if first == [bos] else ())


def control_token_pattern(hf_tokenizer: Any) -> re.Pattern[str] | None:
    """Pattern of the special tokens in a text; None where the tokenizer has none.

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
