"""The rules for one example at a time, in plain Python: what the columnar code is held to.

A candidate is a dict with candidate_id, example_id, parent_id, step, status, and the merged score:
`numbers` maps a metric to a finite float; a metric without a number is not in it. `why` is the
status that says why there is no number.
"""

ORDER = {"original": 0, "sample": 1, "instruction_reflection": 2}


def changed(candidate, candidates):
    if candidate["step"] != "response_reflection":
        return ORDER[candidate["step"]]
    parents = [c for c in candidates if c["candidate_id"] == candidate["parent_id"]]
    return 1 if parents and parents[0]["step"] == "original" else 3


def number(candidate, name):
    return None if candidate is None else candidate["numbers"].get(name)


def best(tier, name, *, highest, pool):
    """The best of those that have the number, else the first of them."""
    scored = [c for c in tier if number(c, name) is not None]

    def key(c):
        value = number(c, name) if scored else 0.0
        return (-value if highest else value, changed(c, pool), c["candidate_id"])

    return min(scored or tier, key=key, default=None)


def spokesman(tiers, name, *, highest, pool):
    for tier in tiers:
        if tier:
            return best(tier, name, highest=highest, pool=pool)
    return None


def passes(candidate):
    ifd, r_ifd = number(candidate, "ifd"), number(candidate, "r_ifd")
    return ifd is not None and r_ifd is not None and ifd < 1 and r_ifd < 1


def unscored_reason(candidate):
    return f"{candidate['step']}_{candidate['why']}"


def out_reason(candidate):
    ifd, r_ifd = number(candidate, "ifd"), number(candidate, "r_ifd")
    if ifd is None or r_ifd is None:
        return unscored_reason(candidate)
    return "ifd_not_below_1" if ifd >= 1 else "r_ifd_not_below_1"


def of_step(pool, step):
    return [c for c in pool if c["step"] == step]


def children(pool, parent):
    if parent is None:
        return []
    parents = {parent["candidate_id"]}
    if parent["step"] == "original":  # a revised sample answers the original instruction, too
        parents |= {c["candidate_id"] for c in of_step(pool, "sample")}
    return [c for c in of_step(pool, "response_reflection") if c["parent_id"] in parents]


def spokesman_of(pool, step, first):
    tier = of_step(pool, step)
    scored = [c for c in tier if number(c, "ifd") is not None]
    return spokesman([[c for c in tier if first(c)], scored, tier], "ifd", highest=True, pool=pool)


def spokesman_among(pool, tier, first):
    scored = [c for c in tier if number(c, "r_ifd") is not None]
    tiers = [[c for c in tier if first(c)], scored, tier]
    return spokesman(tiers, "r_ifd", highest=False, pool=pool)


def safe(pool, margin):
    """(chosen candidate or None, reason)."""
    original = spokesman_of(pool, "original", passes)
    reflected = spokesman_of(pool, "instruction_reflection", passes)
    alone = spokesman_among(pool, of_step(pool, "response_reflection"), passes)
    if not pool:
        return None, "no_candidates"
    winner, first = None, False
    if passes(original):
        winner = original
    if passes(reflected) and (
        winner is None or number(reflected, "ifd") - number(winner, "ifd") > margin
    ):
        winner, first = reflected, True
    if winner is None:
        if passes(alone):
            there = original is not None
            return alone, f"{'original_out' if there else 'no_original'}_refinement_passes"
        speaker = original or reflected or alone
        return None, "no_original" if speaker is None else out_reason(speaker)
    response = spokesman_among(pool, children(pool, winner), passes)
    second = passes(response) and number(winner, "r_ifd") - number(response, "r_ifd") > margin
    chosen = response if second else winner
    if original is None:
        return chosen, "no_original_refinement_passes"
    if not passes(original):
        return chosen, "original_out_refinement_passes"
    table = {
        (True, True): "both_reflections_won",
        (True, False): "instruction_reflection_won",
        (False, True): "response_reflection_won",
        (False, False): "original_kept",
    }
    return chosen, table[first, second]


def less(a, b):
    return a is not None and b is not None and a < b


def paper(pool):
    """(chosen candidate or None, reason)."""
    if not pool:
        return None, "no_candidates"
    original = spokesman_of(pool, "original", lambda c: number(c, "ifd") is not None)
    reflected = spokesman_of(pool, "instruction_reflection", lambda c: number(c, "ifd") is not None)
    if original is None:
        return None, "no_original"
    first = less(number(original, "ifd"), number(reflected, "ifd"))
    winner = reflected if first else original
    response = spokesman_among(
        pool, children(pool, winner), lambda c: number(c, "r_ifd") is not None
    )
    if response is None:
        return None, paper_reason_without_response(original, reflected)
    refusals = [
        (number(winner, "r_ifd") is None, unscored_reason(winner)),
        (number(response, "r_ifd") is None, unscored_reason(response)),
        (
            not less(number(response, "r_ifd"), number(winner, "r_ifd")),
            "response_reflection_not_better",
        ),
        (number(response, "ifd") is None, unscored_reason(response)),
        (not less(number(response, "ifd"), 1), "ifd_not_below_1"),
        (not less(number(response, "r_ifd"), 1), "r_ifd_not_below_1"),
    ]
    for refused, reason in refusals:
        if refused:
            return None, reason
    return response, "both_reflections_won" if first else "response_reflection_won"


def paper_reason_without_response(original, reflected):
    if number(original, "ifd") is None:
        return unscored_reason(original)
    if reflected is not None and number(reflected, "ifd") is None:
        return unscored_reason(reflected)
    return "no_response_reflection"


def single(pool, metric, *, highest, reason):
    """(chosen candidate or None, reason) of the grape and rsr rules."""
    if not pool:
        return None, "no_candidates"
    scored = [c for c in pool if number(c, metric) is not None]
    if scored:
        return best(scored, metric, highest=highest, pool=pool), reason
    first = min(pool, key=lambda c: (changed(c, pool), c["candidate_id"]))
    return None, unscored_reason(first)
