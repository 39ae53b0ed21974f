// A text token by token, each as dark as the student was surprised.

import { data, fill, h, number, signed } from "./dom.js";

// Nats at which the next shade begins: 0.7 is a coin toss, 4.6 one in a hundred.
const SHADES = [0.35, 0.7, 1.5, 2.5, 3.5, 4.6, 6, 8];
const CHANGES = [0.15, 0.4, 1, 2, 4];

export const MODES = {
  words: { name: "Words", about: "Words that only one of the two versions has." },
  alone: { name: "Surprise alone", about: "Darker: more surprising to the student when it reads this text without the other half." },
  given: { name: "In context", about: "Darker: more surprising to the student after the instruction (for a response) or after the response (for an instruction)." },
  effect: { name: "Effect of context", about: "Blue: the other half made this token easier to predict. Orange: it made it harder." },
};

const shade = (nats) => SHADES.filter((edge) => nats >= edge).length;
const change = (nats) => Math.sign(nats) * CHANGES.filter((edge) => Math.abs(nats) >= edge).length;

export function value(side, mode, at) {
  return mode === "effect" ? side.given[at] - side.alone[at] : side[mode][at];
}

function kind(side, mode, at) {
  if (mode !== "effect") return `s${shade(value(side, mode, at))}`;
  const step = change(value(side, mode, at));
  return step < 0 ? `b${-step}` : `w${step}`;
}

const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

// One side of one version; `label` names it for people who do not see it.
export function heat(side, mode, label) {
  if (side.tokens === null) return h("p", { class: "quiet" }, "The tokens of several turns were read together, so they cannot be placed in this text.");
  const readout = h("p", { class: "readout", "aria-live": "polite" }, overview(side, mode));
  const tokens = side.tokens.map((text, at) => h("span", { class: `tok ${kind(side, mode, at)}`, "data-at": at }, text.trimStart() || text || "·"));
  // The space in front of a word is part of its token, but colouring it would only smear the lines.
  const spaces = side.tokens.map((text) => (text.trimStart() ? text.slice(0, text.length - text.trimStart().length) : ""));
  let at = -1;
  const point = (next) => {
    tokens[at]?.classList.remove("at");
    at = next;
    if (at < 0) return fill(readout, overview(side, mode));
    tokens[at].classList.add("at");
    fill(readout, told(side, at));
  };
  const box = h(
    "div",
    { class: "heat text", tabindex: 0, role: "group", dir: "auto", "aria-label": `${label}: ${MODES[mode].name}. Left and right arrows go from token to token.` },
    side.lead ? h("span", { class: "lead", title: "counted to the context" }, side.lead) : null,
    tokens.map((token, i) => [spaces[i], token]),
  );
  box.addEventListener("pointerover", (event) => {
    const found = event.target.dataset?.at;
    if (found !== undefined) point(Number(found));
  });
  box.addEventListener("pointerleave", () => point(-1));
  box.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    point(Math.min(Math.max(at + by, 0), tokens.length - 1));
    tokens[at].scrollIntoView({ block: "nearest" });
  });
  return h("div", {}, box, readout);
}

function overview(side, mode) {
  const given = mean(side.given);
  const alone = mean(side.alone);
  const n = side.tokens.length;
  const text = `${n} token${n === 1 ? "" : "s"}: ${number(alone, 2)} nats each alone, ${number(given, 2)} in context`;
  return mode === "effect" ? `${text}, so ${signed(given - alone, 2)}` : text;
}

function told(side, at) {
  const parts = [`alone ${number(side.alone[at], 2)}`, `in context ${number(side.given[at], 2)}`, `effect ${signed(side.given[at] - side.alone[at], 2)}`];
  if (side.rank) parts.push(side.rank[at] >= 100 ? "rank 100 or more" : `rank ${side.rank[at]}`);
  if (side.entropy) parts.push(`entropy ${number(side.entropy[at], 2)}`);
  return [h("strong", {}, data(side.tokens[at].trim() || "␣")), ` ${parts.join(" · ")} nats`.replace(/ nats$/, "")];
}

export function scale(mode) {
  if (mode === "words") {
    return h("p", { class: "legend" }, h("span", {}, h("del", {}, "only on the left")), h("span", {}, h("ins", {}, "only on the right")));
  }
  const steps =
    mode === "effect"
      ? [...CHANGES.map((edge, i) => [`b${CHANGES.length - i}`, `−${CHANGES[CHANGES.length - 1 - i]}`]), ["s0", "0"], ...CHANGES.map((edge, i) => [`w${i + 1}`, `+${edge}`])]
      : [["s0", "0"], ...SHADES.map((edge, i) => [`s${i + 1}`, String(edge)])];
  return h(
    "p",
    { class: "legend scale" },
    steps.map(([name, text]) => h("span", { class: `tok ${name}` }, text)),
    h("span", { class: "quiet" }, mode === "effect" ? "nats that the context adds" : "nats of surprise"),
  );
}
