import pytest

from tests.reporting.synthetic import MANIFEST
from tutelage.reporting.queries import HIDDEN, decider_of, flatten, mode_of, read_account


def test_time_tally_and_cost_are_found_where_the_stages_note_them() -> None:
    account = read_account(MANIFEST)
    assert dict(account.seconds) == {"load": 0.42, "refine": 412.7, "score": 188.0, "select": 1.1}
    assert dict(account.teacher)["asked"] == 1180
    assert dict(account.teacher)["failures: TeacherBusyError"] == 17
    assert (account.cost, account.currency) == (1.37, "USD")


def test_what_was_paid_before_a_restart_counts() -> None:
    tally = {"asked": 3, "cost": 1.0, "spent_before": 0.5, "currency": "EUR"}
    assert read_account({"teacher_tally": tally}).cost == 1.5


def test_without_prices_there_is_no_cost() -> None:
    assert read_account({"teacher_tally": {"asked": 3, "cost": 0.0, "currency": None}}).cost is None


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"stages": None},
        {"stages": {"load": 3, "refine": {"seconds": "long", "tally": []}}},
        {"stages": {"refine": {"seconds": float("nan"), "tally": {"teacher": "x"}}}},
        {"teacher": "a name", "student": ["odd"]},
    ],
)
def test_a_manifest_of_another_form_is_no_error(manifest: dict[str, object]) -> None:
    account = read_account(manifest)
    assert (account.seconds, account.teacher, account.cost) == ((), (), None)
    assert decider_of(manifest) is None
    assert mode_of(manifest) is None
    flatten(manifest)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "abc"),
        ("OPENAI_API_KEY", "abc"),
        ("password", "abc"),
        ("hf_token", "abc"),
        ("note", "uses sk-abcdefghijklmnopqrstuv"),
        ("base_url", "https://user:secret@example.org/v1"),
    ],
)
def test_what_looks_like_a_secret_is_not_shown(name: str, value: str) -> None:
    assert flatten({"teacher": {name: value}}) == ((f"teacher.{name}", HIDDEN),)


def test_numbers_of_tokens_are_no_secrets() -> None:
    entries = dict(flatten({"max_tokens": 10, "tally": {"prompt_tokens": 5}, "end_token": 2}))
    assert entries == {"max_tokens": "10", "tally.prompt_tokens": "5", "end_token": "2"}


def test_a_long_value_and_a_long_manifest_are_cut_and_say_so() -> None:
    entries = flatten({"long": "x" * 5000, **{f"k{i}": i for i in range(1000)}})
    assert "5,000 characters" in entries[0][1]
    assert entries[-1][1].startswith("601 more")
