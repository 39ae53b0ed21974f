"""Push of an exported set to the Hugging Face hub: files, configurations, splits and card.

    README.md                      the data card, with the configurations in its metadata
    data/SET/train.jsonl           one folder a set; the set that was exported comes first
    data/SET/test.jsonl            with a test fraction

One commit replaces what an earlier push wrote. The token is that of `huggingface_hub` (the
environment's HF_TOKEN, or `hf auth login`); it is sent to the hub and written nowhere.
"""

import importlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tutelage.data import content_hash, write_jsonl
from tutelage.data.redaction import Redactor
from tutelage.errors import DataError, MissingExtraError, RunError, SettingsError
from tutelage.pipeline.dataset_card import NOT_SAID
from tutelage.pipeline.export_stage import export
from tutelage.pipeline.run_dir import RunFolder

HUB = "hub:"
_NAME = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*")
_HEX_DIGITS = 13


def repo_of(target: str) -> str:
    """Dataset id on the hub.

    Raises:
        SettingsError: It is not `hub:NAME` or `hub:OWNER/NAME`.

    Examples:
        >>> repo_of("hub:me/chosen")
        'me/chosen'
    """
    name = target.removeprefix(HUB)
    if not target.startswith(HUB) or not _NAME.fullmatch(name):
        raise SettingsError(
            f"--push-to {target}: expected hub:NAME or hub:OWNER/NAME",
            hint="such as --push-to hub:my-name/my-dataset",
        )
    return name


def export_and_push(
    run: RunFolder,
    *,
    target: str,
    to: str,
    file: Path,
    chosen: str = "selected",
    more: Sequence[str] = (),
    test_fraction: float = 0.0,
    public: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Export a set and push it with further sets of the run.

    Args:
        run: The run folder.
        target: `hub:NAME` or `hub:OWNER/NAME`.
        to: As for `export`.
        file: As for `export`.
        chosen: The set that is exported, the default configuration.
        more: Further sets, each a configuration of its own.
        test_fraction: See `push`.
        public: See `push`.
        **options: Further options of `export`.

    Returns:
        What `export` returns, and under `pushed` what `push` does.

    Raises:
        TutelageError: As for `export` and `push`.
    """
    repo_of(target)  # a wrong name is said before anything is written
    found = export(run, to=to, file=file, chosen=chosen, **options)

    def further(name: str) -> Callable[[Path], Mapping[str, Any]]:
        return lambda path: export(run, to=to, file=path, chosen=name, **options)

    others = {name: further(name) for name in dict.fromkeys(more) if name != chosen}
    pushed = push(found, target=target, more=others, test_fraction=test_fraction, public=public)
    return {**found, "pushed": pushed}


def push(
    exported: Mapping[str, Any],
    *,
    target: str,
    more: Mapping[str, Callable[[Path], Mapping[str, Any]]] | None = None,
    test_fraction: float = 0.0,
    public: bool = False,
) -> dict[str, Any]:
    """Push an exported set.

    Args:
        exported: What `export` returned.
        target: `hub:NAME` or `hub:OWNER/NAME`; it is made where it is not there.
        more: Further sets by name: each exports itself to the file it is given.
        test_fraction: How much of each set becomes the split `test`, by the ids of examples, so
            that a question is in the same split of every set; in [0, 1).
        public: Make a new dataset public. One that is there keeps its visibility.

    Returns:
        The dataset, its address, the revision that was made, and its configurations.

    Raises:
        SettingsError: The target is not a name on the hub, or a Parquet file cannot be split.
        MissingExtraError: `huggingface_hub` is not installed.
        RunError: The hub refuses, or cannot be reached.
    """
    repo = repo_of(target)
    file = Path(exported["file"])
    with TemporaryDirectory(prefix="tutelage-") as folder:
        staged = Path(folder)
        configs = [_staged(file, staged, name=_config_of(exported), test_fraction=test_fraction)]
        for name, write in (more or {}).items():
            with TemporaryDirectory(prefix="tutelage-") as other:
                made = write(Path(other) / f"set{file.suffix}")
                configs.append(
                    _staged(Path(made["file"]), staged, name=name, test_fraction=test_fraction)
                )
        configs[0]["default"] = True
        card = Path(exported["card"]).read_text(encoding="utf-8") if "card" in exported else ""
        title = repo.rpartition("/")[2]
        (staged / "README.md").write_text(
            readme(card, configs=configs, title=title), encoding="utf-8"
        )
        about = _committed(staged, repo=repo, public=public)
    return {**about, "configs": {c["config_name"]: _splits(c) for c in configs}}


def _config_of(exported: Mapping[str, Any]) -> str:
    return str(exported.get("set") or exported["to"])


def _splits(config: Mapping[str, Any]) -> list[str]:
    return [part["split"] for part in config["data_files"]]


def _staged(file: Path, folder: Path, *, name: str, test_fraction: float) -> dict[str, Any]:
    """Copy a file to its place, split if requested; gives the metadata of its configuration."""
    place = folder / "data" / name
    place.mkdir(parents=True)
    splits = ["train"]
    if not test_fraction:
        shutil.copyfile(file, place / f"train{file.suffix}")
    elif file.suffix != ".jsonl":
        raise SettingsError(
            f"{file}: only a .jsonl file can be split", hint="give --out a name that ends in .jsonl"
        )
    else:
        splits.append("test")
        for split in splits:
            write_jsonl(place / f"{split}.jsonl", _rows_of(file, split, test_fraction))
    files = [{"split": s, "path": f"data/{name}/{s}{file.suffix}"} for s in splits]
    return {"config_name": name, "data_files": files}


def _rows_of(file: Path, split: str, test_fraction: float) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            key = row.get("example_id") or content_hash("row", row.get("prompt", row))
            point = int(content_hash("split", key)[:_HEX_DIGITS], 16) / 16.0**_HEX_DIGITS
            if (point < test_fraction) == (split == "test"):
                yield row


def readme(card: str, *, configs: Sequence[Mapping[str, Any]], title: str) -> str:
    """Dataset card for the hub, with configurations and without local details.

    Args:
        card: The data card of the export.
        configs: Metadata of the configurations.
        title: Title of the dataset, instead of the file's name.
    """
    _, head, body = card.split("---\n", 2) if card.startswith("---\n") else ("", "", card)
    values = yaml.safe_load(head) if head else {}
    kept = {k: v for k, v in values.items() if v != NOT_SAID}  # the hub refuses such a licence
    text = yaml.safe_dump({**kept, "configs": [dict(c) for c in configs]}, sort_keys=False)
    lines = body.strip().splitlines()
    if lines and lines[0].startswith("# "):
        lines[0] = f"# {title}"
    return f"---\n{text}---\n\n" + "\n".join(lines or [f"# {title}"]) + "\n"


def _committed(folder: Path, *, repo: str, public: bool) -> dict[str, Any]:
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise MissingExtraError(
            "pushing to the hub needs huggingface_hub", hint="pip install 'tutelage[datasets]'"
        ) from error
    token = get_token()
    _refuse_token(folder, token)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _told(repo, token):
        made = api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        commit = api.upload_folder(
            folder_path=folder,
            repo_id=made.repo_id,
            repo_type="dataset",
            delete_patterns=["data/*"],
            commit_message="Add the dataset with its card",
        )
    return {"repo": made.repo_id, "revision": commit.oid, "url": str(made)}


def _refuse_token(folder: Path, token: str | None) -> None:
    """Raise an error if a file contains the token.

    Raises:
        DataError: One does; nothing is sent.
    """
    if not token:
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file() and token.encode() in path.read_bytes():
            raise DataError(
                f"{path.relative_to(folder)}: holds the token of the hub, so nothing was pushed",
                hint="remove it from the data, and make a new token",
            )


@contextmanager
def _told(repo: str, token: str | None) -> Iterator[None]:
    """Convert an error of the hub to ours, without the token."""
    errors: Any = importlib.import_module("huggingface_hub.errors")
    try:
        yield
    except (errors.HTTPError, OSError, ValueError) as error:
        said = Redactor(token).text(" ".join(str(error).split()))
    else:
        return
    hint = "check the name and the connection; `hf auth login` or HF_TOKEN gives the right to write"
    raise RunError(f"{HUB}{repo}: the hub refused or could not be reached: {said}", hint=hint)
