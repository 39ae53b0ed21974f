"""Settings of a teacher, without secrets."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from tutelage.models.config import name_of_a_key

_SECRET_NAME = re.compile(
    r"api[-_]?key|authorization|password|passwd|secret|bearer|credential|access[-_]?token",
    re.IGNORECASE,
)
_SECRET_PARAMETER = re.compile(r"key|token|sig|auth|pass|^code$", re.IGNORECASE)
"""Names of query parameters in which providers take a key."""
_SECRET_CHARACTERS = 20
"""Length from which one word in a query may be a key; versions, regions and ids are shorter."""
_TAKEN_HEADERS = frozenset(
    (
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "cookie"),
        *("host", "transfer-encoding", "user-agent"),
    )
)
_OURS = frozenset(
    (
        *("model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens"),
        *("seed", "response_format", "n", "stream", "tools"),
    )
)
OmittedName: TypeAlias = Literal["seed", "top_p", "temperature"]
_OF_A_REQUEST = frozenset(("temperature", "top_p", "max_tokens", "seed"))


class Prices(BaseModel):
    """Prices of a teacher's tokens, with which a run is estimated, counted and limited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_per_million: float = Field(
        ge=0, allow_inf_nan=False, description="Price of a million prompt tokens."
    )
    output_per_million: float = Field(
        ge=0, allow_inf_nan=False, description="Price of a million completion tokens."
    )
    currency: str = Field(
        default="USD", min_length=1, description="Currency of the prices; shown, never converted."
    )

    def cost(self, *, prompt_tokens: int, completion_tokens: int) -> float:
        """Cost of one call, in `currency`.

        Examples:
            >>> Prices(input_per_million=1, output_per_million=4).cost(
            ...     prompt_tokens=500_000, completion_tokens=250_000
            ... )
            1.5
        """
        dear = prompt_tokens * self.input_per_million + completion_tokens * self.output_per_million
        return dear / 1_000_000


class TeacherSettings(BaseModel):
    """Settings of a teacher: model, endpoint, rate, retries and budget."""

    # What was typed is not repeated in messages: it may be a key in the wrong place.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["openai", "local", "replay"] = Field(
        default="openai",
        description=(
            "openai: any endpoint with the OpenAI chat API; local: a transformers model "
            "in this process; replay: cached replies only."
        ),
    )
    model: str = Field(
        min_length=1,
        description="The model's name as its server knows it; local: a folder, a hub id such as "
        "org/name, or a bundled model.",
    )
    name: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "Name of this teacher in tables and in the teacher cache. By default the "
            "model's name; for a folder, the folder's own name without the path."
        ),
    )
    base_url: str | None = Field(
        default=None,
        description="URL of the endpoint, usually ending in /v1; by default OpenAI's.",
    )
    api_key_env: Annotated[str | None, AfterValidator(name_of_a_key)] = Field(
        default=None,
        description=(
            "The NAME of the environment variable that holds the key. Without it no key is sent, "
            "except to OpenAI's own endpoint (OPENAI_API_KEY)."
        ),
    )
    key_header: str = Field(
        default="Authorization",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$",
        description="The header that carries the key, such as api-key for Azure; Authorization "
        "carries it as a bearer token.",
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="The endpoint's name for the limit on a reply's tokens."
    )
    omit: tuple[OmittedName, ...] = Field(
        default=(),
        description="Settings to leave out of every request, for endpoints that reject them. "
        "They are part of a reply's cache key.",
    )
    concurrency: int = Field(
        default=8, ge=1, description="Requests at the same time; local: the batch size."
    )
    requests_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tokens_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    timeout_seconds: float = Field(
        default=300.0,
        gt=0,
        allow_inf_nan=False,
        description="Time limit of one attempt, in seconds.",
    )
    max_attempts: int = Field(
        default=6, ge=1, description="Attempts at a request, including the first."
    )
    max_wait_seconds: float = Field(
        default=600.0,
        ge=0,
        allow_inf_nan=False,
        description="The longest wait, in seconds, that an endpoint may ask for (Retry-After).",
    )
    prices: Prices | None = None
    max_cost: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="The cost after which no more calls are sent. Each call's worst-case cost is "
        "reserved before it is sent.",
    )
    batch: bool = Field(
        default=False,
        description="Use the provider's batch API (/files, /batches): a run submits and ends, "
        "and the same command collects the replies later.",
    )
    batch_price_fraction: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="The price of a call in a batch, as a fraction of `prices`.",
    )
    supports_schema: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="Whether the endpoint enforces JSON schemas; auto tests it once.",
    )
    extra_body: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description='Fields to add to every request, such as {"cache_prompt": false}. They are '
        "part of a reply's cache key.",
    )
    device: str | None = Field(
        default=None, description="local: a torch device; by default the first GPU, or the CPU."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="local: dtype of the weights; auto is the dtype in which the model was saved, "
        "or float32 on a processor that multiplies bfloat16 slowly.",
    )
    journal: Path | None = Field(
        default=None,
        description="Where replies are kept, if not in the run folder; runs may share one.",
    )

    @property
    def charged(self) -> Prices | None:
        """Prices that apply: batch prices where calls are sent in batches."""
        if self.prices is None or not self.batch:
            return self.prices
        share = self.batch_price_fraction
        return self.prices.model_copy(
            update={
                "input_per_million": self.prices.input_per_million * share,
                "output_per_million": self.prices.output_per_million * share,
            }
        )

    @property
    def teacher_name(self) -> str:
        """Name of this teacher in tables, requests and the teacher cache."""
        if self.name is not None:
            return self.name
        if self.kind == "local":
            return Path(self.model).name or self.model
        return self.model

    @model_validator(mode="before")
    @classmethod
    def _is_not_about_one_request(cls, values: object) -> object:
        misplaced = sorted(_OF_A_REQUEST & set(values)) if isinstance(values, Mapping) else []
        if misplaced:
            raise ValueError(
                f"{', '.join(misplaced)}: is a setting of the requests, not of the teacher: put it "
                "under refine or sample"
            )
        return values

    @field_validator("supports_schema", mode="before")
    @classmethod
    def _is_a_word_in_yaml_too(cls, value: object) -> object:
        # YAML reads a bare yes or no as a truth value.
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value

    @field_validator("omit", mode="before")
    @classmethod
    def _may_be_one_text(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("omit")
    @classmethod
    def _names_each_once(cls, value: tuple[OmittedName, ...]) -> tuple[OmittedName, ...]:
        return tuple(sorted(set(value)))

    @field_validator("base_url")
    @classmethod
    def _is_an_address_without_secrets(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.strip()
        try:
            parts = urlsplit(value)
            has_port = parts.port is None or parts.port > 0
            (parts.hostname or "").encode("idna")
        except (ValueError, UnicodeError) as error:  # of a bad port, bracket or host name
            raise ValueError(f"{value!a} is not a valid address: {error}") from error
        if parts.username is not None or parts.password is not None:
            # The value itself is not repeated: it may hold the secret.
            raise ValueError("must not contain a user or a password; use api_key_env")
        _check_query(parts)
        plain = value.isprintable() and " " not in value and has_port
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise ValueError(f"expected http://host/v1 or https://host/v1, got {value!r}")
        path = parts.path.rstrip("/")
        for end in ("/chat/completions", "/completions", "/models"):
            if path.endswith(end):
                short = parts._replace(path=path.removesuffix(end))
                raise ValueError(f"leave out {end}: give {urlunsplit(short)}")
        return urlunsplit(parts._replace(path=path))

    @field_validator("key_header")
    @classmethod
    def _is_a_header_of_its_own(cls, value: str) -> str:
        if value.lower() in _TAKEN_HEADERS:
            raise ValueError(f"{value} has another meaning; use a name such as api-key")
        return value

    @field_validator("extra_body")
    @classmethod
    def _holds_nothing_of_ours(cls, value: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        taken = sorted(_OURS & value.keys())
        if taken:
            raise ValueError(f"has settings of their own: {', '.join(taken)}")
        secret = sorted(name for name in _names_in(value) if _SECRET_NAME.search(name))
        if secret:
            raise ValueError(f"looks like a secret: {', '.join(secret)}; use api_key_env")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.batch and self.kind != "openai":
            raise ValueError(f"batch: a teacher of kind {self.kind} has no batch API")
        if self.max_cost is not None and self.prices is None:
            raise ValueError("max_cost needs prices: without them no cost is counted")
        return self


def _check_query(parts: SplitResult) -> None:
    """Refuse a query that may hold a secret, and a fragment; the value is not repeated."""
    if parts.fragment:
        raise ValueError("must not contain a part after #, which is never sent")
    if not parts.query:
        return
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    except ValueError:  # a parameter without =
        raise ValueError(
            "the part after ? must be NAME=VALUE, such as ?api-version=2024-10-21"
        ) from None
    names = [name for name, _ in pairs]
    for name, value in pairs:
        if not name or names.count(name) > 1:
            raise ValueError("after ?, every parameter needs a name and may occur only once")
        if _SECRET_NAME.search(name) or _SECRET_PARAMETER.search(name) or _is_secret(value):
            raise ValueError(
                "a parameter after ? looks like a secret; use api_key_env, and key_header where "
                "the key is sent in a header of its own"
            )


def _is_secret(value: str) -> bool:
    return value.startswith("sk-") or any(
        len(word) >= _SECRET_CHARACTERS for word in re.findall(r"[A-Za-z0-9+/=_]+", value)
    )


def _names_in(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)
