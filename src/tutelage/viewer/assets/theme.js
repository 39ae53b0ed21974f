// Light, dark, or as the system says; remembered by this browser.

import { byId, fill } from "./dom.js";

const KINDS = ["auto", "light", "dark"];
const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };

export function startTheme() {
  show(kept());
  byId("theme-button").addEventListener("click", turn);
}

export function turn() {
  const next = KINDS[(KINDS.indexOf(kept()) + 1) % KINDS.length];
  try {
    localStorage.setItem("theme", next);
  } catch {
    // A browser that keeps nothing still changes now.
  }
  show(next);
}

function kept() {
  try {
    const found = localStorage.getItem("theme");
    return KINDS.includes(found) ? found : "auto";
  } catch {
    return "auto";
  }
}

function show(kind) {
  if (kind === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = kind;
  fill(byId("theme-button"), NAMES[kind]);
}
