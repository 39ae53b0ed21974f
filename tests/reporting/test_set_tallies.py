from dataclasses import replace

import pytest

from tests.reporting.tables import kept, original, reflection, refused, tables
from tutelage.reporting import ReportTables, summarise
from tutelage.reporting.run_summary import Mean


def made() -> ReportTables:
    return tables(
        examples=[
            {"example_id": "a", "source": "one"},
            {"example_id": "b", "source": "one"},
            {"example_id": "c", "source": None},
        ],
        candidates=[
            original("a"),
            reflection("a"),
            original("b"),
            reflection("b", teacher="u"),
            original("c"),
            reflection("c", status="refused"),
        ],
        scores=[
            {"candidate_id": "ao", "ifd": 0.2, "response_tokens": 10},
            {"candidate_id": "ar", "ifd": 0.4, "response_tokens": 20},
            {"candidate_id": "bo", "ifd": 0.6, "response_tokens": 30},
            {"candidate_id": "br", "ifd": 0.8, "response_tokens": 40},
            {"candidate_id": "co", "status": "too_long"},
        ],
        decisions=[kept("a", "ar"), kept("b", "bo", "original"), refused("c")],
        nulls=[
            {"null": "all_original", "seed": 0, "example_id": "a", "candidate_id": "ao"},
            {"null": "all_original", "seed": 0, "example_id": "c", "candidate_id": "co"},
            {"null": "random", "seed": 0, "example_id": "a", "candidate_id": "ar"},
            {"null": "random", "seed": 0, "example_id": "b", "candidate_id": "br"},
            {"null": "random", "seed": 1, "example_id": "a", "candidate_id": "ao"},
            {"null": "random", "seed": 1, "example_id": "b", "candidate_id": "bo"},
        ],
    )


def test_sources_count_what_was_kept_and_average_their_originals() -> None:
    sources = {s.source: s for s in summarise(made()).sources}
    one, none = sources["one"], sources[None]
    assert (one.examples, one.kept_original, one.kept_refined) == (2, 1, 1)
    assert one.means == (pytest.approx(0.4),)
    assert (none.examples, none.kept, none.means) == (1, 0, (None,))


def test_teachers_count_what_they_wrote() -> None:
    teachers = {t.teacher: t for t in summarise(made()).written}
    t, u = teachers["t"], teachers["u"]
    assert (t.candidates, t.written, t.scored, t.chosen) == (2, 1, 1, 1)
    assert (u.candidates, u.written, u.scored, u.chosen) == (1, 1, 1, 0)
    assert t.means == (pytest.approx(0.4),)


def test_the_choice_comes_first_and_every_null_beside_it() -> None:
    sets = summarise(made()).sets
    assert [s.name for s in sets] == ["chosen", "all_original", "random"]
    chosen, originals, random = sets
    assert (chosen.size, chosen.refined_fraction, chosen.unscored) == (2, 0.5, 0)
    assert chosen.tokens is not None
    assert chosen.tokens.value == pytest.approx(25)
    assert (originals.size, originals.refined_fraction, originals.unscored) == (2, 0.0, 1)
    assert originals.means[0] is not None
    assert originals.means[0].value == pytest.approx(0.2)
    assert (random.seeds, random.size, random.refined_fraction) == (2, 2, 0.5)


def test_an_interval_is_the_mean_and_its_error() -> None:
    chosen = summarise(made()).sets[0].means[0]
    assert chosen is not None
    # 0.4 and 0.6: standard deviation 0.1414, standard error 0.1.
    assert chosen.value == pytest.approx(0.5)
    assert chosen.low == pytest.approx(0.5 - 1.96 * 0.1, abs=1e-4)
    assert chosen.high == pytest.approx(0.5 + 1.96 * 0.1, abs=1e-4)


def test_means_differ_when_the_interval_of_their_difference_leaves_out_zero() -> None:
    one = Mean(value=1.0, low=0.7, high=1.3)
    # 0.3 and 0.4 make 0.5, the half width of the difference.
    assert one.differs_from(Mean(value=1.51, low=1.11, high=1.91))
    assert not one.differs_from(Mean(value=1.49, low=1.09, high=1.89))


def test_without_decisions_there_is_nothing_to_compare() -> None:
    assert summarise(replace(made(), decisions=None, nulls=None)).sets == ()
