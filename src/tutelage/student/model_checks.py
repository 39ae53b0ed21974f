"""Checks of a loaded model, which run once before the first passage is read.

    input_ids --> base model --> states --> head --> logits of the head --> logits of the model
                                                         planted values -------^

Planting values in place of the head's output shows what the model does with its logits, however
small its own logits are: a soft cap of 30 changes 400 to 30, but hardly changes 0.1.

transformers chooses the frequencies of two kinds of rotary position embeddings again for each
batch, by its longest row:

    longrope   one of two sets: up to the original length, or beyond it
    dynamic    a set for each length beyond the original, kept until a shorter row comes

A row must not depend on its neighbours, so rows are only read together where that changes
nothing.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.errors import StudentError
from tutelage.student.decoder_steps import Head, head_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Lengths at which a model changes its frequencies.

    Attributes:
        borders: Original lengths in tokens, increasing; rows on both sides of one must not meet.
        dynamic: Whether the frequencies beyond the smallest border differ with each length.
    """

    borders: tuple[int, ...] = ()
    dynamic: bool = False

    def group(self, tokens: int) -> int:
        """Group of a length; rows of one group may share a batch, unless `alone`."""
        return sum(tokens > border for border in self.borders)

    def alone(self, tokens: int) -> bool:
        """Whether a row of this length must be read by itself."""
        return self.dynamic and self.group(tokens) > 0


def rope_of(config: Any) -> Rope:
    """Length-dependent frequencies of a model's config."""
    text = config.get_text_config()
    given = getattr(text, "rope_parameters", None)
    kinds = _kinds(given)
    borders, dynamic = set(), False
    for kind in kinds:
        name = str(kind.get("rope_type", kind.get("type", "default")))
        if name != "longrope" and "dynamic" not in name:
            continue
        dynamic = dynamic or "dynamic" in name
        longest = _length(getattr(text, "max_position_embeddings", None)) or 0
        length = (
            _length(kind.get("original_max_position_embeddings"))
            or _length(getattr(text, "original_max_position_embeddings", None))
            or longest
        )
        borders.add(length)
        if "dynamic" in name:  # the length up to which nothing is recomputed
            borders.add(longest)
    return Rope(borders=tuple(sorted(borders)), dynamic=dynamic)


def forget_lengths(model: Any) -> None:
    """Reset dynamic frequencies to their initial values."""
    for module in model.modules():
        original = getattr(module, "original_max_seq_len", None)
        if original is None:
            continue
        for name in [n for n in vars(module) if n.endswith("max_seq_len_cached")]:
            setattr(module, name, original)
        buffers = dict(module.named_buffers(recurse=False))
        for name, buffer in buffers.items():
            first = getattr(module, name.replace("inv_freq", "original_inv_freq"), None)
            if name.endswith("inv_freq") and "original" not in name and first is not None:
                module.register_buffer(name, first.to(buffer.device), persistent=False)


def _kinds(given: object) -> list[Mapping[str, Any]]:
    if not isinstance(given, Mapping):
        return []
    nested = [value for value in given.values() if isinstance(value, Mapping)]
    return nested or [given]


def _length(value: object) -> int | None:
    return value if isinstance(value, int) else None


_PROBE_TOKENS = 13
_PREFIX_TOKENS = 5
_PLANTED = 400.0
_TOLERANCES: Mapping[str, float] = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 6e-2}
"""Largest relative difference of states that counts as rounding."""
_ACAUSAL: Mapping[str, float] = {"float32": 2e-3, "float16": 0.1, "bfloat16": 0.1}
"""Relative difference of logits that is more than rounding."""
_CAPS = ("final_logit_softcapping", "output_logit_soft_cap", "logits_soft_cap")
_FACTORS = ("logit_scale", "lm_head_multiplier", "output_multiplier")
_DIVISORS = ("logits_scaling",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probed:
    """Results of the checks of a loaded model.

    Attributes:
        head: The map from states to logits, or None where the whole model has to compute them.
        padded: Whether rows of a padded batch have the same states as each row on its own.
        rope: How rotary angles depend on the length of the batch.
        arguments: The arguments of the whole model's forward pass.
        body_arguments: The arguments of the base model's forward pass.
        embedded: How many token ids the input embedding has.
        answered: How many logits a position has.
    """

    head: Head | None
    padded: bool
    rope: Rope
    arguments: frozenset[str]
    body_arguments: frozenset[str]
    embedded: int
    answered: int


def probe(model: Any) -> Probed:
    """Run the checks of a loaded model.

    Raises:
        StudentError: Its forward pass fails, or it is not a causal language model.
    """
    import torch

    arguments = _arguments(model)
    body_arguments = _arguments(body_of(model))
    embedded = int(model.get_input_embeddings().weight.shape[0])
    ids_T = [2 + 7 * at % max(1, embedded - 2) for at in range(_PROBE_TOKENS)]
    ids_1_T = torch.tensor([[min(i, embedded - 1) for i in ids_T]], device=model.device)
    try:
        with torch.inference_mode():
            whole_1_T_V = model(input_ids=ids_1_T, **only(arguments, use_cache=False)).logits
            _check_range(model, whole_1_T_V)
            _check_causal(model, ids_1_T, whole_1_T_V, arguments)
            head, padded = _head_and_padding(model, ids_1_T, arguments, body_arguments)
    except StudentError:
        raise
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise StudentError(
            f"{model.config.model_type}: the model's forward pass fails on {_PROBE_TOKENS} tokens "
            f"in {_dtype(model)}: {type(error).__name__}: {error}",
            hint="try dtype float32; does the model read text alone?",
        ) from error
    return Probed(
        head=head,
        padded=padded,
        rope=rope_of(model.config),
        arguments=arguments,
        body_arguments=body_arguments,
        embedded=embedded,
        answered=int(whole_1_T_V.shape[-1]),
    )


def plain_head(model: Any) -> Head | None:
    """Head of the model with the scaling of its config, or None where logits are made otherwise.

    The base model's states have to be what the head gets.
    """
    import torch

    layer = model.get_output_embeddings()
    if not isinstance(layer, torch.nn.Linear):
        return None
    arguments, body_arguments = _arguments(model), _arguments(body_of(model))
    ids_1_T = torch.arange(2, 2 + _PROBE_TOKENS, device=model.device)[None]
    ids_1_T %= model.get_input_embeddings().weight.shape[0]
    with torch.inference_mode():
        return _head_of(model, layer, ids_1_T, arguments, body_arguments)


def body_of(model: Any) -> Any:
    """Part of a model that computes hidden states from token ids."""
    body = model.base_model
    # Some classes name their body otherwise than their attribute; then they are their own base.
    return getattr(model, "model", body) if body is model else body


def only(arguments: frozenset[str], **values: object) -> dict[str, object]:
    """Keyword arguments that a forward pass accepts."""
    return {name: value for name, value in values.items() if name in arguments}


def _arguments(module: Any) -> frozenset[str]:
    return frozenset(inspect.signature(module.forward).parameters)


def _head_and_padding(
    model: Any, ids_1_T: "Tensor", arguments: frozenset[str], body_arguments: frozenset[str]
) -> tuple[Head | None, bool]:
    import torch

    layer = model.get_output_embeddings()
    if not isinstance(layer, torch.nn.Linear):
        return None, False
    head = _head_of(model, layer, ids_1_T, arguments, body_arguments)
    return head, head is not None and _is_padded_alike(model, ids_1_T, body_arguments)


def _check_range(model: Any, logits_1_T_V: "Tensor") -> None:
    """Raise an error if states overflow float16, in which many models were not trained."""
    if _dtype(model) == "float16" and bool(logits_1_T_V.isnan().any()):
        raise StudentError(
            f"{model.config.model_type}: the model's states do not fit into float16: its logits "
            "are NaN or infinite",
            hint="set dtype to float32 (--dtype float32), or to bfloat16 on newer GPUs",
        )


def _check_causal(
    model: Any, ids_1_T: "Tensor", whole_1_T_V: "Tensor", arguments: frozenset[str]
) -> None:
    short_1_T_V = model(
        input_ids=ids_1_T[:, :_PREFIX_TOKENS], **only(arguments, use_cache=False)
    ).logits
    if short_1_T_V.shape[1] != _PREFIX_TOKENS:
        raise ValueError(f"{_PREFIX_TOKENS} tokens gave logits for {short_1_T_V.shape[1]}")
    long_1_T_V = whole_1_T_V[:, :_PREFIX_TOKENS].float()
    off_1_T = (short_1_T_V.float() - long_1_T_V).norm(dim=-1) / long_1_T_V.norm(dim=-1)
    # A router's near tie may fall otherwise at one position; what follows changes all of them.
    off = float(off_1_T.min())
    if not off < _ACAUSAL[_dtype(model)]:
        raise StudentError(
            f"{model.config.model_type}: the logits of a token depend on later tokens (by "
            f"{off:.2g} of the logits' size), so this is not a causal language model",
            hint="a student is a decoder; encoders and masked language models have no next token",
        )


def _head_of(
    model: Any,
    layer: Any,
    ids_1_T: "Tensor",
    arguments: frozenset[str],
    body_arguments: frozenset[str],
) -> Head | None:
    """Head, if base model, head and the config's scaling reproduce the model's own logits."""
    import torch

    seen: list[Tensor] = []
    values_V = torch.linspace(-_PLANTED, _PLANTED, len(layer.weight), device=layer.weight.device)

    def plant(_: Any, given: tuple["Tensor", ...], out: "Tensor") -> "Tensor":
        seen.append(given[0])
        return values_V.to(out.dtype).expand_as(out)

    hook = layer.register_forward_hook(plant)
    try:
        whole = model(input_ids=ids_1_T, **only(arguments, use_cache=False)).logits
    finally:
        hook.remove()
    planted_V = values_V.to(layer.weight.dtype)
    tolerance = _TOLERANCES[_dtype(model)]

    def makes_them(after: "Callable[[Tensor], Tensor] | None") -> bool:
        expected = (planted_V if after is None else after(planted_V)).float()
        return whole.shape[-1] == len(expected) and torch.allclose(
            whole.float(), expected.expand_as(whole), rtol=tolerance, atol=1e-4
        )

    # A model that also sees may have the config of its text part without what it says of logits.
    changes = [change for change in (_change_of(model.config), None) if makes_them(change)]
    if not changes:
        return None
    out = body_of(model)(input_ids=ids_1_T, **only(body_arguments, use_cache=False))
    states = getattr(out, "last_hidden_state", None)
    if len(seen) != 1 or states is None or states.shape != seen[0].shape:
        return None
    if not _relative(states, seen[0]) < tolerance:
        return None
    return head_of(layer, after=changes[0])


def _change_of(config: Any) -> "Callable[[Tensor], Tensor] | None":
    """Scaling of logits that a config prescribes; None for none."""
    text = config.get_text_config()
    factor = 1.0
    for name in _FACTORS:
        factor *= _number(text, name) or 1.0
    for name in _DIVISORS:
        factor /= _number(text, name) or 1.0
    caps = [value for name in _CAPS if (value := _number(text, name))]
    if factor == 1.0 and not caps:
        return None

    def change(logits: "Tensor") -> "Tensor":
        if factor != 1.0:
            logits = logits * factor
        for cap in caps:
            logits = (logits / cap).tanh() * cap
        return logits

    return change


def _number(config: Any, name: str) -> float | None:
    value = getattr(config, name, None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_padded_alike(model: Any, ids_1_T: "Tensor", body_arguments: frozenset[str]) -> bool:
    """Whether a short row has the same states in a padded batch as alone."""
    import torch

    if "attention_mask" not in body_arguments:
        return False
    short = ids_1_T[:, :_PREFIX_TOKENS].flip(1)
    ids_B_T = torch.cat([ids_1_T, torch.zeros_like(ids_1_T)])
    ids_B_T[1, :_PREFIX_TOKENS] = short
    mask_B_T = torch.ones_like(ids_B_T)
    mask_B_T[1, _PREFIX_TOKENS:] = 0
    body, rest = body_of(model), only(body_arguments, use_cache=False)
    together = body(input_ids=ids_B_T, attention_mask=mask_B_T, **rest).last_hidden_state
    alone = body(input_ids=short, **rest).last_hidden_state
    return _relative(together[1:, :_PREFIX_TOKENS], alone) < _TOLERANCES[_dtype(model)]


def _relative(found: "Tensor", expected: "Tensor") -> float:
    """Norm of a difference relative to the norm of the expected value."""
    difference = (found.float() - expected.float()).norm()
    return float(difference / expected.float().norm().clamp(min=1e-12))


def _dtype(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")
