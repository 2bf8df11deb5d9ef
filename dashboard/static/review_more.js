// More cells of a review as it is scrolled. The page says which it holds, and gets those that come next of all others:
// the order changes with what is said, and a slide that is open has ever more cells, but none is left out.
"use strict";

function heldHere() {
  const held = {};
  for (const card of cards()) {
    const at = card.dataset.id.lastIndexOf("-") + 1;
    (held[card.dataset.id.slice(0, at)] ||= []).push(card.dataset.id.slice(at));
  }
  return { held };
}

async function fetchRest(entries, observer) {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    observer.unobserve(entry.target);
    try {
      const response = await fetch(entry.target.dataset.rest, {
        method: "POST",
        headers: { accept: "text/html", "content-type": "application/json", "x-csrf-token": document.body.dataset.csrf },
        body: JSON.stringify(heldHere()),
      });
      if (!response.ok) throw new Error(response.statusText);
      const holder = document.createElement("template");
      holder.innerHTML = await response.text();
      const waits = current && current.dataset.verdict && current === cards().at(-1); // there was no next one to go to
      entry.target.replaceWith(holder.content);
      watchForRest(observer);
      if (waits) onwards();
    } catch {
      setTimeout(() => observer.observe(entry.target), 2000); // the server is away: ask again
    }
  }
}

function watchForRest(observer) {
  const rest = list.querySelector("[data-rest]");
  if (rest) observer.observe(rest);
}

if (review) {
  const observer = new IntersectionObserver(fetchRest, { rootMargin: "800px" });
  watchForRest(observer);
  list.addEventListener("click", (event) => {
    const rest = event.target.closest("[data-rest]");
    if (rest) fetchRest([{ target: rest, isIntersecting: true }], observer);
  });
}
