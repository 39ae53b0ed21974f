// A person decides, with a note; the rule's decision stays in the ledger beside it.

import { ask, say } from "./api.js";
import { data, fill, h } from "./dom.js";

export function overruling(example, done) {
  const usable = example.versions.filter((v) => v.response !== undefined);
  const inForce = example.versions.find((v) => v.in_force)?.candidate_id ?? "";
  const choice = (value, text, more) =>
    h("label", {}, h("input", { type: "radio", name: "keep", value, checked: value === inForce }), ` ${text}`, more ? h("span", { class: "quiet" }, ` ${more}`) : null);
  const note = h("textarea", { id: "overrule-note", rows: 2, maxlength: 4000, placeholder: "Reason (stored with the decision)" });
  const button = h("button", { type: "submit", class: "primary" }, "Overrule");
  const form = h(
    "form",
    { class: "overrule" },
    h(
      "fieldset",
      {},
      h("legend", {}, "Keep instead"),
      usable.map((v, at) => choice(v.candidate_id, v.step_words, [twin(example, v) ? `no. ${at}` : "", v.by_rule ? "the rule's choice" : ""].filter(Boolean).join(", "))),
      choice("", "nothing", example.versions.some((v) => v.by_rule) ? "" : "the rule's choice"),
    ),
    h("label", { class: "hidden", for: "overrule-note" }, "Note"),
    note,
    h("p", { class: "actions" }, button, example.override ? h("button", { type: "button", onclick: () => send({ withdraw: true, note: note.value }) }, "Restore the rule's decision") : null),
    h("p", { class: "quiet" }, "Written to overrides.jsonl, which also keeps the rule's decision. `tutelage select` and `export` apply it."),
  );
  const send = async (body) => {
    button.disabled = true;
    const found = await ask(`/api/examples/${example.id}/overrule`, { method: "POST", body });
    button.disabled = false;
    if (found === null) return;
    done(found);
    say(body.withdraw ? "The rule's decision is in force again." : "Overruled, and noted.");
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const keep = new FormData(form).get("keep");
    if (keep === null) return;
    send({ candidate_id: keep || null, note: note.value.trim() });
  });
  const section = h("section", { class: "person", "aria-label": "Overrule" }, h("h3", {}, "Overrule"), form);
  if (example.history.length) section.append(history(example));
  return section;
}

const twin = (example, version) => example.versions.filter((v) => v.step === version.step).length > 1;

function history(example) {
  const name = (id) => example.versions.find((v) => v.candidate_id === id)?.step_words ?? (id ? "a version that is gone" : "nothing");
  const list = h("ol", { class: "history" });
  fill(
    list,
    example.history.map((entry) =>
      h(
        "li",
        {},
        h("time", { datetime: entry.time }, entry.time.slice(0, 16).replace("T", " ")),
        entry.withdrawn ? " restored the rule's decision" : ` a person kept ${name(entry.candidate_id)}`,
        h("span", { class: "quiet" }, `; the rule kept ${name(entry.was_candidate_id)}`),
        entry.note ? [": “", data(entry.note), "”"] : null,
      ),
    ),
  );
  return list;
}
