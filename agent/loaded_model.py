"""The model in use, and its exchange for what lies in the bundle's folder now. Engines belong to the loop's thread."""

from types import TracebackType

from typing_extensions import Self

from agent.ops.audit_events import Note, model_opened
from agent.pipeline import Examiner
from agent.rollback_guard import recall, refuse_rollback, remember
from agent.settings import Settings
from agent.site import Site
from agent.trust import open_trusted
from agent.vision.watch import ScaleWatch
from engines.choice import open_engine


class LoadedModel:
    """An examiner whose model can be opened again.

    Args:
        settings: which bundle, whom to trust, which engine.
        site: what was measured of the microscope.
        note: takes note of every model that is opened.

    Raises:
        MicroscopeError: bundle or engine can not be opened; the text says which and why.
    """

    def __init__(self, settings: Settings, site: Site, *, note: Note = lambda _, __: None) -> None:
        self._settings, self._site, self._note = settings, site, note
        self.examiner = self._opened(ScaleWatch(), rebuild=settings.engine_rebuild)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.examiner.engine.close()

    def remember(self) -> None:
        """Note that this version ran: from now on an older one is refused."""
        manifest = self.examiner.bundle.manifest
        remember(manifest.model, manifest.version, self._settings.state_dir)

    def reload(self) -> Examiner:
        """Open the bundle again, by the same rules as at the start; no engine is built, for that takes minutes.

        Raises:
            MicroscopeError: it can not be used; the one before goes on.
        """
        before = self.examiner
        self.examiner = self._opened(before.watch, rebuild=False)
        try:
            self.remember()
        except BaseException:
            self.examiner.engine.close()
            self.examiner = before
            raise
        before.engine.close()
        return self.examiner

    def _opened(self, watch: ScaleWatch | None, *, rebuild: bool) -> Examiner:
        ours = self._settings
        bundle = open_trusted(ours)
        manifest = bundle.manifest
        refuse_rollback(manifest.model, manifest.version, ours.state_dir, allow=ours.trust.allow_rollback)
        colour = self._site.normaliser(manifest.reference)
        engine = open_engine(bundle, ours.engine, state_dir=ours.state_dir, rebuild=rebuild)
        limits = self._site.file.limits
        colours = self._site.colours(manifest.input)
        examiner = Examiner(
            ours.site, ours.device, bundle, engine, colour=colour, limits=limits, watch=watch, colours=colours
        )
        newest = recall(ours.state_dir).newest.get(manifest.model, 0)
        model_opened(self._note, examiner, wanted=ours.engine, newest=newest)
        return examiner
