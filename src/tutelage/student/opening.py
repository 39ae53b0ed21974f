"""Everything about a student that is found out once, and only when it is needed."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tutelage.data import content_hash
from tutelage.errors import SettingsError
from tutelage.student.chat_template import ChatTemplate, open_chat_template
from tutelage.student.engine import Engine
from tutelage.student.engines import open_engine
from tutelage.student.folder import (
    StudentFolder,
    find_folder,
    resolve_device,
    resolve_dtype,
    resolve_max_length,
)
from tutelage.student.keys import Scope
from tutelage.student.memory import give_memory_back
from tutelage.student.settings import DtypeName, StudentSettings
from tutelage.student.template import ALPACA_TEXT, Template, parse_raw_template, reverse_digest
from tutelage.student.text import fast_tokenizer, load_hf_tokenizer
from tutelage.student.views import ViewBuilder

_JINJA_SUFFIXES = (".jinja", ".jinja2", ".j2")
_LIBRARIES = ("torch", "transformers", "tokenizers")


class OpenStudent:
    """A student's parts, each made at its first use; nothing is loaded before.

    Folder, hashes and limits need neither torch nor transformers. Tokenizer and template need
    transformers; the engine needs torch.
    """

    def __init__(self, settings: StudentSettings) -> None:
        self.settings = settings
        self._engine: Engine | None = None

    @cached_property
    def folder(self) -> StudentFolder:
        """The student's folder."""
        return find_folder(self.settings)

    @cached_property
    def device(self) -> str:
        """cpu, cuda, cuda:N, or server where the model is in another process."""
        if self.settings.base_url is not None:
            return "server"
        return resolve_device(self.settings)

    @cached_property
    def dtype(self) -> DtypeName:
        """The type the student computes in."""
        return resolve_dtype(self.settings, self.device)

    @cached_property
    def max_length(self) -> int:
        """The most tokens a view may have."""
        return resolve_max_length(self.settings, self.folder)

    @cached_property
    def template_source(self) -> str:
        """The text of the template.

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
                f"template {name!r} cannot be read: {error}",
                hint="give chat, alpaca or the path of a template file",
            ) from error

    @property
    def template_name(self) -> str:
        """`chat`, `alpaca`, or the name of the user's file."""
        name = self.settings.template
        return name if name in {"chat", "alpaca"} else Path(name).name

    @cached_property
    def template_digest(self) -> str:
        """Content hash of the template and of the wording of the reverse prompt."""
        kind = "chat" if self._is_chat else "raw"
        return content_hash(kind, self.template_source, reverse_digest())

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of weights, architecture, tokenizer and template."""
        return content_hash(self.folder.digest(), self.template_digest)

    @cached_property
    def scope(self) -> Scope:
        """Under what readings of this student are filed."""
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
        """Turns candidates into passages. Needs transformers."""
        return ViewBuilder(
            template=self.template,
            tokenizer=fast_tokenizer(self._hf_tokenizer, place=str(self.folder.path)),
            max_length=self.max_length,
            truncate=self.settings.on_overflow == "truncate",
            all_turns=self.settings.turns == "all",
            score_end_of_turn=self.settings.score_end_of_turn,
        )

    @cached_property
    def template(self) -> Template:
        """The template. Needs transformers."""
        if self._is_chat:
            return self.chat_template
        return parse_raw_template(
            self.template_source, name=self.template_name, end=self._hf_tokenizer.eos_token or ""
        )

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The chat template. Needs transformers."""
        tokenizer, source = self._hf_tokenizer, self.template_source

        def render(messages: list[dict[str, str]], generate: bool) -> str:  # noqa: FBT001  (`RenderMessages`)
            return str(
                tokenizer.apply_chat_template(
                    messages,
                    chat_template=source,
                    tokenize=False,
                    add_generation_prompt=generate,
                )
            )

        return open_chat_template(
            render, name=self.template_name, source=source, bos=tokenizer.bos_token
        )

    def engine(self) -> Engine:
        """The loaded model; loaded at the first call. Needs torch."""
        if self._engine is None:
            self._engine = open_engine(
                self.folder, self.settings, device=self.device, dtype=self.dtype
            )
        return self._engine

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens. Needs transformers."""
        return str(self._hf_tokenizer.decode(list(ids), skip_special_tokens=True))

    def decode_all(self, ids: Sequence[int]) -> str:
        """The text of token ids, with special tokens. Needs transformers."""
        return str(self._hf_tokenizer.decode(list(ids), skip_special_tokens=False))

    def describe(self) -> Mapping[str, object]:
        """What a manifest should say about the student."""
        return {
            "model": self.settings.model,
            "adapter_of": None if self.folder.adapter is None else self.folder.adapter.base_name,
            "fingerprint": self.fingerprint,
            "model_type": self.folder.model_type,
            "dtype": self.dtype,
            "device": self.device,
            "template": self.template_name,
            "template_digest": self.template_digest,
            "backend": self.settings.backend,
            "engine": None if self._engine is None else self._engine.name,
            "max_length": self.max_length,
            "versions": {name: _version(name) for name in _LIBRARIES},
        }

    def close(self) -> None:
        """Give the memory of the loaded model back."""
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


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
