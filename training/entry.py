"""Entry points of `train-classifier` and `evaluate-classifier`; help and wrong usage end before torch is loaded."""

from common.commands import process


def train_classifier() -> int:
    """`train-classifier`."""
    return process("train-classifier", _train)


def evaluate_classifier() -> int:
    """`evaluate-classifier`."""
    return process("evaluate-classifier", _evaluate)


def _train() -> int:
    from training.options import train_parser  # noqa: PLC0415 - see above

    train_parser().parse_args()
    from training.fit import main  # noqa: PLC0415 - see above

    return main()


def _evaluate() -> int:
    from training.options import evaluate_parser  # noqa: PLC0415 - see above

    evaluate_parser().parse_args()
    from training.evaluate import main  # noqa: PLC0415 - see above

    return main()
