"""The error that a model is known to make, for the manifest and for the people who read of it."""

from common.words import counted
from contract.known_error import KnownError, PatientRate
from contract.manifest import Decisions, Manifest, Unknown
from evaluation.judgement import PREFERRED
from evaluation.patient_error import known_error
from export.scored import Scored


def known_error_of(fit: Scored, decisions: Decisions, unknown: Unknown | None, *, on: str) -> KnownError | None:
    """The error on the cells of the validation split; None where there is none, or too few of its patients.

    Args:
        fit: the cells that INT8's decision was fitted on; of those, the ones of a validation split count.
        decisions: of both precisions.
        unknown: from where on a cell is too unlike the training's to be judged.
        on: the cells in words.
    """
    use = [k for k, sample in enumerate(fit.samples) if sample.split == "validation"]
    samples = [fit.samples[k] for k in use]
    fp32, int8 = (
        known_error(samples, fit.scores[engine][use], decision, columns=fit.columns, unknown=unknown)
        for engine, decision in (("fp32", decisions.fp32), (PREFERRED, decisions.int8))
    )
    return KnownError(on=on, fp32=fp32, int8=int8) if fp32 and int8 else None


def known_error_words(manifest: Manifest) -> str:
    """What a reader must know of it, in one line."""
    known = manifest.known_error
    if known is None:
        return "Known error: not measured, so that no share of blasts is corrected for it."
    error = known.int8
    return (
        f"Known error of INT8 among the cells that it calls normal or blast, on {known.on}: sensitivity "
        f"{_words(error.sensitivity)}, specificity {_words(error.specificity)}. A slide's share of blasts is corrected "
        "for it. The decision was chosen on the same patients, which flatters it."
    )


def _words(rate: PatientRate) -> str:
    patients = counted(rate.patients, "patient")
    return f"{100 * rate.mean:.1f} % (standard deviation between {patients} {100 * rate.std:.1f} %)"
