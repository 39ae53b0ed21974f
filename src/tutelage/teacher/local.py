"""Teacher in this process: a transformers model that answers in batches, with one sampler per row.

The same request gets the same text: sampling uses one generator per request, seeded from it, so
it depends neither on the order of the requests nor on which others share the batch. What remains is
rounding: padding moves logits in the last bits, which can turn a near-tie between two tokens,
rarely in float32 and more often in bfloat16.

    left padding    prompt        reply
    [pad pad   |  p1 p2 p3   |  r1 r2 <eos> pad]
                             ^ prompt_positions: the same for all rows

Suffixes: B rows of a batch, T positions, V vocabulary.
"""

import asyncio
import bisect
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.errors import MissingExtraError, SettingsError, StudentError, TeacherError
from tutelage.models import locate_model
from tutelage.models.hardware import check_device, cpu_multiplies_bfloat16, find_device
from tutelage.models.loading import quiet_libraries
from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.protocol import Reply, Request

if TYPE_CHECKING:
    import torch


STRETCH = 16
"""Tokens after which the rows that have ended leave a batch."""

SORTED_TOKENS = 64
"""How many of the most probable tokens are sorted before all of them are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Generated text of one request.

    Attributes:
        text: Without special tokens.
        finish_reason: `stop` where it ended by itself, `length` where it was cut.
        prompt_tokens: Prompt tokens of the prompt, with its chat template.
        completion_tokens: Completion tokens of the reply, with the token that ended it.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


def load_local_model(settings: TeacherSettings) -> "LocalModel":
    """Load a model and its tokenizer, without code or pickles from its folder.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        SettingsError: There is no such model or device, or the model has no chat template.
    """
    try:
        import torch as _  # noqa: F401  (transformers needs it and says so less clearly)
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            f"a local teacher needs torch and transformers: {error}",
            hint="pip install 'tutelage[student]'",
        ) from error
    device = settings.device or find_device()
    check_device(device)
    dtype = settings.dtype
    if dtype == "auto" and device == "cpu" and not cpu_multiplies_bfloat16():
        dtype = "float32"  # a processor without such units takes twenty times as long in bfloat16
    try:
        folder = str(locate_model(settings.model, role="teacher"))
    except StudentError as error:
        raise SettingsError(str(error), hint=error.hint) from error
    try:
        with quiet_libraries():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, padding_side="left", local_files_only=True
            )
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        model = model.to(device).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"the teacher {settings.model} could not be loaded: {error}",
            hint="model is a folder with safetensors weights, or a name on the hub",
        ) from error
    if not tokenizer.chat_template:
        raise SettingsError(
            f"the teacher {settings.model} has no chat template",
            hint="choose a model that was trained for chat; a base model cannot follow a request",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    arguments = settings.extra_body.get("chat_template_kwargs", {})
    return LocalModel(
        model=model,
        tokenizer=tokenizer,
        template_args=arguments if isinstance(arguments, Mapping) else {},
    )


class LocalModel:
    """A loaded model; not safe for several threads.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer, which pads on the left.
        template_args: Arguments of its chat template, such as enable_thinking: false.
    """

    def __init__(
        self, *, model: Any, tokenizer: Any, template_args: Mapping[str, Any] | None = None
    ) -> None:
        self._template_args = dict(template_args or {})
        self._model = model
        self._tokenizer = tokenizer
        ends = model.generation_config.eos_token_id
        also = tokenizer.eos_token_id
        listed = ends if isinstance(ends, list) else [ends]
        self._ends = sorted({int(e) for e in [*listed, also] if e is not None})
        self._ends_set = frozenset(self._ends)
        self._selectable: bool | None = None
        """Whether rows of the model's cache can be selected; known after its first tokens."""
        self._stopping = threading.Event()
        self._positions = getattr(model.config, "max_position_embeddings", None)

    def stop(self) -> None:
        """End the current batch at its next token; may be called from another thread."""
        self._stopping.set()

    def generate(self, requests: Sequence[Request]) -> list[Generated | TeacherError]:
        """Answer several requests together; a batch that does not fit into memory is halved.

        Returns:
            One outcome per request, in order.
        """
        import torch

        self._stopping.clear()
        prompts = [self._prompt_ids(request) for request in requests]
        outcomes: list[Generated | TeacherError] = []
        fitting: list[int] = []
        for index, (request, ids) in enumerate(zip(requests, prompts, strict=True)):
            problem = self._too_long(request, ids)
            outcomes.append(problem or TeacherError("not asked"))
            if problem is None:
                fitting.append(index)
        if not fitting:
            return outcomes
        try:
            generated = self._generate(
                [requests[i] for i in fitting], [prompts[i] for i in fitting]
            )
        except torch.OutOfMemoryError as error:
            if len(requests) > 1:
                middle = len(requests) // 2
                return [*self.generate(requests[:middle]), *self.generate(requests[middle:])]
            return [
                TeacherError(
                    f"not enough memory for a prompt of {len(prompts[0])} tokens: {error}",
                    hint="lower max_tokens, or choose a smaller teacher",
                )
            ]
        for index, outcome in zip(fitting, generated, strict=True):
            outcomes[index] = outcome
        return outcomes

    def _prompt_ids(self, request: Request) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in request.messages],
            tokenize=False,
            add_generation_prompt=True,
            **self._template_args,
        )
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _too_long(self, request: Request, ids: list[int]) -> TeacherError | None:
        if self._positions is None or len(ids) + request.max_tokens <= self._positions:
            return None
        return TeacherError(
            f"a prompt of {len(ids)} tokens and a reply of up to {request.max_tokens} do not fit "
            f"into the teacher's {self._positions} positions",
            hint="lower max_tokens, or drop such long examples",
        )

    def _generate(self, requests: list[Request], prompts: list[list[int]]) -> list[Generated]:
        import torch

        padded = self._tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        padded = padded.to(self._model.device)
        ids_B_T, mask_B_T = padded["input_ids"], padded["attention_mask"]
        prompt_positions = ids_B_T.shape[1]
        limits = [request.max_tokens for request in requests]
        generators = [torch.Generator().manual_seed(_seed_of(r)) for r in requests]
        replies: list[list[int]] = [[] for _ in requests]
        rows = list(range(len(requests)))
        with torch.inference_mode():
            cache = self._shared_prompts(ids_B_T, mask_B_T, prompts)
            while rows:
                left = max(limits[row] for row in rows) - (ids_B_T.shape[1] - prompt_positions)
                ends = RowLimits(
                    [limits[row] for row in rows],
                    prompt_positions=prompt_positions,
                    stopping=self._stopping,
                )
                written = self._continue(
                    ids_B_T,
                    mask_B_T,
                    cache=cache,
                    tokens=min(left, STRETCH) if self._selectable else left,
                    sampler=Sampler([requests[r] for r in rows], [generators[r] for r in rows]),
                    ends=ends,
                )
                ids_B_T, cache = written.sequences, written.past_key_values
                unfinished = []
                for index, (row, ids) in enumerate(
                    zip(rows, ids_B_T[:, prompt_positions:].tolist(), strict=True)
                ):
                    replies[row] = ids
                    if len(ids) < limits[row] and not self._ends_set.intersection(ids):
                        unfinished.append(index)
                if self._stopping.is_set() or not self._selectable:
                    break
                rows = [rows[index] for index in unfinished]
                if not rows:
                    break
                kept = torch.tensor(unfinished, device=ids_B_T.device)
                ids_B_T, mask_B_T = ids_B_T[kept], mask_B_T[kept]
                new = ids_B_T.shape[1] - mask_B_T.shape[1]
                mask_B_T = torch.cat([mask_B_T, mask_B_T.new_ones((len(rows), new))], dim=1)
                cache.batch_select_indices(kept)
        return [
            self._generated(ids, limit=limit, prompt_tokens=len(prompt))
            for ids, limit, prompt in zip(replies, limits, prompts, strict=True)
        ]

    def _shared_prompts(
        self, ids_B_T: "torch.Tensor", mask_B_T: "torch.Tensor", prompts: list[list[int]]
    ) -> Any:
        """Cache of all prompts without their last tokens, each different prompt computed once."""
        import torch

        first: dict[tuple[int, ...], int] = {}
        for index, ids in enumerate(prompts):
            first.setdefault(tuple(ids), index)
        without_last = [ids[:-1] for ids in first]
        if len(first) == len(prompts) or not all(without_last) or self._selectable is False:
            return None
        chosen = torch.tensor(list(first.values()), device=ids_B_T.device)
        written = self._continue(ids_B_T[chosen, :-1], mask_B_T[chosen, :-1], cache=None, tokens=1)
        if not self._selectable:
            return None
        cache = written.past_key_values
        place = {ids: index for index, ids in enumerate(first)}
        copies = [place[tuple(ids)] for ids in prompts]
        cache.batch_select_indices(torch.tensor(copies, device=ids_B_T.device))
        return cache

    def _continue(
        self,
        ids_B_T: "torch.Tensor",
        mask_B_T: "torch.Tensor",
        *,
        cache: Any,
        tokens: int,
        sampler: "Sampler | None" = None,
        ends: "RowLimits | None" = None,
    ) -> Any:
        from transformers import LogitsProcessorList, StoppingCriteriaList

        written = self._model.generate(
            input_ids=ids_B_T,
            attention_mask=mask_B_T,
            past_key_values=cache,
            do_sample=False,  # the sampler decides, row by row
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,  # a request says everything that can change its reply
            max_new_tokens=tokens,
            eos_token_id=self._ends or None,
            pad_token_id=self._tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList([sampler] if sampler else []),
            stopping_criteria=StoppingCriteriaList([ends] if ends else []),
            return_dict_in_generate=True,
        )
        if self._selectable is None:
            self._selectable = _rows_can_be_selected(written.past_key_values)
        return written

    def _generated(self, ids: list[int], *, limit: int, prompt_tokens: int) -> Generated:
        ids = ids[:limit]
        end = next((i for i, token in enumerate(ids) if token in self._ends), None)
        kept = ids if end is None else ids[: end + 1]
        return Generated(
            text=self._tokenizer.decode(kept, skip_special_tokens=True),
            finish_reason="length" if end is None else "stop",
            prompt_tokens=prompt_tokens,
            completion_tokens=len(kept),
        )


class Sampler:
    """Logits processor that samples the next token of each row for a greedy search to take.

    Args:
        requests: One a row: temperature and top_p.
        generators: The random numbers of each row.
    """

    def __init__(
        self, requests: Sequence[Request], generators: "Sequence[torch.Generator]"
    ) -> None:
        self._requests = requests
        self._generators = generators

    def __call__(self, _ids_B_T: "torch.Tensor", scores_B_V: "torch.Tensor") -> "torch.Tensor":
        """Scores with all tokens but the sampled ones at minus infinity."""
        import torch

        quantiles = [float(torch.rand((), generator=g)) for g in self._generators]
        chosen = _choose_rows(scores_B_V, requests=self._requests, quantiles=quantiles)
        chosen_B_1 = torch.tensor(chosen, device=scores_B_V.device).unsqueeze(1)
        return torch.full_like(scores_B_V, float("-inf")).scatter(1, chosen_B_1, 0.0)


class RowLimits:
    """Stopping criterion with a limit per row, so that one long reply does not prolong the others.

    Args:
        limits: The most tokens of each row's reply.
        prompt_positions: Where replies begin.
        stopping: Set when the batch is no longer needed; then it ends.
    """

    def __init__(
        self, limits: Sequence[int], *, prompt_positions: int, stopping: threading.Event
    ) -> None:
        import torch

        self._stopping = stopping
        self._ends_B = torch.tensor([prompt_positions + limit for limit in limits])

    def __call__(self, ids_B_T: "torch.Tensor", _scores: object, **_: object) -> "torch.Tensor":
        """Which rows are finished, as bool of shape (rows,)."""
        done_B = (ids_B_T.shape[1] >= self._ends_B) | self._stopping.is_set()
        return done_B.to(ids_B_T.device)


def _seed_of(request: Request) -> int:
    seed = int(request.key, 16) if request.seed is None else request.seed
    return seed % 2**63


def _rows_can_be_selected(cache: object) -> bool:
    """Whether each row of a model's cache is its keys and values, and nothing else."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = getattr(cache, "layers", None) or ()
    return bool(layers) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
    )


def _choose_rows(
    scores_B_V: "torch.Tensor", *, requests: Sequence[Request], quantiles: Sequence[float]
) -> list[int]:
    """Token of each row at its quantile, as `_choose` finds it.

    Nearly always it is one of the most probable tokens, so only those are sorted, for all rows at
    once; a row whose token is not surely among them is sorted as a whole.
    """
    import torch

    scores_B_V = scores_B_V.float()
    temperatures = [request.temperature or 1.0 for request in requests]
    scale_B_1 = torch.tensor(temperatures, device=scores_B_V.device).unsqueeze(1)
    total_B_1 = (scores_B_V / scale_B_1).logsumexp(dim=-1, keepdim=True)
    count = min(SORTED_TOKENS, scores_B_V.shape[1])
    top_B_K, order_B_K = scores_B_V.topk(count, dim=-1)
    reached_B_K = (top_B_K / scale_B_1 - total_B_1).double().exp().cumsum(dim=-1)
    scores, order, reached = top_B_K.tolist(), order_B_K.tolist(), reached_B_K.tolist()
    chosen = []
    for row, (request, quantile) in enumerate(zip(requests, quantiles, strict=True)):
        token = None
        if request.temperature > 0:
            token = _among_first(scores[row], order[row], reached[row], request.top_p, quantile)
        if token is None:
            token = _choose(scores_B_V[row], request=request, quantile=quantile)
        chosen.append(token)
    return chosen


def _among_first(
    scores: list[float], order: list[int], reached: list[float], top_p: float, quantile: float
) -> int | None:
    """Token at a quantile, or None where equal scores or the tokens left out could change it."""
    if top_p < 1:
        kept = bisect.bisect_left(reached, top_p)
        if kept == len(reached):
            return None
        quantile *= reached[kept]
    index = bisect.bisect_right(reached, quantile)
    if index >= len(scores) - 1 or scores[index] in (scores[index + 1], scores[index - 1]):
        return None
    return order[index]


def _choose(scores_V: "torch.Tensor", *, request: Request, quantile: float) -> int:
    """Token at a quantile in [0, 1) of the distribution, most probable tokens first.

    At temperature 0 the most probable one. `top_p` keeps the fewest most probable tokens that
    together reach it.
    """
    highest = float(scores_V.max())
    if not math.isfinite(highest):
        raise TeacherError(
            f"the teacher's logits are not finite (highest {highest})",
            hint="set the teacher's dtype to float32 or bfloat16",
        )
    if request.temperature == 0:
        return int(scores_V.argmax())
    probabilities_V = (scores_V.double() / request.temperature).softmax(dim=-1)
    sorted_V, order_V = probabilities_V.sort(descending=True, stable=True)
    reached_V = sorted_V.cumsum(dim=-1)
    kept = int((reached_V < request.top_p).sum()) + 1
    point = quantile * float(reached_V[min(kept, len(reached_V)) - 1])
    index = int((reached_V <= point).sum())
    return int(order_V[min(index, len(order_V) - 1)])


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Request
    reply: asyncio.Future[Reply]


class LocalTeacher:
    """Teacher that runs a transformers model in this process, loaded with the first request.

    Args:
        settings: `model` is a folder or a name on the hub; `concurrency` is the batch.
    """

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings = settings
        self._model: LocalModel | None = None
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Name stored with every candidate that this teacher wrote."""
        return self._settings.teacher_name

    @property
    def supports_schema(self) -> bool:
        """Always false: generation is not constrained."""
        return False

    async def ask(self, request: Request) -> Reply:
        """Answer one request, batched with others that wait at the same time.

        Raises:
            TeacherError: The prompt is too long, or memory does not suffice for it.
            SettingsError: The model cannot be loaded, or has no chat template.
            MissingExtraError: torch and transformers are not installed.
        """
        loop = asyncio.get_running_loop()
        if self._worker is not None and self._worker.get_loop() is not loop:
            self._worker, self._waiting = None, []  # an event loop that ended under us
        waiting = _Waiting(request, loop.create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return await waiting.reply

    async def _work(self) -> None:
        await asyncio.sleep(0)  # let the others of this moment join the batch
        while self._waiting:
            size = self._settings.concurrency
            batch, self._waiting = self._waiting[:size], self._waiting[size:]
            batch = [w for w in batch if not w.reply.done()]
            if not batch:
                continue
            try:
                outcomes = await asyncio.to_thread(self._answer, [w.request for w in batch])
            except (SettingsError, MissingExtraError, TeacherError) as error:
                outcomes = [error] * len(batch)
            except BaseException:
                if self._model is not None:
                    self._model.stop()
                for waiting in batch:
                    waiting.reply.cancel()
                raise
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.reply.done():
                    continue
                if isinstance(outcome, Reply):
                    waiting.reply.set_result(outcome)
                else:
                    waiting.reply.set_exception(outcome)

    def _answer(self, requests: list[Request]) -> list[Reply | Exception]:
        if self._model is None:
            self._model = load_local_model(self._settings)
        started = time.monotonic()
        outcomes = self._model.generate(requests)
        seconds = time.monotonic() - started
        return [
            outcome
            if isinstance(outcome, TeacherError)
            else Reply(
                request_key=request.key,
                model=self.name,
                text=outcome.text,
                finish_reason=outcome.finish_reason,
                prompt_tokens=outcome.prompt_tokens,
                completion_tokens=outcome.completion_tokens,
                seconds=seconds,
            )
            for request, outcome in zip(requests, outcomes, strict=True)
        ]
