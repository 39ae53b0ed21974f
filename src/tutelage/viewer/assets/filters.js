// Facets with counts, ranges of numbers, and the filters in use as chips.

import { ask } from "./api.js";
import { byId, count, data, fill, h, number } from "./dom.js";
import { clearAll } from "./list.js";
import { showLost } from "./dialogs.js";
import * as state from "./state.js";

const TITLES = {
  outcome: "Outcome",
  reason: "Reason",
  step: "Chosen version",
  source: "Source",
  teacher: "Written by",
  status: "A version's status",
  fault: "Rejected by the gate for",
  beside: "Second student",
};
const OPEN = new Set(["outcome", "reason", "source", "fault", "beside", "numbers"]);
const WHOSE = { chosen: "of the chosen", original: "of the original", any: "of any version" };
const labels = new Map();
let names = {};

export function startFilters(about) {
  names = about;
  const panel = byId("filters");
  fill(
    panel,
    h("button", { id: "filters-done", type: "button", class: "phone primary", onclick: toggleFilters }, "Show the rows"),
    about.facets.map((facet) =>
      h("details", { id: `facet-${facet}`, open: OPEN.has(facet) }, h("summary", {}, facet === "beside" ? `Compared with ${about.second}` : TITLES[facet]), h("div", { class: "values" })),
    ),
    rangeForm(about),
    about.lost.length
      ? h(
          "p",
          { class: "lost" },
          h("button", { type: "button", class: "link", onclick: showLost }, `${count(about.lost.reduce((n, l) => n + l[2], 0))} input rows are no example`),
        )
      : null,
  );
  byId("filters-button").addEventListener("click", toggleFilters);
  state.watch(state.FILTERS, chips);
  window.addEventListener("tutelage:listed", reload);
  chips();
}

export function toggleFilters() {
  const panel = byId("filters");
  const button = byId("filters-button");
  if (button.offsetParent !== null) {
    const open = panel.classList.toggle("shown");
    button.setAttribute("aria-expanded", String(open));
    if (!open) return button.focus();
  }
  panel.querySelector("summary, input")?.focus();
}

export function closeFilters() {
  if (!byId("filters").classList.contains("shown")) return false;
  toggleFilters();
  return true;
}

async function reload() {
  const found = await ask(`/api/facets?${state.asked()}`, { kind: "facets" });
  if (found === null) return;
  for (const [facet, { values, more }] of Object.entries(found.facets)) {
    const group = byId(`facet-${facet}`);
    if (!group) continue;
    const chosen = state.all(facet);
    const there = new Set(values.map((v) => v.value));
    const gone = chosen.filter((v) => !there.has(v)).map((v) => ({ value: v, label: labels.get(`${facet} ${v}`) || v, count: 0 }));
    const focused = document.activeElement?.dataset?.value;
    const inside = group.contains(document.activeElement);
    const most = Math.max(1, ...values.map((v) => v.count));
    fill(
      group.querySelector(".values"),
      [...values, ...gone].map((v) => choice(facet, v, chosen, most)),
      more ? h("p", { class: "quiet" }, `and ${count(more)} rarer ones`) : null,
    );
    group.hidden = values.length + gone.length === 0;
    if (inside) [...group.querySelectorAll("input")].find((i) => i.dataset.value === focused)?.focus();
  }
}

function choice(facet, { value, label, count: n }, chosen, most) {
  labels.set(`${facet} ${value}`, label);
  const bar = h("meter", { min: 0, max: most, value: n, "aria-hidden": "true" });
  return h(
    "label",
    { class: "choice", title: label },
    h("input", { type: "checkbox", "data-value": value, checked: chosen.includes(value), onchange: () => state.toggle(facet, value) }),
    data(label),
    h("span", { class: "n" }, count(n)),
    bar,
  );
}

function rangeForm(about) {
  const metric = h("select", { "aria-label": "Metric" }, about.metrics.map((m) => h("option", { value: m.name }, m.name)));
  const whose = h("select", { "aria-label": "Whose" }, Object.entries(WHOSE).map(([value, text]) => h("option", { value }, text)));
  const low = h("input", { type: "number", step: "any", "aria-label": "At least", placeholder: "from", inputmode: "decimal" });
  const high = h("input", { type: "number", step: "any", "aria-label": "At most", placeholder: "to", inputmode: "decimal" });
  const hint = h("p", { class: "quiet" });
  const show = () => {
    const [from, to] = about.ranges[metric.value] || [];
    fill(hint, `from ${number(from)} to ${number(to)} in this run`);
  };
  metric.addEventListener("change", show);
  show();
  const form = h("form", { class: "range" }, metric, whose, h("span", { class: "bounds" }, low, high, h("button", { type: "submit" }, "Add")), hint);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (low.value === "" && high.value === "") return low.focus();
    const others = state.ranges().filter((r) => !(r.metric === metric.value && r.whose === whose.value));
    const wanted = { metric: metric.value, whose: whose.value, low: low.value, high: high.value };
    state.set({ range: [...others.map((r) => r.text), state.asRange(wanted)] });
  });
  return h("details", { id: "facet-numbers", open: true }, h("summary", {}, "Numbers"), form);
}

function chips() {
  const found = [];
  if (state.get("q")) found.push(chip(`“${state.get("q")}”`, () => state.set({ q: "" })));
  if (state.get("near")) found.push(chip(`≈ ${state.get("near")}`, () => state.set({ near: "" })));
  if (state.get("area")) found.push(chip("an area of the map", () => state.set({ area: "" })));
  for (const facet of names.facets) {
    for (const value of state.all(facet)) {
      const label = labels.get(`${facet} ${value}`) || value || "no source";
      found.push(chip(label, () => state.toggle(facet, value)));
    }
  }
  for (const range of state.ranges()) {
    const text = `${bound(range.low, "≤ ")}${range.metric} ${WHOSE[range.whose]}${bound(range.high, null, " ≤ ")}`;
    found.push(chip(text, () => state.set({ range: state.all("range").filter((r) => r !== range.text) })));
  }
  if (found.length > 1) found.push(h("button", { type: "button", class: "link", onclick: clearAll }, "clear all"));
  fill(byId("chips"), found);
  const used = state.filtersInUse();
  fill(byId("filters-button"), used ? `Filters (${used})` : "Filters");
}

function bound(value, after, before = "") {
  return value === null ? "" : `${before}${number(value)} ${after || ""}`.trimEnd() + (after ? " " : "");
}

function chip(text, remove) {
  return h("button", { type: "button", class: "chip", onclick: remove, title: "Remove this filter" }, data(text), h("span", { "aria-hidden": "true" }, "×"));
}
