"""The words by which a command is told where frames come from."""

from pathlib import Path

import pytest

from agent.sources.directory import DirectorySource
from agent.sources.opencv import CameraSource, VideoSource
from agent.sources.place import PIXELS, source_at


class TestPlaces:
    """What a command line's word for a source means."""

    @pytest.mark.parametrize("place", ["0", "12", "/dev/video3", "rtsp://camera/1", "videotestsrc ! appsink"])
    def test_cameras(self, place: str) -> None:
        assert isinstance(source_at(place, PIXELS), CameraSource)

    def test_files_and_folders(self, tmp_path: Path) -> None:
        (tmp_path / "slide.mp4").mkdir()
        assert isinstance(source_at("x/y.avi", PIXELS), VideoSource)
        assert isinstance(source_at(str(tmp_path / "slide.mp4"), PIXELS), DirectorySource)
        assert isinstance(source_at("x.png", PIXELS), DirectorySource)

    def test_a_folder_named_by_a_number_is_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "7").mkdir()
        monkeypatch.chdir(tmp_path)
        assert isinstance(source_at("7", PIXELS), DirectorySource)
