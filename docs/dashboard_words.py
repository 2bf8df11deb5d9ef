"""What the page about the page says beside its table."""

from mqtt_words import MADE

from dashboard.options import ENV_PREFIX

DASHBOARD_HEAD = f"""# The page

{MADE}`microscope-dashboard` serves the page where people see what microscopes report, review cells, sign and print. It
hears the agents over MQTT, reads [the collector's](collector.md) database, and never writes there. What people say of
cells lies in a database of its own. It needs neither the internet nor a script of anybody else's
([why](decisions/0020-page-without-foreign-scripts.md)).

```sh
pip install -c constraints.txt '.[dashboard]'
microscope-dashboard user add ada --role reviewer      # the password is asked for
microscope-dashboard --collect --host broker.example   # one workstation: collector and page in one process
```

Then open http://127.0.0.1:8088/. Where a collector runs already, leave out `--collect` and give `--database`. On
another address than loopback the page asks for `web.tls.cert` and `web.tls.key`, or for `web.behind_proxy = true`
behind a proxy that speaks TLS. `make demo KEEP=1` opens a page with pictures to try.

- **Microscopes**: each agent with its state (online, stalled, frames refused with what to do, offline), slide, share of
  blasts, rate, age of the last frame, backlog and alarms. **One microscope**: its latest frame, outlined and labelled;
  slide start and stop, camera and model again, by [commands](mqtt.md#commands).
- **Slides**: search by slide, microscope, model and day. **One slide**: counts of the model and with the corrections,
  the share with its interval, histogram, course, refused frames, the cells by suspicion; [tables, FHIR and
  report](exports.md).
- **Review**: every cell by keyboard: confirm, correct, unsure, note, undo, many at once; sign.

How old the page's own knowledge is always stands at its top. A page that hears nothing from the server says so, greys
out, and goes on by itself; what a reviewer says meanwhile stays in the browser and is sent when the server is back.

**Roles.** A *reader* looks; a *reviewer* also judges cells, signs, and commands microscopes; an *administrator* also
frees another's reading and withdraws another's signature. Five wrong passwords for a name or from an address make the
next attempt wait, each more twice as long.

**Review.** Whoever begins first holds the first reading, the next one the second. A second reader sees nothing of the
first reading until both are signed; then agreement and Cohen's kappa are shown, and a third word settles what differs.
A cell counts as reviewed only if it was on the screen. A reading can not be signed while the model is uncertain of a
cell that has no verdict. A signature holds the hash of what was signed, and says when cells came after it.

**Pictures** of cells and frames are there where agents keep them (`pictures.keep`) and the collector fetches them:
[what is kept of patients' cells](privacy.md).

Settings, strongest first: the command line, the environment (`{ENV_PREFIX}MQTT__HOST`), systemd credentials, the
TOML file of `--config`, the default.

| setting | default | meaning |
|---|---|---|
"""
