"""Filter with a fastText classifier, trained on positive and negative texts.

Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017. One thread, so that
the same texts and the same seed give the same numbers.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.filters.candidates import NO_RESPONSE, Pool
from tutelage.filters.config import ClassifierSettings
from tutelage.filters.embeddings import need
from tutelage.filters.ngrams import segmented_words
from tutelage.filters.numeric import Numbers, numbers
from tutelage.filters.reference_texts import Item, read_items

NO_WORDS = "no_words"

_POSITIVE = "__label__positive"
_NEGATIVE = "__label__negative"
_HELD_OUT = 5  # one text in so many is held out to measure the accuracy
_BUCKETS = 200_000  # for pairs of words; the library's two million cost memory and win nothing here


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """Predictions of a classifier with its held-out quality.

    Attributes:
        probabilities: Probabilities of the positive class, in [0, 1].
        training_texts: How many texts it was trained on, without repeats.
        held_out_accuracy: Share of held-out texts that a classifier trained without them puts
            right, in [0, 1]; None where there were too few to hold any out.
        held_out_majority: What always guessing the larger class would reach on the same texts.
    """

    probabilities: Numbers
    training_texts: int
    held_out_accuracy: float | None
    held_out_majority: float | None


def classify(pool: Pool, settings: ClassifierSettings) -> Classified:
    """Train on the positives and negatives, and predict every candidate.

    Texts are compared as lower-case words, so line breaks and label marks in them do no harm.
    The training texts are put in an order that depends on their content and the seed only.

    Raises:
        DataError: A text is both positive and negative, a set has no text with words, or the
            training diverges.
        MissingExtraError: fastText is not installed.
    """
    labelled = _labelled(read_items(settings.positives), read_items(settings.negatives))
    lines = sorted(labelled, key=lambda words: _order(words, settings.seed))
    held_out = lines[::_HELD_OUT] if len(lines) >= 2 * _HELD_OUT else []
    accuracy, majority = _held_out(labelled, lines, held_out, settings)
    model = _train({words: labelled[words] for words in lines}, settings)
    texts = pool.text(settings.of)
    spaced: Any = segmented_words(texts).to_pylist()
    probabilities = _predict(model, spaced)
    missing = [NO_WORDS if there else NO_RESPONSE for there in texts.is_valid().to_pylist()]
    empty = np.array([not words for words in spaced], dtype=bool)
    return Classified(
        probabilities=numbers(np.where(empty, np.nan, probabilities), missing=missing),
        training_texts=len(labelled),
        held_out_accuracy=accuracy,
        held_out_majority=majority,
    )


def _labelled(positives: Sequence[Item], negatives: Sequence[Item]) -> dict[str, str]:
    labelled: dict[str, str] = {}
    for items, label in ((positives, _POSITIVE), (negatives, _NEGATIVE)):
        spaced: Any = segmented_words(pa.array([i.text for i in items], pa.string())).to_pylist()
        for item, words in zip(items, spaced, strict=True):
            if words and labelled.setdefault(words, label) != label:
                raise DataError(
                    f"{item.item_id} is among the positives and the negatives: {words!r:.80}",
                    hint="a classifier cannot learn from a text that is both; remove one",
                )
    missing = {_POSITIVE, _NEGATIVE} - set(labelled.values())
    if missing:
        raise DataError(
            f"no text with words for {', '.join(sorted(missing))}",
            hint="give positives and negatives",
        )
    return labelled


def _held_out(
    labelled: dict[str, str],
    lines: Sequence[str],
    held_out: Sequence[str],
    settings: ClassifierSettings,
) -> tuple[float | None, float | None]:
    rest = {words: labelled[words] for words in lines if words not in set(held_out)}
    if not held_out or len(set(rest.values())) < 2:  # noqa: PLR2004  (a classifier has two classes)
        return None, None
    guesses = _predict(_train(rest, settings), held_out) >= 0.5  # noqa: PLR2004  (the likelier class)
    truth = np.array([labelled[words] == _POSITIVE for words in held_out])
    share = float(truth.mean())
    return float((guesses == truth).mean()), max(share, 1.0 - share)


def _train(labelled: dict[str, str], settings: ClassifierSettings) -> Any:
    library = need("fasttext", package="fasttext-community")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labelled.txt"
        lines = [f"{label} {words}\n" for words, label in labelled.items()]
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
        try:
            return library.train_supervised(
                input=str(path),
                epoch=settings.epochs,
                dim=settings.dimensions,
                wordNgrams=2,
                bucket=_BUCKETS,
                lr=0.5,
                seed=settings.seed,
                thread=1,
                verbose=0,
            )
        except RuntimeError as error:
            raise DataError(
                f"the classifier could not be trained on {len(lines)} texts: {error}",
                hint="try fewer epochs or fewer dimensions",
            ) from error


def _predict(model: Any, spaced: Sequence[str]) -> NDArray[np.float64]:
    """Probability of the positive class; fastText's own can exceed 1 by rounding."""
    if not spaced:
        return np.zeros(0)
    labels, probabilities = model.predict(list(spaced), k=2)
    found = [
        dict(zip(names, map(float, chances), strict=True)).get(_POSITIVE, 0.0)
        for names, chances in zip(labels, probabilities, strict=True)
    ]
    return np.array([min(max(chance, 0.0), 1.0) for chance in found], dtype=np.float64)


def _order(words: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed} {words}".encode(), digest_size=8).digest()
