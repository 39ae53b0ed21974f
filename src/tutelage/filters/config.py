"""Settings of the filters, one model each, distinguished by `kind`."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tutelage.data.yaml_settings import problem_in_words, settings_text, yaml_value
from tutelage.errors import SettingsError
from tutelage.filters.candidates import Part
from tutelage.filters.ngrams import Form


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TextSource(_Settings):
    """A set of texts: a file, or the texts themselves."""

    path: Path | None = Field(
        default=None,
        description="Anything that data can be read from (JSON, JSONL, CSV, TSV, packed or not, "
        "Parquet, a folder, a hub dataset), or .txt with a text a line.",
    )
    split: str | None = Field(default=None, description="Of a dataset with several.")
    subset: str | None = Field(default=None, description="Of a hub dataset with several.")
    texts: tuple[str, ...] | None = Field(default=None, description="The texts, instead of a file.")
    fields: tuple[str, ...] | None = Field(
        default=None,
        description="The fields that make up a text, joined by newlines; `question.stem` is a "
        "field of an object. Default: the first of instruction, question, prompt, problem, text, "
        "content, query, input, goal, messages, conversations that the row has.",
    )
    id_field: str = Field(default="id", description="Names the text in details, where present.")
    name: str | None = Field(default=None, description="Default: the file's name.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.path is None) == (self.texts is None):
            raise ValueError("give either path or texts")
        return self


class _Filter(_Settings):
    name: str | None = Field(
        default=None, description="What reports call this filter. Default: its kind."
    )


class _Band(_Filter):
    """A filter that measures a number and keeps a band, a share, or the share of a band."""

    minimum: float | None = Field(default=None, description="Keep numbers of at least this.")
    maximum: float | None = Field(default=None, description="Keep numbers of at most this.")
    keep_fraction: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="Keep at most this share of the filter's input.",
    )
    prefer: Literal["high", "low"] = Field(
        default="high", description="keep_fraction: which end of the numbers to keep."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class LengthSettings(_Band):
    """Keep texts of a certain length."""

    kind: Literal["length"] = "length"
    of: Part = "response"
    unit: Literal["characters", "words", "tokens"] = "characters"


class TeacherRatingSettings(_Band):
    """Keep instructions by a teacher's rating of their difficulty, from 1 to 5."""

    kind: Literal["teacher_rating"] = "teacher_rating"
    max_tokens: int = Field(default=512, ge=1, description="The most tokens of a reply.")
    concurrency: int = Field(default=8, ge=1, description="Requests at the same time.")


class PassRateSettings(_Band):
    """Keep instructions by the share of the student's answers that are right."""

    kind: Literal["pass_rate"] = "pass_rate"
    column: str = Field(default="pass_rate", description="A column with fractions in [0, 1].")


class IfdSettings(_Band):
    """Keep a band of instruction-following difficulty, from the scores table."""

    kind: Literal["ifd"] = "ifd"
    metric: Literal["ifd", "ifd_loss", "r_ifd"] = "ifd"
    below: float | None = Field(
        default=1.0,
        description="Keep numbers below this (exclusive); null: no limit.",
    )
    student: str | None = Field(
        default=None, description="The student whose scores are used, if the table has several."
    )


class ColumnSettings(_Band):
    """Keep a band of any column of numbers of the scores table or the candidates table."""

    kind: Literal["column"] = "column"
    column: str
    student: str | None = None


class WordsEmbedder(_Settings):
    """Embedder of weighted bags of words, without a model; it knows no synonyms."""

    kind: Literal["words"] = "words"
    dimensions: int = Field(default=256, ge=2)


class Model2VecEmbedder(_Settings):
    """A static embedding model in the model2vec format."""

    kind: Literal["model2vec"] = "model2vec"
    model: str = Field(description="A folder, or a name on the hub.")


class SentenceTransformersEmbedder(_Settings):
    """A sentence-transformers model; needs sentence-transformers and torch."""

    kind: Literal["sentence_transformers"] = "sentence_transformers"
    model: str = Field(description="A folder, or a name on the hub.")


EmbedderSettings: TypeAlias = Annotated[
    WordsEmbedder | Model2VecEmbedder | SentenceTransformersEmbedder, Field(discriminator="kind")
]


class SimilaritySettings(_Band):
    """Keep texts that are similar to a target set."""

    kind: Literal["similarity"] = "similarity"
    targets: TextSource
    of: Part = "instruction"
    to: Literal["nearest", "mean"] = Field(
        default="nearest", description="Cosine with the nearest target, or with their mean."
    )
    embedder: EmbedderSettings = WordsEmbedder()


class ClassifierSettings(_Band):
    """Keep texts that a fastText classifier assigns to the positives."""

    kind: Literal["classifier"] = "classifier"
    positives: TextSource
    negatives: TextSource
    of: Part = "instruction"
    minimum: float | None = Field(default=0.5, description="Probability of the positive class.")
    epochs: int = Field(default=10, ge=1)
    dimensions: int = Field(default=64, ge=2)
    seed: int = 0


class EchoSettings(_Band):
    """Drop responses that repeat (nearly) the whole instruction."""

    kind: Literal["echo"] = "echo"
    ngram_words: int = Field(default=3, ge=1, description="Words that are compared at a time.")
    maximum: float | None = Field(
        default=0.95,
        description="The largest share of the instruction's n-grams that the response may "
        "repeat, in [0, 1].",
    )


class _Duplicates(_Filter):
    of: Part = "instruction"
    keep: Literal["first", "longest", "best"] = Field(
        default="first",
        description="The candidate of a group to keep: the first of the table, the one with the "
        "longest response, or the best by a column. Ties are broken by id.",
    )
    by: str | None = Field(default=None, description="keep: best; a column of numbers.")
    prefer: Literal["high", "low"] = Field(default="high", description="keep: best.")
    same_example: bool = Field(
        default=False,
        description="Also compare versions of one example with each other.",
    )

    @model_validator(mode="after")
    def _by_needs_best(self) -> Self:
        if (self.keep == "best") != (self.by is not None):
            raise ValueError("`by` is required for `keep: best` and not allowed otherwise")
        return self


class ExactDuplicatesSettings(_Duplicates):
    """Keep one of each group of identical texts."""

    kind: Literal["exact_duplicates"] = "exact_duplicates"
    form: Form = "case_and_space"


class NearDuplicatesSettings(_Duplicates):
    """Keep one of texts with most shingles in common (MinHash, then exact Jaccard)."""

    kind: Literal["near_duplicates"] = "near_duplicates"
    minimum_similarity: float = Field(
        default=0.8, gt=0.0, le=1.0, description="Jaccard similarity of the sets of shingles."
    )
    shingle: Literal["characters", "words"] = "characters"
    shingle_size: int = Field(default=5, ge=1)


class SemanticDuplicatesSettings(_Duplicates):
    """Keep one of texts with nearly the same embedding. Compares all pairs."""

    kind: Literal["semantic_duplicates"] = "semantic_duplicates"
    minimum_similarity: float = Field(default=0.9, gt=0.0, le=1.0, description="Cosine.")
    embedder: EmbedderSettings = WordsEmbedder()


class ContaminationSettings(_Filter):
    """Drop texts that contain an item of an evaluation set."""

    kind: Literal["contamination"] = "contamination"
    evaluation: tuple[TextSource, ...] = Field(min_length=1)
    of: Part = "both"
    ngram_words: int = Field(default=8, ge=1, description="8 and 13 are usual.")
    minimum_overlap: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="Drop from this share of an item's n-grams; 0 means from a single n-gram.",
    )
    short_words: int = Field(
        default=4,
        ge=1,
        description="An item shorter than an n-gram is matched as a whole; one with fewer words "
        "than this only against the whole text.",
    )


class ExtensionSettings(_Filter):
    """Apply a user's function to each candidate."""

    kind: Literal["extension"] = "extension"
    function: str = Field(description="The filter's name in the file of extensions.")


BandSettings: TypeAlias = (
    LengthSettings
    | TeacherRatingSettings
    | PassRateSettings
    | IfdSettings
    | ColumnSettings
    | SimilaritySettings
    | ClassifierSettings
    | EchoSettings
)
DuplicatesSettings: TypeAlias = (
    ExactDuplicatesSettings | NearDuplicatesSettings | SemanticDuplicatesSettings
)
FilterSettings: TypeAlias = Annotated[
    BandSettings | DuplicatesSettings | ContaminationSettings | ExtensionSettings,
    Field(discriminator="kind"),
]


class FiltersSettings(_Settings):
    """Filters of a run, in the order in which they are applied."""

    filters: tuple[FilterSettings, ...] = Field(min_length=1)


def read_filters(path: Path) -> FiltersSettings:
    """Read a YAML file of filters.

    Raises:
        SettingsError: The file cannot be read, or a setting is wrong; all problems are named.
    """
    hint = "see docs/filters.md for an example"
    content = yaml_value(settings_text(path, hint=hint), place=str(path), hint=hint)
    try:
        return FiltersSettings.model_validate(content)
    except ValidationError as error:
        problems = [
            f"{path}: {'.'.join(str(part) for part in found['loc'])}: "
            f"{problem_in_words(FiltersSettings, found)}"
            for found in error.errors()
        ]
    # Not chained to pydantic's error, which would keep the frames of our checks alive for good.
    raise SettingsError("\n".join(problems), hint="see docs/filters.md")
