"""Model folders: located, checked and hashed without importing torch."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.data import content_hash
from tutelage.errors import MissingExtraError, SettingsError, StudentError
from tutelage.models.adapter import CONFIG_NAME as ADAPTER_CONFIG
from tutelage.models.adapter import Adapter, find_adapter
from tutelage.models.bundled import BUNDLED, bundled_model
from tutelage.models.config import DtypeName, ModelSettings
from tutelage.models.hardware import find_device, usual_dtype
from tutelage.models.weight_files import file_digest, weight_files

LENGTH_CAP = 8192
"""Default limit of a view in tokens; longer views need much memory and must be requested."""

_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_seq_length",
    "max_sequence_length",
    "seq_length",
    "seq_len",
    "context_length",
    "max_context_length",
    "model_max_length",
    "max_target_positions",
)
"""Names in configs for the number of positions a model was made for."""
_TOKENIZER_LENGTH_KEYS = ("model_max_length", "max_len")
_UNLIMITED_TOKENS = 2**31
"""Value that transformers writes where a tokenizer has no limit."""
_TEXT_KEYS = ("text_config", "llm_config", "language_config", "thinker_config", "lm_config")
"""Keys of the text config in models that also see or hear."""
_PADDED_POSITIONS = frozenset(
    {"roberta", "roberta-prelayernorm", "camembert", "xlm-roberta", "xlm-roberta-xl", "xmod"}
    | {"data2vec-text"}
)
"""Model types whose first position is the one after the padding token's id."""
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
_TEMPLATE_FOLDER = "additional_chat_templates"
_NOT_CONTENT = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype"})
"""Keys of config.json that do not change what the model computes in a given dtype."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentFolder:
    """A model's folder on this disk.

    Attributes:
        path: The folder that the settings name: a model's, or an adapter's.
        config: The model's config.json; an adapter's is its base model's.
        weights: The model's weight files with their index, or its base model's.
        code: Python files that run when it is loaded; none unless the settings trust them.
        adapter: What is merged into the weights, or None.
        model_path: The folder of config and weights: `path`, or the base model's.
    """

    path: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    code: tuple[Path, ...] = ()
    adapter: Adapter | None = None
    model_path: Path

    @property
    def model_type(self) -> str:
        """Architecture of the model, as transformers names it."""
        return str(self.config.get("model_type", "unknown"))

    @property
    def tokenizer_path(self) -> Path:
        """Folder of the tokenizer: the adapter's own if it has one, else the model's."""
        own = any((self.path / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
        return self.path if own else self.model_path

    @property
    def vocabulary_tokens(self) -> int | None:
        """Vocabulary size, or None where the configuration does not say."""
        size = text_config(self.config).get("vocab_size", self.config.get("vocab_size"))
        return size if isinstance(size, int) and not isinstance(size, bool) else None

    @property
    def quantization(self) -> object | None:
        """`quantization_config` of the model, or of its text part; None where there is none."""
        found = self.config.get("quantization_config")
        return text_config(self.config).get("quantization_config") if found is None else found

    def length_limit(self) -> int:
        """Most tokens that the model and its tokenizer were made for."""
        text = text_config(self.config)
        limits = [
            limit - self._positions_before_the_first(text)
            for key in _LENGTH_KEYS
            if (limit := _length(text.get(key, self.config.get(key)))) is not None
        ]
        tokenizer = self._tokenizer_config()
        for key in _TOKENIZER_LENGTH_KEYS:
            limit = _length(tokenizer.get(key))
            if limit is not None:
                limits.append(limit)
        return min(limits, default=LENGTH_CAP)

    def chat_template(self, *, tools: bool = False) -> str:
        """Jinja source of the chat template, or None.

        Args:
            tools: Take the one for rows with tools, where the folder has one of its own for them.

        Raises:
            StudentError: A file that holds it cannot be read.
        """
        named = self._named_templates()
        if tools and named.get("tool_use"):
            return named["tool_use"]
        return named.get("default", "")

    def _named_templates(self) -> dict[str, str]:
        folder = self.tokenizer_path
        found: dict[str, str] = {}
        listed = self._tokenizer_config().get("chat_template")
        if isinstance(listed, str):
            found["default"] = listed
        elif isinstance(listed, list):  # several by name, as older folders have them
            found |= {str(t.get("name")): t["template"] for t in listed if "template" in t}
        elif isinstance(listed, Mapping):
            found |= {str(name): text for name, text in listed.items() if isinstance(text, str)}
        of_processor = folder / "chat_template.json"  # as older folders of vision models have it
        if of_processor.is_file():
            text = _read_json(of_processor).get("chat_template")
            found |= {"default": text} if isinstance(text, str) else {}
        files = {path.stem: path for path in sorted((folder / _TEMPLATE_FOLDER).glob("*.jinja"))}
        files["default"] = folder / "chat_template.jinja"
        found |= {name: _read_text(path) for name, path in files.items() if path.is_file()}
        return found

    def digest(self) -> str:
        """Content hash of every loaded file; it changes with any weight.

        Weights and their index, config and generation config, the tokenizer's files, chat
        templates, an adapter with its config, and code that is trusted.
        """
        parts: list[object] = [
            "student",
            _content(self.config),
            _digests(self.weights, root=self.model_path),
            _digests(self._tokenizer_files(), root=self.tokenizer_path),
            self._generation(self.model_path),
            _digests(self.code, root=self.model_path),
        ]
        if self.adapter is not None:
            parts.append([_content(self.adapter.config), file_digest(self.adapter.weights)])
        return content_hash(*parts)

    def end_tokens(self) -> list[int]:
        """Token ids that end a generation, from the generation config or the config."""
        path = self.model_path / "generation_config.json"
        given = _read_json(path).get("eos_token_id") if path.is_file() else None
        if given is None:
            given = text_config(self.config).get("eos_token_id", self.config.get("eos_token_id"))
        listed = given if isinstance(given, list) else [given]
        return [token for token in listed if isinstance(token, int)]

    def _tokenizer_files(self) -> list[Path]:
        folder = self.tokenizer_path
        files = [folder / name for name in _TOKENIZER_FILES]
        files += sorted(folder.glob("*.tiktoken"))
        files += sorted((folder / _TEMPLATE_FOLDER).glob("*.jinja"))
        return [file for file in files if file.is_file()]

    @staticmethod
    def _generation(folder: Path) -> object:
        path = folder / "generation_config.json"
        return _content(_read_json(path)) if path.is_file() else None

    def _positions_before_the_first(self, text: Mapping[str, Any]) -> int:
        if self.model_type not in _PADDED_POSITIONS:
            return 0
        padding = text.get("pad_token_id", 1)
        return padding + 1 if isinstance(padding, int) else 0

    def _tokenizer_config(self) -> dict[str, Any]:
        path = self.tokenizer_path / "tokenizer_config.json"
        return _read_json(path) if path.is_file() else {}


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Config of the text part of a model."""
    for key in _TEXT_KEYS:
        nested = config.get(key)
        if isinstance(nested, Mapping) and nested:
            return text_config(nested)
    return config


def _length(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 1 < value < _UNLIMITED_TOKENS else None


def _content(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _NOT_CONTENT}


def _digests(files: Iterable[Path], *, root: Path) -> list[list[str]]:
    return [[file.relative_to(root).as_posix(), file_digest(file)] for file in files]


def find_folder(settings: ModelSettings) -> StudentFolder:
    """Locate the folder that the settings name: a path, a bundled alias or a hub id.

    Raises:
        StudentError: There is no such model, or it has no weights that may be loaded.
        MissingExtraError: A library is missing to fetch or to convert it.
    """
    path = _locate(settings.model, settings, revision=None)
    adapter = find_adapter(path, pickle=settings.weights == "pickle")
    model_path = path
    if adapter is not None:
        try:
            model_path = _locate(adapter.base_name, settings, revision=adapter.base_revision)
        except StudentError as error:
            raise StudentError(
                f"{path}: the adapter's base model cannot be found: {error}",
                hint="write its folder, hub id or alias into base_model_name_or_path of "
                f"{ADAPTER_CONFIG}",
            ) from error
        if (model_path / ADAPTER_CONFIG).is_file():
            raise StudentError(
                f"{path}: the adapter's base model {adapter.base_name} is an adapter itself",
                hint="merge the base adapter into its own base first (peft: merge_and_unload)",
            )
    config_path = model_path / "config.json"
    if not config_path.is_file():
        raise StudentError(
            f"{model_path}: has no config.json",
            hint="a student is a folder transformers can load, or a LoRA adapter's folder",
        )
    config = _read_json(config_path)
    return StudentFolder(
        path=path,
        config=config,
        weights=weight_files(model_path, config=config, pickle=settings.weights == "pickle"),
        code=tuple(sorted(model_path.rglob("*.py"))) if settings.trust_remote_code else (),
        adapter=adapter,
        model_path=model_path,
    )


def _locate(name: str, settings: ModelSettings, *, revision: str | None) -> Path:
    """The folder of a student's path, alias or hub id."""
    return locate_model(
        name,
        role="student",
        revision=revision,
        pickle=settings.weights == "pickle",
        code=settings.trust_remote_code,
    )


def locate_model(
    name: str,
    *,
    role: str,
    revision: str | None = None,
    pickle: bool = False,
    code: bool = False,
) -> Path:
    """Folder of a model given as a path, a bundled alias or a hub id.

    Args:
        name: What the user wrote.
        role: What the model is for, such as `student`; for messages.
        revision: Commit, branch or tag on the hub.
        pickle: Whether weights stored as pickles are fetched, too.
        code: Whether Python files are fetched, too.

    Raises:
        StudentError: There is no such model, or it cannot be fetched.
        MissingExtraError: A library is missing to fetch or to convert it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name in BUNDLED:
        return bundled_model(name)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise StudentError(
            f"{role} {name!r} is neither a folder nor a bundled model",
            hint="give a folder, a hub id such as org/name, or a bundled model: "
            + ", ".join(BUNDLED),
        )
    return _from_hub(name, role=role, revision=revision, pickle=pickle, code=code)


def _from_hub(name: str, *, role: str, revision: str | None, pickle: bool, code: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingExtraError(
            f"{role} {name!r}: fetching from the hub needs huggingface_hub",
            hint="pip install 'tutelage[student]'",
        ) from error
    wanted = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.tiktoken"]
    wanted += ["merges.txt", "vocab.txt"]
    if pickle:
        wanted += ["pytorch_model*.bin", "adapter_model.bin"]
    if code:
        wanted.append("*.py")
    fetch = partial(snapshot_download, name, revision=revision, allow_patterns=wanted)
    try:
        return Path(fetch(local_files_only=True))
    except (OSError, HFValidationError):
        _log.info("%s %s: fetching from the hub", role, name)
    try:
        return Path(fetch())
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise StudentError(
            f"{role} {name!r}: cannot be fetched from the hub: {error}",
            hint="check the name and the connection, or give a folder",
        ) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StudentError(
            f"{path}: cannot be read: {error}", hint="copy or download it again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise StudentError(
            f"{path}: not JSON: {error}", hint="copy or download it again"
        ) from error
    if not isinstance(found, dict):
        raise StudentError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def resolve_max_length(settings: ModelSettings, folder: StudentFolder) -> int:
    """Most tokens of a view.

    Raises:
        SettingsError: The settings ask for more than the model was made for.
    """
    limit = folder.length_limit()
    if settings.max_length is None:
        return min(limit, LENGTH_CAP)
    if settings.max_length > limit:
        raise SettingsError(
            f"max_length is {settings.max_length}, but {settings.model} takes {limit} tokens",
            hint=f"set max_length to {limit} or less",
        )
    return settings.max_length


def resolve_device(settings: ModelSettings) -> str:
    """Device of the student; torch is imported only where a GPU may be present."""
    return find_device() if settings.device == "auto" else settings.device


def resolve_dtype(settings: ModelSettings, device: str) -> DtypeName:
    """Dtype of the student: the setting, or the usual one of the device."""
    return usual_dtype(device) if settings.dtype == "auto" else settings.dtype
