"""Facts about this machine; facts about the model travel in the bundle's manifest.

Order of precedence: command line, environment, systemd credentials, TOML file, defaults.
"""

import re
import socket
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from agent.sources.directory import DirectorySource
from agent.sources.opencv import CameraSource, VideoSource
from agent.sources.synthetic import SyntheticSource
from common.arguments import UserPath, default_state_dir
from common.settings import kinds_of, several
from contract import signature
from contract.bundle import SHIPPED
from contract.requests import COMMANDS, CommandName
from contract.topic_words import TopicWord
from mqttlink.settings import BrokerSettings, Section

ENV_PREFIX = "MICROSCOPE_"


def _with_kind(value: object) -> object:
    """Where no kind is named, the rendered smear is meant."""
    return {"kind": "synthetic", **value} if isinstance(value, dict) else value


AnySource = Annotated[
    DirectorySource | VideoSource | CameraSource | SyntheticSource,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]


Several = Annotated[tuple[str, ...], BeforeValidator(several), NoDecode]


Allowed = Annotated[tuple[CommandName, ...], BeforeValidator(several), NoDecode]


class MqttSettings(BrokerSettings):
    """The broker, and the publisher's way with it."""

    commands: Allowed = Field(
        tuple(COMMANDS),
        description="What may be asked over MQTT; empty: nothing. Who may ask is the broker's access list to say: "
        "whoever may publish on `command/#`.",
    )
    discovery: TopicWord | Literal[""] = Field(
        "",
        description="First word of Home Assistant's discovery topics, commonly `homeassistant`; empty: no discovery. "
        "With `pictures.keep` the latest frame is shown there too.",
    )

    window: int = Field(64, ge=1, le=1000, description="Reports sent and not yet acknowledged, at most.")
    drain_s: float = Field(
        10,
        ge=0,
        description="Seconds that an agent whose source has ended waits for the last acknowledgements; one that is "
        "told to stop waits a moment, and sends the rest at its next start.",
    )


class OutboxSettings(Section):
    """The store of reports that nobody has acknowledged yet."""

    forget_on: Literal["consumer", "broker"] = Field(
        "broker",
        description="Whose acknowledgement frees a report: `broker` (PUBACK; a broker that crashes may lose it), or "
        "`consumer` (its cumulative message on topic `ack`; nothing is lost, but a consumer must send it).",
    )
    max_mb: int = Field(512, ge=1, description="Bound of the store in MiB; keep it well under the free disk.")
    silence_s: float = Field(
        300,
        gt=0,
        description="With `consumer`: seconds without an acknowledgement of what the broker took, after which the "
        "`health` message raises an alarm.",
    )


class PictureSettings(Section):
    """Pictures of cells and frames, for who looks at them later."""

    keep: bool = Field(
        default=False,
        description="Keep a picture of every frame and of every cell in it, in `pictures.sqlite` of `state_dir`; the "
        "command `picture/get` hands them out. `docs/privacy.md` says what that means.",
    )
    max_mb: int = Field(
        512,
        ge=4,
        description="Bound of these pictures in MiB; beyond, the oldest are deleted. 64 MiB of the disk are left free.",
    )
    days: float = Field(30, gt=0, description="Days after which a picture is deleted.")


class MetricsSettings(Section):
    """What is told to a monitoring system on this machine."""

    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="TCP port on 127.0.0.1 for `/metrics` (Prometheus), `/healthz` and `/readyz`, commonly 9464; 0: "
        "the agent listens nowhere.",
    )


class TrustSettings(Section):
    """Which models this machine runs."""

    keys: Several = Field(
        (signature.SHIPPED,),
        description="Public keys that may have signed the bundle: `shipped` for this project's own, 64 hexadecimal "
        "digits, or a file `KEY.pub` of `export-engine keygen`.",
    )
    allow_unsigned: bool = Field(
        default=False, description="Run a bundle that nobody signed; for models that you made yourself."
    )
    allow_rollback: bool = Field(
        default=False, description="Run an older version of a model than this machine has run before."
    )


class SlideSettings(Section):
    """What lies under the objective."""

    id: TopicWord | Literal[""] = Field(
        "unnamed", description="Pseudonym of the slide, never a patient's identity; empty: none is open at the start."
    )


def _device_name() -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:64] or "agent"


class Settings(Section):
    """Everything that differs between two machines that run the same model."""

    site: TopicWord = Field("lab", description="Name of the laboratory, a word in every topic.")
    device: TopicWord = Field(default_factory=_device_name, description="Name of this computer; default: host name.")
    bundle: UserPath = Field(SHIPPED, description="Folder of the model; default: the one that comes with the project.")
    state_dir: UserPath = Field(
        default_factory=default_state_dir,
        description="Where the outbox and the TensorRT engines live; default: systemd's, else the user's.",
    )
    site_file: UserPath | None = Field(
        None,
        description="What `microscope-agent calibrate site` measured of this microscope: scale, flat field, bounds of "
        "quality, colour. Its scale is used where `source.um_per_pixel` is not given, and refuses one that disagrees.",
    )
    source: AnySource = Field(
        SyntheticSource(),
        description="Where frames come from; `source.kind` chooses. Default: `synthetic`, a rendered smear whose "
        "blasts no patient has; `run` and `doctor` warn of it.",
    )
    mqtt: MqttSettings = Field(MqttSettings(), description="The broker.")
    outbox: OutboxSettings = Field(OutboxSettings(), description="The store of unsent reports.")
    pictures: PictureSettings = Field(PictureSettings(), description="Pictures of cells and frames.")
    engine: Literal["auto", "tensorrt", "tensorrt-fp16", "tensorrt-fp32", "onnxruntime"] = Field(
        "auto",
        description="Inference engine; `auto`: TensorRT in INT8 where an engine was built for this board, else ONNX "
        "Runtime (which one runs stands in every report); `tensorrt`, `tensorrt-fp16`, `tensorrt-fp32`: an engine of "
        "that precision (`tensorrt`: INT8), or stop with exit code 4.",
    )
    engine_rebuild: bool = Field(
        default=False,
        description="Build the TensorRT engine at the start where none fits; takes minutes, and is given up after 45.",
    )
    trust: TrustSettings = Field(TrustSettings(), description="Whose models to run.")
    metrics: MetricsSettings = Field(MetricsSettings(), description="Monitoring.")
    slide: SlideSettings = Field(SlideSettings(), description="The slide.")


def _no_slide() -> str:
    """What whoever sets up a microscope must hear: the rendered smear is the default."""
    *others, last = (kind for kind in reversed(kinds_of(Settings)["source.kind"]) if kind != "synthetic")
    return f"every cell is drawn, and so is every blast: set source.kind to {', '.join(others)} or {last}"


NO_SLIDE = _no_slide()
