"""Text embeddings as unit vectors, whose product is the cosine similarity."""

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.errors import MissingExtraError, SettingsError
from tutelage.filters.config import (
    EmbedderSettings,
    Model2VecEmbedder,
    SentenceTransformersEmbedder,
    WordsEmbedder,
)
from tutelage.filters.ngrams import mix, word_symbols

# Libraries of the extra `filters`, imported when a filter needs them.


def need(module: str, *, package: str) -> Any:
    """Import a library that only some filters need, or raise an error that names the extra.

    Args:
        module: What to import.
        package: What to install, as the package index calls it.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this filter needs {package}, which is not installed ({error})",
            hint="pip install 'tutelage[filters]'",
        ) from error


_TEXTS_AT_A_TIME = 512


class Embedder(Protocol):
    """Protocol of everything that turns texts into vectors."""

    @property
    def name(self) -> str:
        """Source of the vectors, for reports."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed all texts that are compared with each other, in one call.

        Returns:
            float32, one row of length 1 for each text; a row of zeros where there is nothing
            to embed.
        """
        ...


class HashedWords:
    """Embedder of weighted bags of words, without a model or knowledge of the language.

    Each word is a fixed random direction, made from a hash of the word; a text is the sum of its
    words, weighted by how rare they are among the texts of the call (TF-IDF). The product of two
    texts is the cosine of their bags of words, up to a random error of about one over the root of
    the number of dimensions. Two texts are near when they share rare words; a synonym is a
    stranger. A vector depends on the other texts of the call, but not on their order.

    Not compressed by an SVD, as is often done: with that, "Explain the concept of the blockchain"
    and "Explain the concept of cogging torque" came out at 0.99, because the compression discards
    the rare word that distinguishes them.
    """

    def __init__(self, settings: WordsEmbedder) -> None:
        """Use the number of dimensions of the settings."""
        self._dimensions = settings.dimensions

    @property
    def name(self) -> str:
        """Description which says that there is no model."""
        return f"words (TF-IDF, hashed to {self._dimensions} dimensions, no model)"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; see `Embedder.embed`."""
        symbols = word_symbols(pa.array(texts, pa.string()))
        words, codes = np.unique(symbols.hashes_S, return_inverse=True)
        parents = np.repeat(np.arange(len(texts)), symbols.counts_N)
        size = max(len(words), 1)
        pairs, counts = np.unique(parents * size + codes, return_counts=True)
        of_text, of_word = pairs // size, pairs % size
        texts_with = np.bincount(of_word, minlength=len(words))
        rarity = np.log((1 + len(texts)) / (1 + texts_with)) + 1.0
        weights = ((1.0 + np.log(counts)) * rarity[of_word]).astype(np.float32)
        vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        found, starts = np.unique(of_text, return_index=True)
        ends = np.append(starts[1:], len(of_text))
        for first in range(0, len(found), _TEXTS_AT_A_TIME):
            last = min(first + _TEXTS_AT_A_TIME, len(found)) - 1
            begin, end = int(starts[first]), int(ends[last])
            directions = _directions(words[of_word[begin:end]], self._dimensions)
            vectors[found[first : last + 1]] = np.add.reduceat(
                weights[begin:end, None] * directions, starts[first : last + 1] - begin, axis=0
            )
        return _unit_length(vectors)


def _directions(words: NDArray[np.uint64], dimensions: int) -> NDArray[np.float32]:
    """Pseudo-random row of 1 and -1 for each word."""
    blocks = [mix(words + np.uint64(block)) for block in range(-(-dimensions // 64))]
    octets = np.stack(blocks, axis=1).astype("<u8").view(np.uint8)
    bits = np.unpackbits(octets.reshape(len(words), -1), axis=1)[:, :dimensions]
    return bits.astype(np.float32) * 2.0 - 1.0


class StaticModel:
    """Embedder with a model2vec model: the mean of one vector per token."""

    def __init__(self, settings: Model2VecEmbedder) -> None:
        """Load the model from a folder or the hub."""
        library = need("model2vec", package="model2vec")
        self._model = library.StaticModel.from_pretrained(settings.model, force_download=False)
        self._settings = settings

    @property
    def name(self) -> str:
        """Name or folder of the model."""
        return f"model2vec {self._settings.model}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; see `Embedder.embed`."""
        return _unit_length(self._model.encode(list(texts), use_multiprocessing=False))


class SentenceModel:
    """Embedder with a sentence-transformers model, from safetensors and without foreign code."""

    def __init__(self, settings: SentenceTransformersEmbedder) -> None:
        """Load the model from a folder or the hub."""
        library = need("sentence_transformers", package="sentence-transformers")
        self._model = library.SentenceTransformer(
            settings.model, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
        self._settings = settings

    @property
    def name(self) -> str:
        """Name or folder of the model."""
        return f"sentence-transformers {self._settings.model}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; see `Embedder.embed`. An empty text gives zeros."""
        vectors = _unit_length(
            self._model.encode(list(texts), show_progress_bar=False, convert_to_numpy=True)
        )
        vectors[[not text.strip() for text in texts]] = 0.0
        return vectors


def make_embedder(settings: EmbedderSettings) -> Embedder:
    """Embedder of the settings.

    Raises:
        MissingExtraError: Its library is not installed.
        SettingsError: The model cannot be loaded.
    """
    try:
        match settings:
            case WordsEmbedder():
                return HashedWords(settings)
            case Model2VecEmbedder():
                return StaticModel(settings)
            case SentenceTransformersEmbedder():
                return SentenceModel(settings)
    except (OSError, ValueError) as error:  # no such folder or name, no network, damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        name = getattr(settings, "model", settings.kind)
        raise SettingsError(
            f"the embedding model {name} cannot be loaded: {reason}",
            hint=f"give the folder of a {settings.kind} model, or its name on the hub",
        ) from error


def _unit_length(vectors: Any) -> NDArray[np.float32]:
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(
        rows, lengths, out=np.zeros_like(rows), where=lengths > 0
    ).astype(np.float32)
    return unit
