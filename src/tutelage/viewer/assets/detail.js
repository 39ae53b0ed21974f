// One row: where it came from, its versions side by side, and what was decided.

import { ask, say } from "./api.js";
import { byId, data, fill, h, number } from "./dom.js";
import { MODES, heat, scale } from "./heat.js";
import { judgement } from "./judge.js";
import { overruling } from "./overrule.js";
import * as state from "./state.js";

const pane = byId("detail");
let names = {};
let example = null;
let generation = 0;

export function startDetail(about) {
  names = about;
  state.watch(["row"], load);
  state.watch(["left", "right", "mode"], () => example && compare());
  load();
}

async function load() {
  const id = state.get("row");
  document.body.classList.toggle("reading", Boolean(id));
  if (!id) {
    example = null;
    generation += 1;
    show([]);
    return fill(pane, welcome());
  }
  const found = await ask(`/api/examples/${encodeURIComponent(id)}`, { kind: "example" });
  if (found === null || state.get("row") !== id) return;
  render(found);
}

function welcome() {
  return h(
    "div",
    { class: "empty" },
    h("p", {}, "Choose a row, or press ", h("kbd", {}, "j"), "."),
    h("p", { class: "quiet" }, "Its versions stand side by side here, with what the student found surprising in them and why one was kept."),
  );
}

function render(found) {
  const same = example?.id === found.id;
  example = found;
  const top = pane.scrollTop;
  fill(
    pane,
    head(),
    verdict(),
    beside(),
    lineage(),
    h("section", { class: "compare", "aria-label": "Versions side by side" }, h("div", { id: "toolbar" }), h("div", { id: "panes" })),
    judgement(example, names),
    overruling(example, decided),
    origin(),
  );
  pane.scrollTop = same ? top : 0;
  if (!same && matchMedia("(max-width: 760px)").matches) window.scrollTo(0, 0);
  compare();
  show(example.versions);
}

const show = (versions) => window.dispatchEvent(new CustomEvent("tutelage:lineage", { detail: versions }));

function decided(found) {
  render(found);
  window.dispatchEvent(new CustomEvent("tutelage:decided"));
}

function head() {
  return h(
    "header",
    { class: "rowhead" },
    h("button", { type: "button", class: "back", onclick: closeDetail, "aria-label": "Back to the list" }, "← List"),
    h("h2", {}, `Row ${example.row}`),
    example.source === null ? null : data(example.source, { class: "source" }),
    h("code", { class: "id quiet", title: "example_id" }, example.id),
    h("button", { type: "button", onclick: copyLink, title: "Copy a link to this row with these filters (c)" }, "Copy link"),
  );
}

function verdict() {
  const kept = example.versions.find((v) => v.in_force);
  const words = kept ? `Kept: the ${kept.step_words}` : names.decided ? "Dropped: nothing is kept" : "Nothing has been decided yet";
  const kind = !kept ? "refused" : kept.step === "original" ? "original" : "refined";
  return h(
    "p",
    { class: `verdict ${kind}` },
    h("strong", {}, words),
    example.reason_words ? h("span", {}, ` – ${example.reason_words}`) : null,
    example.override?.note ? h("span", { class: "note" }, " “", data(example.override.note), "”") : null,
  );
}

// What a second student made of the same row.
function beside() {
  const other = example.second;
  if (!other) return null;
  if (!other.judged) return h("p", { class: "quiet beside" }, `${other.name} has not judged this row.`);
  const kept = example.versions.find((v) => v.by_rule)?.candidate_id ?? null;
  const words = other.candidate_id ? `keeps the ${other.step_words}` : "keeps nothing";
  return h(
    "p",
    { class: "beside" },
    h("span", { class: kept === other.candidate_id ? "agrees" : "differs" }, kept === other.candidate_id ? "= " : "≠ "),
    h("strong", {}, data(other.name)),
    ` ${words}`,
    h("span", { class: "quiet" }, ` – ${other.reason_words}`),
  );
}

// Chips in the order of making; an indent stands for "made from".
function lineage() {
  const byParent = new Map();
  const ids = new Set(example.versions.map((v) => v.candidate_id));
  for (const version of example.versions) {
    const parent = ids.has(version.parent_id) ? version.parent_id : "";
    byParent.set(parent, [...(byParent.get(parent) || []), version]);
  }
  const branch = (parent) => (byParent.get(parent) || []).map((v) => h("li", {}, chip(v), byParent.has(v.candidate_id) ? h("ul", {}, branch(v.candidate_id)) : null));
  return h("nav", { class: "lineage", "aria-label": "Versions" }, h("ul", {}, branch("")));
}

function chip(version) {
  const numbers = version.numbers || {};
  const scored = ["ifd", "r_ifd"].filter((m) => typeof numbers[m] === "number");
  return h(
    "button",
    {
      type: "button",
      class: `version${version.in_force ? " kept" : ""}`,
      "data-id": version.candidate_id,
      onclick: () => state.set({ right: version.candidate_id }),
      title: version.status === "ok" ? "Show on the right" : `${version.status}${version.detail ? `: ${version.detail}` : ""}`,
    },
    h("strong", {}, version.step_words),
    version.in_force ? h("span", { class: "mark" }, "kept") : null,
    version.by_rule && !version.in_force ? h("span", { class: "mark quiet" }, "the rule's choice") : null,
    version.status === "ok"
      ? h("span", { class: "quiet" }, scored.map((m) => `${m} ${number(numbers[m], 2)}`).join(" · "))
      : h("span", { class: "bad" }, version.status.replaceAll("_", " ")),
    version.gate?.passed === false ? h("span", { class: "bad" }, `gate: ${version.gate.fault_words}`) : null,
  );
}

const named = (id) => example.versions.find((v) => v.candidate_id === id);

function sides() {
  const versions = example.versions;
  const first = versions.find((v) => v.step === "original") || versions[0];
  const other = versions.find((v) => v.in_force && v !== first) || versions.find((v) => v.by_rule && v !== first);
  const right = named(state.get("right")) || other || versions.findLast((v) => v !== first && v.response !== undefined) || versions.find((v) => v !== first);
  const left = named(state.get("left")) || (right === first ? null : first);
  return { left, right: right || first };
}

const mode = () => (state.get("mode") in MODES ? state.get("mode") : "words");

export function setMode(name) {
  if (example) state.set({ mode: name === "words" ? "" : name });
}

export function turnVersion(by) {
  if (!example) return;
  const { left, right } = sides();
  const others = example.versions.filter((v) => v !== left);
  const at = others.indexOf(right);
  if (others.length) state.set({ right: others[(at + by + others.length) % others.length].candidate_id });
}

async function compare() {
  const mine = ++generation;
  const { left, right } = sides();
  if (!right) return fill(byId("panes"), h("p", { class: "quiet" }, "This example has no version: see where it came from below."));
  for (const button of pane.querySelectorAll(".version")) {
    const shown = button.dataset.id === right.candidate_id || button.dataset.id === left?.candidate_id;
    button.classList.toggle("shown", shown);
    button.setAttribute("aria-pressed", String(shown));
  }
  toolbar(left, right);
  const now = mode();
  const found = now === "words" ? await words(left, right) : await surprise(left, right);
  if (mine !== generation || !example) return;
  fill(
    byId("panes"),
    [left, right].filter(Boolean).map((version, at) => version_(version, at, found)),
  );
  byId("panes").dataset.mode = now;
}

async function words(left, right) {
  if (!left?.response && left?.response !== "") return null;
  if (right.response === undefined) return null;
  return ask(`/api/examples/${example.id}/differences?left=${left.candidate_id}&right=${right.candidate_id}`, { kind: "compare" });
}

async function surprise(left, right) {
  const both = [left, right].filter(Boolean);
  return Promise.all(both.map((v) => ask(`/api/examples/${example.id}/tokens?candidate=${v.candidate_id}`)));
}

function toolbar(left, right) {
  const now = mode();
  const menu = (name, chosen, label) => {
    const select = h(
      "select",
      { "aria-label": label, onchange: (event) => state.set({ [name]: event.target.value }) },
      example.versions.map((v, at) => h("option", { value: v.candidate_id }, optionName(v, at))),
    );
    select.value = chosen.candidate_id;
    return select;
  };
  const focus = document.activeElement?.dataset?.mode;
  fill(
    byId("toolbar"),
    h(
      "div",
      { class: "modes", role: "group", "aria-label": "What is shown" },
      Object.entries(MODES).map(([name, { name: text, about }], at) =>
        h("button", { type: "button", "data-mode": name, "aria-pressed": String(name === now), title: `${about} (${at + 1})`, onclick: () => setMode(name) }, text),
      ),
    ),
    left ? h("span", { class: "pair" }, menu("left", left, "Left"), " ⇢ ", menu("right", right, "Right")) : null,
    scale(now),
  );
  if (focus) byId("toolbar").querySelector(`[data-mode=${focus}]`)?.focus();
}

function optionName(version, at) {
  const twins = example.versions.filter((v) => v.step === version.step).length > 1;
  return twins ? `${version.step_words} ${at}` : version.step_words;
}

function version_(version, at, found) {
  const blocks = version.response === undefined ? [absent(version)] : [
    version.earlier?.length ? h("p", { class: "quiet" }, `after ${version.earlier.length} earlier turn${version.earlier.length > 1 ? "s" : ""}, see below`) : null,
    block("Instruction", version, at, "instruction", found),
    block("Response", version, at, "response", found),
  ];
  return h(
    "section",
    { class: `pane${version.in_force ? " kept" : ""}` },
    h("h3", {}, version.step_words, version.in_force ? h("span", { class: "mark" }, "kept") : null),
    version.teacher ? h("p", { class: "quiet by" }, "by ", data(version.teacher)) : null,
    version.criticism ? h("blockquote", {}, h("span", { class: "quiet" }, `The teacher's criticism${named(version.parent_id) ? ` of the ${named(version.parent_id).step_words}` : ""}: `), data(version.criticism, { dir: "auto" })) : null,
    blocks,
  );
}

function absent(version) {
  return h("p", { class: "bad" }, `There is no text: ${version.status.replaceAll("_", " ")}.`, version.detail ? h("span", { class: "quiet" }, " ", data(version.detail)) : null);
}

function block(title, version, at, side, found) {
  const now = mode();
  const text = version[side];
  let shown = h("div", { class: "text", dir: "auto" }, text || h("span", { class: "quiet" }, "(empty)"));
  if (now === "words" && found) {
    const spans = found[side][at];
    shown = h("div", { class: "text", dir: "auto" }, spans.map(([kind, part]) => (kind === "same" ? part : h(kind === "only_before" ? "del" : "ins", {}, part))));
  } else if (now !== "words" && found?.[at]) {
    const answer = found[at];
    shown = answer.status === "ok" && answer.sides[side] ? heat(answer.sides[side], now, `${title} of the ${version.step_words}`) : [shown, side === "response" || answer.status === "ok" ? missing(answer, version) : null];
  }
  return h("div", { class: "block" }, h("h4", {}, title), shown);
}

function missing(answer, version) {
  if (answer.status === "ok") return h("p", { class: "quiet" }, "The metrics of this run did not need this side, so it was not read token by token.");
  if (answer.status === "unscored") return h("p", { class: "quiet" }, `The student has no numbers for this version: ${answer.reason}.`);
  if (answer.status === "failed") return h("p", { class: "bad" }, answer.reason);
  const note = h("div", { class: "quiet" }, "This version's tokens are neither kept with the run nor in the student's cache. To keep them for every row:");
  if (answer.command) note.append(" ", h("code", {}, answer.command));
  if (answer.can_read) {
    note.append(" ", h("button", { type: "button", onclick: (event) => read(event.target, version) }, "Let the student read it now"));
  }
  return note;
}

async function read(button, version) {
  button.disabled = true;
  fill(button, "The student is reading…");
  const found = await ask(`/api/examples/${example.id}/tokens?candidate=${version.candidate_id}`, { method: "POST", body: {} });
  if (found === null || found.status === "failed") {
    button.disabled = false;
    fill(button, "Let the student read it now");
    if (found) say(found.reason, "bad");
    return;
  }
  compare();
}

function origin() {
  const extra = Object.entries(example.extra || {});
  const turns = example.messages.slice(0, -2);
  const empty = !example.versions.length;
  if (!extra.length && !example.reference && !turns.length && !empty) return null;
  return h(
    "details",
    { class: "origin", open: empty },
    h("summary", {}, "Where it came from"),
    (empty ? example.messages : turns).map((turn) => h("div", { class: "block" }, h("h4", {}, turn.role), h("div", { class: "text", dir: "auto" }, turn.content))),
    example.reference ? h("div", { class: "block" }, h("h4", {}, "Reference answer"), h("div", { class: "text", dir: "auto" }, example.reference)) : null,
    extra.length ? h("dl", {}, extra.map(([name, value]) => [h("dt", {}, data(name)), h("dd", {}, data(typeof value === "string" ? value : JSON.stringify(value)))])) : null,
  );
}

export function closeDetail() {
  const id = state.get("row");
  if (!id) return;
  if (matchMedia("(max-width: 760px)").matches) state.set({ row: "", left: "", right: "" });
  const link = byId("list").querySelector(`a[data-id="${CSS.escape(id)}"]`);
  (link || byId("scroll")).focus();
}

export function focusDetail() {
  if (!state.get("row")) return;
  pane.focus();
}

export async function copyLink() {
  if (!example) return;
  const link = `${location.origin}${state.address()}`;
  try {
    await navigator.clipboard.writeText(link);
    say("The link is copied. It opens for you while this viewer runs; others need a viewer of the same run.");
  } catch {
    say(link);
  }
}
