// The page of a slide: it asks again for its counts, always says how old they are, and says when its cells are not the
// newest. Without this script the page says of when it is.
"use strict";

const ASKED_EVERY_S = 10;
const COUNTS_OLD_AFTER_S = 30; // without an answer

const asOf = document.getElementById("as-of");
let words = asOf.dataset.said; // with the time of the newest answer
let answeredAt = performance.now();
let asking = false;

async function ask() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const response = await fetch(asOf.dataset.now, { signal: AbortSignal.timeout(COUNTS_OLD_AFTER_S * 1000) });
    if (!response.ok) return;
    const holder = document.createElement("template");
    holder.innerHTML = await response.text();
    const made = holder.content.getElementById("now");
    if (!made) return; // a page to sign in
    answeredAt = performance.now();
    words = made.dataset.said;
    show(made);
  } catch {
    // the age goes on and says it
  } finally {
    asking = false;
  }
}

function show(made) {
  const before = document.getElementById("now");
  if (before.dataset.version === made.dataset.version) return;
  document.getElementById("newer").hidden = false;
  if (!before.contains(document.activeElement)) before.replaceWith(made);
}

function tell() {
  const seconds = Math.round((performance.now() - answeredAt) / 1000);
  asOf.textContent = words.replace("{seconds}", seconds);
  asOf.classList.toggle("alarm", seconds >= COUNTS_OLD_AFTER_S);
}

document.addEventListener("visibilitychange", ask);
setInterval(ask, ASKED_EVERY_S * 1000);
setInterval(tell, 500);
tell();
