// Why the decision fell as it did, and how it would fall otherwise.

import { ask } from "./api.js";
import { fill, h, later, number, signed } from "./dom.js";

const RULES = [
  ["srt", "srt"],
  ["srt_pairwise", "srt pairwise"],
  ["grape", "grape"],
  ["rsr", "rsr"],
  ["all_refined", "all rewritten"],
  ["all_original", "all original"],
];
const RATIOS = new Set(["ifd", "r_ifd"]);
let wanted = { rule: null, mode: null, margin: null };

export function judgement(example, about) {
  const reasons = h("ol", { class: "reasons" });
  const others = h("div", { class: "others" });
  const result = h("div", { class: "wouldbe", "aria-live": "polite" });
  explain(example, reasons);
  otherwise(example, others);
  return h(
    "section",
    { class: "why", "aria-label": "The decision" },
    h("h3", {}, "Why"),
    table(example, about),
    example.second && Object.keys(example.second.numbers).length
      ? [h("p", { class: "quiet" }, `The same versions, scored by ${example.second.name}`), table(asSecond(example), about)]
      : null,
    gate(example, about),
    reasons,
    h("h3", {}, "Decisions with other settings"),
    controls(example, about, result),
    result,
    others,
  );
}

async function explain(example, reasons) {
  const found = await ask(`/api/examples/${example.id}/judgement`, { kind: "judgement" });
  if (found === null) return;
  fill(reasons, found.sentences.map((text) => h("li", {}, text)));
  if (found.cuts) reasons.after(h("p", { class: "quiet" }, "This run also cut across examples. What follows is how each rule would decide on this row alone, before any cut."));
}

async function otherwise(example, box) {
  const found = await ask(`/api/examples/${example.id}/otherwise`, { kind: "otherwise" });
  if (found === null) return;
  const now = example.versions.find((v) => v.by_rule)?.candidate_id ?? null;
  const outcome = (other) => (other.why_not ? h("span", { class: "quiet" }, other.why_not) : [same(other, now), other.kept ? `keeps the ${other.step_words}` : "keeps nothing", h("span", { class: "quiet" }, ` – ${other.reason_words}`)]);
  fill(
    box,
    h(
      "table",
      {},
      h("caption", {}, "Under the other rules"),
      h("tbody", {}, found.others.map((other) => h("tr", {}, h("th", { scope: "row" }, other.name), h("td", {}, outcome(other))))),
    ),
    found.turns.length > 1
      ? h(
          "p",
          {},
          "With a margin ",
          found.turns.map((turn, at) => [at ? `, from ${number(turn.margin, 4)} on ` : "of 0 ", h("strong", {}, turn.kept ? turn.step_words : "nothing")]),
          ".",
        )
      : found.turns.length
        ? h("p", { class: "quiet" }, "No margin changes this decision.")
        : null,
  );
}

const same = (other, now) =>
  other.candidate_id === now ? h("span", { class: "agrees", title: "as decided" }, "= ") : h("span", { class: "differs", title: "otherwise" }, "≠ ");

const asSecond = ({ versions, second }) => ({
  versions: versions.map((v) => ({ ...v, numbers: second.numbers[v.candidate_id], in_force: v.candidate_id === second.candidate_id })),
});

function table(example, about) {
  const columns = about.metrics.filter((m) => example.versions.some((v) => typeof v.numbers?.[m.name] === "number"));
  if (!columns.length) return h("p", { class: "quiet" }, "No version of this row has numbers.");
  const better = { higher: "higher is better", lower: "lower is better" };
  const cell = (version, metric) => {
    const value = version.numbers?.[metric];
    const kind = RATIOS.has(metric) && typeof value === "number" ? (value < 1 ? "passes" : "fails") : "";
    return h("td", { class: kind, title: kind === "fails" ? "1 or more: does not pass" : null }, number(value));
  };
  return h(
    "div",
    { class: "wide" },
    h(
      "table",
      { class: "scores" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "version"), columns.map((m) => h("th", { scope: "col", title: better[m.better] || null }, m.name.replace("_tokens", " tokens"))))),
      h(
        "tbody",
        {},
        example.versions.map((v) =>
          h(
            "tr",
            { class: v.in_force ? "kept" : "" },
            h("th", { scope: "row" }, v.step_words),
            v.numbers && v.status === "ok" ? columns.map((m) => cell(v, m.name)) : h("td", { colspan: columns.length, class: "bad" }, v.status.replaceAll("_", " ")),
          ),
        ),
      ),
    ),
  );
}

// What the quality gate made of each version, and the numbers that spoke for its most likely fault.
function gate(example, about) {
  const judged = example.versions.filter((v) => v.gate);
  if (!judged.length) return null;
  const verdict = ({ status, passed }) => (status !== "judged" ? h("span", { class: "quiet" }, `not judged: ${status.replaceAll("_", " ")}`) : passed ? "passed" : h("span", { class: "fails" }, "rejected"));
  const evidence = ({ evidence: parts }) => parts.filter((e) => e.value !== null && e.log_odds > 0).map((e, at) => [at ? ", " : "", h("span", { title: e.about }, `${e.name.replaceAll("_", " ")} ${number(e.value)}`)]);
  return h(
    "div",
    { class: "wide gate" },
    h(
      "table",
      { class: "scores" },
      h("caption", {}, "Quality gate", about.gate ? null : h("span", { class: "quiet" }, " (these decisions were made with it off)")),
      h("thead", {}, h("tr", {}, ["version", "verdict", "most likely fault", "over the threshold", "evidence for the fault"].map((name) => h("th", { scope: "col" }, name)))),
      h(
        "tbody",
        {},
        judged.map((v) =>
          h("tr", {}, h("th", { scope: "row" }, v.step_words), h("td", {}, verdict(v.gate)), h("td", {}, v.gate.fault_words || "–"), h("td", { title: "log-odds; above 0 it is rejected" }, v.gate.excess === null ? "–" : signed(v.gate.excess, 2)), h("td", { class: "evidence" }, evidence(v.gate))),
        ),
      ),
    ),
  );
}

function controls(example, about, result) {
  const start = { rule: wanted.rule ?? (about.rule || "srt"), mode: wanted.mode ?? (about.mode || "safe"), margin: wanted.margin ?? (about.margin || 0) };
  const select = (name, options) => {
    const menu = h("select", { "aria-label": name, id: `would-${name}` }, options.map(([value, text]) => h("option", { value }, text)));
    menu.value = start[name];
    if (menu.selectedIndex < 0) menu.selectedIndex = 0;
    return menu;
  };
  const rule = select("rule", RULES);
  const mode = select("mode", [["safe", "safe"], ["paper", "paper"]]);
  const slider = h("input", { type: "range", min: 0, max: 0.5, step: 0.005, "aria-label": "margin", id: "would-margin" });
  const exact = h("input", { type: "number", min: 0, step: "any", "aria-label": "margin, exactly" });
  slider.value = exact.value = start.margin;
  const show = async () => {
    wanted = { rule: rule.value, mode: mode.value, margin: Number(exact.value) || 0 };
    mode.disabled = rule.value !== "srt";
    slider.disabled = exact.disabled = rule.value !== "srt_pairwise" && (rule.value !== "srt" || mode.value !== "safe");
    const query = new URLSearchParams(wanted).toString();
    const found = await ask(`/api/examples/${example.id}/would-be?${query}`, { kind: "would-be" });
    if (found === null) return;
    const now = example.versions.find((v) => v.by_rule)?.candidate_id ?? null;
    const kept = found.why_not ? `cannot decide: ${found.why_not}` : found.kept ? `keeps the ${found.step_words}` : "keeps nothing";
    const alike = found.candidate_id === now ? ", as it was decided" : ", unlike what was decided";
    fill(
      result,
      h("p", { class: found.candidate_id === now ? "agrees" : "differs" }, h("strong", {}, `${rule.selectedOptions[0].textContent} ${kept}`), alike, "."),
      h("details", {}, h("summary", {}, "step by step"), h("ol", {}, found.sentences.map((text) => h("li", {}, text)))),
    );
  };
  const soon = later(show, 60);
  rule.addEventListener("change", show);
  mode.addEventListener("change", show);
  slider.addEventListener("input", () => {
    exact.value = slider.value;
    soon();
  });
  exact.addEventListener("input", () => {
    slider.value = exact.value;
    soon();
  });
  show();
  return h("form", { class: "would", onsubmit: (event) => event.preventDefault() }, h("label", {}, "rule ", rule), h("label", {}, "mode ", mode), h("label", { class: "margin" }, "margin ", slider, exact));
}
