// One layer: its error own and inherited side by side, where it is in the tensor, and what the layer is.

function gauge(metrics, shape, tolerance) {
  const low = -10,
    high = 1;
  const place = (value) => `${(100 * (Math.min(Math.max(Math.log10(value), low), high) - low)) / (high - low)}%`;
  const needed = metrics ? metrics.needed : shape ? Infinity : null;
  if (needed === null) return null;
  const at = needed <= 0 ? "0%" : Number.isFinite(needed) ? place(needed) : "100%";
  return element(
    "div",
    {
      class: "gauge",
      title: `It agrees from the tolerance ${exact(needed)} on; the tolerance is ${exact(tolerance)}`,
    },
    element("i", { style: `width:${at};background:${errorColor(needed, tolerance)}` }),
    element("b", { style: `left:${place(tolerance)}` }),
  );
}

function measured(row, way, tolerance, mode) {
  const metrics = row[way],
    shape = row[`${way}_shape`];
  const title = element(
    "h4",
    {},
    way,
    element("small", {}, way === "chained" ? "fed by the network" : "fed PyTorch’s values"),
  );
  if (mode !== "both" && mode !== way)
    return element("div", { class: "way" }, title, element("p", { class: "dim" }, "Was not measured."));
  if (shape)
    return element(
      "div",
      { class: "way bad" },
      title,
      element("p", {}, `Its shape is ${sized(shape)}, PyTorch’s is ${sized(row.shape)}.`),
    );
  if (!metrics)
    return element(
      "div",
      { class: "way" },
      title,
      element("p", { class: "dim" }, row.isolated_error || "Was not measured."),
    );
  const bad = !(metrics.needed <= tolerance);
  const special = metrics.expected_nan + metrics.expected_inf + metrics.actual_nan + metrics.actual_inf;
  const lines = [
    ["agrees from", exact(metrics.needed), "The smallest tolerance at which it agrees"],
    ["max diff", exact(metrics.max_abs), "The largest difference of two values"],
    ["at", `[${metrics.index.join(",")}]`, "Where that is"],
    ["PyTorch", exact(metrics.expected), "PyTorch’s value there"],
    ["network", exact(metrics.actual), "The network’s value there"],
    ["outside", percent(metrics.outside), "Share of the values out of the run’s tolerance"],
    ["cosine", metrics.cosine.toFixed(6)],
    ["SQNR", Number.isFinite(metrics.sqnr_db) ? `${metrics.sqnr_db.toFixed(1)} dB` : exact(metrics.sqnr_db)],
    special
      ? [
          "NaN / infinite",
          ["expected", "actual"].map((side) => `${metrics[`${side}_nan`]} / ${metrics[`${side}_inf`]}`).join(", "),
          "PyTorch’s values, then the network’s",
        ]
      : null,
  ].filter(Boolean);
  return element(
    "div",
    { class: bad ? "way bad" : "way good" },
    title,
    element("p", { class: "big" }, exact(metrics.relative), element("small", {}, "relative error")),
    gauge(metrics, shape, tolerance),
    element(
      "dl",
      {},
      lines.flatMap(([word, value, hint]) => [
        element("dt", { title: hint || null }, word),
        element("dd", {}, value),
      ]),
    ),
  );
}

function links(names, report, go) {
  const places = new Map(report.rows.map((row, i) => [row.name, i]));
  return names.flatMap((name, k) => [
    k ? ", " : "",
    places.has(name) ? rowLink(name, places.get(name), go) : name,
  ]);
}

// Over several inputs: in how many it is wrong, and how wrong it is on the average.
function overInputs({ over }, labels) {
  const worst = labels[over.worst] || `number ${over.worst + 1}`;
  const [isolated, chained] = [over.isolated_mean, over.chained_mean].map((mean) => exact(numeric(mean)) || "–");
  const means = `mean error isolated ${isolated}, chained ${chained}`;
  return `wrong in ${over.wrong} of ${over.inputs}, the worst is ${worst}; ${means}`;
}

function described(row, node, report, go) {
  const facts = [
    ["type", row.type],
    ["shape", sized(row.shape)],
    ["dtype", row.dtype],
    node && node.params && node.params.length ? ["settings", node.params.join(", ")] : null,
    node && node.source ? ["source", node.source] : null,
    node && node.parameters ? ["parameters", node.parameters.toLocaleString("en")] : null,
    row.fed.length ? ["computed from", element("span", {}, links(row.fed, report, go))] : null,
    row.over ? ["inputs", overInputs(row, report.labels)] : null,
    row.via.length ? ["through", element("span", {}, row.via.join(", "), " (no module)")] : null,
  ].filter(Boolean);
  const weights =
    node && node.weights && node.weights.length
      ? element(
          "table",
          { class: "weights" },
          element("caption", {}, "weights"),
          node.weights.map((w) => element("tr", {}, element("td", {}, w.key), element("td", {}, sized(w.shape)))),
        )
      : null;
  return element(
    "section",
    {},
    element("h3", {}, "The layer"),
    element(
      "dl",
      { class: "facts" },
      facts.flatMap(([word, value]) => [element("dt", {}, word), element("dd", {}, value)]),
    ),
    weights,
  );
}

function layerPanel(report, state, node, go, shownInNetwork) {
  const row = report.rows[state.selected];
  if (!row) return element("p", { class: "dim" }, "Select a layer.");
  const verdict = state.judged.verdicts[state.selected];
  const step = (by, title, text) =>
    element(
      "button",
      {
        class: "plain",
        title,
        disabled: !report.rows[state.selected + by],
        onclick: () => go(state.selected + by, true),
      },
      text,
    );
  const given = row.given
    ? `PyTorch feeds it ${row.given === "something else" ? row.given : `what ${row.given} returns`}.`
    : "";
  const ways = ["isolated", "chained"].filter((way) => row.details[way]);
  const picture = (way) => [maps(row, way), distributions(row, way), channels(row, way)].filter(Boolean);
  return element(
    "div",
    {},
    element(
      "header",
      {},
      element("h2", { title: row.name }, breakable(row.name)),
      element(
        "p",
        {},
        chip(verdict),
        ` ${row.module_type || row.layer_type}`,
        element("span", { class: "dim" }, ` ${state.selected + 1} of ${report.rows.length}`),
        element(
          "span",
          { class: "steps" },
          step(-1, "The one before", "‹"),
          step(1, "The next one", "›"),
          shownInNetwork ? element("button", { class: "plain", onclick: shownInNetwork }, "in the network") : null,
        ),
      ),
    ),
    row.cause || given
      ? element(
          "section",
          { class: "cause" },
          element("h3", {}, "Why"),
          element("p", {}, causeText(row.cause) || given),
          beforeAfter(row.cause),
          row.cause && given ? element("p", {}, given) : null,
        )
      : null,
    element(
      "section",
      { class: "ways" },
      measured(row, "isolated", state.tolerance.isolated, report.mode),
      measured(row, "chained", state.tolerance.chained, report.mode),
    ),
    ways.length
      ? ways
          .map((way) => [way, picture(way)])
          .filter(([, parts]) => parts.length)
          .map(([way, parts]) =>
            element(
              "details",
              {
                class: "looks",
                open: way === (ways.includes(state.look) ? state.look : ways[0]),
                ontoggle: (event) => {
                  if (event.target.open) state.look = way;
                },
              },
              element(
                "summary",
                {},
                way === "isolated" ? "Its own difference" : "The difference in the chain",
                element("small", {}, ` ${way}`),
              ),
              parts,
            ),
          )
      : report.detailed
        ? null
        : element(
            "p",
            { class: "dim hint" },
            "For heat maps and histograms compare with details=True; netdefs diff --report x.html does.",
          ),
    described(row, node, report, go),
  );
}
