"""The student's folder: found, checked and hashed without importing torch."""

import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.data import content_hash
from tutelage.errors import MissingExtraError, SettingsError, StudentError
from tutelage.student.bundled import BUNDLED, bundled_model
from tutelage.student.digests import file_digest
from tutelage.student.settings import DtypeName, StudentSettings

LENGTH_CAP = 8192
"""The longest view by default: longer ones take a lot of memory, so they are asked for."""

_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)
_NOT_CONTENT = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype"})
"""Keys of config.json that do not change what the model computes in the dtype we choose."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentFolder:
    """A model's folder on this disk.

    Attributes:
        path: The folder.
        config: Its config.json.
        weights: Its weight files, by name.
    """

    path: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]

    @property
    def model_type(self) -> str:
        """The architecture, as transformers names it."""
        return str(self.config.get("model_type", "unknown"))

    @property
    def vocabulary_tokens(self) -> int | None:
        """How many tokens the model chooses from, or None where its configuration does not say."""
        text: Mapping[str, Any] = self.config.get("text_config") or self.config
        size = text.get("vocab_size")
        return size if isinstance(size, int) else None

    def length_limit(self) -> int:
        """The most tokens the model and its tokenizer were made for."""
        text: Mapping[str, Any] = self.config.get("text_config") or self.config
        limits = [int(text[key]) for key in _LENGTH_KEYS if isinstance(text.get(key), int)]
        declared = self._tokenizer_config().get("model_max_length")
        if isinstance(declared, int | float) and 0 < declared < 2**31:
            limits.append(int(declared))
        return min(limits, default=LENGTH_CAP)

    def chat_template(self, *, tools: bool = False) -> str:
        """The Jinja text of the chat template, or nothing.

        Args:
            tools: Take the one for rows with tools, where the folder has one of its own for them.
        """
        named = self._named_templates()
        if tools and named.get("tool_use"):
            return named["tool_use"]
        return named.get("default", "")

    def _named_templates(self) -> dict[str, str]:
        found: dict[str, str] = {}
        listed = self._tokenizer_config().get("chat_template")
        if isinstance(listed, str):
            found["default"] = listed
        elif isinstance(listed, list):  # several by name, as older folders have them
            found |= {str(t.get("name")): t["template"] for t in listed if "template" in t}
        of_processor = self.path / "chat_template.json"  # as older folders of vision models have it
        if of_processor.is_file():
            text = _read_json(of_processor).get("chat_template")
            found |= {"default": text} if isinstance(text, str) else {}
        more = self.path / "additional_chat_templates"
        files = {path.stem: path for path in sorted(more.glob("*.jinja"))}
        files["default"] = self.path / "chat_template.jinja"
        found |= {n: p.read_text(encoding="utf-8") for n, p in files.items() if p.is_file()}
        return found

    def digest(self) -> str:
        """Content hash of weights, architecture and tokenizer; a changed weight changes it."""
        config = {k: v for k, v in self.config.items() if k not in _NOT_CONTENT}
        tokenizer = [self.path / name for name in _TOKENIZER_FILES]
        return content_hash(
            "student",
            config,
            [[path.name, file_digest(path)] for path in self.weights],
            [[path.name, file_digest(path)] for path in tokenizer if path.is_file()],
        )

    def _tokenizer_config(self) -> dict[str, Any]:
        path = self.path / "tokenizer_config.json"
        return _read_json(path) if path.is_file() else {}


def find_folder(settings: StudentSettings) -> StudentFolder:
    """Find the folder that the settings name: a path, a bundled model's alias or a hub id.

    Raises:
        StudentError: There is no such model, or it has no weights that may be loaded.
        MissingExtraError: A library is missing to fetch or to convert it.
    """
    name = settings.model
    path = Path(name).expanduser()
    if not path.is_dir():
        if name in BUNDLED:
            path = bundled_model(name)
        elif path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
            raise StudentError(
                f"student {name!r}: no such folder, and no bundled model",
                hint=f"give a folder, a hub id such as org/name, or one of {', '.join(BUNDLED)}",
            )
        else:
            path = _from_hub(name, pickle=settings.weights == "pickle")
    config_path = path / "config.json"
    if not config_path.is_file():
        raise StudentError(
            f"{path}: has no config.json", hint="a student is a folder transformers can load"
        )
    return StudentFolder(
        path=path, config=_read_json(config_path), weights=_weights(path, settings)
    )


def _weights(path: Path, settings: StudentSettings) -> tuple[Path, ...]:
    weights = sorted(path.glob("*.safetensors"))
    pickles = sorted(path.glob("pytorch_model*.bin"))
    if not weights and settings.weights == "pickle":
        weights = pickles
    if not weights:
        raise StudentError(
            f"{path}: has no weights as safetensors",
            hint="loading a pickle can run code; to do it all the same, set weights: pickle"
            if pickles
            else "save the model with model.save_pretrained(folder)",
        )
    return tuple(weights)


def _from_hub(name: str, *, pickle: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingExtraError(
            f"student {name!r}: fetching from the hub needs huggingface_hub",
            hint="pip install 'tutelage[student]'",
        ) from error
    wanted = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
    if pickle:
        wanted.append("pytorch_model*.bin")
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except (OSError, HFValidationError):
        _log.info("student %s: fetching from the hub", name)
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise StudentError(
            f"student {name!r}: cannot be fetched from the hub: {error}",
            hint="check the name and the connection, or give a folder",
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudentError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise StudentError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def resolve_max_length(settings: StudentSettings, folder: StudentFolder) -> int:
    """The most tokens a view may have.

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


def resolve_device(settings: StudentSettings) -> str:
    """Where the student runs; torch is only asked where a GPU may be there."""
    if settings.device != "auto":
        return settings.device
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return "cpu"
    try:
        import torch
    except ImportError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_dtype(settings: StudentSettings, device: str) -> DtypeName:
    """The type the student computes in; bfloat16 only where the hardware multiplies it."""
    if settings.dtype != "auto":
        return settings.dtype
    if device != "cpu":
        return "bfloat16"
    return "bfloat16" if cpu_multiplies_bfloat16() else "float32"


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has matrix or dot-product units for bfloat16."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = set(text.split("\n\n", maxsplit=1)[0].split())
    arm = platform.machine() == "aarch64" and "bf16" in flags
    return arm or bool(flags & {"avx512_bf16", "amx_bf16"})
