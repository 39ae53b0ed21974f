"""The check of an extension: a user's function says whether a response is right."""

from tutelage.data.extensions import extension_named
from tutelage.errors import DataError
from tutelage.verification.claim import Claim
from tutelage.verification.verdict import RULINGS, Verdict, shorten


def check_by_extension(claim: Claim, function: str | None) -> Verdict:
    """Ask the function about one claim.

    Raises:
        DataError: It failed, or gave no verdict.
    """
    asked = extension_named("check", function)
    about = f"candidate {claim.candidate_id}" if claim.candidate_id else "a response"
    told = asked.call(claim, about=about)
    ruling, evidence = told if isinstance(told, tuple) and len(told) == 2 else (told, None)  # noqa: PLR2004
    for known in RULINGS:
        if ruling == known:
            said = str(evidence) if evidence else f"said by {asked.name}"
            return Verdict(verdict=known, evidence=shorten(said))
    raise DataError(
        f"extension check {asked.name}: gave {told!r} for {about}",
        hint=f"give one of {', '.join(RULINGS)}, or a pair of it and the evidence",
    )
