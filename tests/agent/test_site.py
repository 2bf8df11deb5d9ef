"""The site file: what it may say, what is refused, and what is done with it."""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.config import load
from agent.service import serve
from agent.site import FlatFile, MeasuredScale, SiteFile, agreed_scale, open_site, write_site
from agent.vision.flatfield import FlatField, write_flat
from agent.vision.limits import QualityLimits
from agent.vision.quality import assess
from common.errors import IntegrityError, UsageError
from contract.types import Frame, Image
from devbroker.broker import Broker

SIDE = 64
SCALE = MeasuredScale(value=0.1, low=0.09, high=0.11)


def written(tmp_path: Path, file: SiteFile) -> Path:
    path = tmp_path / "site.json"
    write_site(file, path)
    return path


def with_flat(tmp_path: Path) -> Path:
    """A site whose light is half as bright on the left."""
    light = np.ones((SIDE, SIDE, 3), np.float32)
    light[:, : SIDE // 2] = 0.5
    write_flat(FlatField(light, 5, empty=True, notes=()), tmp_path / "flat.png")
    sha256 = hashlib.sha256((tmp_path / "flat.png").read_bytes()).hexdigest()
    return written(tmp_path, SiteFile(flat_field=FlatFile(file="flat.png", sha256=sha256)))


def frame(image: Image) -> Frame:
    return Frame("f.png", datetime.now(timezone.utc), 0.1, image)


def test_a_site_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    file = SiteFile(um_per_pixel=SCALE, limits=QualityLimits(max_saturated=0.4))
    assert open_site(written(tmp_path, file)).file == file


def test_without_a_site_file_all_is_as_by_default() -> None:
    assert open_site(None).file == SiteFile()
    taken = frame(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert list(open_site(None).level([taken])) == [taken]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"limits": {"max_noize": 1}}', "the nearest is 'limits.max_noise'"),
        ('{"flatfield": 1}', "the nearest is 'flat_field'"),
        ('{"limits": {"max_noise": -1}}', "limits.max_noise: Input should be greater"),
        ('{"limits": {"red_hue": [40, -40]}}', "red_hue: from and to must be ascending"),
        ('{"limits": {"scale": [1.1, 1.4]}}', "scale: one must lie within"),
        ('{"um_per_pixel": {"value": 0.1, "low": 0.2, "high": 0.3}}', "low <= value <= high"),
        ('{"colour": "macenko"}', "colour needs look"),
        ('{"flat_field": {"file": "../flat.png", "sha256": "00"}}', "flat_field.file"),
        ("{", "Invalid JSON"),
    ],
)
def test_what_can_not_be_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "site.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        open_site(tmp_path / "site.json")
    assert said in str(caught.value)
    assert "site.json" in str(caught.value)


def test_a_site_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        open_site(tmp_path / "nowhere.json")


def test_frames_are_divided_by_the_flat_field_before_anything_sees_them(tmp_path: Path) -> None:
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    (even,) = open_site(with_flat(tmp_path)).level([frame(image)])
    assert np.all(even.image[:, : SIDE // 2] == 200)
    assert np.all(even.image[:, SIDE // 2 :] == 100)
    assert even.read_ms > 0
    assert image.max() == 100


def test_a_frame_that_the_flat_field_does_not_fit_becomes_a_fault(tmp_path: Path) -> None:
    (misfit,) = open_site(with_flat(tmp_path)).level([frame(np.zeros((SIDE, 2 * SIDE, 3), np.uint8))])
    assert misfit.fault == "incomplete"
    assert "flat field" in misfit.detail


def test_another_flat_field_than_was_measured_is_refused(tmp_path: Path) -> None:
    path = with_flat(tmp_path)
    (tmp_path / "flat.png").write_bytes(cv2.imencode(".png", np.ones((SIDE, SIDE, 3), np.uint16))[1].tobytes())
    with pytest.raises(IntegrityError, match="not the one"):
        open_site(path)


def test_files_of_any_length_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = with_flat(tmp_path)
    os.truncate(tmp_path / "flat.png", 1 << 34)
    with pytest.raises(IntegrityError, match="not the one that was measured: it is longer than"):
        open_site(path)
    os.truncate(path, 1 << 34)
    with pytest.raises(UsageError, match=r"site file .* can not be read \(it is longer than"):
        open_site(path)


def test_the_bounds_of_a_site_are_those_that_frames_must_keep(tmp_path: Path) -> None:
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    site = open_site(written(tmp_path, SiteFile(limits=QualityLimits(max_saturated=1))))
    assert "overexposed" in assess(white, 0.2).reasons
    assert "overexposed" not in assess(white, 0.2, site.file.limits).reasons


def test_the_scale_is_the_given_one_or_the_measured_one_and_both_must_agree(tmp_path: Path) -> None:
    path = written(tmp_path, SiteFile(um_per_pixel=SCALE))
    assert agreed_scale(0.105, path) == 0.105
    assert agreed_scale(0.105, None) == 0.105
    assert agreed_scale(None, path) == 0.1
    with pytest.raises(UsageError, match=r"says 0\.09 to 0\.11"):
        agreed_scale(0.2, path)
    with pytest.raises(UsageError, match="give --um-per-pixel"):
        agreed_scale(None, None)


def test_settings_take_the_scale_of_the_site_file_and_say_so(tmp_path: Path) -> None:
    path = written(tmp_path, SiteFile(um_per_pixel=SCALE))
    given = {"site_file": str(path), "source.kind": "directory", "source.uri": str(tmp_path)}
    loaded = load(None, given)
    assert loaded.settings.source.um_per_pixel == 0.1
    assert f"source.um_per_pixel = 0.1  # site file {path}" in list(loaded.lines())
    assert load(None, {**given, "source.um_per_pixel": "0.095"}).settings.source.um_per_pixel == 0.095
    with pytest.raises(UsageError, match="leave it out"):
        load(None, {**given, "source.um_per_pixel": "0.2"})


def test_the_rendered_smear_keeps_its_own_scale(tmp_path: Path) -> None:
    path = written(tmp_path, SiteFile(um_per_pixel=MeasuredScale(value=0.2, low=0.19, high=0.21)))
    assert load(None, {"site_file": str(path)}).settings.source.um_per_pixel == 0.1


def test_the_service_takes_its_bounds_from_the_site_file(
    mosquitto: Broker, subscribe: Callable[..., Any], tmp_path: Path
) -> None:
    """With a bound that no frame can keep every frame is refused, and says which."""
    path = written(tmp_path, SiteFile(limits=QualityLimits(min_background=1)))
    listener = subscribe(mosquitto, "microscopy/v1/lab/site-file/frame")
    settings = load(
        None,
        {
            "site_file": str(path),
            "device": "site-file",
            "state_dir": str(tmp_path),
            "mqtt.host": mosquitto.host,
            "mqtt.port": str(mosquitto.port),
            "source.kind": "synthetic",
            "source.frames": "2",
        },
    ).settings
    serve(settings, threading.Event())
    reasons = [json.loads(message["payload"])["quality"]["reasons"] for message in listener.take(2)]
    assert reasons == [["underexposed"]] * 2
