"""Schemas of the tables of experiments: prove, frontier, drift, rankings and rounds."""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from tutelage.data.schemas.columns import column, table_schema
from tutelage.data.schemas.run_tables import ATTEMPTS, RESULTS

COMPARISONS = table_schema(
    column("student", pa.string()),
    column(
        "balance", pa.string(), title="equal", about="what is equal in all sets: rows or tokens"
    ),
    column("task", pa.string()),
    column("measure", pa.string()),
    column("arm", pa.string()),
    column("against", pa.string(), title="minus", about="the arm that is subtracted"),
    column("mean", pa.float64(), title="difference", about="mean of the paired differences"),
    column("low", pa.float64(), title="from", about="lower end of the 95 % interval"),
    column("high", pa.float64(), title="to", about="upper end of the 95 % interval"),
    column("p_value", pa.float64(), title="p", about="p-value before correction"),
    column("p_corrected", pa.float64(), title="p, corrected", about="p-value after correction"),
    column("detectable", pa.float64(), title="minimum detectable effect"),
    column("detectable_corrected", pa.float64(), title="minimum detectable effect, corrected"),
    column("seeds", pa.int32()),
    column("items", pa.int32(), about="items of the task that are compared"),
    column("items_left_out", pa.int32()),
    column("seeds_left_out", pa.int32()),
    column("mean_arm", pa.float64(), title="mean of the arm"),
    column("mean_against", pa.float64(), title="mean of the other"),
)
"""comparisons.parquet of `tutelage prove`: one row per comparison of two arms."""

EFFICIENCIES = table_schema(
    column("student", pa.string()),
    column(
        "balance", pa.string(), title="equal", about="what is equal in all sets: rows or tokens"
    ),
    column("task", pa.string()),
    column("measure", pa.string()),
    column("arm", pa.string()),
    column("status", pa.string(), about="ok, no_room or oracle_worse"),
    column(
        "efficiency",
        pa.float64(),
        about="share of the oracle's gain; null, like its interval, unless the status is ok",
    ),
    column("low", pa.float64(), title="from", about="lower end of the 95 % interval"),
    column("high", pa.float64(), title="to", about="upper end of the 95 % interval"),
    column("gain", pa.float64(), about="mean of the arm minus the mean of the arm ungated"),
    column("room", pa.float64(), about="mean of the arm oracle minus the mean of the arm ungated"),
    column("seeds", pa.int32()),
    column("items", pa.int32()),
)
"""efficiency.parquet of `tutelage prove`: the part of the possible gain that each arm reaches."""

FRONTIER = table_schema(
    column("example_id", pa.string(), title="example"),
    column(
        "knowledge",
        pa.string(),
        title="class",
        about="known, maybe_known, weakly_known or unknown; null if not classified",
    ),
    column("basis", pa.string(), about="basis of the rate: attempts, predicted or none"),
    column("greedy", pa.int32(), title="greedy attempts"),
    column("greedy_right", pa.int32(), title="greedy attempts right"),
    column("sampled", pa.int32(), title="sampled attempts"),
    column("sampled_right", pa.int32(), title="sampled attempts right"),
    column(
        "pass_rate",
        pa.float64(),
        unit="share",
        about="measured share of right attempts; null without attempts",
    ),
    column(
        "predicted",
        pa.float64(),
        title="predicted pass rate",
        unit="share",
        about="predicted from token statistics; null if there are none",
    ),
    column(
        "rate",
        pa.float64(),
        title="rate used",
        unit="share",
        about="the rate on which selection is based: measured and smoothed, or predicted",
    ),
    column("learnability", pa.float64(), about="rate (1 - rate), in [0, 1/4]"),
    column("kept", pa.bool_()),
    column(
        "reason",
        pa.string(),
        about="in_band, band_full, too_easy, too_hard, or the reason why it is not classified",
    ),
    column(
        "curriculum",
        pa.int64(),
        title="place in the curriculum",
        about="place in the order of training, from 0; null if the example is not kept",
    ),
)
"""frontier.parquet: one row per example."""

DRIFT = table_schema(
    column(
        "subject",
        pa.string(),
        about="origin of the text: data, student, held_out, or the name of a file",
    ),
    column("name", pa.string(), about="name of the set of texts"),
    column(
        "baseline",
        pa.string(),
        about="name of the set that it is compared with; null for the baseline itself",
    ),
    column("measure", pa.string()),
    column("unit", pa.string()),
    column("value", pa.float64()),
    column(
        "low",
        pa.float64(),
        title="from",
        about="lower end of the 95 % interval over instructions; null if there is no interval",
    ),
    column("high", pa.float64(), title="to", about="upper end of the interval"),
    column("change", pa.float64(), about="value minus the value of the baseline"),
    column("change_low", pa.float64(), title="change, from"),
    column("change_high", pa.float64(), title="change, to"),
    column(
        "noise",
        pa.float64(),
        title="noise level",
        about="for divergences: upper limit of the values between two random halves of both sets",
    ),
    column("texts", pa.int64(), about="number of texts from which the value was computed"),
)
"""drift.parquet: one row per set of texts and measure."""

STANDINGS = table_schema(
    column("domain", pa.string(), about="the domain, or `all` for all domains together"),
    column("predictor", pa.string()),
    column("entrant", pa.string()),
    column("better", pa.string(), about="higher, lower or neither"),
    column(
        "value", pa.float64(), about="value of the predictor; null if the entrant has no number"
    ),
    column(
        "low", pa.float64(), title="from", about="lower end of the bootstrap percentile interval"
    ),
    column("high", pa.float64(), title="to", about="upper end of the interval"),
    column("rank", pa.int32(), about="1 is best"),
    column(
        "rank_best",
        pa.int32(),
        title="best rank",
        about="best possible rank, at a joint confidence level for all entrants",
    ),
    column("rank_worst", pa.int32(), title="worst rank"),
    column(
        "first_fraction",
        pa.float64(),
        title="first in resamples",
        unit="share",
        about="share of the bootstrap samples in which the entrant is first",
    ),
    column("questions", pa.int32(), about="questions for which the entrant has a number"),
    column("answers", pa.int32(), about="answers with or without a number, over all domains"),
)
"""standings.parquet: one row per domain, predictor and entrant, best first."""

PAIRS = table_schema(
    column("domain", pa.string()),
    column("predictor", pa.string()),
    column("a", pa.string(), about="the entrant that ranks higher"),
    column("b", pa.string(), about="the other entrant"),
    column("difference", pa.float64(), about="a minus b, in the unit of the predictor"),
    column(
        "low",
        pa.float64(),
        title="from",
        about="lower end, joint for all pairs, over questions that both answered",
    ),
    column("high", pa.float64(), title="to", about="upper end of the interval"),
    column(
        "told_apart",
        pa.bool_(),
        title="distinguishable",
        about="whether the interval shows that a is better",
    ),
)
"""pairs.parquet: one row per pair of entrants."""

CORRELATIONS = table_schema(
    column("predictor", pa.string()),
    column("outcome", pa.string()),
    column("better", pa.string(), title="claimed to be better"),
    column(
        "spearman",
        pa.float64(),
        title="correlation",
        about="as measured: negative if low values go with high outcomes",
    ),
    column("low", pa.float64(), title="from", about="lower end of the 95 % interval"),
    column("high", pa.float64(), title="to", about="upper end of the 95 % interval"),
    column(
        "as_claimed",
        pa.float64(),
        title="in the claimed direction",
        about="the correlation, times -1 if lower is claimed to be better",
    ),
    column("entrants", pa.int32(), title="sources"),
)
"""correlations.parquet: one row per predictor and measured outcome."""

SETTLING = table_schema(
    column("questions", pa.int32()),
    column("leader", pa.string()),
    column("value", pa.float64(), about="value of the leader"),
    column(
        "in_running",
        pa.list_(pa.string()),
        title="may still be first",
        about="entrants; those without a number only before 25 questions",
    ),
    column("settled", pa.bool_(), about="whether only the leader is left"),
)
"""settling.parquet: one row per look of the sequential test at the first place."""

STUDENT_AGREEMENT = table_schema(
    column("one", pa.string(), about="the first student"),
    column("other", pa.string(), about="the second student"),
    column("predictor", pa.string()),
    column("measure", pa.string()),
    column("value", pa.float64(), about="null if it is undefined"),
    column("low", pa.float64(), title="from", about="lower end of the 95 % interval"),
    column("high", pa.float64(), title="to", about="upper end of the 95 % interval"),
    column(
        "chance", pa.float64(), title="by chance", about="expected value for unrelated students"
    ),
    column(
        "n",
        pa.int64(),
        title="pairs",
        about="number of entrants, questions or answers that were compared",
    ),
)
"""agreement.parquet: one row per pair of students, predictor and measure."""

PROBES = table_schema(
    column(
        "rung",
        pa.int32(),
        about="number of the set of training runs; each has fewer sources and more examples",
    ),
    column("source", pa.string()),
    column("predicted_rank", pa.int32()),
    column("examples", pa.int32()),
    column("seeds", pa.int32()),
    column("items", pa.int32()),
    column(
        "value",
        pa.float64(),
        about="mean over seeds and over the items used for choosing, in the unit of the task",
    ),
    column("gain", pa.float64(), about="value minus the mean of all sources in this rung"),
    column(
        "shrunk_gain",
        pa.float64(),
        about="gain corrected for selection: the value to expect in a repetition",
    ),
    column("shrunk_error", pa.float64(), about="standard error of the corrected gain"),
    column(
        "goes_on", pa.bool_(), title="continues", about="whether the source is in the next rung"
    ),
)
"""probes.parquet: one row per source and rung of small training runs."""

SWEEP = table_schema(
    column("mix", pa.string()),
    column("sources", pa.list_(pa.string())),
    column("examples", pa.int32()),
    column("seeds", pa.int32()),
    column("items", pa.int32()),
    column("value", pa.float64()),
    column(
        "less_all",
        pa.float64(),
        title="minus the mix of all",
        about="value minus the value of the mix of all sources",
    ),
    column("low", pa.float64(), title="from", about="lower end of the 95 % interval"),
    column("high", pa.float64(), title="to", about="upper end of the 95 % interval"),
)
"""sweep.parquet: one row per mix of sources."""

ANSWERS = table_schema(
    column("question", pa.string(), about="hash of the conversation before the answer"),
    column("entrant", pa.string(), about="the teacher or the source"),
    column("domain", pa.string()),
    column("candidate_id", pa.string(), title="candidate"),
    column("status", pa.string(), about="ok, or why the student has no number"),
    column("detail", pa.string()),
    column("response_tokens", pa.float64(), unit="tokens"),
)
"""answers.parquet: one row per answer; one float64 column for each metric follows."""

GRADIENTS = table_schema(
    column("question", pa.string()),
    column("candidate_id", pa.string(), title="candidate"),
    column("status", pa.string()),
    column("gradient", pa.list_(pa.float32()), about="null if there is none"),
)
"""gradients.parquet: one row per answer, with the projected gradient of its loss."""

_ROUND_PLACE = table_schema(
    column("seed", pa.int64()), column("loop", pa.string()), column("round", pa.int32())
)

FATES = table_schema(
    _ROUND_PLACE,
    column("example_id", pa.string(), title="example"),
    column(
        "fate",
        pa.string(),
        title="outcome",
        about="what the round keeps: refined, original or refused",
    ),
)
"""fates.parquet: one row per example and round."""

FLIPS = table_schema(
    column("example_id", pa.string(), title="example"),
    column("direction", pa.string(), about="gained, lost or other_version"),
    column("candidate_before", pa.string(), about="null where nothing was chosen"),
    column("candidate_after", pa.string()),
    column("step_before", pa.string()),
    column("step_after", pa.string()),
    column("reason_before", pa.string()),
    column("reason_after", pa.string()),
)
"""One row per example on which two rounds decide differently."""

REWRITES = table_schema(
    column("example_id", pa.string(), title="example"),
    column("parent_id", pa.string(), title="made from", about="the candidate that was rejected"),
    column("complaint", pa.string(), title="reason for rejection"),
    column("number", pa.int32(), about="number of the attempt in this loop, from 0"),
    column("step", pa.string(), title="version", about="step of the version that was requested"),
    column("candidate_id", pa.string(), title="candidate"),
    column("status", pa.string()),
)
"""One row per rewrite requested after a rejection."""

COMPARED_LOOPS = table_schema(
    column(
        "after",
        pa.int32(),
        title="training runs",
        about="number of training runs before the comparison",
    ),
    column("task", pa.string()),
    column(
        "measure",
        pa.string(),
        about="right: the share of right answers; value: the mean in the unit of the task",
    ),
    column("loop", pa.string(), about="the loop that a difference above 0 favors"),
    column("against", pa.string(), title="minus", about="another loop, or the untrained student"),
    column("mean", pa.float64(), title="difference", about="mean of the paired differences"),
    column("low", pa.float64(), title="from", about="lower end of the 95 % interval"),
    column("high", pa.float64(), title="to", about="upper end of the 95 % interval"),
    column("p_value", pa.float64(), title="p", about="p-value before correction"),
    column(
        "p_corrected",
        pa.float64(),
        title="p, corrected",
        about="p-value after Holm's correction for all comparisons of the same outcome",
    ),
    column(
        "detectable",
        pa.float64(),
        title="minimum detectable effect",
        about="the smallest true difference that is found with 80 % power",
    ),
    column("seeds", pa.int32()),
    column("items", pa.int32()),
    column("mean_loop", pa.float64(), title="mean of the loop"),
    column("mean_against", pa.float64(), title="mean of the other"),
    column(
        "shown",
        pa.bool_(),
        title="significant",
        about="whether the corrected p-value is below 0.05, with two seeds or more",
    ),
    column(
        "latest",
        pa.bool_(),
        about="whether no comparison of these two on this task follows more training runs",
    ),
)
"""loops.parquet: one row per comparison of two loops."""

ROUNDS = table_schema(
    _ROUND_PLACE,
    column("student", pa.string(), about="fingerprint of the student that judged"),
    column("examples", pa.int64()),
    column("kept", pa.int64()),
    column("kept_refined", pa.int64(), about="kept examples of which a rewrite is kept"),
    column(
        "compared",
        pa.int64(),
        about="examples on which both this round and the previous one decided",
    ),
    column(
        "gained",
        pa.int64(),
        about="examples that were rejected in the previous round and are kept now",
    ),
    column(
        "lost",
        pa.int64(),
        about="examples that were kept in the previous round and are rejected now",
    ),
    column("other_version", pa.int64(), about="examples of which another version is kept now"),
    column(
        "flipped_from_start",
        pa.int64(),
        title="changed since the untrained student",
        about="decisions that differ from those of the untrained student",
    ),
    column(
        "rewrites_asked",
        pa.int64(),
        title="sent back",
        about="rejected examples for which rewrites were requested",
    ),
    column(
        "rewrites_won_back",
        pa.int64(),
        title="won back",
        about="examples that are kept again because of their rewrites",
    ),
    column("trained_rows", pa.int64()),
    column("accepted", pa.bool_(), about="null if the round did not train"),
    column(
        "broken",
        pa.list_(pa.string()),
        title="limits broken",
        about="violated limits of the guard, in words",
    ),
    column("ended", pa.string(), about="why the loop ended here; null if it continued"),
)
"""rounds.parquet: one row per round of a loop."""

ROUND_DRIFT = table_schema(_ROUND_PLACE, DRIFT)
"""drift.parquet of rounds: as DRIFT, for each round."""

ROUND_FLIPS = table_schema(
    column(
        "kind",
        pa.string(),
        about="compared with: the previous round (round), round 0 (start), or the same "
        "loop and round with another seed (seed)",
    ),
    _ROUND_PLACE,
    column("against", pa.int64(), about="the round or the seed that it is compared with"),
    FLIPS,
)
"""flips.parquet of rounds: as FLIPS, for each pair of compared rounds."""

ROUND_REWRITES = table_schema(
    _ROUND_PLACE, REWRITES, column("won_back", pa.bool_(), about="whether the rewrite was chosen")
)
"""rewrites.parquet of rounds: as REWRITES, with whether the rewrite was chosen."""

EXPERIMENT_TABLES: Mapping[str, Mapping[str, pa.Schema]] = MappingProxyType(
    {
        "prove": {
            "results.parquet": RESULTS,
            "comparisons.parquet": COMPARISONS,
            "efficiency.parquet": EFFICIENCIES,
        },
        "rank": {
            "answers.parquet": ANSWERS,
            "standings.parquet": STANDINGS,
            "pairs.parquet": PAIRS,
            "settling.parquet": SETTLING,
            "agreement.parquet": STUDENT_AGREEMENT,
            "probes.parquet": PROBES,
            "sweep.parquet": SWEEP,
        },
        "rounds": {
            "rounds.parquet": ROUNDS,
            "flips.parquet": ROUND_FLIPS,
            "drift.parquet": ROUND_DRIFT,
            "rewrites.parquet": ROUND_REWRITES,
            "loops.parquet": COMPARED_LOOPS,
        },
        "drift": {"drift.parquet": DRIFT},
        "frontier": {"attempts.parquet": ATTEMPTS, "frontier.parquet": FRONTIER},
    }
)
"""Tables of each experiment by file; answers have one further column for each metric."""
