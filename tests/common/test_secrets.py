"""What is shown of an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.secrets import MASK, masked, masked_addresses

SECRET = "GE7HEIM"  # noqa: S105 - nobody's


@pytest.mark.parametrize(
    "address",
    [
        f"rtsp://admin:{SECRET}@10.0.0.7/live",
        f"rtsp://{SECRET}@10.0.0.7/live",
        f"rtsp://admin:a@{SECRET}@10.0.0.7/live",
        f"http://10.0.0.7/video.cgi?user=admin&pwd={SECRET}",
        f"http://10.0.0.7/{SECRET}/stream",
        f"http://10.0.0.7#{SECRET}",
        f"rtsp://10.0.0.7:554/user=admin_password={SECRET}_channel=1",
        f"rtsp://admin:{SECRET}@10.0.0.7/snap@2x",
        f"rtsp://admin:{SECRET}@[fe80::1%eth0]:554/x",
    ],
)
def test_of_an_address_the_host_stays_and_no_secret(address: str) -> None:
    said = masked(address)
    assert SECRET not in said
    assert "10.0.0.7" in said or "fe80::1" in said


@pytest.mark.parametrize(
    "address",
    [
        f"rtsp://admin:12/{SECRET}@10.0.0.7/x",
        f"rtsp://admin:{SECRET}/b@10.0.0.7/x",
        f"rtsp://admin/{SECRET}@h/x",
        f"http://h:9/x?token={SECRET}@home",
        f"rtsp:/admin:{SECRET}@10.0.0.7/x",
        f"admin:{SECRET}@10.0.0.7/x",
        f"a:{SECRET}://h/x",
        f"password={SECRET}",
        f"rtsp://h:{SECRET}",
    ],
)
def test_where_the_host_is_not_certain_nothing_stays(address: str) -> None:
    assert SECRET not in masked(address)
    assert MASK in masked(address)


def test_of_a_pipeline_the_names_of_its_elements_stay() -> None:
    pipeline = (
        f"rtspsrc location=rtsp://h/s user-id=a user-pw={SECRET} ! decodebin name=d ! video/x-raw,width=6 ! appsink"
    )
    assert masked(pipeline) == f"rtspsrc ! decodebin ! {MASK} ! appsink"
    for hard in (
        f'user-pw="a ! {SECRET}"',
        f"user-pw = {SECRET}",
        rf"user-pw=\"a\ ! \ {SECRET}",
        f"user-pw='! {SECRET}",
    ):
        assert SECRET not in masked(f"rtspsrc {hard} ! appsink")


@pytest.mark.parametrize("device", ["0", "/dev/video0", "/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0"])
def test_a_device_is_shown_as_it_is(device: str) -> None:
    assert masked(device) == device


@given(st.text(st.characters(exclude_characters="./:@", codec="utf-8"), min_size=6), st.sampled_from(("u:{}@", "{}@")))
def test_whatever_stands_before_the_host_is_gone(secret: str, form: str) -> None:
    secret = f"<{secret}>"
    assert secret not in masked(f"rtsp://{form.format(secret)}10.0.0.7/x")


def test_text_with_an_address_in_it_shows_no_secret() -> None:
    assert masked_addresses("lab") == "lab"
    assert SECRET not in masked_addresses(f"'mqtt://u:{SECRET}@h'")
