// What opens over the page: help, export, rows that are no example.

import { ask } from "./api.js";
import { byId, count, data, fill, h } from "./dom.js";
import * as state from "./state.js";

const dialog = byId("dialog");
let run = {};

export function startDialogs(about) {
  run = about;
  byId("help-button").addEventListener("click", showHelp);
  byId("export-button").addEventListener("click", showExport);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

export function closeDialog() {
  if (!dialog.open) return false;
  dialog.close();
  return true;
}

function show(title, ...content) {
  fill(
    dialog,
    h("div", { class: "head" }, h("h2", {}, title), h("button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×")),
    content,
  );
  dialog.showModal();
}

const KEYS = [
  ["j k ↓ ↑", "next and previous row"],
  ["/", "search; row:12 or the beginning of an id opens that row"],
  ["Enter l", "to the row's texts; Esc goes back"],
  ["1 2 3 4", "words · surprise alone · in context · effect of the context"],
  ["[ ]", "another version on the right"],
  ["o", "overrule"],
  ["c", "copy the link to this row"],
  ["m", "search by meaning or by words"],
  ["f p e t", "filters, picture, export, theme"],
];

const WORDS = [
  ["ifd", "How much the instruction helps the student to predict the response. At 1 it makes no difference; above 1 it misleads. Among those below 1, higher means more left to learn."],
  ["r_ifd", "The reverse: how much the response helps to predict the instruction. Lower means a better match."],
  ["surprise", "−log p of a token, in nats: 0.7 is a coin toss, 4.6 one in a hundred."],
  ["map", "Rows by the meaning of their texts: neighbouring rows are similar. The two directions are the first two principal components of their embeddings."],
  ["quality gate", "Detectors of known faults, fitted on this run's own rows. The number is how far a version lies above (rejected) or below the threshold of its most likely fault, in log-odds."],
  ["alone, in context", "The response without and after its instruction; the instruction without and after its response."],
];

export function showHelp() {
  show(
    "Keys and words",
    h("dl", { class: "keys" }, KEYS.map(([keys, text]) => [h("dt", {}, keys.split(" ").map((k) => h("kbd", {}, k))), h("dd", {}, text)])),
    h("dl", { class: "words" }, WORDS.map(([word, text]) => [h("dt", {}, word), h("dd", {}, text)])),
  );
}

export function showExport() {
  const to = (format) => `/api/export?${state.asked({ format })}`;
  const link = (format, title, text) =>
    h("a", { class: "choicecard", href: to(format), download: `${run.title}-shown.${format}` }, h("strong", {}, title), h("span", { class: "quiet" }, text));
  show(
    "Export the shown rows",
    h("p", { class: "quiet" }, "The rows that match the filters, in the order of the list, with manual overrides applied."),
    link("jsonl", "JSONL for training", "the chosen version of each, with its provenance, as in selected.jsonl"),
    link("csv", "CSV of the list", "outcome, reason and every number of the original and of the chosen"),
  );
}

export async function showLost() {
  const found = await ask("/api/lost");
  if (found === null) return;
  const totals = run.lost.map(([, words, n]) => `${count(n)} ${words}`).join(", ");
  show(
    "Input rows that are no example",
    h("p", { class: "quiet" }, totals),
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ["row", "line", "why", "detail"].map((name) => h("th", {}, name)))),
      h("tbody", {}, found.rows.map((row) => h("tr", {}, h("td", {}, row.row), h("td", {}, row.line), h("td", {}, row.words), h("td", {}, data(row.detail || ""))))),
    ),
  );
}
