"""Settings: where they come from, and what is refused."""

from pathlib import Path

import pytest

from agent.config import known_names, load
from agent.settings import Settings
from contract.errors import UsageError
from contract.manifest import Manifest


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
        ({"source.kind": "directory"}, r"source\.uri.*required"),
        ({"source.kind": "telescope"}, "telescope"),
        ({"engine": "abacus"}, "onnxruntime"),
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
    of_the_model = set(Manifest.model_fields) | {
        name
        for field in ("input", "decision", "calibration")
        for name in Manifest.model_fields[field].annotation.model_fields  # type: ignore[union-attr]
    }
    shared = {name.rpartition(".")[2] for name in known_names()} & of_the_model
    assert shared == {"id", "um_per_pixel"}, "only the slide's id and the camera's own scale share a word with it"


def test_every_setting_says_what_it_means() -> None:
    schema = str(Settings.model_json_schema())
    assert schema.count("'description'") >= len(known_names())


@pytest.mark.parametrize("text", ["shipped,lab.pub", '["shipped", "lab.pub"]', " shipped , lab.pub "])
def test_a_list_can_be_written_where_only_text_can_stand(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(None, {"trust.keys": text}).settings.trust.keys == ("shipped", "lab.pub")
    monkeypatch.setenv("MICROSCOPE_TRUST__KEYS", text)
    assert load().settings.trust.keys == ("shipped", "lab.pub")
    assert 'trust.keys = ["shipped", "lab.pub"]  # environment' in list(load().lines())


def test_a_list_in_the_file_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[trust]\nkeys = ["shipped", "lab.pub"]\n')
    assert load(tmp_path / "a.toml").settings.trust.keys == ("shipped", "lab.pub")
