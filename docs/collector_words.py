"""What the page about the collector says beside its tables."""

from mqtt_words import MADE

from collector.settings import ENV_PREFIX
from collector.tables import LAYOUT

COLLECTOR_HEAD = f"""# The collector

{MADE}`microscope-collect` stores every report of every agent once, and acknowledges what it has stored: the reference
for consumers of your own. `microscope-collect status` tells how far each agent is, what is missing (it may still come)
and what is gone (no agent holds it any more); `microscope-collect export reports|cells|slides --form csv|jsonl` writes
what is stored. Times are ISO 8601 with `Z` and milliseconds, text is UTF-8. In CSV, a name that begins as a formula
does (`=`, `+`, `-`, `@`) stands behind a quote, `'`, so that a spreadsheet shows it and computes nothing.
Each field of a slide's summary is a column (`blast_interval_low`, `model_id`; `refused_by` as `empty=2 motion=1`).

`export cells` tells cells as later reports leave them: those that were taken back (`withdraws`, after a wrong scale)
are left out, and one that was known by two names (`joined`) bears the one that stayed. So a slide's `object_id`s that
have a row with another label than `not_judged` are as many as its summary calls normal, blast and uncertain. A program
that reads the table `cell` must do the same, by the columns `withdraws` and `joined` (JSON, as in the message) of the
table `report`; `export reports` and the tables hold the reports as they came (of one
longer than 64 KiB, what this release knows).

- It stores many reports in one transaction. Only after the commit it sends the broker its PUBACK and the agent the
  cumulative `ack`: every report of the epoch up to that number is on disk (SQLite: WAL with synchronous=FULL;
  PostgreSQL: synchronous_commit).
- Whatever comes twice is stored once: (`device`, `epoch`, `seq`) is UNIQUE. What can not be stored is kept in
  [`quarantine`](#a-report-that-is-not-there).
- It never acknowledges over a gap. It does not wait for reports older than `oldest` in the agent's health message: the
  agent no longer has them. An
  outbox that begins again has another epoch, and what was missing of the old one keeps nothing back.
- While its database is locked, full, away or silent, nothing is acknowledged; it says so once, tries again, and agents
  and broker keep what they have. If a broker refuses the collector, it logs that once and tries again.
- The broker keeps messages for it while it is away (durable session); agents with `outbox.forget_on = "consumer"` send
  again whatever the broker loses. Set that where a collector runs; `decisions/0003-forget-on-broker.md` says what each
  choice promises.

Install it in a clone of this project with `pip install -c constraints.txt '.[collector]'`, or `'.[postgresql]'`.
Settings stand in the same places as the agent's, with the prefix `{ENV_PREFIX}` in the environment
(`{ENV_PREFIX}MQTT__PASSWORD`). What the broker must allow: [its access list](mqtt.md#commands). A PostgreSQL's password
belongs into a systemd credential named `database` that holds the whole address, or into `PGPASSWORD` or `~/.pgpass`; in
an address `%40` stands for `@`, `%2F` for `/`.

It ends by itself only where waiting does not help: exit code 2 for a setting, or for a database that a newer release or
another program made; 4 for a driver that is not installed; 5 for an SQLite file that is damaged. None of these is
touched. Of a damaged file, put the newest [back-up](#back-up) in its place. Without one, `microscope-collect rescue`
(of the service: `microscope-stored rescue`) makes a new file of every report, summary of a slide and row of the
quarantine that can be read, page by page where SQLite finds no way to them, and keeps the damaged file beside it.
Pictures are not rescued: they are fetched again from agents that still have them.

| setting | default | meaning |
|---|---|---|
"""
COLLECTOR_MISSING = """
# A report that is not there

A report is known by `device`, `epoch` and `seq` together: every new outbox begins another epoch, and counts from 1.
`microscope-collect status` (of the service: `sudo microscope-stored status`) lists the numbers that are missing, and
the collector's log (`journalctl -u microscope-collect`) those that it waits for. The number of a file's frame:

```sh
sqlite3 -readonly /var/lib/microscope-collect/collector.sqlite \\
  "select device, epoch, seq, accepted, reasons from report where source = 'frame7.png'"
```

A frame that was refused (`accepted` false, with `reasons`) is a report like any; [what each reason means](site.md), and
what to do, stands elsewhere. The causes below are those of messages that could not be stored.

0. Was there a report? A frame that was skipped because a newer one was there, and one that had no room in the outbox,
   have no number, so none is missing: `dropped` in `health` counts them by cause
   (`mosquitto_sub -V mqttv5 -h broker -t 'microscopy/v1/+/DEVICE/health' -C 1`).
1. Has it left the agent? If not, an alarm in `health` or the
   [state of its broker](monitoring.md#how-the-agent-stands-with-its-broker) says why: a report that is larger than the
   broker takes, for one, is set aside, and the alarm names it.
2. Has the broker kept it? With `outbox.forget_on = "broker"` the agent forgets a report that the broker took, and the
   broker loses it if its disk fails, or if the collector is away for longer than `session_days`. The collector's own
   `site` and `device` must include this agent.
3. Has the collector refused it? Its log says how many, and `status` counts what is in the table `quarantine`, by cause:

| cause | a message |
|---|---|
| `malformed` | of any kind that does not parse, is longer than 4 MiB, or has other names than its topic, or odd ones |
| `refused` | that the database does not take, or that belongs to the 1,001st epoch of a device |
| `conflict` | with the key of another report but with another content, as a copied or restored outbox makes it |

`collector/arrivals.py` decides what is malformed, `collector/store.py` what is refused. A report in conflict is not
missing: the first that came under its number is in the table `report`. Each row says why, and holds the message: of a
`conflict` all of it, else its first 64 KiB; of these the newest `quarantine_rows` are kept. Of the service, as root
(PostgreSQL: the same by `psql`, with `convert_from(payload, 'UTF8')`):

```sh
sqlite3 -readonly /var/lib/microscope-collect/collector.sqlite \\
  "select cause, last_at, topic, error, cast(payload as text) from quarantine where topic like '%/DEVICE/frame'"
```

One number: `and cast(payload as text) like '%"seq":4711,%'`, if the payload can be read so far.

The number of a `malformed` or `refused` report stays missing, and nothing is acknowledged beyond it: an agent with
`outbox.forget_on = "consumer"` keeps that report and those after it, which are stored, and says so in `health`. Agents
of this project make no such report, but by a 1,001st epoch. A `conflict` is acknowledged: its row is the only copy.
"""
COLLECTOR_TAIL = f"""
# Pictures

With `pictures.fetch` the collector asks the agents for the pictures of the cells and frames that are stored, the newest
first, by their command [`picture/get`](mqtt.md#commands), and keeps them in the table `picture`, so that a slide can be
looked at after its agent is gone. Agents must keep them (their `pictures.keep`), the broker must let the collector ask
([its access list](mqtt.md#commands)), and MQTT must be of version 5. A thread and a connection of its own do that:
reports never wait for it. An agent is asked four times a second at most; each answer has up to 1 MiB. An agent that is
away is asked again after half a minute; one that hands out none, for it is older or told not to, after five
minutes, and the log says why once. A picture stays wanted until it is here, until the agent says that it has none (a
row of 0 bytes), or until its frame is older than `pictures.days`. After a new start it goes on where it was.

Beyond `pictures.max_mb` the oldest pictures are deleted, and older ones are not fetched again. An SQLite file uses
their room again and grows no smaller; `sqlite3 FILE vacuum`, with the collector stopped, gives it back.
[What is kept of patients' cells](privacy.md) says who can see pictures, and how to delete them.

# More than one collector

An agent forgets a report at the first word of any collector. So one acknowledges, whose database is the one that
counts; the others, each under a `name` of its own, set `acknowledge = false` and get everything from the broker, for as
long as that keeps it. If two acknowledge, each report is in at least one of their databases, and the broker's loss can
leave it in one only. If two have the same `name`, the broker lets them in by turns and hands each a part: both say so;
each report is in at least one of the two databases. Two into one database are safe, and slower than one.

# Back-up

While it collects; never copy the file of an SQLite database by itself, for its newest rows may lie beside it:

```sh
sqlite3 /var/lib/microscope-collect/collector.sqlite ".timeout 10000" ".backup '/backup/collector.sqlite'"
pg_dump --format=custom --file=/backup/collector.dump 'postgresql://user@host/name'
```

To go back: stop the collector; put the copy in the place of `collector.sqlite`, and delete `collector.sqlite-wal` and
`collector.sqlite-shm` if they are there (PostgreSQL: `pg_restore --dbname=...` into an empty database); start it. What
was stored after the back-up is gone, for agents forget what was acknowledged: `status` lists its numbers. Where that is
too much, let PostgreSQL keep its log elsewhere (continuous archiving), or run a second collector as above.

# Room

An SQLite database takes about 1.5 KB for a report and 0.7 KB for each cell in it (0.4 KB of a model without kinds of
blasts); with `pictures.fetch` about 80 KB more for each cell and 100 KB for each frame, up to `pictures.max_mb`.
Reports that are acknowledged and no longer needed may be deleted from the table `report`, and from no other but
`picture`; in SQLite after `pragma foreign_keys = on`, so that their cells go with them. The collector may run
meanwhile. `status` lists their numbers, and those that came before this collector, as earlier.

# Upgrades

The row `layout` of the table `meta` says which tables these are: {LAYOUT}. Every release reads what an earlier one
stored, and `microscope-collect` brings its tables to the newest layout when it starts. Layout 2 lets `cell.probability`
be null, and calls cells with the flag `edge` `not_judged`, those stored before too; `report.body` stays as it came.
Layout 3 has what a report says of earlier ones in columns, `withdraws` (empty: nothing is taken back) and `joined`; to
fill them, every report is read once. Where `withdraws` is null, a collector of an earlier release has stored the row
beside this one, and `body` tells both. In an SQLite file it would be empty there: stop every collector of such a file
before one of them is upgraded. Layout 4 has the table `picture`. A release that finds a newer layout changes nothing
and says which to install. Take a back-up before an upgrade all the same.
"""
