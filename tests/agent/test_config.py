"""Settings: where they come from, and what is refused."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.config import load, load_alone
from agent.settings import Settings
from common.arguments import overrides
from common.errors import UsageError
from common.settings import known_names
from contract.manifest import Decision, Manifest


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests reaches them."""
    for name in ("MICROSCOPE_SITE", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text('site = "file"\nslide.id = "file"\nmqtt.host = "file"\nmqtt.username = "file"\n')
    return path


def test_the_command_line_beats_the_environment_beats_credentials_beats_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").mkdir()
    for name in ("mqtt.host", "slide.id", "mqtt.username"):
        (tmp_path / "credentials" / name).write_text("credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    monkeypatch.setenv("MICROSCOPE_MQTT__HOST", "environment")
    monkeypatch.setenv("MICROSCOPE_SLIDE__ID", "environment")
    settings = load(file, {"mqtt.host": "line"}).settings
    assert (settings.mqtt.host, settings.slide.id, settings.mqtt.username, settings.site) == (
        "line",
        "environment",
        "credential",
        "file",
    )


def test_show_names_the_origin_and_masks_secrets(file: Path) -> None:
    lines = list(load(file, {"mqtt.password": "swordfish"}).lines())
    assert f'site = "file"  # file {file}' in lines
    assert 'mqtt.password = "********"  # command line' in lines
    assert "mqtt.port = 1883  # default" in lines
    assert "swordfish" not in "".join(lines)


def test_an_unknown_setting_is_refused_with_the_nearest_name_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text("[mqtt]\nprot = 1884\n")
    with pytest.raises(UsageError, match=r"mqtt\.prot.*a\.toml.*mqtt\.port"):
        load(tmp_path / "a.toml")
    with pytest.raises(UsageError, match=r"sitee.*command line.*'site'"):
        load(None, {"sitee": "x"})
    monkeypatch.setenv("MICROSCOPE_MQTT__HOSTT", "x")
    with pytest.raises(UsageError, match=r"mqtt\.hostt.*environment.*mqtt\.host"):
        load()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mqtt.port": "99999"}, r"mqtt\.port \(command line\)"),
        ({"slide.id": "a/b"}, r"slide\.id"),
        ({"slide.id": "a\0b"}, r"slide\.id"),
        ({"source.kind": "directory"}, r"source\.uri is given nowhere and must be: The folder"),
        ({"source.kind": "telescope"}, "telescope"),
        ({"engine": "abacus"}, "onnxruntime"),
        ({"mqtt": "1", "mqtt.port": "2"}, r"'mqtt\.port' \(command line\): 'mqtt' was given a value of its own"),
        ({"mqtt.port": "2", "mqtt": "1"}, "'mqtt' was given a value of its own"),
        ({"source.uri": "/slides"}, r"source\.uri \(command line\): for this, set source\.kind too \([a-z, ]*\)$"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_origin(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(None, overrides)


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("port: 1")
    with pytest.raises(UsageError, match="not TOML"):
        load(tmp_path / "a.toml")


def test_a_source_may_be_chosen_in_one_place_and_completed_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text('[source]\nkind = "directory"\num_per_pixel = 0.075\n')
    monkeypatch.setenv("MICROSCOPE_SOURCE__URI", "/slides")
    assert str(load(tmp_path / "a.toml").settings.source.uri) == "/slides"  # type: ignore[union-attr]


def test_settings_and_manifest_share_no_name() -> None:
    """Facts about the model come with the model: a setting could only disagree with them."""
    of_the_model = (
        set(Manifest.model_fields)
        | set(Decision.model_fields)
        | {
            name
            for field in ("input", "calibration")
            for name in Manifest.model_fields[field].annotation.model_fields  # type: ignore[union-attr]
        }
    )
    shared = {name.rpartition(".")[2] for name in known_names(Settings)} & of_the_model
    assert shared == {"id", "name", "um_per_pixel", "version"}, (
        "the slide's id, the camera's name and scale, MQTT's version"
    )


def test_every_setting_says_what_it_means() -> None:
    schema = str(Settings.model_json_schema())
    assert schema.count("'description'") >= len(known_names(Settings))


@pytest.mark.parametrize("text", ["shipped,lab.pub", '["shipped", "lab.pub"]', " shipped , lab.pub "])
def test_a_list_can_be_written_where_only_text_can_stand(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(None, {"trust.keys": text}).settings.trust.keys == ("shipped", "lab.pub")
    monkeypatch.setenv("MICROSCOPE_TRUST__KEYS", text)
    assert load().settings.trust.keys == ("shipped", "lab.pub")
    assert 'trust.keys = ["shipped", "lab.pub"]  # environment' in list(load().lines())


def test_a_list_in_the_file_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[trust]\nkeys = ["shipped", "lab.pub"]\n')
    assert load(tmp_path / "a.toml").settings.trust.keys == ("shipped", "lab.pub")


def test_a_source_without_a_kind_is_the_rendered_smear() -> None:
    source = load(None, {"source.frames": "3"}).settings.source
    assert (source.kind, source.frames) == ("synthetic", 3)  # type: ignore[union-attr]


def test_the_value_of_a_whole_section_is_never_printed(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[[mqtt]]\npassword = "swordfish"\n[source]\nkind = "x"\nuri = "swordfish"\n')
    with pytest.raises(UsageError, match=r"source \(file .*mqtt \(file") as refused:
        load(tmp_path / "a.toml")
    with pytest.raises(UsageError, match="mqtt") as also_refused:
        load(None, {"mqtt": '{"password": "swordfish"}'})
    assert "swordfish" not in f"{refused.value}{also_refused.value}"


def test_show_prints_no_password_of_a_camera() -> None:
    given = {"source.kind": "camera", "source.uri": "rtsp://me:swordfish@host/1", "source.um_per_pixel": "0.1"}
    lines = list(load(None, given | {"source.password": "swordfish", "source.name": "http://x?pw=swordfish"}).lines())
    assert 'source.uri = "rtsp://host/********"  # command line' in lines
    assert 'source.password = "********"  # command line' in lines
    assert "swordfish" not in "".join(lines)


@pytest.mark.parametrize("kind", ["directory", "video"])
def test_a_camera_s_address_in_a_folder_s_place_is_refused_and_not_shown(kind: str) -> None:
    given = {"source.kind": kind, "source.uri": "rtsp://me:swordfish@host/1", "source.um_per_pixel": "0.1"}
    loaded = load(None, given)
    assert "swordfish" not in "".join(loaded.lines())
    with (
        pytest.raises(UsageError, match="there is no") as refused,
        loaded.settings.source.open(threading.Event()) as frames,
    ):
        next(frames)
    assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize("word", ["mqtt.password:swordfish", "rtsp://me:swordfish@h/?a=b", "swordfish"])
def test_a_setting_written_in_the_wrong_form_is_not_repeated(word: str) -> None:
    with pytest.raises(UsageError, match="write it as NAME=VALUE") as refused:
        overrides([word])
    assert "swordfish" not in str(refused.value) or word == "swordfish"


def test_a_broker_s_address_with_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match=r"mqtt\.host") as refused:
        load(None, {"mqtt.host": "mqtt://me:swordfish@host"})
    assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize("value", ["notjson", "5", '"text"', '{"port": 1'])
def test_a_section_in_the_environment_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSCOPE_MQTT", value)
    with pytest.raises(UsageError, match=r"mqtt.*environment|environment.*mqtt"):
        load()


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'\xef\xbb\xbfsite = "file"\n')
    assert load(tmp_path / "a.toml").settings.site == "file"


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which systemd hands credentials over."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


KEY = "-----BEGIN PRIVATE KEY-----\nswordfish\n-----END PRIVATE KEY-----\n"


def test_a_credential_for_a_path_is_the_file_itself_and_shown_by_its_path_alone(credentials: Path) -> None:
    (credentials / "mqtt.tls.key").write_text(KEY)
    (credentials / "mqtt.tls.ca").write_bytes(b"\xff\xfe")
    loaded = load()
    tls = loaded.settings.mqtt.tls
    assert tls is not None
    assert (tls.key, tls.ca) == (credentials / "mqtt.tls.key", credentials / "mqtt.tls.ca")
    assert f'mqtt.tls.key = "{credentials / "mqtt.tls.key"}"  # systemd credential' in list(loaded.lines())
    assert "swordfish" not in "".join(loaded.lines())


def test_an_address_in_a_credential_is_its_content_and_never_shown(credentials: Path) -> None:
    """`source.uri` is a path for a folder, an address for a camera."""
    (credentials / "source.uri").write_text("http://camera/?token=swordfish\n")
    loaded = load(None, {"source.kind": "camera", "source.um_per_pixel": "0.1"})
    assert loaded.settings.source.uri == "http://camera/?token=swordfish"  # type: ignore[union-attr]
    assert 'source.uri = "********"  # systemd credential' in list(loaded.lines())


def test_a_credential_that_does_not_fit_is_refused_without_its_content(credentials: Path) -> None:
    (credentials / "mqtt.username").write_text("someone")
    (credentials / "mqtt.port").write_text("swordfish")
    with pytest.raises(UsageError, match=r"mqtt\.port \(systemd credential\): .*integer") as refused:
        load()
    assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize("content", [KEY, "-----BEGIN PRIVATE KEY-----swordfish", "swordfish\n", "swordfish\0"])
def test_a_key_in_the_place_of_its_path_is_refused_and_never_shown(content: str) -> None:
    with pytest.raises(UsageError, match=r"mqtt\.tls\.key \(command line\): .*give the file's path") as refused:
        load(None, {"mqtt.tls.key": content})
    assert "swordfish" not in str(refused.value)


def test_credentials_that_can_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"CREDENTIALS_DIRECTORY: .*nowhere"):
        load()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mqtt.password").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"credential .*mqtt\.password can not be read"):
        load()
    (tmp_path / "mqtt.password").unlink()
    (tmp_path / "mqtt.password").mkdir()
    with pytest.raises(UsageError, match=r"credential .*mqtt\.password can not be read"):
        load()


def test_settings_of_one_values_own_hear_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSCOPE_MQTT__PREFIX", "foo")
    monkeypatch.setenv("MICROSCOPE_NO_SUCH_SETTING", "1")
    settings = load_alone({"site": "demo"})
    assert (settings.site, settings.mqtt.prefix) == ("demo", "microscopy")


@pytest.mark.requires_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user without a name")
def test_without_a_home_folder_state_dir_must_be_set() -> None:
    """In a process of its own, whose user id stands in no passwd file."""
    code = (
        "import os, sys; os.environ.pop('HOME', 0); os.setuid(54321)\n"
        "from agent.config import load; from common.errors import UsageError\n"
        "try: load(None, {})\n"
        "except UsageError as cause: print(cause)\n"
        "print(load(None, {'state_dir': '/here'}).settings.state_dir)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "XDG_STATE_HOME"}
    code = "from agent import config; " + code  # imported as a user who may read it
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert "the setting `state_dir`" in done.stdout, done.stderr
    assert "/here" in done.stdout


def test_the_collectors_settings_may_stand_in_the_same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSCOPE_COLLECT_DATABASE", "sqlite://")
    monkeypatch.setenv("MICROSCOPE_COLLECT_MQTT__HOST", "broker")
    assert load().settings.mqtt.host == "127.0.0.1"
