// The page: what it is about, then each part watches the address for itself.

import { ask } from "./api.js";
import { byId, count, fill, plural } from "./dom.js";
import { startDetail } from "./detail.js";
import { startDialogs } from "./dialogs.js";
import { startFilters } from "./filters.js";
import { startKeys } from "./keys.js";
import { startList } from "./list.js";
import { startPlot } from "./plot.js";
import { startTheme } from "./theme.js";

async function start() {
  startTheme();
  const about = await ask("/api/about");
  if (about === null) return;
  document.title = `${about.title} · tutelage`;
  headline(about);
  startDialogs(about);
  startList(about);
  startFilters(about);
  startPlot(about);
  startDetail(about);
  startKeys();
}

function headline(about) {
  fill(byId("title"), about.title);
  const rule = about.mode ? `${about.rule}, ${about.mode}` : about.rule;
  const parts = [
    about.decided
      ? `${count(about.kept)} of ${plural(about.examples, "example")} kept`
      : `${plural(about.examples, "example")}, nothing decided yet`,
    about.student ? `read by ${about.student}` : null,
    rule ? `rule ${rule}` : null,
    about.overruled ? `${about.overruled} overruled` : null,
  ];
  fill(byId("summary"), parts.filter(Boolean).join(" · "));
}

window.addEventListener("tutelage:decided", async () => {
  const about = await ask("/api/about");
  if (about !== null) headline(about);
});

start();
