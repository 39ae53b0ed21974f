"""LoRA adapter folders as students: base and adapter, read together and hashed together."""

import json
import shutil

import numpy as np
import pytest

from tutelage.data import VIEW_NAMES
from tutelage.errors import StudentError
from tutelage.student import StudentSettings, open_student

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning:peft")


@pytest.fixture(scope="module")
def base(tmp_path_factory, save_tiny):
    return save_tiny(tmp_path_factory.mktemp("adapted") / "base", "llama", bos=True)


@pytest.fixture(scope="module")
def saved_adapter(base):
    """An adapter on all linear layers with random weights, saved without a tokenizer."""
    return save_adapter(base, base.parent / "adapter", seed=1)


@pytest.fixture
def adapter(saved_adapter, tmp_path):
    return shutil.copytree(saved_adapter, tmp_path / "adapter")


def save_adapter(base, folder, *, seed, **more):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokens = more.pop("tokens", None)
    if tokens is not None:
        model.resize_token_embeddings(tokens, mean_resizing=False)
    config = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False, **more}
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config)).save_pretrained(folder)
    return folder


def opened(folder, **settings):
    return open_student(
        StudentSettings(model=str(folder), use_cache=False, **{"dtype": "float32", **settings})
    )


def edit(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def unmerged_nll(base, adapter, passage, *, tokens=None):
    """What peft's own model says, with the adapter beside the weights instead of in them."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if tokens is not None:
        model.resize_token_embeddings(tokens, mean_resizing=False)
    model = PeftModel.from_pretrained(model, adapter).eval()
    ids = torch.from_numpy(passage.ids_T.astype(np.int64))[None]
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
    return -float(logprobs.gather(1, ids[0, 1:, None])[passage.target_start - 1 :].mean())


@pytest.mark.parametrize("backend", ["auto", "transformers"])
def test_an_adapter_is_read_with_its_base(base, adapter, some_candidates, backend):
    student = opened(adapter, backend=backend)
    readings = list(student.read(some_candidates, views=VIEW_NAMES))
    alone = list(opened(base, backend=backend).read(some_candidates, views=VIEW_NAMES))
    for candidate, reading, without in zip(some_candidates, readings, alone, strict=True):
        (passage,) = student.parts.builder.encode(candidate, "response").given
        found = reading.views["response_given_instruction"].mean_nll
        assert found == pytest.approx(unmerged_nll(base, adapter, passage), abs=5e-4)
        assert found != pytest.approx(
            without.views["response_given_instruction"].mean_nll, abs=0.005
        )
    assert student.describe()["adapter_of"] == str(base)


def test_the_fingerprint_covers_base_and_adapter(base, adapter, tmp_path, save_tiny):
    before = opened(adapter).fingerprint
    assert before != opened(base).fingerprint
    assert opened(save_adapter(base, tmp_path / "second", seed=2)).fingerprint != before
    edit(adapter, lora_alpha=64)
    assert opened(adapter).fingerprint != before
    other = save_tiny(tmp_path / "other", "llama", seed=5)
    edit(adapter, lora_alpha=8, base_model_name_or_path=str(other))
    assert opened(adapter).fingerprint != before


def test_a_base_beside_the_adapter_is_found(base, adapter, tmp_path, some_candidates):
    shutil.copytree(base, adapter / "base")
    edit(adapter, base_model_name_or_path="base")
    (reading, *_) = opened(adapter).read(some_candidates, views=VIEW_NAMES)
    assert reading.views


def test_the_adapters_own_tokenizer_and_template_are_used(base, adapter, tiny_tokenizer):
    tiny_tokenizer(template="{{ messages[0].content }}:").save_pretrained(adapter)
    student = opened(adapter)
    assert student.parts.template_source == "{{ messages[0].content }}:"
    assert opened(base).parts.template_source != student.parts.template_source


def test_an_adapter_with_more_tokens_than_its_base_is_read(base, tmp_path, some_candidates):
    folder = save_adapter(
        base,
        tmp_path / "wider",
        seed=3,
        tokens=410,
        target_modules=["q_proj", "v_proj"],
        modules_to_save=["embed_tokens", "lm_head"],
    )
    student = opened(folder)
    (reading, *_) = student.read(some_candidates, views=VIEW_NAMES)
    (passage,) = student.parts.builder.encode(some_candidates[0], "response").given
    found = reading.views["response_given_instruction"].mean_nll
    assert found == pytest.approx(unmerged_nll(base, folder, passage, tokens=410), abs=5e-4)


def test_an_adapter_on_the_head_is_read(base, tmp_path, some_candidates):
    folder = save_adapter(base, tmp_path / "head", seed=4, target_modules=["q_proj", "lm_head"])
    student = opened(folder)
    (reading, *_) = student.read(some_candidates, views=VIEW_NAMES)
    (passage,) = student.parts.builder.encode(some_candidates[0], "response").given
    found = reading.views["response_given_instruction"].mean_nll
    assert found == pytest.approx(unmerged_nll(base, folder, passage), abs=5e-4)


def drop_weights(folder):
    (folder / "adapter_model.safetensors").unlink()


def cut_weights(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def pickle_weights(folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_weights, "has no adapter_model.safetensors"),
        (pickle_weights, "has no adapter_model.safetensors"),
        (cut_weights, "not a complete safetensors file"),
        (lambda f: edit(f, base_model_name_or_path=None), "base_model_name_or_path is None"),
        (lambda f: edit(f, base_model_name_or_path="/not/there"), "base model cannot be found"),
        (lambda f: edit(f, peft_type="PREFIX_TUNING"), "type PREFIX_TUNING cannot be merged"),
        (lambda f: edit(f, peft_type="NO_SUCH"), "cannot be merged into"),
        (lambda f: edit(f, r=7), "cannot be merged into"),
        (lambda f: (f / "adapter_config.json").write_text("[1]"), "expected a JSON object"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "not JSON"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_an_error_with_a_next_step(
    adapter, some_candidates, damage, message
):
    damage(adapter)
    with pytest.raises(StudentError, match=message):
        list(opened(adapter).read(some_candidates, views=VIEW_NAMES))


def test_an_adapter_of_another_model_is_refused(adapter, tmp_path, save_tiny, some_candidates):
    edit(adapter, base_model_name_or_path=str(save_tiny(tmp_path / "gpt2", "gpt2", bos=True)))
    with pytest.raises(StudentError, match="cannot be merged into"):
        list(opened(adapter).read(some_candidates, views=VIEW_NAMES))


def test_an_adapter_on_an_adapter_is_refused(adapter, saved_adapter):
    edit(adapter, base_model_name_or_path=str(saved_adapter))
    with pytest.raises(StudentError, match="is an adapter itself"):
        assert opened(adapter).fingerprint


def test_training_says_that_the_adapter_is_merged_and_saves_a_whole_model(
    adapter, base, tmp_path, caplog
):
    from tutelage.training import TrainSettings, train_student

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Name a colour.", "output": "red"}\n' * 2)
    settings = TrainSettings(epochs=1, batch_examples=2, method="full", device="cpu", max_tokens=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        train_student(rows, model=str(adapter), settings=settings, out=tmp_path / "out")
    assert f"merged into its base model {base}" in caplog.text
    trained = tmp_path / "out" / "model"
    assert (trained / "model.safetensors").is_file()
    assert not (trained / "adapter_config.json").exists()
    assert opened(trained).describe()["adapter_of"] is None
