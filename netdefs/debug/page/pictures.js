// Small pictures of one layer: maps of a plane, histograms, channels.

function heat(map, stops, mark) {
  const bytes = bytesOf(map.data);
  const scale = Math.max(1, Math.floor(160 / Math.max(map.rows, map.columns)));
  const canvas = element("canvas", { width: map.columns * scale, height: map.rows * scale });
  const context = canvas.getContext("2d");
  bytes.forEach((value, i) => {
    context.fillStyle = value === 255 ? "#00e5ff" : mixed(stops, value / 254);
    context.fillRect((i % map.columns) * scale, Math.floor(i / map.columns) * scale, scale, scale);
  });
  if (mark) {
    const x = (mark[1] + 0.5) * scale,
      y = (mark[0] + 0.5) * scale,
      r = Math.max(scale * 0.8, 5);
    for (const [style, width] of [
      ["#000", 3],
      ["#fff", 1.4],
    ]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
      context.stroke();
    }
  }
  return canvas;
}

function scaleBar(stops, low, high) {
  const colors = Array.from({ length: 9 }, (_, i) => mixed(stops, i / 8)).join(",");
  return element(
    "div",
    { class: "scale" },
    element("span", {}, short(low)),
    element("i", { style: `background:linear-gradient(90deg,${colors})` }),
    element("span", {}, short(high)),
  );
}

// The maps of one way of feeding: PyTorch, network and difference where they were kept, else the difference.
function maps(row, way) {
  const details = row.details[way],
    metrics = row[way];
  if (!details || !details.map) return null;
  const [height, width] = row.shape.slice(-2),
    map = details.map;
  const [y, x] = metrics.index.slice(-2);
  const tile = (at, size, tiles) => Math.min(Math.floor((at * tiles + tiles - 1) / size), tiles - 1);
  const mark = metrics.max_abs > 0 ? [tile(y, height, map.rows), tile(x, width, map.columns)] : null;
  const figures = [];
  const plane = details.plane.length ? `[${details.plane.join(", ")}]` : "";
  if (details.pictures.length) {
    const [theirs, ours] = details.pictures;
    figures.push(
      element("figure", {}, heat(theirs, VALUES), element("figcaption", {}, "PyTorch")),
      element(
        "figure",
        {},
        heat(ours, VALUES),
        element("figcaption", {}, "network"),
        scaleBar(VALUES, ours.low, ours.high),
      ),
    );
  }
  const name = details.plane.length > 1 ? `channel ${details.plane.at(-1)}` : `plane ${plane}`;
  const special = bytesOf(map.data).includes(255);
  const caption = special
    ? `NaN or infinite on one side (blue), ${name}`
    : map.high === 0
      ? "no difference"
      : `difference, worst ${name}`;
  figures.push(
    element(
      "figure",
      {},
      heat(map, HEAT, mark),
      element("figcaption", {}, caption),
      map.high === 0 ? null : scaleBar(HEAT, 0, map.high),
    ),
  );
  const of = `Plane ${plane} of ${sized(row.shape)}`;
  const title = `${of}; a cell shows the largest difference in its tile; the circle is the largest of all`;
  return element("div", { class: "maps", title }, figures);
}

// Bars over equal steps; counts are drawn on a logarithmic scale, so that a single outlier shows.
function histogram(found, classes, ticks, label) {
  const width = 320,
    height = 84,
    bottom = 16;
  const most = Math.log1p(Math.max(...found.counts.flat(), 1));
  const step = width / found.counts[0].length;
  const svg = drawn("svg", {
    viewBox: `0 0 ${width} ${height + bottom}`,
    class: "histogram",
    role: "img",
    "aria-label": label,
  });
  found.counts.forEach((counts, k) => {
    const path = counts
      .map((count, i) => {
        const top = height - (Math.log1p(count) / most) * (height - 4);
        return `${i ? "L" : "M"}${(i * step).toFixed(1)} ${top.toFixed(1)}H${((i + 1) * step).toFixed(1)}`;
      })
      .join("");
    svg.append(drawn("path", { class: classes[k], d: k ? path : `${path}V${height}H0Z` }));
  });
  const at = (value) => ((value - found.low) / (found.high - found.low)) * width;
  if (found.low < 0 && found.high > 0)
    svg.append(drawn("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: height }));
  for (const [value, anchor, x] of ticks)
    svg.append(drawn("text", { class: "axis", x, y: height + 12, "text-anchor": anchor }, short(value)));
  return svg;
}

const ends = (found) => [
  [found.low, "start", 0],
  [found.high, "end", 320],
];

function distributions(row, way) {
  const details = row.details[way];
  if (!details || !details.values || !details.difference) return null;
  const range = (of) => (of ? `${exact(of[0])} … ${exact(of[1])}` : "nothing finite");
  const total = row.shape.reduce((a, b) => a * b, 1);
  return element(
    "div",
    { class: "distributions" },
    element(
      "figure",
      {},
      histogram(
        details.values,
        ["theirs", "ours"],
        ends(details.values),
        "Distribution of PyTorch’s and the network’s values",
      ),
      element(
        "figcaption",
        {},
        element("span", { class: "key theirs" }, `PyTorch ${range(details.expected_range)}`),
        element("span", { class: "key ours" }, `network ${range(details.actual_range)}`),
      ),
    ),
    element(
      "figure",
      {},
      histogram(details.difference, ["difference"], ends(details.difference), "Distribution of the difference"),
      element(
        "figcaption",
        {},
        "network − PyTorch",
        details.counted < total
          ? `; ${details.counted.toLocaleString("en")} of ${total.toLocaleString("en")} values counted`
          : "",
        "; counts on a log scale",
      ),
    ),
  );
}

function channels(row, way) {
  const details = row.details[way];
  if (!details || details.channels.length < 2) return null;
  const { channels: errors, channel_count: count } = details,
    width = 320,
    height = 44;
  const most = Math.max(...errors),
    step = width / errors.length;
  const worst = Math.floor((errors.indexOf(most) * count) / errors.length);
  const svg = drawn("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "channels",
    role: "img",
    "aria-label": "Relative error of each channel",
  });
  errors.forEach((error, i) => {
    const tall = most ? (error / most) * (height - 2) : 0;
    svg.append(
      drawn("rect", {
        x: i * step,
        width: Math.max(step - 0.6, 0.5),
        y: height - tall,
        height: tall,
        fill: errorColor(error, way === "isolated" ? state.tolerance.isolated : state.tolerance.chained),
      }),
    );
  });
  const grouped = errors.length < count;
  const what = `relative error by ${row.shape.length > 1 ? "channel" : "value"}`;
  const many = grouped ? `${count}, in ${errors.length} groups` : count;
  const caption = `${what} (${many}); most ${short(most)} ${grouped ? "near" : "in"} ${worst}`;
  return element("figure", {}, svg, element("figcaption", {}, caption));
}
