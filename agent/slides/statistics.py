"""The figures of a slide: its corrected share of blasts, and when enough is seen."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from contract.known_error import ModelError, PatientRate
from contract.messages import Interval
from contract.shares import DEVIATE, LEVEL

ACUTE_LEUKEMIA = 0.20
"""Share of blasts from which a marrow or blood smear counts as acute leukemia in the WHO classification (Arber et al.,
Blood 127, 2016, 2391-2405). It only says which question the cells must answer; the answer is no diagnosis."""
DESIGN_EFFECT = 2.0
"""Cells of one slide are alike, as they lie beside one another: so many count as one independent cell (Kish, Survey
Sampling, 1965, 258). Assumed, not measured."""
LEAST_INFORMATION = 0.1
"""Least sensitivity + specificity - 1 at which a share can be corrected; at 0 the labels are those of a coin."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A slide's share of blasts, corrected for the error that the model is known to make.

    Attributes:
        fraction: the corrected share, 0 to 1.
        interval: of that share, for a single look.
        enough: whether the cells seen say on which side of ``ACUTE_LEUKEMIA`` the share lies, however often one looks.
    """

    fraction: float
    interval: Interval
    enough: bool


def corrected(blasts: int, of: int, error: ModelError | None) -> Corrected | None:
    """Correct the share of cells called blast (Rogan and Gladen, Am. J. Epidemiol. 107, 1978, 71-76).

    The share is (q + specificity - 1) / (sensitivity + specificity - 1), where q is that of the cells called blast. The
    interval is by the delta method (Lang and Reiczigel, Prev. Vet. Med. 113, 2014, 13-22). It holds the draw of cells,
    of which ``DESIGN_EFFECT`` count as one, and in full how patients differ, as a slide is of one patient.

    Args:
        blasts: cells called blast.
        of: cells called normal or blast.
        error: of the model in the precision that judged; None: not known.

    Returns:
        None where nothing can be said: there is no cell, the error is not known, it leaves no information, or no
        share of blasts would give what is seen, so that the slide is not of the kind on which the error was measured.
    """
    if not of or error is None or _information(error) < LEAST_INFORMATION:
        return None
    z2, cells = DEVIATE**2, of / DESIGN_EFFECT
    pulled = (cells * blasts / of + z2 / 2) / (cells + z2)  # Agresti and Coull 1998: holds near 0 and 1
    middle = _true_share(pulled, error)
    drawn = pulled * (1 - pulled) / (cells + z2)
    share = min(max(middle, 0.0), 1.0)
    half = _half_width(share, error, level=LEVEL, drawn=drawn) / _information(error)
    low, high = middle - half, middle + half
    if high < 0 or low > 1:
        return None
    return Corrected(
        fraction=round(_within(_true_share(blasts / of, error)), 6),
        interval=Interval(low=round(_within(low), 6), high=round(_within(high), 6), level=LEVEL),
        enough=excludes(ACUTE_LEUKEMIA, blasts, of, error),
    )


def excludes(share: float, blasts: int, of: int, error: ModelError | None = None) -> bool:
    """Whether the cells seen rule out that a slide has this share of blasts, at any look of as many as there are.

    A summary is looked at again and again, and an interval for one look would sooner or later miss what is true. This
    is the confidence sequence of Robbins (Ann. Math. Stat. 41, 1970, 1397-1409) by the mixture of binomials over a beta
    distribution, here Jeffreys' Beta(1/2, 1/2): where the true share draws the cells, the chance that the mixture ever
    is 1/a times as likely as the truth is at most a (Ville 1939). With a known error half of 1 - ``LEVEL`` goes to the
    draw, and half to how far this patient's sensitivity and specificity lie from the mean.

    Args:
        share: true share of blasts among the cells called normal or blast.
        blasts: cells called blast.
        of: cells called normal or blast.
        error: of the model; None: none, so that ``share`` is that of the cells called blast.
    """
    if not of:
        return False
    doubt, low, high = 1 - LEVEL, share, share
    if error is not None:
        doubt /= 2
        low, high = _called(share, error, level=1 - doubt)
    seen = blasts / of
    nearest = min(max(seen, low), high)
    if nearest == seen:
        return False
    return _log_mixture(blasts / DESIGN_EFFECT, (of - blasts) / DESIGN_EFFECT, nearest) >= -math.log(doubt)


def _log_mixture(hits: float, misses: float, share: float) -> float:
    """How much likelier the mixture is than a share, as a natural logarithm.

    Counts are divided by the design effect. The likelihood ratio is raised to a power below 1 by that, and its mean
    stays at most 1 (Jensen), so that the bound holds for independent cells too.
    """
    of = hits + misses
    mixed = math.lgamma(hits + 0.5) + math.lgamma(misses + 0.5) - math.lgamma(of + 1) - math.log(math.pi)
    told = ((hits, share), (misses, 1 - share))
    if any(count and not chance for count, chance in told):
        return math.inf
    return mixed - sum(count * math.log(chance) for count, chance in told if count)


def _information(error: ModelError) -> float:
    return error.sensitivity.mean + error.specificity.mean - 1


def _true_share(called: float, error: ModelError) -> float:
    """The share of blasts of which this share is called blast, by the mean error; it may lie beyond 0 to 1."""
    return (called + error.specificity.mean - 1) / _information(error)


def _called(share: float, error: ModelError, *, level: float) -> tuple[float, float]:
    """Between which shares of cells called blast a true share leaves a patient, at a level of confidence.

    However much patients differ, no sensitivity and no specificity leaves 0 to 1: a model that is right about nearly
    all of most healthy people can err about one of them, but not be righter than right about another.
    """
    sensitivity, specificity = error.sensitivity.mean, error.specificity.mean
    middle = share * sensitivity + (1 - share) * (1 - specificity)
    margin = _half_width(share, error, level=level)
    deviate = _deviate(level, _freedom(share, error))
    sick, healthy = (deviate * math.sqrt(_variance(rate)) for rate in (error.sensitivity, error.specificity))
    least = share * min(sick, sensitivity) + (1 - share) * min(healthy, 1 - specificity)
    most = share * min(sick, 1 - sensitivity) + (1 - share) * min(healthy, specificity)
    return middle - min(margin, least), middle + min(margin, most)


def _half_width(share: float, error: ModelError, *, level: float, drawn: float = 0.0) -> float:
    """How far the share of cells called blast may lie from what the mean error gives at a true share.

    Args:
        share: the true share.
        error: of the model.
        level: of confidence, two-sided.
        drawn: variance by the draw of the cells.
    """
    whole = drawn + sum(variance for variance, _ in _parts(share, error))
    return _deviate(level, _freedom(share, error, drawn=drawn)) * math.sqrt(whole)


def _freedom(share: float, error: ModelError, *, drawn: float = 0.0) -> float:
    """Degrees of freedom of that: few patients tell little of how patients differ.

    Satterthwaite, Biometrics Bulletin 2, 1946, 110-114.
    """
    parts = _parts(share, error)
    known = sum(variance**2 / of for variance, of in parts)
    return (drawn + sum(variance for variance, _ in parts)) ** 2 / known if known else math.inf


def _parts(share: float, error: ModelError) -> list[tuple[float, int]]:
    """Variance of the share called blast by how patients differ in either rate, and its degrees of freedom."""
    return [
        (share**2 * _variance(error.sensitivity), error.sensitivity.patients - 1),
        ((1 - share) ** 2 * _variance(error.specificity), error.specificity.patients - 1),
    ]


def _variance(rate: PatientRate) -> float:
    """Of one more patient about the mean of those who were measured."""
    return rate.std**2 * (1 + 1 / rate.patients)


def _deviate(level: float, freedom: float) -> float:
    """Two-sided deviate of Student's distribution.

    By Abramowitz and Stegun 26.7.5, to 1 % from 4 degrees of freedom on.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)
