// The address holds everything that is shown, so that a copied link shows the same.

export const FILTERS = ["q", "near", "outcome", "reason", "step", "source", "teacher", "status", "fault", "beside", "range", "area"];
const ASKED = [...FILTERS, "sort"];

let params = new URLSearchParams(location.search);
const listeners = new Set();

if (params.has("token")) {
  params.delete("token");
  history.replaceState(null, "", address());
}

window.addEventListener("popstate", () => {
  params = new URLSearchParams(location.search);
  tell(null);
});

export const get = (name) => params.get(name) || "";
export const all = (name) => params.getAll(name);

export function address(changes = {}) {
  const query = changed(changes).toString();
  return query ? `/?${query}` : "/";
}

export function set(changes, { push = false } = {}) {
  const before = params.toString();
  params = changed(changes);
  if (params.toString() === before) return;
  history[push ? "pushState" : "replaceState"](null, "", address());
  tell(new Set(Object.keys(changes)));
}

// What the server is asked: the filters, without what only concerns this screen.
export function asked(more = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of params) if (ASKED.includes(name)) query.append(name, value);
  for (const [name, value] of Object.entries(more)) query.set(name, value);
  return query.toString();
}

// `names` is null when everything may have changed.
export function watch(names, work) {
  listeners.add({ names: new Set(names), work });
}

function tell(changed_) {
  for (const { names, work } of listeners) {
    if (changed_ === null || [...changed_].some((name) => names.has(name))) work();
  }
}

function changed(changes) {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && (one !== "" || name === "source")) next.append(name, one);
    }
  }
  return next;
}

export function toggle(name, value) {
  const values = all(name);
  set({ [name]: values.includes(value) ? values.filter((v) => v !== value) : [...values, value] });
}

export const filtersInUse = () => FILTERS.reduce((n, name) => n + all(name).length, 0);

export const asRange = ({ metric, whose, low, high }) => `${metric}:${whose}:${low ?? ""}:${high ?? ""}`;

export function ranges() {
  return all("range").map((text) => {
    const [metric, whose, low, high] = text.split(":");
    return { metric, whose, low: low === "" ? null : Number(low), high: high === "" ? null : Number(high), text };
  });
}
