"""Components of a student, each created at its first use."""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tutelage.data import SCORING_CONTRACT, content_hash
from tutelage.data.yaml_settings import reading_problem
from tutelage.errors import SettingsError, StudentError
from tutelage.models.config import DtypeName, give_memory_back
from tutelage.models.folder import (
    StudentFolder,
    find_folder,
    resolve_device,
    resolve_dtype,
    resolve_max_length,
)
from tutelage.models.hardware import cpu_multiplies_bfloat16, kind_of
from tutelage.models.loading import load_model
from tutelage.student.cache import Scope
from tutelage.student.chat_template import (
    ChatTemplate,
    compile_template,
    open_chat_template,
    reads_clock,
    template_problems,
)
from tutelage.student.config import StudentSettings
from tutelage.student.decoder_steps import TorchOps
from tutelage.student.engine import Engine
from tutelage.student.engine_vllm import open_vllm, open_vllm_offline
from tutelage.student.native_kernels import load_native
from tutelage.student.passages import CPU_TOKENS, TorchGauge
from tutelage.student.template import (
    ALPACA_TEXT,
    REASONING_FIELDS,
    Template,
    parse_raw_template,
    reverse_digest,
)
from tutelage.student.template_sandbox import TEMPLATE_ERRORS
from tutelage.student.tokenizer import control_token_pattern, fast_tokenizer, load_hf_tokenizer
from tutelage.student.views import ViewBuilder
from tutelage.version import installed_version

_JINJA_SUFFIXES = (".jinja", ".jinja2", ".j2")
_LIBRARIES = ("torch", "transformers", "tokenizers")


class OpenStudent:
    """Lazily created components of a student.

    Folder, hashes and limits need neither torch nor transformers. Tokenizer and template need
    transformers; the engine needs torch.
    """

    def __init__(self, settings: StudentSettings) -> None:
        self.settings = settings
        self._engine: Engine | None = None

    @cached_property
    def folder(self) -> StudentFolder:
        """Folder of the student."""
        return find_folder(self.settings)

    @cached_property
    def device(self) -> str:
        """Device: cpu, cuda, cuda:N, or server where the model is in another process."""
        if self.settings.base_url is not None:
            return "server"
        return resolve_device(self.settings)

    @cached_property
    def dtype(self) -> DtypeName:
        """Dtype in which the student computes."""
        return resolve_dtype(self.settings, self.device)

    @cached_property
    def max_length(self) -> int:
        """Most tokens of a view."""
        return resolve_max_length(self.settings, self.folder)

    @cached_property
    def template_source(self) -> str:
        """Source text of the template.

        Raises:
            SettingsError: There is no such template.
        """
        name = self.settings.template
        if name == "alpaca":
            return ALPACA_TEXT
        if name == "chat":
            source = self.folder.chat_template()
            if not source:
                raise SettingsError(
                    f"{self.settings.model} has no chat template",
                    hint="base models need a raw template: --template alpaca, or a file",
                )
            return source
        try:
            return Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"template {name!r} {reading_problem(error)}",
                hint="give chat, alpaca or the path of a template file",
            ) from error

    @property
    def template_name(self) -> str:
        """Name of the template: `chat`, `alpaca`, or the name of the user's file."""
        name = self.settings.template
        return name if name in {"chat", "alpaca"} else Path(name).name

    @cached_property
    def template_digest(self) -> str:
        """Content hash of everything that decides which text is read.

        The template with its arguments and the date it takes for today, whether thinking is read,
        the wording of the reverse prompt, and the version of the scoring contract.
        """
        settings = self.settings
        return content_hash(
            "chat" if self._is_chat else "raw",
            self.template_source,
            self.folder.chat_template(tools=True) if settings.template == "chat" else "",
            reverse_digest(),
            SCORING_CONTRACT,
            dict(settings.template_args) if self._is_chat else {},
            settings.template_date.isoformat() if self.reads_clock else None,
            settings.thinking,
        )

    @property
    def reads_clock(self) -> bool:
        """Whether the template uses today's date."""
        if not self._is_chat:
            return False
        with_tools = self.settings.template == "chat" and self.folder.chat_template(tools=True)
        return reads_clock(self.template_source) or reads_clock(with_tools or "")

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of weights, architecture, tokenizer and template."""
        return content_hash(self.folder.digest(), self.template_digest)

    @cached_property
    def scope(self) -> Scope:
        """Scope under which the cache stores this student's results."""
        settings = self.settings
        kind = self.device.partition(":")[0]
        model = content_hash(self.folder.digest(), self.dtype, kind, settings.backend)
        if settings.served_model is not None:  # a server may have several, such as adapters
            model = content_hash(model, settings.served_model)
        encoding = content_hash(
            model,
            self.template_digest,
            self.max_length,
            settings.on_overflow,
            # Where the tokens of pooled turns start was counted otherwise once.
            "all, joined" if settings.turns == "all" else settings.turns,
            settings.score_end_of_turn,
        )
        return Scope(model=model, encoding=encoding)

    @cached_property
    def builder(self) -> ViewBuilder:
        """Builder of the passages of candidates. Needs transformers."""
        return ViewBuilder(
            template=self.template,
            tokenizer=fast_tokenizer(self._hf_tokenizer, place=str(self.folder.path)),
            max_length=self.max_length,
            truncate=self.settings.on_overflow == "truncate",
            all_turns=self.settings.turns == "all",
            score_end_of_turn=self.settings.score_end_of_turn,
            answers_only=self.settings.thinking == "exclude",
            control_tokens=control_token_pattern(self._hf_tokenizer),
        )

    @cached_property
    def template(self) -> Template:
        """Template that renders the rows. Needs transformers."""
        if self._is_chat:
            return self.chat_template
        return parse_raw_template(
            self.template_source, name=self.template_name, end=self._hf_tokenizer.eos_token or ""
        )

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """Chat template of the student. Needs transformers."""
        tokenizer, settings = self._hf_tokenizer, self.settings
        variables = {**tokenizer.special_tokens_map, **settings.template_args}
        sources = {False: self.template_source, True: self.template_source}
        if settings.template == "chat":
            sources[True] = self.folder.chat_template(tools=True) or self.template_source
        try:
            renders = {
                with_tools: compile_template(
                    source, today=settings.template_date, variables=variables
                )
                for with_tools, source in sources.items()
            }
        except TEMPLATE_ERRORS as error:
            raise SettingsError(
                f"template {self.template_name}: is not a template: {error}",
                hint="use a raw template for this model: --template alpaca, or a file of your own",
            ) from error

        def render(
            messages: list[dict[str, Any]],
            generate: bool,  # noqa: FBT001  (`RenderMessages`)
            tools: list[Any] | None,
            arguments: Mapping[str, Any],
        ) -> str:
            return renders[tools is not None](messages, generate, tools, arguments)

        return open_chat_template(
            render,
            name=self.template_name,
            source=self.template_source,
            bos=tokenizer.bos_token,
            control_tokens=control_token_pattern(tokenizer),
        )

    def engine(self) -> Engine:
        """Engine with the loaded model, loaded at the first call. Needs torch."""
        if self._engine is None:
            self._engine = open_engine(
                self.folder, self.settings, device=self.device, dtype=self.dtype
            )
        return self._engine

    def decode(self, ids: Sequence[int]) -> str:
        """Decode token ids without special tokens. Needs transformers."""
        return str(self._hf_tokenizer.decode(list(ids), skip_special_tokens=True))

    def decode_all(self, ids: Sequence[int]) -> str:
        """Decode token ids with special tokens. Needs transformers."""
        return str(self._hf_tokenizer.decode(list(ids), skip_special_tokens=False))

    def describe(self) -> Mapping[str, object]:
        """Description of the student for a manifest."""
        return {
            "model": self.settings.model,
            "adapter_of": None if self.folder.adapter is None else self.folder.adapter.base_name,
            "fingerprint": self.fingerprint,
            "model_type": self.folder.model_type,
            "dtype": self.dtype,
            "device": self.device,
            "template": self.template_name,
            "template_digest": self.template_digest,
            "contract": SCORING_CONTRACT,
            **self._template_described(),
            "backend": self.settings.backend,
            "engine": None if self._engine is None else self._engine.name,
            "max_length": self.max_length,
            "versions": {name: installed_version(name) for name in _LIBRARIES},
        }

    def _template_described(self) -> dict[str, object]:
        settings = self.settings
        found: dict[str, object] = {}
        if settings.template_args:
            found["template_args"] = dict(settings.template_args)
        if self.reads_clock:
            found["template_date"] = settings.template_date.isoformat()
        if settings.thinking != "include":
            found["thinking"] = settings.thinking
        return found

    def close(self) -> None:
        """Free the memory of the loaded model."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
            give_memory_back()

    @property
    def _is_chat(self) -> bool:
        name = self.settings.template
        return name == "chat" or name.endswith(_JINJA_SUFFIXES)

    @cached_property
    def _hf_tokenizer(self) -> Any:
        return load_hf_tokenizer(
            self.folder.tokenizer_path, trust_remote_code=self.settings.trust_remote_code
        )


_log = logging.getLogger(__name__)


def open_engine(
    folder: StudentFolder, settings: StudentSettings, *, device: str, dtype: DtypeName
) -> Engine:
    """Load a student into the requested engine, or the fastest one that can read it.

    Args:
        folder: The student's folder.
        settings: Its settings.
        device: Where it runs.
        dtype: The dtype in which it computes.

    Raises:
        StudentError: The model cannot be loaded, or not into the engine that was asked for.
        MissingExtraError: torch or transformers is not installed.
    """
    if settings.base_url is not None:
        return open_vllm(settings)
    if settings.backend == "vllm-offline":
        return open_vllm_offline(folder, settings, dtype=dtype)
    from tutelage.student.engine_packed import open_packed
    from tutelage.student.engine_transformers import TransformersEngine

    load = partial(
        load_model, folder, settings, device=device, dtype=dtype, device_map=settings.device_map
    )
    model = load()
    ops = _ops(settings, device=device, dtype=dtype)
    tokens = None if settings.batch_tokens == "auto" else settings.batch_tokens
    if settings.backend == "packed" or (
        settings.backend == "auto" and device == "cpu" and _is_plain(folder, settings)
    ):
        lanes = _lanes(device)
        packed = open_packed(model, batch_tokens=tokens or CPU_TOKENS, lanes=lanes, ops=ops)
        if packed is not None:
            return packed
        if settings.backend == "packed":
            raise StudentError(
                f"{settings.model}: the packed engine cannot read a {folder.model_type} model",
                hint="set backend to auto or transformers",
            )
        _log.info("%s: read through transformers' own forward pass", settings.model)
        model = load()
    gauge = None if kind_of(device) == "cpu" else TorchGauge(device)
    return TransformersEngine(model, batch_tokens=tokens, ops=ops, gauge=gauge)


def _is_plain(folder: StudentFolder, settings: StudentSettings) -> bool:
    """Whether a model's weights are matrices on one device, which can be joined."""
    return settings.device_map is None and folder.quantization is None


def _lanes(device: str) -> int:
    """Lanes for a device: on a CPU two halves of the threads read faster than all together."""
    import torch

    return 2 if device == "cpu" and torch.get_num_threads() % 2 == 0 else 1


def _ops(settings: StudentSettings, *, device: str, dtype: DtypeName) -> TorchOps:
    """Operations in C where they can be compiled, else in torch."""
    if device != "cpu" or not settings.native:
        return TorchOps()
    import torch

    return load_native(dtype=dtype, threads=torch.get_num_threads()) or TorchOps()


def devices() -> tuple[str, ...]:
    """Devices on which a student could run, each with its details. Needs torch."""
    import torch

    threads = torch.get_num_threads()
    cpu = f"cpu, {threads} thread{'' if threads == 1 else 's'}"
    found = [f"{cpu}, multiplies bfloat16" if cpu_multiplies_bfloat16() else cpu]
    for index in range(torch.cuda.device_count()):
        gigabytes = torch.cuda.get_device_properties(index).total_memory / 1e9
        found.append(f"cuda:{index}, {torch.cuda.get_device_name(index)}, {gigabytes:.0f} GB")
    return tuple(found)


def check_template(settings: StudentSettings) -> tuple[str, ...]:
    """Problems of a student's template that make scores differ from training.

    Returns:
        One sentence a problem; nothing for a template without any, and for raw templates, which
        render exactly what they say.

    Raises:
        StudentError: The student cannot be found.
        SettingsError: It has no such template.
    """
    student = OpenStudent(settings)
    if settings.template == "alpaca":
        return ()
    found = (
        template_problems(student.template) if isinstance(student.template, ChatTemplate) else []
    )
    if student.reads_clock:
        found.append(
            "reads today's date; scoring and `tutelage train` set it to "
            f"{settings.template_date.isoformat()} (--template-date), "
            "other trainers take the day of the training"
        )
    return tuple(found)


def unread_fields(
    settings: StudentSettings, turns: Sequence[Mapping[str, Any]], *, tools: str | None = None
) -> dict[str, str | None]:
    """Fields of the last turn that a student's chat template ignores.

    The row is rendered with and without the field, as a trainer would.

    Args:
        settings: The student.
        turns: Turns as they are exported.
        tools: JSON text of the tool schemas, or None.

    Returns:
        For each ignored field (`reasoning_content` or `tool_calls`) the name under which the
        template reads it, or None. Empty for a template that refuses the row.

    Raises:
        StudentError: The student cannot be found.
        SettingsError: It has no such template.
    """
    template = OpenStudent(settings).template
    if not isinstance(template, ChatTemplate):
        return {}
    schemas = None if tools is None else json.loads(tools)

    def rendered(last: Mapping[str, Any]) -> str | None:
        whole = [*map(dict, turns[:-1]), dict(last)]
        try:
            return template.render_messages(whole, False, schemas, {})
        except TEMPLATE_ERRORS:
            return None

    found: dict[str, str | None] = {}
    for name in ("reasoning_content", "tool_calls"):
        value = turns[-1].get(name)
        without = {key: turns[-1][key] for key in turns[-1] if key != name}
        text = rendered(without) if value else None
        if text is None or rendered(turns[-1]) != text:
            continue
        others = [n for n in REASONING_FIELDS if n != name] if name in REASONING_FIELDS else []
        read = [n for n in others if rendered({**without, n: value}) not in (text, None)]
        found[name] = read[0] if read else None
    return found
