// One metric against another, or the map of rows by what their texts say. Dragging a rectangle
// filters the list; a click opens a row.

import { ask } from "./api.js";
import { byId, count, fill, h, number, svg } from "./dom.js";
import { open } from "./list.js";
import * as state from "./state.js";

const HEIGHT = 250;
const AXES = { left: 44, right: 10, top: 8, bottom: 34 };
const MAP_EDGE = { left: 2, right: 2, top: 8, bottom: 6 };
let EDGE = AXES;
const WHOSE = { any: "every version", original: "the originals", chosen: "the chosen" };
const KINDS = ["not chosen", "chosen original", "chosen refinement"];
const MAP_KINDS = ["nothing kept", "kept as it was", "kept, rewritten"];
const RATIOS = new Set(["ifd", "r_ifd", "ifd_loss"]);
let answer = null;
let trail = [];
let drawing = null;
let metrics = [];
let about = {};
let generation = 0;

export function startPlot(found) {
  about = found;
  metrics = about.metrics.map((m) => m.name);
  byId("plot-button").addEventListener("click", togglePlot);
  state.watch(["x", "y", "whose", "picture", "plane"], reload);
  state.watch(["row"], draw);
  window.addEventListener("tutelage:listed", reload);
  window.addEventListener("tutelage:lineage", (event) => {
    trail = event.detail;
    draw();
  });
  new ResizeObserver(draw).observe(byId("picture"));
  matchMedia("(max-width: 760px)").addEventListener("change", reload);
}

const narrow = () => matchMedia("(max-width: 760px)").matches;
const shown = () => (state.get("picture") || (narrow() || metrics.length < 2 ? "off" : "on")) === "on";
const onMap = () => state.get("plane") === "map" || metrics.length < 2;
const kinds = () => (onMap() ? MAP_KINDS : KINDS);

export function togglePlot() {
  state.set({ picture: shown() ? "off" : "on" });
}

const axes = () => ({
  x: metrics.includes(state.get("x")) ? state.get("x") : metrics.includes("ifd") ? "ifd" : metrics[0],
  y: metrics.includes(state.get("y")) ? state.get("y") : metrics.includes("r_ifd") ? "r_ifd" : metrics[1],
  whose: state.get("whose") in WHOSE ? state.get("whose") : "any",
});

async function reload() {
  const figure = byId("picture");
  figure.hidden = !shown();
  byId("plot-button").setAttribute("aria-pressed", String(shown()));
  if (!shown()) return;
  const mine = ++generation;
  const map = onMap();
  const found = await ask(map ? `/api/map?${state.asked()}` : `/api/plot?${state.asked(axes())}`, { kind: "plot" });
  if (mine !== generation) return;
  if (found === null) {
    if (answer?.map !== map) fill(figure, caption(axes()));
    return;
  }
  answer = { ...found, map };
  draw();
  if (map && found.progress < 1) setTimeout(() => mine === generation && reload(), 500);
}

function scales(width) {
  const [x0, x1] = answer.frame.x;
  const [y0, y1] = answer.frame.y;
  const w = width - EDGE.left - EDGE.right;
  const tall = HEIGHT - EDGE.top - EDGE.bottom;
  const inside = (v, a, b) => Math.min(Math.max(v, a), b);
  return {
    w,
    tall,
    x: (v) => EDGE.left + ((inside(v, x0, x1) - x0) / (x1 - x0)) * w,
    y: (v) => EDGE.top + tall - ((inside(v, y0, y1) - y0) / (y1 - y0)) * tall,
    unx: (p) => x0 + ((p - EDGE.left) / w) * (x1 - x0),
    uny: (p) => y0 + ((EDGE.top + tall - p) / tall) * (y1 - y0),
  };
}

function draw() {
  const figure = byId("picture");
  if (answer === null || figure.hidden || answer.map !== onMap()) return;
  const style = getComputedStyle(figure);
  const width = figure.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  if (width < 80) return;
  EDGE = answer.map ? MAP_EDGE : AXES;
  const axis = axes();
  const scale = scales(width);
  const picture = svg(
    "svg",
    { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": told(axis) },
    answer.map ? edge(scale) : [region(axis, scale), ticks(axis, scale, width)],
    marks(scale),
    answer.map ? here(scale) : path(axis, scale),
    brush(axis, scale),
  );
  picture.addEventListener("pointerdown", (event) => begin(event, picture, scale, axis));
  const focus = document.activeElement?.dataset?.axis;
  fill(figure, caption(axis), picture, legend());
  if (focus) figure.querySelector(`[data-axis=${focus}]`)?.focus();
}

function told(axis) {
  if (answer.map) return `Map of ${count(answer.count)} rows by what their texts say, coloured by what is kept.`;
  return `${axis.x} against ${axis.y} of ${WHOSE[axis.whose]}: ${count(answer.count)} of them. The filters under Numbers select the same ranges by keyboard.`;
}

function caption(axis) {
  const menu = (name, options, label) => {
    const select = h(
      "select",
      { "aria-label": label, "data-axis": name, onchange: (event) => state.set({ [name]: event.target.value }) },
      options.map(([value, text]) => h("option", { value, selected: value === axis[name] }, text)),
    );
    select.value = axis[name];
    return select;
  };
  const listed = metrics.map((m) => [m, m]);
  const plane = h(
    "select",
    { "aria-label": "Picture", "data-axis": "plane", onchange: (event) => state.set({ plane: event.target.value === "map" ? "map" : "" }) },
    metrics.length < 2 ? null : h("option", { value: "numbers" }, "Numbers"),
    h("option", { value: "map" }, "Map"),
  );
  plane.value = onMap() ? "map" : "numbers";
  if (onMap()) {
    return h("figcaption", {}, plane, h("span", {}, "of rows by meaning"), h("span", { class: "quiet hint" }, "drag to select"));
  }
  return h(
    "figcaption",
    {},
    plane,
    menu("y", listed, "Vertical axis"),
    " over ",
    menu("x", listed, "Horizontal axis"),
    " of ",
    menu("whose", Object.entries(WHOSE), "Whose"),
    h("span", { class: "quiet hint" }, "drag to select"),
  );
}

const edge = (scale) => svg("rect", { class: "frame", x: EDGE.left, y: EDGE.top, width: scale.w, height: scale.tall });

// The open row on the map.
function here(scale) {
  const found = answer.kind === "points" ? answer.points.find(([id]) => id === state.get("row")) : null;
  return found ? svg("circle", { class: "trailpoint kept", cx: scale.x(found[1]), cy: scale.y(found[2]), r: 6 }, svg("title", {}, "this row")) : null;
}

function region(axis, scale) {
  const has = { x: RATIOS.has(axis.x), y: RATIOS.has(axis.y) };
  const one = { x: scale.x(1), y: scale.y(1) };
  const bottom = EDGE.top + scale.tall;
  const parts = [];
  if (has.x && has.y) {
    parts.push(svg("rect", { class: "region", x: EDGE.left, y: one.y, width: one.x - EDGE.left, height: bottom - one.y }));
    parts.push(svg("text", { class: "note", x: EDGE.left + 6, y: one.y - 4 }, "below 1 in both: passes"));
  }
  if (has.x) parts.push(svg("line", { class: "one", x1: one.x, x2: one.x, y1: EDGE.top, y2: bottom }));
  if (has.y) parts.push(svg("line", { class: "one", x1: EDGE.left, x2: EDGE.left + scale.w, y1: one.y, y2: one.y }));
  return parts;
}

function steps(low, high, wanted) {
  const rough = (high - low) / wanted;
  const size = 10 ** Math.floor(Math.log10(rough));
  const by = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= rough);
  const found = [];
  for (let v = Math.ceil(low / by) * by; v <= high + by / 1e6; v += by) found.push(Number(v.toPrecision(10)));
  return found;
}

const mark_ = (v) => (Math.abs(v) >= 1000 ? `${Number((v / 1000).toPrecision(3))}k` : String(Number(v.toPrecision(4))));

function ticks(axis, scale, width) {
  const bottom = EDGE.top + scale.tall;
  const xs = steps(...answer.frame.x, Math.max(3, width / 90));
  const ys = steps(...answer.frame.y, 5);
  return [
    xs.map((v) => [
      svg("line", { class: "grid", x1: scale.x(v), x2: scale.x(v), y1: EDGE.top, y2: bottom }),
      svg("text", { class: "tick", x: scale.x(v), y: bottom + 14, "text-anchor": "middle" }, mark_(v)),
    ]),
    ys.map((v) => [
      svg("line", { class: "grid", x1: EDGE.left, x2: EDGE.left + scale.w, y1: scale.y(v), y2: scale.y(v) }),
      svg("text", { class: "tick", x: EDGE.left - 6, y: scale.y(v) + 4, "text-anchor": "end" }, mark_(v)),
    ]),
    svg("text", { class: "axis", x: EDGE.left + scale.w, y: HEIGHT - 4, "text-anchor": "end" }, axis.x),
    svg("text", { class: "axis", transform: `translate(11 ${EDGE.top}) rotate(-90)`, "text-anchor": "end" }, axis.y),
  ];
}

function marks(scale) {
  if (answer.kind === "points") {
    return answer.points.map(([id, x, y, kind]) =>
      svg(
        "circle",
        { class: `dot k${kind}`, cx: scale.x(x), cy: scale.y(y), r: answer.count > 400 ? 2.4 : 3.4, "data-id": id },
        svg("title", {}, answer.map ? kinds()[kind] : `${number(x)}, ${number(y)}: ${kinds()[kind]}`),
      ),
    );
  }
  const most = Math.log1p(Math.max(...answer.cells.map((c) => c[2])));
  const w = scale.w / answer.bins;
  const tall = scale.tall / answer.bins;
  return answer.cells.map(([i, j, all, originals, refined]) => {
    const rest = all - originals - refined;
    const kind = rest > originals + refined ? 0 : originals > refined ? 1 : 2;
    const level = 1 + Math.min(5, Math.floor((Math.log1p(all) / most) * 5.999));
    return svg(
      "rect",
      {
        class: `cell k${kind} l${level}`,
        x: EDGE.left + i * w,
        y: EDGE.top + scale.tall - (j + 1) * tall,
        width: w + 0.3,
        height: tall + 0.3,
      },
      svg("title", {}, answer.map ? `${count(all)} rows: ${count(refined)} kept as rewrites, ${count(originals)} as originals` : `${count(all)} versions: ${count(refined)} chosen rewrites, ${count(originals)} chosen originals`),
    );
  });
}

// The open row's versions, each joined to what it was made from.
function path(axis, scale) {
  const places = new Map();
  for (const version of trail) {
    const [x, y] = [version.numbers?.[axis.x], version.numbers?.[axis.y]];
    if (typeof x === "number" && typeof y === "number") places.set(version.candidate_id, [scale.x(x), scale.y(y), version]);
  }
  const parts = [];
  for (const [x, y, version] of places.values()) {
    const from = places.get(version.parent_id);
    if (from) parts.push(svg("line", { class: "trail", x1: from[0], y1: from[1], x2: x, y2: y }));
  }
  for (const [x, y, version] of places.values()) {
    parts.push(
      svg("circle", { class: `trailpoint${version.in_force ? " kept" : ""}`, cx: x, cy: y, r: 6 }, svg("title", {}, `this row: ${version.step_words}`)),
    );
  }
  return parts;
}

function chosen(axis) {
  if (answer.map) {
    const [x0, x1, y0, y1] = state.get("area").split(":").map(Number);
    return state.get("area") ? { x: { low: x0, high: x1 }, y: { low: y0, high: y1 } } : {};
  }
  const find = (metric) => state.ranges().find((r) => r.metric === metric && r.whose === axis.whose);
  return { x: find(axis.x), y: find(axis.y) };
}

function brush(axis, scale) {
  const { x, y } = chosen(axis);
  if (!x && !y) return svg("rect", { class: "brush", width: 0, height: 0 });
  const [left, right] = [x?.low ?? answer.frame.x[0], x?.high ?? answer.frame.x[1]].map(scale.x);
  const [low, high] = [y?.low ?? answer.frame.y[0], y?.high ?? answer.frame.y[1]].map(scale.y);
  return svg("rect", { class: "brush", x: left, y: high, width: Math.max(0, right - left), height: Math.max(0, low - high) });
}

function begin(event, picture, scale, axis) {
  if (event.button) return;
  const box = picture.getBoundingClientRect();
  const at = (e) => [
    Math.min(Math.max(e.clientX - box.left, EDGE.left), EDGE.left + scale.w),
    Math.min(Math.max(e.clientY - box.top, EDGE.top), EDGE.top + scale.tall),
  ];
  const from = at(event);
  const rectangle = picture.querySelector(".brush");
  picture.setPointerCapture(event.pointerId);
  event.preventDefault();
  drawing = { from, to: from };
  const move = (e) => {
    drawing.to = at(e);
    const [a, b] = [drawing.from, drawing.to];
    rectangle.setAttribute("x", Math.min(a[0], b[0]));
    rectangle.setAttribute("y", Math.min(a[1], b[1]));
    rectangle.setAttribute("width", Math.abs(a[0] - b[0]));
    rectangle.setAttribute("height", Math.abs(a[1] - b[1]));
  };
  const end = (e) => {
    picture.removeEventListener("pointermove", move);
    picture.removeEventListener("pointerup", end);
    picture.removeEventListener("pointercancel", end);
    const [a, b] = [drawing.from, drawing.to];
    drawing = null;
    if (Math.abs(a[0] - b[0]) < 5 && Math.abs(a[1] - b[1]) < 5) return clicked(event, axis);
    if (e.type === "pointercancel") return draw();
    apply(axis, scale, a, b);
  };
  picture.addEventListener("pointermove", move);
  picture.addEventListener("pointerup", end);
  picture.addEventListener("pointercancel", end);
}

function clicked(event, axis) {
  const id = event.target.dataset?.id;
  if (id) open(id);
  else apply(axis, null);
}

function apply(axis, scale, a, b) {
  if (answer.map) {
    if (!scale) return state.set({ area: "" });
    const [x0, x1] = [a[0], b[0]].map(scale.unx).sort((p, q) => p - q);
    const [y0, y1] = [a[1], b[1]].map(scale.uny).sort((p, q) => p - q);
    return state.set({ area: [x0, x1, y0, y1].map((v) => Number(v.toPrecision(5))).join(":") });
  }
  const others = state.ranges().filter((r) => !(r.whose === axis.whose && (r.metric === axis.x || r.metric === axis.y)));
  const wanted = others.map((r) => r.text);
  if (scale) {
    const round = (v) => Number(v.toPrecision(4));
    // The frame cuts off outliers: an edge of it means no bound.
    const range = (metric, low, high, [least, most]) => {
      const [from, to] = [low <= least + (most - least) * 0.004 ? null : round(low), high >= most - (most - least) * 0.004 ? null : round(high)];
      if (from !== null || to !== null) wanted.push(state.asRange({ metric, whose: axis.whose, low: from, high: to }));
    };
    const [x0, x1] = [a[0], b[0]].map(scale.unx).sort((p, q) => p - q);
    const [y0, y1] = [a[1], b[1]].map(scale.uny).sort((p, q) => p - q);
    range(axis.x, x0, x1, answer.frame.x);
    if (axis.y !== axis.x) range(axis.y, y0, y1, answer.frame.y);
  }
  state.set({ range: wanted });
}

function legend() {
  return h(
    "p",
    { class: "legend" },
    kinds().map((words, kind) => h("span", {}, h("i", { class: `key k${kind}`, "aria-hidden": "true" }), words)),
    h("span", { class: "quiet" }, answer.kind === "grid" ? `${count(answer.count)}, stronger is more` : count(answer.count)),
    answer.map ? h("span", { class: "quiet" }, mapNote()) : null,
  );
}

function mapNote() {
  if (answer.progress < 1) return `reading the texts, ${Math.round(answer.progress * 100)} %`;
  const drawn = answer.drawn < answer.rows ? ` · a draw of ${count(answer.drawn)} of ${count(answer.rows)} rows` : "";
  return `by ${answer.embedder}${drawn}`;
}
