"""Filters: length, duplicates, contamination, similarity, classifiers and teacher ratings.

Every filter has one shape: candidates (or examples) in, one decision with a reason out for each,
in the same order. Nothing is removed.

    candidates --> pool --> a number each   --> band       --> decisions   (length, ratings, scores,
                     |                                          ^           similarity, classifier)
                     +----> duplicates of what is kept ---------+
                     +----> items of evaluation sets -----------+
"""

from tutelage.filters.candidates import (
    UNMEASURED,
    answers_only,
)
from tutelage.filters.config import (
    ClassifierSettings,
    ColumnSettings,
    ContaminationSettings,
    EchoSettings,
    EmbedderSettings,
    ExactDuplicatesSettings,
    FilterSettings,
    FiltersSettings,
    IfdSettings,
    LengthSettings,
    NearDuplicatesSettings,
    PassRateSettings,
    SemanticDuplicatesSettings,
    SimilaritySettings,
    TeacherRatingSettings,
    TextSource,
    read_filters,
)
from tutelage.filters.contamination import EvaluationIndex, Hits
from tutelage.filters.embeddings import Embedder, make_embedder
from tutelage.filters.ngrams import word_symbols
from tutelage.filters.numeric import TokenCounter
from tutelage.filters.pipeline import (
    Comparison,
    Filtered,
    FilterResult,
    Means,
    apply_filters,
    apply_filters_async,
    ask_for_ratings,
    compare,
    try_filters,
    try_filters_async,
)
from tutelage.filters.reference_texts import Item, read_items
from tutelage.filters.similarity import pair_similarity

__all__ = [
    "UNMEASURED",
    "ClassifierSettings",
    "ColumnSettings",
    "Comparison",
    "ContaminationSettings",
    "EchoSettings",
    "Embedder",
    "EmbedderSettings",
    "EvaluationIndex",
    "ExactDuplicatesSettings",
    "FilterResult",
    "FilterSettings",
    "Filtered",
    "FiltersSettings",
    "Hits",
    "IfdSettings",
    "Item",
    "LengthSettings",
    "Means",
    "NearDuplicatesSettings",
    "PassRateSettings",
    "SemanticDuplicatesSettings",
    "SimilaritySettings",
    "TeacherRatingSettings",
    "TextSource",
    "TokenCounter",
    "answers_only",
    "apply_filters",
    "apply_filters_async",
    "ask_for_ratings",
    "compare",
    "make_embedder",
    "pair_similarity",
    "read_filters",
    "read_items",
    "try_filters",
    "try_filters_async",
    "word_symbols",
]
