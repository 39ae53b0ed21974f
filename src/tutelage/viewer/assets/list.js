// The list of rows, page after page as one scrolls, and the row that is open.

import { ask, say } from "./api.js";
import { byId, count, data, fill, h, number, plural } from "./dom.js";
import * as state from "./state.js";

const PAGE = 60;
const list = byId("list");
let rows = [];
let total = 0;
let loading = false;
let generation = 0;
let version = 0;
let names = {};
let byMeaning = false;

export const OUTCOMES = {
  refined: { mark: "●", words: "rewritten" },
  original: { mark: "◐", words: "as it was" },
  refused: { mark: "○", words: "dropped" },
};

export function startList(about) {
  version = about.version;
  names = about;
  sortMenu(about);
  state.watch([...state.FILTERS, "sort"], reload);
  state.watch(["row"], mark);
  byId("scroll").addEventListener("scroll", nearEnd, { passive: true });
  window.addEventListener("scroll", nearEnd, { passive: true });
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  const q = byId("q");
  byMeaning = Boolean(state.get("near"));
  q.value = state.get("q") || state.get("near");
  let timer = 0;
  q.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, byMeaning ? 400 : 180);
  });
  q.addEventListener("keydown", (event) => {
    if (event.key === "Enter") go(q.value.trim());
  });
  state.watch(["q", "near"], () => {
    if (document.activeElement !== q) q.value = state.get(byMeaning ? "near" : "q");
  });
  byId("meaning").addEventListener("click", turnMeaning);
  meaning();
  window.addEventListener("tutelage:decided", reload);
  reload();
}

const look = () => {
  const text = byId("q").value.trim();
  state.set(byMeaning ? { near: text, q: "" } : { q: text, near: "" });
};

// The same text is looked for by its words or by what it means.
export function turnMeaning() {
  if (!names.by_meaning && !byMeaning) return say(names.no_model.join(": "), "warn");
  byMeaning = !byMeaning;
  meaning();
  look();
}

function meaning() {
  const button = byId("meaning");
  button.setAttribute("aria-pressed", String(byMeaning));
  byId("q").placeholder = byMeaning ? "Search by meaning" : "Search texts, row:12 or an id";
  if (names.by_meaning) button.title = `Search by meaning, not by words (m): ${names.by_meaning}`;
}

// Enter in the search box opens a row that is named; otherwise it goes to the first one found.
async function go(text) {
  if (/^row:\d+$/.test(text) || /^[0-9a-f]{6,20}$/.test(text)) {
    const found = await ask(`/api/named?name=${encodeURIComponent(text)}`, { kind: "named" });
    if (found?.id) {
      byId("q").value = "";
      state.set({ q: "", row: found.id });
      byId("detail").focus();
      return;
    }
  }
  byId("q").blur();
  if (rows.length) open(rows[0].id);
}

async function reload() {
  const mine = ++generation;
  loading = true;
  list.setAttribute("aria-busy", "true");
  const found = await ask(`/api/rows?${state.asked({ start: 0, count: PAGE })}`, { kind: "rows" });
  if (mine !== generation) return;
  loading = false;
  list.removeAttribute("aria-busy");
  if (found === null) return;
  rows = found.rows;
  total = found.total;
  fill(list, rows.map(item));
  headline(found.progress);
  mark();
  if (found.stale) stale();
  if (found.version !== version) version = found.version;
  if (found.progress < 1) setTimeout(() => mine === generation && reload(), 350);
  window.dispatchEvent(new CustomEvent("tutelage:listed", { detail: { progress: found.progress } }));
}

async function more() {
  if (loading || rows.length >= total) return;
  const mine = generation;
  loading = true;
  const found = await ask(`/api/rows?${state.asked({ start: rows.length, count: PAGE })}`, { kind: "rows" });
  loading = false;
  if (found === null || mine !== generation) return;
  rows.push(...found.rows);
  list.append(...found.rows.map(item));
  headline(found.progress);
  mark();
}

function nearEnd() {
  const scroll = byId("scroll");
  const own = scroll.scrollHeight > scroll.clientHeight + 4;
  const left = own
    ? scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight
    : document.documentElement.scrollHeight - window.scrollY - window.innerHeight;
  if (left < 900) more();
}

function headline(progress) {
  const used = state.filtersInUse();
  fill(
    byId("count"),
    h("strong", {}, count(total)),
    used ? ` of ${plural(names.examples, "row")}` : ` ${total === 1 ? "row" : "rows"}`,
    progress < 1 ? h("span", { class: "quiet" }, ` · searching, ${Math.round(progress * 100)} %`) : null,
  );
  const end = byId("more");
  if (total === 0 && progress === 1) {
    fill(end, "No row fits these filters. ", h("button", { type: "button", class: "link", onclick: clearAll }, "Show all rows"));
  } else fill(end, rows.length < total ? `${count(total - rows.length)} more below` : "");
}

export function clearAll() {
  byId("q").value = "";
  state.set(Object.fromEntries(state.FILTERS.map((name) => [name, []])));
}

export const outcomeOf = (row) => (!row.kept ? "refused" : row.step === "original" ? "original" : "refined");

function item(row) {
  const outcome = outcomeOf(row);
  const { mark: sign, words } = OUTCOMES[outcome];
  const title = row.reason_words ? `${words}: ${row.reason_words}` : words;
  return h(
    "li",
    {},
    h(
      "a",
      {
        href: state.address({ row: row.id }),
        "data-id": row.id,
        class: `row ${outcome}`,
        onclick: (event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
          event.preventDefault();
          open(row.id);
        },
      },
      data(row.snippet || "(no instruction)", { class: "snippet", dir: "auto" }),
      h(
        "span",
        { class: "meta" },
        h("span", { class: `outcome ${outcome}`, title }, h("i", { "aria-hidden": "true" }, sign), ` ${words}`),
        row.overruled ? h("span", { class: "overruled" }, "by a person") : null,
        row.source === null ? null : data(row.source, { class: "source" }),
        h("span", { class: "numbers" }, numbers(row)),
      ),
    ),
  );
}

function numbers(row) {
  const shown = [];
  if (row.sorted) shown.push(`${row.sorted[0]} ${number(row.sorted[1])}`);
  const [before, after] = row.numbers.ifd || [];
  if (row.numbers.ifd) {
    const moved = after !== null && after !== before;
    shown.push(moved ? `ifd ${number(before, 2)} → ${number(after, 2)}` : `ifd ${number(before, 2)}`);
  }
  shown.push(`#${row.row}`);
  return shown.map((text) => h("span", {}, text));
}

export function open(id) {
  const first = !state.get("row");
  state.set({ row: id, left: "", right: "" }, { push: first });
}

function mark() {
  const id = state.get("row");
  for (const link of list.querySelectorAll("a")) {
    const mine = link.dataset.id === id;
    link.classList.toggle("open", mine);
    if (mine) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// One row down or up; at the end the next page is fetched first.
export async function step(by) {
  const at = rows.findIndex((row) => row.id === state.get("row"));
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by;
  if (next >= rows.length) await more();
  const row = rows[next];
  if (!row) return;
  open(row.id);
  const link = list.children[next].firstChild;
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest" });
}

function stale() {
  say(
    "The run was written again since this viewer read it. Stop and start `tutelage view` to see it as it is now.",
    "warn",
  );
}

function sortMenu(about) {
  const metrics = about.metrics.map((m) => m.name);
  const options = [
    ["row", "order of the input"],
    ["-row", "last rows first"],
    ["source", "source"],
    ["reason", "reason"],
    ...metrics.flatMap((m) => [
      [`-${m}:chosen`, `${m} of the chosen, highest`],
      [`${m}:chosen`, `${m} of the chosen, lowest`],
      [`-${m}:original`, `${m} of the original, highest`],
      [`${m}:original`, `${m} of the original, lowest`],
      [`-gain:${m}`, `${m}: risen most by refining`],
      [`gain:${m}`, `${m}: fallen most by refining`],
    ]),
  ];
  const menu = byId("sort");
  fill(menu, options.map(([value, text]) => h("option", { value }, text)));
  const show = () => {
    menu.options[0].textContent = state.get("near") ? "nearest in meaning" : "order of the input";
    menu.value = state.get("sort") || "row";
  };
  menu.addEventListener("change", () => state.set({ sort: menu.value === "row" ? "" : menu.value }));
  state.watch(["sort", "near"], show);
  show();
}
