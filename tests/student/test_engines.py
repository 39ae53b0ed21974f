"""Both engines against the loss that transformers computes for the same tokens."""

import json

import numpy as np
import pytest

from tutelage.data import VIEW_NAMES
from tutelage.errors import StudentError
from tutelage.student import StudentSettings, open_student

DECODERS = ["llama", "mistral", "qwen2", "qwen3", "gemma3_text"]


def reference(student, candidate, view):
    """Mean loss of transformers over a view's targets, and the full distributions."""
    import torch
    from transformers import AutoModelForCausalLM

    side = "response" if view.startswith("response") else "instruction"
    encoded = student.parts.builder.encode(candidate, side)
    (passage,) = encoded.given if "_given_" in view else encoded.alone
    model = AutoModelForCausalLM.from_pretrained(student.parts.folder.path, dtype=torch.float32)
    ids = torch.from_numpy(passage.ids_T.astype(np.int64))[None]
    labels = ids.clone()
    labels[:, : passage.target_start] = -100
    with torch.no_grad():
        out = model(input_ids=ids, labels=labels)
    logprobs = out.logits[0, passage.target_start - 1 : -1].log_softmax(-1)
    return float(out.loss), logprobs, ids[0, passage.target_start :]


def opened(folder, **settings):
    return open_student(
        StudentSettings(model=str(folder), dtype="float32", use_cache=False, **settings)
    )


@pytest.mark.parametrize(
    ("kind", "backend"),
    [*[(kind, "packed") for kind in DECODERS], ("gpt2", "auto"), ("gemma3_text", "transformers")],
)
def test_a_random_model_reads_as_transformers_does(
    kind, backend, tmp_path, save_tiny, some_candidates
):
    student = opened(save_tiny(tmp_path, kind, bos=True), backend=backend)
    outcomes = list(student.read(some_candidates, views=VIEW_NAMES, statistics="full"))
    assert student.describe()["engine"] == ("packed" if backend == "packed" else "transformers")
    for candidate, reading in zip(some_candidates, outcomes, strict=True):
        for view in VIEW_NAMES:
            loss, logprobs, targets = reference(student, candidate, view)
            stats = reading.views[view]
            assert stats.mean_nll == pytest.approx(loss, abs=1e-4)
            chosen = logprobs.gather(1, targets[:, None])
            ranks = (logprobs > chosen).sum(1).add(1).clamp(max=100)
            assert np.abs(stats.ranks_T.astype(int) - ranks.numpy()).max() <= 1
            entropies = -(logprobs.exp() * logprobs).sum(1)
            np.testing.assert_allclose(stats.entropies_T, entropies, atol=1e-3)
            np.testing.assert_allclose(
                stats.sum_squares_T, logprobs.exp().square().sum(1), atol=1e-4
            )


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("backend", ["packed", "transformers"])
def test_the_batch_changes_nothing_beyond_rounding(backend, native, tiny_llama, some_candidates):
    wide = opened(tiny_llama, backend=backend, native=native, batch_tokens=4096)
    narrow = opened(tiny_llama, backend=backend, native=native, batch_tokens=1)
    many = list(wide.read(some_candidates, views=VIEW_NAMES, statistics="full"))
    single = list(narrow.read(some_candidates, views=VIEW_NAMES, statistics="full"))
    for a, b in zip(many, single, strict=True):
        for view in VIEW_NAMES:
            np.testing.assert_allclose(
                a.views[view].logprobs_T, b.views[view].logprobs_T, atol=1e-5
            )


def test_bfloat16_stays_near_float32_in_c_and_in_torch(tiny_llama, some_candidates):
    views = VIEW_NAMES
    exact = list(opened(tiny_llama).read(some_candidates, views=views))
    for native in (True, False):
        settings = StudentSettings(
            model=str(tiny_llama), dtype="bfloat16", use_cache=False, native=native
        )
        rough = list(open_student(settings).read(some_candidates, views=views))
        for a, b in zip(exact, rough, strict=True):
            for view in views:
                assert a.views[view].mean_nll == pytest.approx(b.views[view].mean_nll, abs=0.15)


def test_a_prefix_that_is_shared_is_computed_once(tiny_llama, some_candidates):
    from tutelage.student.packed_layout import lay_out

    builder = opened(tiny_llama).parts.builder
    first, second = (builder.encode(c, "response").given[0] for c in some_candidates[:2])
    line = lay_out([first, second])
    assert len(line.ids_N) < len(first.ids_T) + len(second.ids_T) - first.target_start + 1
    for passage, strand in zip((first, second), line.strands, strict=True):
        assert line.ids_N[strand.where_T].tolist() == passage.ids_T.tolist()
        assert line.positions_N[strand.where_T].tolist() == list(range(len(passage.ids_T)))


def test_an_engine_that_cannot_read_a_model_says_so(tmp_path, save_tiny, some_candidates):
    student = opened(save_tiny(tmp_path, "gpt2"), backend="packed")
    with pytest.raises(StudentError, match="packed engine cannot read a gpt2 model"):
        list(student.read(some_candidates, views=VIEW_NAMES))


def test_a_folder_without_safetensors_is_refused(tmp_path, save_tiny, some_candidates):
    folder = save_tiny(tmp_path, "llama")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(StudentError, match="no weights as safetensors") as caught:
        list(opened(folder).read(some_candidates, views=VIEW_NAMES))
    assert "pickle can run code" in caught.value.hint


def test_logits_that_are_not_simply_the_heads_are_read_by_transformers(
    tmp_path, save_tiny, some_candidates
):
    folder = save_tiny(tmp_path, "gemma3_text", bos=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "final_logit_softcapping": 0.5}))
    student = opened(folder)
    (reading, *_) = student.read(some_candidates, views=VIEW_NAMES, statistics="basic")
    assert student.describe()["engine"] == "transformers"
    for view in VIEW_NAMES:
        loss, _, _ = reference(student, some_candidates[0], view)
        assert reading.views[view].mean_nll == pytest.approx(loss, abs=1e-4)
