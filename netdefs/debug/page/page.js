// The page: the state (tolerances, the selected layer), and who shows it.

const report = JSON.parse(document.getElementById("report").textContent);
const state = { tolerance: { ...report.tolerance }, moved: false, selected: -1, judged: null, look: "" };
const parts = {};
const byId = (id) => document.getElementById(id);
const ways = report.mode === "both" ? ["chained", "isolated"] : [report.mode];

for (const row of report.rows) {
  for (const way of ["chained", "isolated"]) {
    for (const key of Object.keys(row[way] || {})) row[way][key] = numeric(row[way][key]);
  }
  for (const key of ["before", "after"]) if (row.cause) row.cause[key] = numeric(row.cause[key]);
}

// Judges again and shows everything: after the start, or when a tolerance moved.
function judgeAgain() {
  state.judged = judge(report.rows, state.tolerance, report.inputs_differ);
  state.moved = ways.some((way) => state.tolerance[way] !== report.tolerance[way]);
  if (state.selected < 0) state.selected = state.judged.first >= 0 ? state.judged.first : leastExact();
  byId("verdict").replaceChildren(headline(report, state, select), tally(report, state, pickVerdict));
  byId("answers").replaceChildren(answersList(report, state, select));
  document.body.dataset.ok = String(state.judged.ok);
  byId("back").hidden = !state.moved;
  parts.chart.draw(state);
  parts.table.update(state);
  parts.network?.update(state);
  panel();
}

// If all agree, the one that comes closest to the tolerance.
function leastExact() {
  const most = (row) => Math.max(...ways.map((way) => (row[way] ? row[way].needed / state.tolerance[way] : 0)));
  return report.rows.reduce((best, row, i) => (most(row) > most(report.rows[best]) ? i : best), 0);
}

function panel() {
  const node =
    parts.network && state.selected >= 0 ? parts.network.nodes.get(report.rows[state.selected].tensor) : null;
  const show = parts.network
    ? () => {
        parts.network.show(state.selected, true);
        byId("network").scrollIntoView({ behavior: "smooth" });
      }
    : null;
  byId("layer").replaceChildren(layerPanel(report, state, node, select, show));
}

// Selects a layer: its panel opens, the table scrolls to its row. `reveal` clears the filters if they hide that.
function select(i, reveal = false, from = null) {
  if (!report.rows[i]) return;
  state.selected = i;
  history.replaceState(null, "", `#${encodeURIComponent(report.rows[i].name)}`);
  document.body.classList.add("chosen");
  parts.chart.draw(state);
  if (reveal && !parts.table.shown.includes(i)) parts.table.clear();
  parts.table.reveal(i);
  parts.table.paint();
  if (from !== parts.network) parts.network?.show(i);
  panel();
}

function pickVerdict(verdict) {
  parts.table.toggle(verdict, true);
  byId("layers").scrollIntoView({ behavior: "smooth" });
}

function fromHash() {
  const name = decodeURIComponent(location.hash.slice(1));
  const at = report.rows.findIndex((row) => row.name === name);
  if (at >= 0) select(at, true);
  return at >= 0;
}

// A slider in powers of ten and a field for the number itself.
function toleranceInput(way) {
  const field = element("input", {
    type: "text",
    inputmode: "decimal",
    size: 8,
    "aria-label": `Tolerance ${way}`,
    onchange: () => set(Number(field.value.replace("−", "-"))),
  });
  const slider = element("input", {
    type: "range",
    min: -9,
    max: 1,
    step: 0.05,
    "aria-label": `Tolerance ${way}, in powers of ten`,
    oninput: () => set(Number((10 ** Number(slider.value)).toPrecision(2))),
  });
  function show() {
    field.value = String(state.tolerance[way]);
    slider.value = String(Math.log10(state.tolerance[way]));
    field.removeAttribute("aria-invalid");
  }
  function set(value) {
    if (!(value > 0 && value < Infinity)) {
      field.setAttribute("aria-invalid", "true");
      field.title = "A tolerance is a positive number, such as 1e-4.";
      return;
    }
    state.tolerance[way] = value;
    show();
    later();
  }
  const later = debounced(judgeAgain, 40);
  show();
  return { node: element("label", {}, element("span", {}, `tolerance ${way}`), slider, field), show };
}

function tolerances() {
  const inputs = ways.map(toleranceInput);
  const back = element(
    "button",
    {
      id: "back",
      class: "plain",
      hidden: true,
      onclick: () => {
        Object.assign(state.tolerance, report.tolerance);
        inputs.forEach((input) => input.show());
        judgeAgain();
      },
    },
    "as run",
  );
  byId("tolerances").append(...inputs.map((input) => input.node), back);
}

// Keys that work wherever nothing is being typed.
function keys(event) {
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const wrong = (from, by) => {
    for (let i = from + by; report.rows[i]; i += by)
      if (
        state.judged.verdicts[i] === "own error" ||
        (!state.judged.counts["own error"] && state.judged.verdicts[i] !== "ok")
      )
        return i;
    return -1;
  };
  const actions = {
    "/": () => parts.table.text.focus(),
    n: () => select(wrong(state.selected, 1), true),
    p: () => select(wrong(state.selected, -1), true),
    f: () => select(state.judged.first, true),
    j: () => select(state.selected + 1, true),
    k: () => select(state.selected - 1, true),
    Escape: () => document.body.classList.remove("chosen"),
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

function theme() {
  const order = ["", "light", "dark"],
    root = document.documentElement;
  const words = { "": "auto", light: "light", dark: "dark" };
  const button = byId("theme");
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme || "") + 1) % order.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    button.textContent = words[next];
    again();
  });
  const again = () => {
    seePaper();
    judgeAgain();
  };
  night.addEventListener("change", again);
  seePaper();
}

function start() {
  parts.chart = new Chart(byId("chart"), report.rows, ways, (i) => select(i, true));
  parts.table = new Table(byId("table"), report, ways, select);
  const drawing = byId("drawing");
  if (drawing)
    parts.network = new NetworkView(
      byId("network-view"),
      JSON.parse(drawing.textContent),
      report.rows,
      ways,
      (i, from) => select(i, true, from),
    );
  tolerances();
  theme();
  judgeAgain();
  if (!fromHash()) parts.table.reveal(state.selected);
  if (state.judged.first >= 0) parts.network?.show(state.selected);
  window.addEventListener("hashchange", fromHash);
  document.addEventListener("keydown", keys);
  byId("close").addEventListener("click", () => document.body.classList.remove("chosen"));
}

start();
