"""TensorRT's progress on a terminal, or in the log."""

import logging
import sys
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)


class Progress:
    """One bar for each phase that is under way; without a terminal, one line in the log."""

    def __init__(self, base: type[Any] | None) -> None:
        """Make a monitor.

        Args:
            base: TensorRT's IProgressMonitor, or None where it has none: then nothing is shown.
        """
        self._bars: dict[str, Any] = {}
        self._monitor: Any = type("Monitor", (base,), self._methods())() if base else None

    def _methods(self) -> dict[str, Any]:
        """What TensorRT calls, each with its own object first."""

        def phase_start(_: object, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._start(phase_name, parent_phase, num_steps)

        def step_complete(_: object, phase_name: str, step: int) -> bool:
            return self._step(phase_name, step)

        def phase_finish(_: object, phase_name: str) -> None:
            self._finish(phase_name)

        return {f.__name__: f for f in (phase_start, step_complete, phase_finish)}

    def watch(self, config: Any) -> None:
        """Have a builder report here."""
        if self._monitor is not None:
            config.progress_monitor = self._monitor

    def close(self) -> None:
        """End every bar."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()

    def _start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        if not parent_phase:
            log.info("TensorRT: %s", phase_name)
        shown = sys.stderr.isatty()
        self._bars[phase_name] = tqdm(total=num_steps, desc=phase_name, leave=False, disable=not shown)

    def _step(self, phase_name: str, _: int) -> bool:
        """Count a step; True lets the build go on."""
        if phase_name in self._bars:
            self._bars[phase_name].update()
        return True

    def _finish(self, phase_name: str) -> None:
        if bar := self._bars.pop(phase_name, None):
            bar.close()
