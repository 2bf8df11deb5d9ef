"""What the page about messages says beside its tables."""

from agent.wire.dispatcher import BURST, OFTEN_PER_SECOND, PER_SECOND
from contract.requests import MAX_REQUEST_BYTES

MADE = "<!-- made by `make docs`; change the code, not this file -->\n\n"
MESSAGES_HEAD = f"""# Messages

{MADE}Topics are `<prefix>/v1/<site>/<device>/<name>`; payloads are JSON in UTF-8, but for `picture`, a file. With
MQTT 5 each carries its content type, and JSON the user property `schema_version`. Unknown keys must be ignored.
`asyncapi.json` says the same to programs.
"""
MESSAGES_TAIL = """
# What is said

Every `frame` report has a key that is unique forever: (`device`, `epoch`, `seq`). QoS 1 may deliver a report twice:
store it under that key.

## Versions of the messages

Version 2 differs from version 1 in one thing: a cell that the frame's border cuts (flag `edge`) has the label
`not_judged` and no `probability`. In version 1 it was called `uncertain`, with a probability that said nothing, and a
slide's `not_judged` was called `edge_only`. Collector, dashboard and `montage` read both versions. A report that an
earlier release has left in the outbox is sent as it was written, and says 1.
"""
COMMANDS_HEAD = f"""
# Commands

Publish a request on `command/<name>`, QoS 1, never retained (a retained one is refused, at every connect), with MQTT
5's response topic and correlation data. The answer comes on that topic, with that correlation data; the broker throws
it away after a minute. Without a response topic, or with MQTT 3.1.1, the command is carried out and logged, and nobody
hears what came of it. While an agent is away its commands are lost: no answer, so ask again.

```sh
mosquitto_rr -h broker.example -u technician -P 'its password' -V mqttv5 -q 1 -W 10 -e reply/me \\
    -t microscopy/v1/lab/scope-1/command/slide/start -m '{{"slide_id": "B-17"}}'
mosquitto_rr -h broker.example -u technician -P 'its password' -V mqttv5 -q 1 -W 10 -e reply/me \\
    -t microscopy/v1/lab/scope-1/command/slide/stop -n
```

Without mosquitto's tools, `microscope-agent slide start B-17` and `microscope-agent slide stop` do the same, with the
agent's settings (`--config`, `--set site=lab --set device=scope-1 --set mqtt.host=broker.example`) and the name and
password of a user who may: `--set mqtt.username=technician`, `MICROSCOPE_MQTT__PASSWORD`. Answers come on `reply/...`.

`-W 10` gives up after ten seconds, `-n` sends nothing, for a command that asks for nothing. A broker with TLS:
`-p 8883 --cafile ca.crt` too. Where anybody may come in, leave out `-u` and `-P`.

Commands are carried out one after the other; what needs the loop, between two frames. Every one is written into the
audit log, before and after; of `picture/get` one a minute for each asker, with the count of the others. A payload is at
most {MAX_REQUEST_BYTES} bytes long; {BURST:.0f} commands may come at once, and {PER_SECOND:.0f} a second in the long
run; `picture/get` is counted apart, {OFTEN_PER_SECOND:.0f} a second; what is more is answered `busy`.
`decisions/0012-commands.md` says why.
A response topic can not be one of the topics above, of whatever agent: what comes there is believed.

**Who may command?** Whoever may publish on `command/#`: the broker's access list decides, the agent can not know who
asks. `mqtt.commands` names what may be asked at all; empty, nothing. For mosquitto:

```
user scope-1
topic write microscopy/v1/lab/scope-1/#
topic read microscopy/v1/lab/scope-1/command/#
topic read microscopy/v1/lab/scope-1/ack
topic write reply/#
user technician
topic read microscopy/v1/lab/scope-1/#
topic write microscopy/v1/lab/scope-1/command/#
topic read reply/#
user collector
topic read microscopy/v1/#
topic write microscopy/v1/+/+/ack
topic write microscopy/v1/+/+/command/picture/get
topic read reply/microscope-collect.collector.pictures/#
user page
topic read microscopy/v1/#
topic write microscopy/v1/+/+/command/#
topic read reply/+
topic write microscopy/v1/+/+/ack
topic read reply/microscope-collect.collector.pictures/#
```

The collector's last two lines are for `pictures.fetch`; `collector` in the last is its `name`. The page's last two are
for `collect`. Who may read `reply/#` reads the answers to others too: where pictures are fetched, give people topics of
their own below it.

**Pictures** come by `picture/get` where the agent keeps them (`pictures.keep`, [off by default](privacy.md)). An answer
holds as many as fit into `max_kb` and into what the broker takes at once. Ask for `left` again until it is empty; if a
piece of its first id has come, with the `offset` behind it. Pictures of cells that were reported this second
may not be ready: they are `left` too. `missing` is final: there was no time or no room for them, or the agent has
deleted them.

## Every answer

| field | default | meaning |
|---|---|---|
"""
DISCOVERY = """
# Home Assistant

With `mqtt.discovery = "homeassistant"` the agent describes itself, retained, on
`homeassistant/device/microscope_<site>_<device>_<hash>/config`: on every connect, and whenever Home Assistant says
`online` on `homeassistant/status`. Sensors read the `slide` and `health` messages: counts and share of blasts, frames,
what waits, the age of the last frame, alarms and their text; `status` says whether they are to be trusted. The agent
must be allowed to write the one topic and to read the other. To remove a device that is gone, publish an empty retained
message on its topic.

**Buttons** there stop the slide, open the source again and load the model again, as far as `mqtt.commands` allows.
Whoever may press them in Home Assistant may command the microscope: its user at the broker must be allowed to write
`command/#`, and without that right the buttons do nothing. Home Assistant shows no answer; the audit log has each
command, asked by `Home Assistant`, which does not say by whom. A slide is started where it can be named: on the
dashboard, by `microscope-agent slide start`, or by an automation that publishes `{"slide_id": "B-17"}` on
`command/slide/start`.

**The latest frame**, with `pictures.keep` too: `picture` carries it as an image file, 800 pixels wide or less, its
cells outlined, at most one in ten seconds. It is not retained, and the broker throws away after a minute what nobody
has taken; a Home Assistant that has just started shows the next one. A frame shows patients' cells: whoever may read
`picture` sees them, so keep that topic from those who need only counts. [Privacy](privacy.md) says what is kept. While
a camera is silent no picture is said, and Home Assistant tells when the last one came.
"""
