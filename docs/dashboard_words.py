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
behind a proxy that speaks TLS. A renewed pair in their place is shown to whoever connects from then on; where it is
unfit (another's key, no PEM, out of date), the log says so and the one before is shown on. What the broker asks for,
password and certificate, is read again for each connection and each command. `make demo KEEP=1` opens a page with
pictures to try.

- **Microscopes**: each agent with its state (online, stalled, frames refused with what to do, offline), slide, share of
  blasts, rate, age of the last frame, backlog and alarms. **One microscope**: its latest frame, outlined and labelled;
  slide start and stop, camera and model again, by [commands](mqtt.md#commands).
- **Slides**: search by slide, microscope, model, reviewer and day; two of them side by side, with the difference of
  their shares of blasts and its interval (Newcombe 1998). The list says which slides are open, how many of their cells
  are reviewed, and who has signed. **One slide**: counts of the model and with the corrections, asked for again every
  ten seconds, the share with its interval, histogram, course, refused frames, the cells by suspicion; [tables, FHIR,
  report, and signed cells for a training](exports.md), which `microscope-dashboard training OUT` takes of many slides
  at once.
- **The map of a slide**: its frames and cells where the stage saw them, with a scale bar. Form says what a cell is
  called, colour how probable a blast is; a dot leads to its cell, and a ring says that people call it something else.
  Of more than 1,000 cells, squares sum up those of a place. Parts that the stage did not walk together stand beside
  each other, for nothing says how they lie; frames that were not judged have no place. A table says the same in words.
- **A slide that was read more than once.** An agent that starts again amid a slide begins another count and knows no
  cell from before. List, page, exports and comparisons count the same: all counts together, and a picture that another
  count has read again, as of a folder that is read again, once, by its latest reading that was judged. A cell that a
  camera showed to two counts stands twice; nothing that is stored can tell, and the page says so.
- **Counts and models** of a slide: each count with its model, and the cells that two models call something else. Only
  the very same pictures are compared, those of one name and one time of capture, as of a folder that was read again
  after `model/reload`; a cell is the same where its box is.
- **System**: versions, models with hash and gate, what the stores hold, reports that are not here, messages that were
  none. Administrators, and without sign-in everybody, see who signed in, commanded, read and signed, and whether an
  agent's audit log went back.
- **Review**: every cell by keyboard: confirm, correct, unsure, note, undo of what was said last, many at once
  (Shift+click for a range); sign, after the page has said what was not looked at.

How old the page's own knowledge is always stands at its top; of a page that does not change by itself, as the list of
slides, how long ago it was loaded. A page that hears nothing from the server says so, greys out, and goes on by
itself; what a reviewer says meanwhile stays in the browser and is sent when the server is back. A page that hears
nothing from the broker says what to do first, then why, and how old the last news is.

**Roles.** A *reader* looks; a *reviewer* also judges cells, signs, and commands microscopes; an *administrator* also
frees another's reading, withdraws another's signature, and sees who did what. Five wrong passwords for a name or from
an address make the next attempt wait, each more twice as long. Where `sessions.sqlite` of `state_dir` is gone,
everybody signs in again. Without sign-in (`web.sign_in = false`) the person at the computer is the reviewer `guest`,
who also sees who did what, for there is nobody else to see it; readings and signatures of people who signed in before
stay theirs.

**Review.** Whoever begins first holds the first reading, the next one the second. A second reader sees nothing of the
first reading until both are signed; then agreement and Cohen's kappa are shown, and a third word settles what
differs: whoever opens the review then sees these cells first, with what each reader says. Who reads nothing of a
slide may ask to see what is signed of it, and can begin no reading afterwards. A cell counts as reviewed only if it
was on the screen. A reading can not be signed while the model is uncertain of a cell that has no verdict; stop a slide
before you sign it, or new cells come after the signature. A name that is stored already is begun again only by who
says so. Where two cells turn out to be one (`joined`) and a reader has called them differently, neither verdict
stands: the cell is uncertain, and waits to be looked at again. A signature holds the hash of what was signed, and
says when cells came after it.

**Pictures** of cells and frames are there where agents keep them (`pictures.keep`) and the collector fetches them:
[what is kept of patients' cells](privacy.md).

**Who did what** stands in `deeds.sqlite` of `state_dir`, which only grows: sign-ins with the address they came from,
failures, and each command before it is asked, with its answer. One that can not be noted is not asked. What was seen of
the agents' audit logs stands beside it in `audit-heads.json`: who cuts the log on the agent's computer does not reach
that file, and the page says so from then on ([what an audit log proves](threat-model.md#what-the-audit-log-proves)).
Back up both with the reviews.
**Programs** are told what the page shows, as JSON: `/data/agents`, `/data/slides` (the page's own search), and of one
slide `/data/slides/SITE/DEVICE/SLIDE` with its counts and `/data/slides/SITE/DEVICE/SLIDE/cells`. Lists come in parts,
each with the address of the next. [openapi.json](openapi.json) says every field (OpenAPI 3.1); the server gives it as
`/data/openapi.json`. A program signs in as a person does, as a reader of its own; `password.txt` ends without a new
line:

```sh
curl -c jar -d name=robot --data-urlencode password@password.txt http://127.0.0.1:8088/signin
curl -b jar 'http://127.0.0.1:8088/data/slides?since=2026-01-31&limit=10'
```

Settings, strongest first: the command line, the environment (`{ENV_PREFIX}MQTT__HOST`), systemd credentials, the
TOML file of `--config`, the default.

| setting | default | meaning |
|---|---|---|
"""
