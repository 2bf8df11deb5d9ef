// What an open page does by itself: it hears of changes, says how old its knowledge is, sends commands, and
// fetches more of a gallery as it is scrolled. Without this script every page can be read, and none changes.
"use strict";

const OLD_AFTER_S = 5; // without a sign of life

const said = document.body.dataset;
let heardAt = null; // performance.now() of the last sign of life
let ahead = 0; // milliseconds by which the server's clock is ahead of this one
let newsAt = null; // milliseconds since 1970 by the server's clock: the last word of a microscope, while none can come
let source = null; // what this page hears

function replace(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  for (const made of holder.content.children) {
    const before = document.getElementById(made.id);
    if (before) become(before, made);
    else if (made.dataset.into) insertInOrder(document.getElementById(made.dataset.into), made);
  }
}

// Make an element like another and keep it and what is in it where the kind is the same: a link that is being clicked,
// or has the focus, stays the link that it was.
function become(before, made) {
  for (const { name } of [...before.attributes]) if (!made.hasAttribute(name)) before.removeAttribute(name);
  for (const { name, value } of made.attributes) {
    if (before.getAttribute(name) !== value) before.setAttribute(name, value);
  }
  const [old, wanted] = [[...before.childNodes], [...made.childNodes]];
  wanted.forEach((node, place) => {
    const there = old[place];
    if (!there) before.append(node);
    else if (there.nodeName !== node.nodeName || isAnotherPicture(there, node)) there.replaceWith(node);
    else if (node.nodeType === Node.ELEMENT_NODE) become(there, node);
    else if (there.data !== node.data) there.data = node.data;
  });
  for (const left of old.slice(wanted.length)) left.remove();
}

// One that is kept would show its old frame under new outlines until the new one has come.
function isAnotherPicture(there, node) {
  return ["image", "img"].includes(node.nodeName.toLowerCase()) && !there.isEqualNode(node);
}

// A microscope that is not there takes no command: its state says why, and what somebody has typed stays.
function switchCommands() {
  const state = document.querySelector("[data-off]");
  const commands = document.getElementById("commands");
  if (!state || !commands) return;
  const why = document.getElementById("off");
  why.textContent = state.dataset.off;
  commands.disabled = Boolean(state.dataset.off);
  why.hidden = !state.dataset.off;
}

function insertInOrder(list, made) {
  const name = (row) => row.querySelector("a").textContent;
  const next = [...list.children].find((row) => name(row) > name(made));
  list.insertBefore(made, next || null);
  const nobody = document.getElementById("nobody");
  if (nobody) nobody.hidden = true;
}

function listen() {
  if (source || document.hidden) return;
  const opened = new EventSource(said.events);
  source = opened;
  source.addEventListener("parts", (event) => {
    JSON.parse(event.data).filter(Boolean).forEach(replace);
    switchCommands();
    tellAges();
  });
  source.addEventListener("tick", (event) => {
    const tick = JSON.parse(event.data);
    heardAt = performance.now();
    ahead = Date.parse(tick.at) - Date.now();
    const broker = document.getElementById("broker");
    newsAt = tick.trouble ? Date.parse(tick.news) : null; // NaN: there was none
    document.getElementById("detail").textContent = tick.detail;
    if (tick.trouble) broker.textContent = tick.trouble;
    else if (broker.dataset.online) broker.textContent = broker.dataset.online;
    document.getElementById("knowledge").classList.toggle("old", Boolean(tick.trouble));
  });
  source.addEventListener("error", () => {
    if (source !== opened || opened.readyState !== EventSource.CLOSED) return;
    source = null;
    setTimeout(listen, 2000); // the server refused: ask again
  });
}

// A browser has six connections to a server, which tabs that nobody sees would hold from the one that is looked at.
function listenWhileSeen() {
  if (!document.hidden) listen();
  else if (source) {
    source.close();
    source = null;
  }
}

function tellAges() {
  const now = Date.now() + ahead;
  for (const one of document.querySelectorAll("[data-at]")) {
    const seconds = Math.max(0, Math.round((now - Date.parse(one.dataset.at)) / 1000));
    one.textContent = said.ago.replace("{seconds}", seconds);
  }
}

function ageWords(seconds, silent) {
  if (silent) return said.silent.replace("{seconds}", seconds);
  if (newsAt === null) return said.current.replace("{seconds}", seconds);
  if (Number.isNaN(newsAt)) return "";
  return said.news.replace("{seconds}", Math.max(0, Math.round((Date.now() + ahead - newsAt) / 1000)));
}

// A page that hears nothing by itself is as old as its loading.
function tellAgeSinceLoading() {
  const seconds = Math.round(performance.now() / 1000);
  const words = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
  document.getElementById("age").textContent = said.loaded.replace("{age}", words);
}

function tellAge() {
  const age = document.getElementById("age");
  if (!age) return;
  const seconds = heardAt === null ? null : Math.round((performance.now() - heardAt) / 1000);
  const silent = seconds === null || seconds >= OLD_AFTER_S;
  age.textContent = seconds === null ? "" : ageWords(seconds, silent);
  if (silent && seconds !== null) document.getElementById("knowledge").classList.add("old");
  document.body.classList.toggle("silent", silent && seconds !== null);
  tellAges();
}

async function command(event) {
  event.preventDefault();
  const form = event.target;
  const answer = document.getElementById("said");
  answer.textContent = "…";
  try {
    const response = await fetch(form.action, {
      method: "POST",
      headers: { accept: "application/json", "x-csrf-token": said.csrf },
      body: new URLSearchParams(new FormData(form)),
    });
    const told = await response.json();
    answer.textContent = told.text || told.error;
    answer.className = response.ok ? "done" : "alarm";
    askAgain(form, told.again || "");
  } catch (cause) {
    answer.textContent = String(cause);
    answer.className = "alarm";
  }
  answer.focus(); // which brings it into view
}

// A name that was used already is started only by who ticks that it is the same slide; a mark holds for one name.
function askAgain(form, name) {
  const box = form.elements.again;
  if (!box) return;
  Object.assign(box, { value: name, checked: false, disabled: !name });
  box.closest("label").hidden = !name;
  if (name) box.focus();
}

function fetchMore(entries, observer) {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    observer.unobserve(entry.target);
    fetch(entry.target.dataset.more)
      .then((response) => (response.ok ? response.text() : Promise.reject(response.status)))
      .then((html) => {
        const holder = document.createElement("template");
        holder.innerHTML = html;
        entry.target.replaceWith(holder.content);
        watchForMore(observer);
      })
      .catch(() => observer.observe(entry.target));
  }
}

function watchForMore(observer) {
  const more = document.querySelector("[data-more]");
  if (more) observer.observe(more);
}

if (said.events) {
  listen();
  document.addEventListener("visibilitychange", listenWhileSeen);
  setInterval(tellAge, 500);
} else if (document.getElementById("age")) {
  tellAgeSinceLoading();
  setInterval(tellAgeSinceLoading, 500);
}
document.querySelectorAll("form.command").forEach((form) => form.addEventListener("submit", command));
watchForMore(new IntersectionObserver(fetchMore, { rootMargin: "800px" }));
