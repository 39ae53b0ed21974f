// Questions to the server. A newer question of the same kind gives up the older one.

import { byId, fill, h } from "./dom.js";

const waiting = new Map();

export async function ask(path, { kind = null, method = "GET", body = null } = {}) {
  const controller = new AbortController();
  if (kind) {
    waiting.get(kind)?.abort();
    waiting.set(kind, controller);
  }
  let response;
  try {
    response = await fetch(path, {
      method,
      body: body === null ? null : JSON.stringify(body),
      headers: body === null ? {} : { "content-type": "application/json" },
      signal: controller.signal,
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") return null;
    say("The viewer does not answer: was `tutelage view` stopped? Start it again and reload.", "bad");
    return null;
  }
  if (controller.signal.aborted) return null;
  const found = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  await released();
  if (controller.signal.aborted) return null;
  if (response.ok) return found;
  if (response.status === 401) say("This page needs the link that `tutelage view` printed: open that one.", "bad");
  else say([found.error, found.hint].filter(Boolean).join(" – "), "bad");
  return null;
}

// What arrives moves what stands below it. A button that moves away between press and release is
// not clicked, so an answer waits until it is let go.
let pressed = false;
let letGo = [];

addEventListener("pointerdown", (event) => {
  pressed = event.button === 0 && Boolean(event.target.closest?.("button, label, summary, a"));
}, true);
for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, () => setTimeout(release), true);
addEventListener("blur", release); // of the window: the fields' own do not bubble

const released = () => (pressed ? new Promise((resolve) => letGo.push(resolve)) : null);

function release() {
  pressed = false;
  const waiting = letGo;
  letGo = [];
  for (const resolve of waiting) resolve();
}

let timer = 0;

export function say(text, kind = "good", ...more) {
  const notice = byId("notice");
  clearTimeout(timer);
  notice.className = kind;
  notice.hidden = !text;
  fill(notice, h("span", {}, text), more, h("button", { type: "button", "aria-label": "Close", onclick: hush }, "×"));
  if (kind === "good") timer = setTimeout(hush, 4000);
}

export function hush() {
  byId("notice").hidden = true;
}
