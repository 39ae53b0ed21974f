"""What a model folder may load, and what it says where it is damaged."""

import json
import shutil

import pytest

from tutelage.data import VIEW_NAMES
from tutelage.errors import StudentError
from tutelage.models.folder import find_folder
from tutelage.models.loading import load_model
from tutelage.student import StudentSettings, open_student

SHARD = "model-00001-of-00001.safetensors"


@pytest.fixture
def folder(tiny_llama, tmp_path):
    return shutil.copytree(tiny_llama, tmp_path / "model")


def opened(folder, **settings):
    return open_student(
        StudentSettings(model=str(folder), dtype="float32", use_cache=False, **settings)
    )


def load_model_of(folder):
    settings = StudentSettings(model=str(folder), dtype="float32")
    return load_model(find_folder(settings), settings, device="cpu", dtype="float32")


def sharded(folder, name=SHARD, **more):
    """Turn the single file into a shard with an index; all weights point to `name`."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="np") as file:
        names = list(file.keys())
    (folder / "model.safetensors").rename(folder / SHARD)
    weight_map = dict.fromkeys(names, SHARD) | {names[0]: name} | more
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_a_folder_of_shards_is_read(folder, some_candidates):
    (reading, *_) = opened(sharded(folder)).read(some_candidates, views=VIEW_NAMES)
    assert reading.views


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/hostname", "not a safetensors file"),
        ("/data/elsewhere.safetensors", "outside the model's folder"),
        ("../other/model.safetensors", "outside the model's folder"),
        ("sub/../../model.safetensors", "outside the model's folder"),
        ("..\\model.safetensors", "outside the model's folder"),
        ("pytorch_model.bin", "not a safetensors file"),
        ("weights.pt", "not a safetensors file"),
        ("absent.safetensors", "not in the folder"),
        (f"{'a' * 5000}.safetensors", "not in the folder"),
        ("a\0.safetensors", "not in the folder"),
    ],
)
def test_an_index_names_nothing_but_safetensors_files_of_its_folder(folder, name, message):
    with pytest.raises(StudentError, match=message) as caught:
        assert opened(sharded(folder, name)).fingerprint
    assert caught.value.hint


def test_an_index_beside_a_whole_file_is_held_to_the_same(folder):
    index = {"weight_map": {"a": "/data/elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(StudentError, match="outside the model's folder"):
        assert opened(folder).fingerprint


def test_a_link_that_leaves_the_folder_is_refused(folder, tiny_llama):
    (folder / "linked.safetensors").symlink_to(tiny_llama / "model.safetensors")
    with pytest.raises(StudentError, match=r"a link to .* outside"):
        assert opened(sharded(folder, "linked.safetensors")).fingerprint


def test_the_links_of_the_hubs_cache_are_followed(folder, tmp_path, some_candidates):
    sharded(folder)
    repository = tmp_path / "hub" / "models--org--name"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for at, file in enumerate(sorted(folder.iterdir())):
        shutil.copyfile(file, blobs / f"blob{at}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob{at}")
    (reading, *_) = opened(snapshot).read(some_candidates, views=VIEW_NAMES)
    assert reading.views
    assert opened(snapshot).fingerprint == opened(folder).fingerprint


def test_an_old_index_of_pickles_does_not_stand_in_the_way(folder):
    index = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert opened(folder).fingerprint


@pytest.mark.parametrize(
    "content", ["3", "{}", '{"weight_map": []}', '{"weight_map": 1}', "junk", "[" * 50_000]
)
def test_an_index_that_is_none_is_an_error(folder, content):
    sharded(folder)
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(StudentError, match="not an index of weights"):
        assert opened(folder).fingerprint


@pytest.mark.parametrize("name", ["../model.safetensors", "/data/m.safetensors", "m.bin", 7])
def test_the_config_names_no_file_outside_either(folder, name):
    change(folder, transformers_weights=name)
    with pytest.raises(StudentError, match=r"config\.json: "):
        assert opened(folder).fingerprint


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def shorten(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])


def headed(folder, header):
    length = len(header).to_bytes(8, "little")
    (folder / "model.safetensors").write_bytes(length + header)


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: shorten(f, -1),
        lambda f: shorten(f, 200),
        lambda f: shorten(f, 5),
        lambda f: shorten(f, 0),
        lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64),
        lambda f: headed(f, b'{"a": {"data_offsets": [0, Infinity]}}'),
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes() + b"more"
        ),
    ],
)
def test_weights_that_are_not_whole_are_found_before_anything_is_loaded(folder, damage):
    damage(folder)
    with pytest.raises(StudentError, match="not a complete safetensors file") as caught:
        assert opened(folder).fingerprint
    assert "again" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": "many"},
        {"num_attention_heads": 0},
        {"vocab_size": -1},
        {"vocab_size": 300},
        {"rope_parameters": 7},
        {"hidden_act": "none"},
        {"model_type": "no_such_type"},
        {"text_config": [1]},
        {"layer_types": 5},
        {"rms_norm_eps": "small"},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 10_000_000},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"intermediate_size": 64},
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_an_error_and_no_traceback(folder, values, some_candidates):
    change(folder, **values)
    with pytest.raises(StudentError) as caught:
        list(opened(folder).read(some_candidates, views=VIEW_NAMES))
    assert str(folder) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}},
        {"quantization_config": {"bits": 4}},
        {"quantization_config": {"quant_method": ["gptq"]}},
        {"quantization_config": "fp8"},
        {"quantization_config": []},
        {"text_config": {"quantization_config": {"quant_method": "of_tomorrow"}}},
    ],
    ids=str,
)
def test_a_quantization_that_transformers_would_ignore_is_an_error(folder, values):
    change(folder, **values)
    with pytest.raises(StudentError, match="quantization_config") as caught:
        load_model_of(folder)
    assert str(folder / "config.json") in str(caught.value)
    assert "not quantised" in caught.value.hint


def test_no_quantization_is_no_error(folder):
    change(folder, quantization_config=None)
    assert load_model_of(folder) is not None


@pytest.mark.parametrize("scale", [False, True])
def test_quantised_weights_without_their_config_are_an_error(folder, scale):
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    if scale:
        tensors[f"{name}_scale"] = torch.ones(1)
    else:
        tensors[name] = tensors[name].mul(100).to(torch.int8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StudentError, match="has no quantization_config") as caught:
        load_model_of(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[" * 100_000),
        ("config.json", b"\xff\xfe"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b'{"model_max_length": "long"}'),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"junk"),
        ("special_tokens_map.json", b"[1]"),
        ("added_tokens.json", b"[1]"),
        ("generation_config.json", b"{"),
        ("chat_template.jinja", b"\xff\xfe"),
    ],
)
def test_a_damaged_file_beside_the_weights_is_an_error_and_no_traceback(
    folder, name, content, some_candidates
):
    (folder / name).write_bytes(content)
    with pytest.raises(StudentError) as caught:
        list(opened(folder).read(some_candidates, views=VIEW_NAMES))
    assert str(folder) in str(caught.value)


LOADED = {
    "config.json": '{"rope_theta": 5.0}',
    "generation_config.json": '{"eos_token_id": 3}',
    "tokenizer.json": None,
    "tokenizer_config.json": None,
    "special_tokens_map.json": "{}",
    "added_tokens.json": '{"<new>": 400}',
    "vocab.json": "{}",
    "merges.txt": "a b",
    "vocab.txt": "a",
    "tokenizer.model": "x",
    "chat_template.jinja": "{{ messages }}",
    "chat_template.json": "{}",
    "additional_chat_templates/tool_use.jinja": "{{ tools }}",
}


@pytest.mark.parametrize("name", LOADED)
def test_every_file_that_is_loaded_changes_the_fingerprint(folder, name):
    before = opened(folder).parts.folder.digest()
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if name == "config.json":
        change(folder, **json.loads(LOADED[name]))
    elif LOADED[name] is None:
        path.write_text(path.read_text() + " ")
    else:
        path.write_text(LOADED[name])
    assert opened(folder).parts.folder.digest() != before


def test_code_changes_the_fingerprint_where_it_is_trusted(folder):
    (folder / "modeling_own.py").write_text("A = 1\n")
    plain = opened(folder).parts.folder.digest()
    trusted = opened(folder, trust_remote_code=True).parts.folder.digest()
    (folder / "modeling_own.py").write_text("A = 2\n")
    assert opened(folder).parts.folder.digest() == plain
    assert opened(folder, trust_remote_code=True).parts.folder.digest() != trusted


def test_the_library_that_saved_a_model_is_not_part_of_it(folder):
    before = opened(folder).fingerprint
    change(folder, transformers_version="4.0", dtype="bfloat16")
    assert opened(folder).fingerprint == before
