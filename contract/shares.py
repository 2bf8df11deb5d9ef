"""Text of a slide's blast fraction, the same in every program that prints it."""

from contract.messages import SlideSummary


def percent(share: float) -> str:
    """0.125 as `12.5 %`."""
    return f"{100 * share:.1f} %"


def corrected_words(slide: SlideSummary) -> str:
    """The share corrected for the model's error, and whether enough cells were seen; "" where it is not known."""
    interval = slide.corrected_interval
    if slide.corrected_fraction is None or interval is None:
        return ""
    between = f"{100 * interval.level:.0f} % interval {percent(interval.low)} to {percent(interval.high)}"
    enough = f"; enough cells seen: {slide.enough_cells}" if slide.enough_cells else ""
    return f"corrected for the model's known error {percent(slide.corrected_fraction)} ({between}){enough}"
