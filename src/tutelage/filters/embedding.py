"""Texts as vectors of length 1, whose product is the cosine of the angle between them."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.filters.extra import need
from tutelage.filters.settings import (
    EmbedderSettings,
    Model2VecEmbedder,
    SentenceTransformersEmbedder,
    WordsEmbedder,
)
from tutelage.filters.words import spaced_words

_MOST_WORDS = 200_000  # the rarest beyond these are left out; a bound on memory


class Embedder(Protocol):
    """Anything that turns texts into vectors."""

    @property
    def name(self) -> str:
        """What reports say about where the vectors come from."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed all texts that will be compared with each other, in one call.

        Returns:
            float32, one row of length 1 for each text; a row of zeros where there is nothing
            to embed.
        """
        ...


class LatentWords:
    """Latent semantic analysis of the texts at hand: no model and no knowledge of language.

    Words are weighted by how rare they are among these very texts (TF-IDF), and
    compressed by a truncated SVD. Two texts are near when they share rare words, or words that
    go together in these texts; a synonym that never shares a text with its twin stays a stranger.
    A vector therefore depends on the other texts of the call, but not on their order.
    """

    def __init__(self, settings: WordsEmbedder) -> None:
        """Take the number of dimensions and the seed of the SVD from the settings."""
        self._settings = settings

    @property
    def name(self) -> str:
        """Says that this is no model."""
        return f"words (TF-IDF and SVD to {self._settings.dimensions} dimensions, no model)"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        text = need("sklearn.feature_extraction.text", package="scikit-learn")
        spaced: Any = spaced_words(pa.array(texts, pa.string())).to_pylist()
        # Sorted and without repeats, so that the result does not depend on the order.
        distinct = sorted(set(spaced))
        if not any(distinct):
            return np.zeros((len(spaced), 1), dtype=np.float32)
        row_of = {words: row for row, words in enumerate(distinct)}
        vectorizer = text.TfidfVectorizer(
            analyzer=str.split, sublinear_tf=True, max_features=_MOST_WORDS, dtype=np.float32
        )
        vectors = _unit_length(self._compressed(vectorizer.fit_transform(distinct)))
        return vectors[[row_of[words] for words in spaced]]

    def _compressed(self, weights: Any) -> Any:
        if min(weights.shape) <= self._settings.dimensions:
            return weights.toarray()
        decomposition = need("sklearn.decomposition", package="scikit-learn")
        svd = decomposition.TruncatedSVD(
            n_components=self._settings.dimensions, random_state=self._settings.seed
        )
        return svd.fit_transform(weights)


class StaticModel:
    """A model2vec model: one vector a token, averaged."""

    def __init__(self, settings: Model2VecEmbedder) -> None:
        """Load the model from a folder or the hub."""
        library = need("model2vec", package="model2vec")
        self._model = library.StaticModel.from_pretrained(settings.model, force_download=False)
        self._settings = settings

    @property
    def name(self) -> str:
        """The model's name or folder."""
        return f"model2vec {self._settings.model}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        return _unit_length(self._model.encode(list(texts), use_multiprocessing=False))


class SentenceModel:
    """A sentence-transformers model, loaded from safetensors only, without foreign code."""

    def __init__(self, settings: SentenceTransformersEmbedder) -> None:
        """Load the model from a folder or the hub."""
        library = need("sentence_transformers", package="sentence-transformers")
        self._model = library.SentenceTransformer(
            settings.model, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
        self._settings = settings

    @property
    def name(self) -> str:
        """The model's name or folder."""
        return f"sentence-transformers {self._settings.model}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed`. An empty text is embedded as nothing."""
        vectors = _unit_length(
            self._model.encode(list(texts), show_progress_bar=False, convert_to_numpy=True)
        )
        vectors[[not text.strip() for text in texts]] = 0.0
        return vectors


def make_embedder(settings: EmbedderSettings) -> Embedder:
    """The embedder that the settings name.

    Raises:
        MissingExtraError: Its library is not installed.
    """
    match settings:
        case WordsEmbedder():
            return LatentWords(settings)
        case Model2VecEmbedder():
            return StaticModel(settings)
        case SentenceTransformersEmbedder():
            return SentenceModel(settings)


def _unit_length(vectors: Any) -> NDArray[np.float32]:
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(
        rows, lengths, out=np.zeros_like(rows), where=lengths > 0
    ).astype(np.float32)
    return unit
