"""From the settings of one filter to its verdicts."""

from dataclasses import dataclass, replace

import pyarrow as pa

from tutelage.errors import SettingsError
from tutelage.filters.candidate_texts import Pool
from tutelage.filters.classifier import classify
from tutelage.filters.config import (
    ClassifierSettings,
    ColumnSettings,
    ContaminationSettings,
    DuplicatesSettings,
    EchoSettings,
    ExactDuplicatesSettings,
    ExtensionSettings,
    FilterSettings,
    IfdSettings,
    LengthSettings,
    NearDuplicatesSettings,
    PassRateSettings,
    SemanticDuplicatesSettings,
    SimilaritySettings,
    TeacherRatingSettings,
)
from tutelage.filters.contamination import drop_contaminated
from tutelage.filters.decisions import Verdicts
from tutelage.filters.duplicates import drop_exact_duplicates
from tutelage.filters.echo import drop_echoes
from tutelage.filters.embeddings import make_embedder
from tutelage.filters.extension_filter import judge_by_extension
from tutelage.filters.length import TokenCounter, measure_length
from tutelage.filters.llm_difficulty import rate_difficulty
from tutelage.filters.near_duplicates import drop_near_duplicates
from tutelage.filters.numeric import Numbers, column_numbers
from tutelage.filters.pass_rate import measure_pass_rate
from tutelage.filters.similarity import drop_semantic_duplicates, measure_similarity
from tutelage.filters.value_band import keep_band
from tutelage.teacher import Teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What filters may need besides the candidates.

    Attributes:
        scores: The scores table, for lengths in tokens and for columns of numbers.
        teacher: For ratings.
        count_tokens: For lengths in tokens; without it the scores table counts.
    """

    scores: pa.Table | None = None
    teacher: Teacher | None = None
    count_tokens: TokenCounter | None = None


async def judge(pool: Pool, settings: FilterSettings, means: Means) -> Verdicts:
    """Decide on candidates that all have text.

    Raises:
        SettingsError: The filter needs scores or a teacher that are not there.
        DataError: A table or a set is not what it should be.
        MissingExtraError: The filter needs a library that is not installed.
    """
    match settings:
        case ContaminationSettings() | EchoSettings():
            return _judge_copies(pool, settings)
        case ExactDuplicatesSettings() | NearDuplicatesSettings() | SemanticDuplicatesSettings():
            return _judge_duplicates(pool, settings, means)
        case SimilaritySettings():
            return _judge_similarity(pool, settings)
        case ClassifierSettings() | ExtensionSettings():
            return _judge_one_by_one(pool, settings)
        case TeacherRatingSettings():
            if means.teacher is None:
                raise SettingsError("the filter teacher_rating needs a teacher")
            return keep_band(pool, await rate_difficulty(pool, settings, means.teacher), settings)
        case _:
            return keep_band(pool, _look_up(pool, settings, means), settings)


def _judge_one_by_one(pool: Pool, settings: ClassifierSettings | ExtensionSettings) -> Verdicts:
    match settings:
        case ClassifierSettings():
            return _judge_class(pool, settings)
        case ExtensionSettings():
            return judge_by_extension(pool, settings.function)


def _look_up(
    pool: Pool,
    settings: LengthSettings | PassRateSettings | IfdSettings | ColumnSettings,
    means: Means,
) -> Numbers:
    scores = means.scores
    match settings:
        case LengthSettings():
            return measure_length(pool, settings, scores=scores, count_tokens=means.count_tokens)
        case PassRateSettings():
            return measure_pass_rate(pool, settings, scores=scores)
        case IfdSettings(metric=column, student=student):
            return column_numbers(pool, column, scores=scores, student=student)
        case ColumnSettings(column=column, student=student):
            return column_numbers(pool, column, scores=scores, student=student)


def _judge_copies(pool: Pool, settings: ContaminationSettings | EchoSettings) -> Verdicts:
    match settings:
        case ContaminationSettings():
            return drop_contaminated(pool, settings)
        case EchoSettings():
            return drop_echoes(pool, settings)


def _judge_duplicates(pool: Pool, settings: DuplicatesSettings, means: Means) -> Verdicts:
    match settings:
        case ExactDuplicatesSettings():
            return drop_exact_duplicates(pool, settings, scores=means.scores)
        case NearDuplicatesSettings():
            return drop_near_duplicates(pool, settings, scores=means.scores)
        case SemanticDuplicatesSettings():
            embedder = make_embedder(settings.embedder)
            return drop_semantic_duplicates(pool, settings, embedder, scores=means.scores)


def _judge_similarity(pool: Pool, settings: SimilaritySettings) -> Verdicts:
    embedder = make_embedder(settings.embedder)
    verdicts = keep_band(pool, measure_similarity(pool, settings, embedder), settings)
    return replace(verdicts, facts={"embedder": embedder.name})


def _judge_class(pool: Pool, settings: ClassifierSettings) -> Verdicts:
    classified = classify(pool, settings)
    facts: dict[str, str | int | float] = {"training_texts": classified.training_texts}
    if classified.held_out_accuracy is not None and classified.held_out_majority is not None:
        facts["held_out_accuracy"] = classified.held_out_accuracy
        facts["held_out_majority"] = classified.held_out_majority
    return replace(keep_band(pool, classified.probabilities, settings), facts=facts)
