"""Devices: which one is taken, in which type it computes, and whether a model fits onto it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tiny_student import save_student
from tutelage.errors import SettingsError, StudentError
from tutelage.models import hardware
from tutelage.models.folder import find_folder
from tutelage.models.hardware import Memory
from tutelage.models.loading import check_fit, load_model, needed
from tutelage.student import StudentSettings

GIB = 1 << 30


def machine(monkeypatch: pytest.MonkeyPatch, *, capability: tuple[int, int]) -> None:
    import torch

    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")],
)
def test_cards_without_bfloat16_units_compute_in_float16(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: str
) -> None:
    machine(monkeypatch, capability=capability)
    assert hardware.usual_dtype("cuda") == dtype
    assert hardware.usual_dtype("cuda:1") == dtype


@pytest.mark.parametrize(("flags", "dtype"), [("avx2 fma", "float32"), ("avx512_bf16", "bfloat16")])
def test_a_processor_computes_in_bfloat16_only_where_it_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, dtype: str
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"flags : {flags}\n\n")
    assert hardware.usual_dtype("cpu") == dtype


@pytest.mark.parametrize("device", ["cuda:1", "mps", "xpu", "xpu:0", "cpu", "auto"])
def test_devices_by_name(device: str) -> None:
    assert StudentSettings(model="x", device=device).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0", "mps:1", ""])
def test_other_names_are_refused(device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        StudentSettings(model="x", device=device)


def test_a_device_that_is_not_there_is_named_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = StudentSettings(model=str(save_student(tmp_path)))
    folder = find_folder(settings)
    with pytest.raises(SettingsError, match=r"'cuda:3'.*no such device") as raised:
        load_model(folder, settings, device="cuda:3", dtype="float32")
    assert "doctor" in str(raised.value.hint)
    machine(monkeypatch, capability=(9, 0))
    with pytest.raises(SettingsError, match="there are 2 devices") as raised:
        load_model(folder, settings, device="cuda:3", dtype="float32")
    assert "cuda:1" in str(raised.value.hint)


def test_what_a_model_takes_is_counted_from_its_files(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = find_folder(StudentSettings(model=str(save_student(tmp_path))))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert needed(folder, dtype="float32").weights == 4 * model.num_parameters()
    assert needed(folder, dtype="bfloat16").weights == 2 * model.num_parameters()


@pytest.mark.parametrize(
    ("dtype", "memory", "hint"),
    [
        ("float32", {"cuda:0": 0.6}, "--dtype bfloat16"),
        ("bfloat16", {"cuda:0": 0.3, "cuda:1": 0.4}, "2 cards hold it together"),
        ("bfloat16", {"cuda:0": 0.3, "cpu": 9.0}, "CPU memory"),
        ("bfloat16", {"cuda:0": 0.3, "cpu": 0.1}, "smaller or a quantised student"),
        ("bfloat16", {"cuda:0": (0.3, 80)}, "other programs hold"),
    ],
)
def test_a_model_that_does_not_fit_names_the_nearest_setting_that_does(
    tmp_path: Path, dtype: Any, memory: dict[str, Any], hint: str
) -> None:
    folder = find_folder(StudentSettings(model=str(save_student(tmp_path))))
    whole = needed(folder, dtype="float32").total

    def memory_of(device: str) -> Memory | None:
        found = memory.get(device)
        free, total = found if isinstance(found, tuple) else (found, found)
        return None if free is None else Memory(free=int(free * whole), total=int(total * whole))

    cards = sum(name.startswith("cuda") for name in memory)
    with pytest.raises(StudentError, match="GiB free") as raised:
        check_fit(folder, device="cuda:0", dtype=dtype, memory=memory_of, count=lambda _kind: cards)
    assert hint in str(raised.value.hint)


def test_a_model_that_fits_is_loaded_without_a_word(tmp_path: Path) -> None:
    folder = find_folder(StudentSettings(model=str(save_student(tmp_path))))
    for device in ("cuda:0", "cpu"):
        check_fit(
            folder,
            device=device,
            dtype="float32",
            memory=lambda _device: Memory(free=GIB, total=GIB),
        )
    check_fit(folder, device="cuda:0", dtype="float32", memory=lambda _device: None)


def test_weights_that_exceed_all_memory_of_a_processor_are_refused(tmp_path: Path) -> None:
    folder = find_folder(StudentSettings(model=str(save_student(tmp_path))))
    takes = needed(folder, dtype="float32").weights
    tight = Memory(free=0, total=takes)  # it can be swapped
    check_fit(folder, device="cpu", dtype="float32", memory=lambda _device: tight)
    with pytest.raises(StudentError, match="GiB for its weights"):
        check_fit(
            folder,
            device="cpu",
            dtype="float32",
            memory=lambda _device: Memory(free=takes, total=takes - 1),
        )


def test_weights_that_are_quantised_count_as_they_are_stored(tmp_path: Path) -> None:
    path = save_student(tmp_path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": {}}))
    folder = find_folder(StudentSettings(model=str(path)))
    assert needed(folder, dtype="bfloat16").weights == needed(folder, dtype="float32").weights


def test_a_quantised_or_divided_model_is_placed_by_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tutelage.models import loading

    path = save_student(tmp_path)
    settings = StudentSettings(model=str(path))
    asked: list[Any] = []

    class Model(SimpleNamespace):
        def requires_grad_(self, _value: object) -> None: ...
        def eval(self) -> "Model":
            return self

        def to(self, _device: str) -> "Model":
            raise AssertionError("a quantised model cannot be moved")

    def loaded(*_: Any, placement: Any, **__: Any) -> Any:
        asked.append(placement)
        return Model()

    monkeypatch.setattr(loading, "load_weights", loaded)
    load_model(
        find_folder(settings), settings, device="cpu", dtype="float32", device_map="balanced"
    )
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": {}}))
    load_model(find_folder(settings), settings, device="cpu", dtype="float32")
    assert asked == [{"device_map": "balanced"}, {"device_map": {"": "cpu"}}]
