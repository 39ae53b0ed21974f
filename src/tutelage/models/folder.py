"""Model folders: located, checked and hashed without importing torch; adapters (PEFT) included."""

import json
import logging
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.data import content_hash
from tutelage.errors import MissingExtraError, SettingsError, StudentError
from tutelage.models.bundled import BUNDLED, bundled_model
from tutelage.models.config import DtypeName, ModelSettings, models_folder
from tutelage.models.hardware import find_device, usual_dtype
from tutelage.models.weight_files import check_whole, file_digest, weight_files

ADAPTER_CONFIG = "adapter_config.json"
_SAFE_NAME = "adapter_model.safetensors"
_PICKLE_NAME = "adapter_model.bin"
_NOT_MERGEABLE = frozenset(
    {
        "PROMPT_TUNING",
        "P_TUNING",
        "PREFIX_TUNING",
        "MULTITASK_PROMPT_TUNING",
        "ADAPTION_PROMPT",
        "CPT",
        "TRAINABLE_TOKENS_PROMPT",
        "CARTRIDGE",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """Folder of an adapter on this disk.

    Attributes:
        path: The folder.
        config: Its adapter_config.json.
        weights: Its weight file.
        base_name: The base model as the config names it: a folder, a hub id or an alias.
    """

    path: Path
    config: Mapping[str, Any]
    weights: Path
    base_name: str

    @property
    def base_revision(self) -> str | None:
        """Revision of the base model on the hub, if the config names one."""
        revision = self.config.get("revision")
        return revision if isinstance(revision, str) and revision else None


def find_adapter(path: Path, *, pickle: bool) -> Adapter | None:
    """Adapter in a folder, or None where the folder is not one.

    Args:
        path: A model folder.
        pickle: Whether a .bin file may be loaded.

    Raises:
        StudentError: It has one that cannot be used.
    """
    place = path / ADAPTER_CONFIG
    if not place.is_file():
        return None
    if (path / _SAFE_NAME).is_file():
        weights = path / _SAFE_NAME
        check_whole(weights)
    elif (path / _PICKLE_NAME).is_file() and pickle:
        weights = path / _PICKLE_NAME
    elif (path / "config.json").is_file():
        return None  # a merged model with what is left of its adapter
    else:
        raise StudentError(
            f"{path}: the adapter has no {_SAFE_NAME}",
            hint="loading a pickle can run code; to load it anyway, set weights: pickle"
            if (path / _PICKLE_NAME).is_file()
            else "save the adapter with model.save_pretrained(folder)",
        )
    config = _read_json(place)
    kind = str(config.get("peft_type"))
    if kind in _NOT_MERGEABLE:
        raise StudentError(
            f"{place}: an adapter of type {kind} cannot be merged into its base model",
            hint="students can be LoRA adapters and others that change weights, or whole models",
        )
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise StudentError(
            f"{place}: base_model_name_or_path is {base!r}",
            hint="write the base model's folder, hub id or alias there",
        )
    return Adapter(path=path, config=config, weights=weights, base_name=_base_name(path, base))


def _base_name(path: Path, base: str) -> str:
    """Name or path of the base model; relative paths are tried from here, then from the adapter."""
    nearby = path / base
    if not Path(base).expanduser().is_dir() and nearby.is_dir():
        return str(nearby)
    return base


_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "lm_head", "embed_out")

_WRAPPERS = frozenset({"base_layer", "modules_to_save"})
"""Prefix that peft gives whole weights; the factors of an adapter have other names."""


def merged(model: Any, adapter: Adapter) -> Any:
    """Merge an adapter into the weights of its base model.

    Training on more tokens than the base has saves whole embeddings with the adapter; the base is
    then resized to them.

    Raises:
        MissingExtraError: peft is not installed.
        StudentError: The adapter does not fit its base model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtraError(
            f"{adapter.path}: reading an adapter needs peft", hint="pip install 'tutelage[train]'"
        ) from error
    from safetensors import SafetensorError

    try:
        rows = _embedding_rows(adapter)
        if rows is not None and rows != model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(rows, mean_resizing=False)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            wrapped = PeftModel.from_pretrained(model, str(adapter.path), is_trainable=False)
        lacking = [str(w.message) for w in said if "missing adapter keys" in str(w.message)]
        if lacking:
            raise _misfit(adapter, lacking[0].splitlines()[0])
        if not hasattr(wrapped.base_model, "merge_and_unload"):
            raise _misfit(adapter, f"its type {adapter.config.get('peft_type')} cannot be merged")
        whole = wrapped.merge_and_unload()
    except StudentError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
    ) as error:
        raise _misfit(adapter, f"{type(error).__name__}: {error}") from error
    for weight in whole.parameters():  # peft froze them, and they may be trained
        weight.requires_grad_(weight.is_floating_point())
    return whole


def _embedding_rows(adapter: Adapter) -> int | None:
    """Number of token ids in the adapter's own embedding, or None where it has none."""
    if adapter.weights.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(str(adapter.weights), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  (not a mapping)
            parts = [part for part in name.split(".") if part not in _WRAPPERS]
            if parts[-1] == "weight" and parts[-2:-1] and parts[-2] in _EMBEDDINGS:
                return int(file.get_slice(name).get_shape()[0])
    return None


def _misfit(adapter: Adapter, why: str) -> StudentError:
    return StudentError(
        f"{adapter.path}: the adapter cannot be merged into {adapter.base_name}: {why}",
        hint="is base_model_name_or_path in adapter_config.json the model it was trained on?",
    )


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


def is_here(name: str) -> bool:
    """Whether a model is on this machine: a folder, or a fetched alias or hub id."""
    if Path(name).expanduser().is_dir() or (models_folder() / name / "config.json").is_file():
        return True
    if name in BUNDLED or name.count("/") != 1 or name.startswith((".", "/", "~")):
        return False
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return False
    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False


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
