"""What to paste into the configuration of each trainer, for a file that was exported."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from tutelage.pipeline.turn_formats import LLAMAFACTORY_TAGS


def trl(file: Path) -> str:
    """Python that trains with TRL."""
    return (
        "from datasets import load_dataset\n"
        "from trl import SFTConfig, SFTTrainer\n\n"
        f'data = load_dataset("json", data_files="{file.name}", split="train")\n'
        'columns = [c for c in ("prompt", "completion", "tools") if c in data.column_names]\n'
        "data = data.select_columns(columns)\n"
        "# loss on the completion only, as it was scored, and nothing cut without a word\n"
        "args = SFTConfig(completion_only_loss=True, max_length=None)\n"
        'SFTTrainer(model="STUDENT", train_dataset=data, args=args).train()\n'
    )


def axolotl(file: Path) -> str:
    """The `datasets` part of an axolotl configuration."""
    return (
        "datasets:\n"
        f"  - path: {file.name}\n"
        "    ds_type: json\n"
        "    type: chat_template\n"
        "    field_messages: messages\n"
        "    message_property_mappings:\n"
        "      role: role\n"
        "      content: content\n"
        "    message_field_training: train\n"
        "    roles_to_train: [assistant]\n"
        "    train_on_eos: turn\n"
    )


def llamafactory(file: Path) -> str:
    """An entry of LLaMA-Factory's dataset_info.json for rows of role and content."""
    entry = {
        "tutelage": {
            "file_name": file.name,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", **_tools_column(file)},
            "tags": dict(LLAMAFACTORY_TAGS),
        }
    }
    return json.dumps(entry, indent=2) + "\n"


def _tools_column(file: Path) -> dict[str, str]:
    """The column of the tools, if the file that was written has it."""
    if file.suffix == ".parquet":
        return {"tools": "tools"} if "tools" in pq.read_schema(file).names else {}
    with file.open(encoding="utf-8") as lines:
        return {"tools": "tools"} if "tools" in json.loads(next(lines)) else {}


def llamafactory_alpaca(file: Path) -> str:
    """The same for Alpaca rows."""
    # Once any column is named, LLaMA-Factory forgets its defaults: all must be.
    columns = {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "system": "system",
        "history": "history",
    }
    entry = {"file_name": file.name, "formatting": "alpaca", "columns": columns}
    return json.dumps({"tutelage": entry}, indent=2) + "\n"


def llamafactory_sharegpt(file: Path) -> str:
    """The same for ShareGPT rows."""
    entry = {
        "file_name": file.name,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", **_tools_column(file)},
    }
    return json.dumps({"tutelage": entry}, indent=2) + "\n"


def plain(file: Path) -> str:
    """Python that loads the file."""
    return f'load_dataset("json", data_files="{file.name}", split="train")\n'
