"""Preference pairs between candidates of a run, each with the source and reason of the preference.

A pair is made only between candidates of one example with the same context: the same turns in
front of the response and the same tools. By default the preference comes from a check (`right`
against `wrong`), a judge or a person; the student's own likelihoods are used only on request,
because text that is unlike the student is not necessarily bad text.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, TypeAlias

from tutelage.data.schemas import plain_turns
from tutelage.errors import RunError, SettingsError
from tutelage.pipeline.overrides import Override, overrides_of
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.set_rows import has_column, has_tools, student_with_scores
from tutelage.pipeline.tables import UNNAMED, checks_of, open_tables, stream

Basis: TypeAlias = Literal["checked", "likelihood"]
BASES: tuple[Basis, ...] = ("checked", "likelihood")

JUDGE, PERSON, VERIFIER, AGREEMENT = "judge", "person", "verifier", "agreement"
"""Sources of a preference in `preferred_by`."""

LIKELIHOOD = "student_likelihood"
"""Value of `preferred_by` for pairs ordered only by the student's own likelihoods."""

_VERSIONS = """
select c.example_id, c.candidate_id, c.step, c.teacher, c.messages, {tools} as tools,
       {template_args} as template_args,
       e.source, {nll} as nll, {verdicts} as verdicts, {filtered} as filtered, {faulty} as faulty
from candidates c
left join examples e on e.example_id = c.example_id
{joins}
where c.status = 'ok'
order by e.row, c.example_id, c.candidate_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A candidate with everything known about its response.

    Attributes:
        candidate_id: Its id.
        example_id: The example it is a version of.
        source: Where the example came from.
        step: How it was made.
        teacher: The teacher that wrote it; None for the user's own text.
        messages: The conversation, turns without the fields they do not have.
        tools: The tools as JSON text, or None.
        verdicts: What each check said: right, wrong, no_answer or cannot_check.
        nats_per_token: The student's mean negative log-likelihood of the response; None where it
            was not scored.
        excluded: Why it takes no part in preferences; None where it does.
        faulty: Whether the calibrated quality gate rejected it, so that it is never preferred.
        template_args: The row's own template arguments as JSON text; None where no row of the run
            has any.
    """

    candidate_id: str
    example_id: str
    source: str | None
    step: str
    teacher: str | None
    messages: tuple[dict[str, Any], ...]
    tools: str | None
    verdicts: Mapping[str, str]
    nats_per_token: float | None
    excluded: str | None = None
    faulty: bool = False
    template_args: str | None = None

    @property
    def context(self) -> tuple[str, str | None, str | None]:
        """Key that two compared candidates share: turns before the response, and tools."""
        return _as_key(self.messages[:-1]), self.tools, self.template_args

    @property
    def response(self) -> str:
        """Response turn as text, equal for equal turns only."""
        return _as_key(self.messages[-1:])

    @property
    def standing(self) -> str | None:
        """Joint verdict: right or wrong where all conclusive checks agree, `disagree`, or None."""
        told = {v for v in self.verdicts.values() if v in ("right", "wrong")}
        return "disagree" if len(told) > 1 else next(iter(told), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One response preferred to another, in the same context.

    Attributes:
        chosen: The preferred candidate.
        rejected: The other one.
        preferred_by: verifier, judge, agreement, person or student_likelihood.
        chosen_reason: For people: why the first is preferred.
        rejected_reason: For people: why the second is not.
    """

    chosen: Version
    rejected: Version
    preferred_by: str
    chosen_reason: str
    rejected_reason: str

    @property
    def margin(self) -> float | None:
        """Mean log-likelihood of chosen minus that of rejected, in nats per token.

        Above 0: the student finds the preferred response likelier; None where either was not
        scored.
        """
        chosen, rejected = self.chosen.nats_per_token, self.rejected.nats_per_token
        return None if chosen is None or rejected is None else rejected - chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A response with a label, for training without pairs.

    Attributes:
        version: The candidate.
        label: True: wanted. False: not wanted.
        preferred_by: As in `Pair`.
        reason: For people.
    """

    version: Version
    label: bool
    preferred_by: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Preferences:
    """Preferences of a run by example, with counts of examples without any.

    Attributes:
        run: The run folder.
        basis: Where preferences come from.
        check: The only check whose verdicts count; None: all.
        pairs_per_prompt: The most pairs of one context; None: all.
        left_out: How many candidates or pairs were left out, by reason; filled while iterating.
    """

    run: RunFolder
    basis: Basis = "checked"
    check: str | None = None
    pairs_per_prompt: int | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    _kinds: Mapping[str, str] = field(default_factory=dict)
    _persons: Mapping[str, Override] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.run.need(self.run.candidates)
        if self.basis not in BASES:
            raise SettingsError(
                f"--pairs {self.basis}: unknown", hint=f"--pairs takes {' or '.join(BASES)}"
            )
        there = checks_of(self.run)
        if self.check is not None and self.check not in there:
            found = (
                f"there are verdicts of {', '.join(sorted(there))}"
                if there
                else "nothing was verified"
            )
            raise SettingsError(
                f"--check {self.check}: {self.run.root} has no verdicts of this check", hint=found
            )
        if self.basis == "likelihood" and not self.run.scores.exists():
            raise RunError(
                f"{self.run.root}: has no scores, so there is no student preference",
                hint="`tutelage score RUN --student MODEL` writes them",
            )
        self._kinds = _kinds_of(self.run, there)
        if self.run.decisions.exists():
            self._persons = overrides_of(self.run)

    def pairs(self) -> Iterator[Pair]:
        """Pairs in the order of the input; the strongest of a context first."""
        for contexts in self._contexts():
            for versions in contexts:
                found = _distinct(self._pairs_of(versions))
                if self.pairs_per_prompt is not None:
                    self.left_out["beyond_pairs_per_prompt"] += max(
                        0, len(found) - self.pairs_per_prompt
                    )
                    found = found[: self.pairs_per_prompt]
                yield from found

    def labelled(self) -> Iterator[Labelled]:
        """Labelled responses in the order of the input."""
        for contexts in self._contexts():
            for versions in contexts:
                yield from self._labels_of(versions)

    def _contexts(self) -> Iterator[list[list[Version]]]:
        """Candidates of each example, grouped by context."""
        for _, group in groupby(_versions(self.run, self.check), key=lambda v: v.example_id):
            contexts: dict[tuple[str, str | None, str | None], list[Version]] = {}
            for version in group:
                person = self._persons.get(version.example_id)
                kept = person is not None and person.candidate_id == version.candidate_id
                if version.excluded is not None and not kept:
                    self.left_out[version.excluded] += 1
                else:
                    contexts.setdefault(version.context, []).append(version)
            yield list(contexts.values())

    def _pairs_of(self, versions: Sequence[Version]) -> Iterator[Pair]:
        if self.basis == "likelihood":
            yield from self._likelihood_pairs(versions)
            return
        kept = self._kept_by_person(versions)
        if kept is not None:
            yield from self._person_pairs(kept, versions)
        rights = [v for v in versions if v.standing == "right" and not v.faulty]
        wrongs = [v for v in versions if v.standing == "wrong" and v is not kept]
        self.left_out["checks_disagree"] += sum(v.standing == "disagree" for v in versions)
        rejected = self._rejected_by_person(versions)
        for chosen in _likeliest_first(rights):
            for rejected in _likeliest_first(wrongs):
                if chosen is kept or chosen is rejected:
                    continue  # that pair exists already, or a person said no to it
                if chosen.response == rejected.response:
                    self.left_out["same_response"] += 1
                    continue
                by, right, wrong = self._reasons(chosen, rejected)
                yield Pair(
                    chosen=chosen,
                    rejected=rejected,
                    preferred_by=by,
                    chosen_reason=right,
                    rejected_reason=wrong,
                )

    def _person_pairs(self, kept: Version, versions: Sequence[Version]) -> Iterator[Pair]:
        note = self._persons[kept.example_id].note.strip()
        for other in _likeliest_first(versions):
            if other is kept:
                continue
            if other.response == kept.response:
                self.left_out["same_response"] += 1
                continue
            yield Pair(
                chosen=kept,
                rejected=other,
                preferred_by=PERSON,
                chosen_reason=f"kept by a person: {note}" if note else "kept by a person",
                rejected_reason="a person kept another version",
            )

    def _likelihood_pairs(self, versions: Sequence[Version]) -> Iterator[Pair]:
        scored = [v for v in versions if v.nats_per_token is not None]
        self.left_out["not_scored"] += len(versions) - len(scored)
        best = next((v for v in _likeliest_first(scored) if not v.faulty), None)
        if best is None:
            return
        for other in reversed(_likeliest_first(scored)):  # the widest margin first
            pair = Pair(
                chosen=best,
                rejected=other,
                preferred_by=LIKELIHOOD,
                chosen_reason=_likelihood_of(best),
                rejected_reason=_likelihood_of(other),
            )
            if other is best:
                continue
            if pair.margin is None or pair.margin <= 0 or other.response == best.response:
                self.left_out["equally_likely"] += 1
                continue
            yield pair

    def _labels_of(self, versions: Sequence[Version]) -> Iterator[Labelled]:
        if self.basis == "likelihood":
            pairs = list(self._likelihood_pairs(versions))
            for version, label in [(p.chosen, True) for p in pairs[:1]] + [
                (p.rejected, False) for p in pairs
            ]:
                yield Labelled(
                    version=version,
                    label=label,
                    preferred_by=LIKELIHOOD,
                    reason=_likelihood_of(version),
                )
            return
        kept, rejected = self._kept_by_person(versions), self._rejected_by_person(versions)
        for version in versions:
            if version is kept or version is rejected:
                note = self._persons[version.example_id].note.strip()
                word = "kept" if version is kept else "refused"
                yield Labelled(
                    version=version,
                    label=version is kept,
                    preferred_by=PERSON,
                    reason=f"{word} by a person" + (f": {note}" if note else ""),
                )
            elif version.standing == "disagree":
                self.left_out["checks_disagree"] += 1
            elif version.standing == "right" and version.faulty:
                self.left_out["refused_by_quality_gate"] += 1
            elif version.standing is not None:
                checks = [c for c, v in version.verdicts.items() if v == version.standing]
                yield Labelled(
                    version=version,
                    label=version.standing == "right",
                    preferred_by=self._by(checks),
                    reason=f"{version.standing} by {', '.join(checks)}",
                )
            else:
                self.left_out["no_verdict"] += 1

    def _kept_by_person(self, versions: Sequence[Version]) -> Version | None:
        override = self._persons.get(versions[0].example_id)
        wanted = None if override is None else override.candidate_id
        return next((v for v in versions if v.candidate_id == wanted), None)

    def _rejected_by_person(self, versions: Sequence[Version]) -> Version | None:
        """Version that the rule chose and a person rejected without keeping another one."""
        override = self._persons.get(versions[0].example_id)
        if override is None or override.candidate_id is not None:
            return None
        return next((v for v in versions if v.candidate_id == override.was_candidate_id), None)

    def _reasons(self, chosen: Version, rejected: Version) -> tuple[str, str, str]:
        right = [c for c, v in chosen.verdicts.items() if v == "right"]
        wrong = [c for c, v in rejected.verdicts.items() if v == "wrong"]
        both = [c for c in right if c in wrong] or [*right, *wrong]
        return self._by(both), f"right by {', '.join(right)}", f"wrong by {', '.join(wrong)}"

    def _by(self, checks: Sequence[str]) -> str:
        """Strongest kind among some checks: a verifier before a judge."""
        kinds = {self._kinds[check] for check in checks}
        return next(kind for kind in (VERIFIER, JUDGE, AGREEMENT) if kind in kinds)


def _distinct(pairs: Iterator[Pair]) -> list[Pair]:
    """Pairs without those that repeat the two responses of another pair."""
    return list(
        {(p.chosen.response, p.rejected.response): p for p in reversed(list(pairs))}.values()
    )[::-1]


def _kinds_of(run: RunFolder, checks: Sequence[str]) -> dict[str, str]:
    """Kind of each check: a verifier, a judge, or the agreement of several answers."""
    stages = run.read_manifest().get("stages", {})
    kinds = {}
    for name in checks:
        made_by = stages.get(f"verify:{name}", {}).get("tally", {}).get("kind", name)
        kinds[name] = made_by if made_by in (JUDGE, AGREEMENT) else VERIFIER
    return kinds


def _versions(run: RunFolder, check: str | None) -> Iterator[Version]:
    student = student_with_scores(run)
    tables = open_tables(run, student=student)
    joins = []
    parts = dict.fromkeys(
        ("tools", "template_args", "nll", "verdicts", "filtered", "faulty"), "null"
    )
    parameters: list[str] = []
    if has_tools(run.candidates):
        parts["tools"] = "c.tools"
    if has_column(run.candidates, "template_args"):
        parts["template_args"] = "coalesce(c.template_args, '{}')"
    if student is not None:
        joins.append("left join scores s on s.candidate_id = c.candidate_id and s.status = 'ok'")
        parts["nll"] = "s.nll_response_given_instruction"
    if run.verdicts.exists():
        there = {name for name, *_ in tables.execute("describe verdicts").fetchall()}
        named = '"check"' if "check" in there else f"'{UNNAMED}'"
        only = f"where {named} = ?" if check is not None else ""
        parameters += [check] if check is not None else []
        joins.append(
            f"left join (select candidate_id, list(struct_pack(name := {named}, "  # noqa: S608
            f"verdict := verdict) order by {named}) as said from verdicts {only} "
            "group by candidate_id) v on v.candidate_id = c.candidate_id"
        )
        parts["verdicts"] = "v.said"
    if run.filters.exists() and _filters_count(run):
        joins.append("left join filters f on f.candidate_id = c.candidate_id")
        parts["filtered"] = "not f.kept"
    if run.quality_gate_table.exists():
        tables.read_parquet(str(run.need(run.quality_gate_table))).create_view("quality")
        joins.append("left join quality q on q.candidate_id = c.candidate_id")
        parts["faulty"] = "not q.passed"
    query = _VERSIONS.format(joins="\n".join(joins), **parts)
    try:
        for row in stream(tables, query, parameters):
            yield Version(
                candidate_id=row["candidate_id"],
                example_id=row["example_id"],
                source=row["source"],
                step=row["step"],
                teacher=row["teacher"],
                messages=tuple(plain_turns(row["messages"])),
                tools=row["tools"],
                template_args=row["template_args"],
                verdicts={said["name"]: said["verdict"] for said in row["verdicts"] or ()},
                nats_per_token=row["nll"],
                excluded="filtered_out" if row["filtered"] else None,
                faulty=bool(row["faulty"]),
            )
    finally:
        tables.close()


def _filters_count(run: RunFolder) -> bool:
    select = run.shown_manifest().get("settings", {}).get("select") or {}
    return bool(select.get("use_filters", True))


def _likeliest_first(versions: Sequence[Version]) -> list[Version]:
    def order(version: Version) -> tuple[bool, float, str]:
        nats = version.nats_per_token
        return nats is None, 0.0 if nats is None else nats, version.candidate_id

    return sorted(versions, key=order)


def _likelihood_of(version: Version) -> str:
    return f"mean log-likelihood {-(version.nats_per_token or 0.0):.3f} nats per token"


def _as_key(turns: Sequence[Mapping[str, Any]]) -> str:
    """Turns as a key; which turns are trained on does not matter."""
    plain = [{k: v for k, v in turn.items() if k != "trained"} for turn in turns]
    return json.dumps(plain, sort_keys=True)
