// Everything can be done without a mouse.

import { byId } from "./dom.js";
import { closeDetail, copyLink, focusDetail, setMode, turnVersion } from "./detail.js";
import { closeDialog, showExport, showHelp } from "./dialogs.js";
import { step, turnMeaning } from "./list.js";
import { closeFilters, toggleFilters } from "./filters.js";
import { togglePlot } from "./plot.js";
import { turn } from "./theme.js";

const KEYS = {
  j: () => step(1),
  ArrowDown: () => step(1),
  k: () => step(-1),
  ArrowUp: () => step(-1),
  "/": () => byId("q").focus(),
  f: toggleFilters,
  m: turnMeaning,
  p: togglePlot,
  e: showExport,
  t: turn,
  "?": showHelp,
  c: copyLink,
  o: () => byId("overrule-note")?.focus(),
  1: () => setMode("words"),
  2: () => setMode("alone"),
  3: () => setMode("given"),
  4: () => setMode("effect"),
  "[": () => turnVersion(-1),
  "]": () => turnVersion(1),
  l: focusDetail,
  Enter: focusDetail,
  Escape: () => closeDialog() || closeFilters() || closeDetail(),
};

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target;
    const typing = target.closest("input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, select");
    if (typing) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (byId("dialog").open && event.key !== "Escape") return;
    if (event.key === "Enter" && target.closest("button, summary, input")) return;
    if (event.key.startsWith("Arrow") && target.closest("input, .heat, #detail")) return;
    const work = KEYS[event.key];
    if (!work) return;
    event.preventDefault();
    work();
  });
}
