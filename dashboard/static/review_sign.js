// Signing a review: the server is asked whether it may be, the person whether it shall be, and then it is signed.
"use strict";

const MOST_WAIT_MS = 10000; // for what was said and is not stored yet
const signing = document.getElementById("signing"); // in the bar

function tellSigning(text, waits) {
  signing.textContent = text;
  signing.className = text ? "alarm" : "";
  signing.toggleAttribute("data-waits", Boolean(waits));
}

// The order in which cells that a signature waits for stand first.
function leadToThem() {
  const link = document.createElement("a");
  link.href = "?order=to_do";
  link.textContent = review.dataset.showThem;
  signing.append(" ", link);
}

async function seal(only) {
  try {
    const response = await fetch(`${review.dataset.base}/seal?progress`, {
      method: "POST",
      headers: { accept: "application/json", "content-type": "application/json", "x-csrf-token": document.body.dataset.csrf },
      body: JSON.stringify({ reading: review.dataset.reading, call_id: name(), ...only }),
    });
    const answer = await response.json();
    if (response.ok) return answer;
    tellSigning(answer.error);
    if (["unreviewed", "disputed"].includes(answer.why)) leadToThem();
  } catch {
    tellSigning(review.dataset.away);
  }
  return null;
}

async function askToSign() {
  noteShown();
  for (let waited = 0; calls.length; waited += 100) {
    tellSigning(review.dataset.unsent.replace("{count}", calls.length), true);
    if (waited > MOST_WAIT_MS) return; // the server is away: what was said is kept, and signed later
    await new Promise((done) => setTimeout(done, 100));
  }
  tellSigning("");
  const answer = await seal({ check: true });
  if (!answer) return;
  if (answer.progress) tellProgress(answer.progress);
  const sure = document.getElementById("sure-words");
  sure.textContent = sure.dataset.text.replace(/\{(\w+)\}/g, (_, key) => answer.progress[key]);
  document.getElementById("sure").returnValue = "";
  document.getElementById("sure").showModal();
}

async function signIfSure(event) {
  if (event.target.returnValue === "sign" && (await seal({}))) location.reload(); // the page of a reading that is signed
}

if (review && document.getElementById("sign")) {
  document.getElementById("sign").addEventListener("click", askToSign);
  document.getElementById("sure").addEventListener("close", signIfSure);
}
