// Reviewing by keyboard. What a person says is painted at once, kept in this browser until the server has stored it,
// and sent in order, again and again, each call under a name of its own, so that nothing is lost and nothing counts twice.
"use strict";

const review = document.getElementById("review");
const list = document.getElementById("cells");
const bar = document.querySelector(".bar-top"); // stays at the top, and hides what is below it
const KEPT = review && `review ${review.dataset.person} ${review.dataset.base} ${review.dataset.reading}`;
const words = review && JSON.parse(review.dataset.called); // what each label is called in this language

let calls = []; // not stored yet, the oldest first
let sending = false;
let waiting = []; // on the screen, and not told to the server yet
let current = null;
const selected = new Set();
let sayings = []; // of this page, the latest last: the cells of each, for Z
const seen = new Set(); // on the screen, and known to the server or on its way

const name = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
const cards = () => [...list.querySelectorAll("li.cell")];

function keep() {
  localStorage.setItem(KEPT, JSON.stringify(calls));
  tellSending();
}

function tellSending() {
  const left = calls.filter((call) => call.path === "verdicts").length;
  const told = document.getElementById("sending");
  told.textContent = left ? review.dataset.unsent.replace("{count}", left) : review.dataset.sent;
  told.classList.toggle("alarm", left > 3);
  if (!calls.length && document.querySelector("#signing[data-waits]")) tellSigning(""); // it waited for this
}

function enqueue(path, body, before) {
  calls.push({ path, body, before });
  keep();
  send();
}

async function send() {
  if (sending) return;
  sending = true;
  while (calls.length) {
    const call = calls[0];
    let response;
    try {
      const last = calls.length === 1 ? "?progress" : ""; // how far the reading is costs the server most
      response = await fetch(`${review.dataset.base}/${call.path}${last}`, {
        method: "POST",
        headers: { accept: "application/json", "content-type": "application/json", "x-csrf-token": document.body.dataset.csrf },
        body: JSON.stringify(call.body),
      });
    } catch {
      break; // the server is away: the calls stay
    }
    if (response.status >= 500 || response.status === 401 || response.status === 403) break;
    const told = await response.json().catch(() => ({}));
    calls.shift();
    keep();
    if (!response.ok) refused(call, told.error || response.statusText);
    else if (told.progress && !calls.length) tellProgress(told.progress);
  }
  sending = false;
  if (calls.length) setTimeout(send, 2000);
}

// What the server refuses stands nowhere: the cell has what it had before, and is gone back to.
function refused(call, why) {
  const back = [];
  for (const { object_id: id } of call.body.given || []) {
    const card = list.querySelector(`[data-id="${CSS.escape(id)}"]`);
    const before = (call.before || {})[id] || "";
    const later = calls.find((one) => one.before && id in one.before);
    if (later) later.before[id] = before;
    if (!card) continue;
    back.push(card);
    card.classList.add("refused");
    card.title = why;
    if (!later) paint(card, before);
  }
  sayings = sayings.filter((saying) => !saying.some((said) => back.includes(said.card)));
  if (back.length) look(back[0]);
  tell(why, true);
}

function tellProgress(progress) {
  const told = document.getElementById("progress");
  if (!told) return;
  told.dataset.told = JSON.stringify(progress);
  told.textContent = told.dataset.text.replace(/\{(\w+)\}/g, (_, key) => progress[key]);
}

// What the server said last, and what was said here since: the server counts again when all is stored.
function count(card, by) {
  const told = document.getElementById("progress");
  if (!told || !by) return;
  const progress = JSON.parse(told.dataset.told);
  const change = { reviewed: by, uncertain_left: card.dataset.waits ? -by : 0, left: card.dataset.waits ? -by : 0 };
  for (const key of Object.keys(change)) if (key in progress) progress[key] = Math.max(0, progress[key] + change[key]);
  tellProgress(progress);
}

function paint(card, label) {
  count(card, (label ? 1 : 0) - (card.dataset.verdict ? 1 : 0));
  if (label) card.dataset.verdict = label;
  else delete card.dataset.verdict;
  card.querySelector(".said").textContent = label ? words[label] || label : "";
}

// A word in the bar, which is always on the screen, of what came of a key.
function tell(text, isBad) {
  const told = document.getElementById("told");
  told.textContent = text || "";
  told.classList.toggle("alarm", Boolean(isBad));
}

function bringUp(card) {
  if (!card) return;
  card.style.scrollMarginTop = `${bar.offsetHeight + 12}px`;
  card.scrollIntoView({ block: "nearest" });
}

function look(card) {
  if (!card) return;
  if (current) current.classList.remove("current");
  current = card;
  card.classList.add("current");
  card.focus({ preventScroll: true });
  bringUp(card);
  const small = card.querySelector("img");
  const big = document.getElementById("big");
  big.hidden = !small;
  document.getElementById("no-big").hidden = Boolean(small);
  if (small) big.src = small.src;
  document.getElementById("big-words").textContent = card.dataset.words;
  const around = document.getElementById("around");
  around.toggleAttribute("hidden", !card.dataset.frame);
  if (card.dataset.frame) lookAround(around, card);
}

function lookAround(around, card) {
  const image = around.querySelector("image");
  const address = `/pictures/${encodeURIComponent(review.dataset.device)}/frames/${encodeURIComponent(card.dataset.frame)}`;
  const probe = new Image();
  probe.onload = () => {
    if (current !== card) return;
    const scale = probe.naturalWidth / Number(card.dataset.width); // it may be stored smaller than it was captured
    const [x, y, width, height] = card.dataset.box.split(" ").map(Number);
    around.setAttribute("viewBox", `0 0 ${probe.naturalWidth} ${probe.naturalHeight}`);
    image.setAttribute("href", address);
    image.setAttribute("width", probe.naturalWidth);
    image.setAttribute("height", probe.naturalHeight);
    const box = around.querySelector("rect");
    Object.entries({ x, y, width, height }).forEach(([key, value]) => box.setAttribute(key, value * scale));
  };
  probe.src = address;
}

function step(by) {
  const all = cards();
  const at = all.indexOf(current);
  look(all[Math.max(0, Math.min(all.length - 1, at + by))]);
}

function row() {
  const all = cards();
  const top = all.length ? all[0].offsetTop : 0;
  return Math.max(1, all.filter((card) => card.offsetTop === top).length);
}

function onwards() {
  const all = cards();
  const at = all.indexOf(current);
  look(all.slice(at + 1).find((card) => !card.dataset.verdict) || all[at + 1] || current);
}

function chosen() {
  return selected.size ? [...selected] : current ? [current] : [];
}

// What is on the screen of the cells that a key is for; where nothing is, that is said and the cell is brought up.
function onScreen(asked) {
  const said = asked.filter((card) => seen.has(card.dataset.id));
  if (said.length || !asked.length) return said;
  const image = asked[0].querySelector("img");
  const wasUp = isUp(asked[0]);
  bringUp(asked[0]);
  tell(wasUp && image && !image.complete ? review.dataset.loading : review.dataset.unseen);
  return said;
}

function isUp(card) {
  const place = card.getBoundingClientRect();
  return place.top >= bar.getBoundingClientRect().bottom && place.bottom <= window.innerHeight;
}

function say(kind, label, note) {
  const said = onScreen(chosen());
  if (!said.length) return;
  const given = said.map((card) => {
    const plain = kind === "correct" && label === card.dataset.label;
    const unable = kind === "confirm" && card.dataset.label === "uncertain";
    const how = plain ? "confirm" : unable ? "unsure" : kind;
    return { object_id: card.dataset.id, kind: how, label: how === "correct" ? label : "", note: note || "" };
  });
  const before = standing(said);
  sayings.push(said.map((card) => ({ card, before: before[card.dataset.id] })));
  said.forEach((card, number) => {
    card.classList.remove("refused");
    const how = given[number].kind;
    paint(card, how === "unsure" ? "uncertain" : how === "confirm" ? card.dataset.label : label);
  });
  give(given, before);
  const many = selected.size > 0;
  clearSelection();
  tell("");
  if (!many) onwards();
}

const standing = (some) => Object.fromEntries(some.map((card) => [card.dataset.id, card.dataset.verdict || ""]));

function give(given, before) {
  const { reading, upto } = review.dataset;
  enqueue("verdicts", { reading, call_id: name(), given, shown: waiting.splice(0), upto: Number(upto) }, before);
}

// Take back what was said last on this page, one cell or several at once, and go back there; then what was said before
// it. Of a cell that was judged on an earlier visit, its verdict.
function undo() {
  const earlier = current && current.dataset.verdict ? onScreen([current]).map((card) => ({ card, before: "" })) : [];
  const last = sayings.pop() || earlier;
  if (!last.length) {
    if (!current || !current.dataset.verdict) tell(review.dataset.nothing);
    return;
  }
  const stood = standing(last.map(({ card }) => card));
  for (const { card, before } of last) {
    card.classList.remove("refused");
    paint(card, before);
  }
  give(last.map(({ card }) => ({ object_id: card.dataset.id, kind: "undo", label: "", note: "" })), stood);
  clearSelection();
  look(last[0].card);
  tell(review.dataset.undone.replace("{cells}", last.map(({ card }) => card.dataset.number).join(", ")));
}

function clearSelection() {
  selected.forEach((card) => card.classList.remove("selected"));
  selected.clear();
  tellSelected();
}

function tellSelected() {
  const count = selected.size;
  document.getElementById("selected").textContent = count ? review.dataset.selected.replace("{count}", count) : "";
}

function select(card) {
  if (!card) return;
  if (selected.delete(card)) card.classList.remove("selected");
  else {
    selected.add(card);
    card.classList.add("selected");
  }
  tellSelected();
}

// From the current cell to another one, both too.
function selectTo(card) {
  const all = cards();
  const [from, to] = [Math.max(0, all.indexOf(current)), all.indexOf(card)].sort((one, other) => one - other);
  all.slice(from, to + 1).filter((one) => !selected.has(one)).forEach(select);
}

function press(key) {
  const button = document.querySelector(`.keys [data-key="${CSS.escape(key)}"]`);
  if (review.dataset.off && (key === "Enter" || ["u", "z", "n"].includes(key) || (button && button.dataset.label))) tell(review.dataset.off, true);
  else if (key === "Enter") say("confirm");
  else if (button && button.dataset.label) say("correct", button.dataset.label);
  else if (key === "u") say("unsure");
  else if (key === "z") undo();
  else if (key === "x") select(current);
  else if (key === "n") openNote();
  else if (key === "l" && current) location.search = `?like=${encodeURIComponent(current.dataset.id)}`;
  else if (key === "ArrowRight") step(1);
  else if (key === "ArrowLeft") step(-1);
  else if (key === "ArrowDown") step(row());
  else if (key === "ArrowUp") step(-row());
  else if (key === "Escape") clearSelection();
  else return false;
  return true;
}

function openNote() {
  document.getElementById("noting").hidden = false;
  document.getElementById("note").focus();
}

function keepNote(event) {
  event.preventDefault();
  const field = document.getElementById("note");
  const label = current && current.dataset.verdict;
  const kind = !label || label === "uncertain" ? "unsure" : label === current.dataset.label ? "confirm" : "correct";
  if (field.value.trim()) say(kind, label, field.value.trim());
  field.value = "";
  document.getElementById("noting").hidden = true;
}

function noteShown() {
  if (waiting.length) enqueue("shown", { reading: review.dataset.reading, object_ids: waiting.splice(0) });
}

let screen = null; // watches which cells are on the screen, and not below the bar

function watchScreen() {
  if (screen) screen.disconnect();
  screen = new IntersectionObserver(cameUp, { threshold: 0.6, rootMargin: `-${bar.offsetHeight}px 0px 0px 0px` });
  cards().forEach((card) => delete card.dataset.watched);
  watchCards();
}

// A cell was on the screen when most of it was, with its picture loaded; one without a picture shows just that.
function cameUp(entries) {
  for (const entry of entries) {
    const card = entry.target;
    const image = card.querySelector("img");
    if (!entry.isIntersecting || seen.has(card.dataset.id)) continue;
    if (image && !image.complete) image.addEventListener("load", () => { screen.unobserve(card); screen.observe(card); }, { once: true });
    else {
      seen.add(card.dataset.id);
      card.dataset.seen = "yes";
      waiting.push(card.dataset.id);
    }
  }
}

function watchCards() {
  cards().filter((card) => !card.dataset.watched).forEach((card) => {
    card.dataset.watched = "yes";
    screen.observe(card);
  });
}

if (review) {
  calls = JSON.parse(localStorage.getItem(KEPT) || "[]");
  for (const call of calls) {
    for (const one of call.body.given || []) {
      const card = list.querySelector(`[data-id="${CSS.escape(one.object_id)}"]`);
      if (card) paint(card, one.label || (one.kind === "confirm" ? card.dataset.label : one.kind === "unsure" ? "uncertain" : ""));
    }
  }
  history.scrollRestoration = "manual"; // the browser's own scrolling would put the current cell below the bar
  tellSending();
  send();
  watchScreen();
  new ResizeObserver(watchScreen).observe(bar);
  new MutationObserver(watchCards).observe(list, { childList: true });
  setInterval(noteShown, 400);
  look(cards().find((card) => !card.dataset.verdict) || cards()[0]);
  list.addEventListener("click", (event) => {
    const card = event.target.closest("li.cell");
    if (card && event.shiftKey) selectTo(card);
    else if (card && (event.ctrlKey || event.metaKey)) select(card);
    else if (card) look(card);
  });
  document.querySelectorAll(".keys button").forEach((button) => button.addEventListener("click", () => press(button.dataset.key)));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.matches("button, a") && event.key === "Enter") return;
    if (press(event.key.length === 1 ? event.key.toLowerCase() : event.key)) event.preventDefault();
  });
  document.getElementById("noting").addEventListener("submit", keepNote);
}
