// The errors in execution order: one look shows where they begin, and how far they spread.

const LOW = -9; // the smallest power of ten that is drawn, unless a tolerance is below it
const MARGIN = { left: 46, right: 14, top: 26, bottom: 22 };

// Where an error is drawn: above the tolerance if it counts, below it if it does not.
function level(metrics, tolerance) {
  if (metrics === null) return Infinity; // another shape
  return metrics.needed <= tolerance
    ? Math.min(Math.max(metrics.needed, metrics.relative), tolerance)
    : metrics.needed;
}

class Chart {
  constructor(container, rows, ways, choose) {
    Object.assign(this, { container, rows, ways, choose });
    this.note = element("div", { class: "tip", hidden: true });
    container.append(this.note);
    container.addEventListener("pointermove", (event) => this.point(event));
    container.addEventListener("pointerleave", () => {
      this.note.hidden = true;
    });
    container.addEventListener("click", (event) => {
      const at = this.at(event);
      if (at >= 0) choose(at);
    });
    new ResizeObserver(debounced(() => this.state && this.draw(this.state), 60)).observe(container);
    const seen = rows
      .flatMap((row) => ways.map((way) => row[way] && row[way].needed))
      .filter((n) => Number.isFinite(n) && n > 0);
    this.top = Math.max(0, Math.ceil(Math.log10(seen.reduce((a, b) => Math.max(a, b), 1e-3)) + 0.2));
  }

  x(i) {
    return MARGIN.left + ((i + 0.5) / this.rows.length) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(value) {
    const power = Math.log10(Math.min(Math.max(value, 10 ** this.low), 10 ** this.top));
    const share = (power - this.low) / (this.top - this.low);
    return this.height - MARGIN.bottom - share * (this.height - MARGIN.top - MARGIN.bottom);
  }

  draw(state) {
    this.state = state;
    this.width = Math.max(this.container.clientWidth, 280);
    this.height = 210;
    this.low = Math.min(LOW, ...this.ways.map((way) => Math.floor(Math.log10(state.tolerance[way])) - 1));
    const svg = drawn("svg", {
      width: this.width,
      height: this.height,
      viewBox: `0 0 ${this.width} ${this.height}`,
      role: "img",
      "aria-label": "Error of every layer in execution order, on a logarithmic scale",
    });
    svg.append(...this.grid(), ...this.stages());
    if (this.ways.includes("chained")) svg.append(...this.chained(state));
    for (const way of this.ways) svg.append(this.limit(way, state.tolerance[way]));
    if (this.ways.includes("isolated")) svg.append(...this.isolated(state));
    svg.append(...this.marks(state));
    this.container.querySelector("svg")?.remove();
    this.container.prepend(svg);
  }

  grid() {
    const lines = [];
    for (let power = this.low; power <= this.top; power += this.top - this.low > 8 ? 2 : 1) {
      const y = this.y(10 ** power);
      lines.push(drawn("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }));
      lines.push(
        drawn(
          "text",
          { class: "axis", x: MARGIN.left - 6, y: y + 3.5, "text-anchor": "end" },
          power === 0 ? "1" : `1e${power}`.replace("-", "−"),
        ),
      );
    }
    return lines;
  }

  // The first part of the names, where it holds for long enough to be written.
  stages() {
    const found = [];
    let start = 0;
    const head = (i) => this.rows[i].name.split(/[./]/)[0];
    for (let i = 1; i <= this.rows.length; i += 1) {
      if (i < this.rows.length && head(i) === head(start)) continue;
      const from = this.x(start - 0.5),
        to = this.x(i - 0.5);
      if (to - from > 7 * head(start).length + 6) {
        found.push(
          drawn("line", { class: "stage", x1: from, x2: from, y1: MARGIN.top, y2: this.height - MARGIN.bottom + 6 }),
        );
        found.push(
          drawn(
            "text",
            { class: "axis", x: (from + to) / 2, y: this.height - 6, "text-anchor": "middle" },
            head(start),
          ),
        );
      }
      start = i;
    }
    return found;
  }

  limit(way, tolerance) {
    const y = this.y(tolerance);
    return drawn(
      "g",
      { class: `limit ${way}` },
      drawn("line", { x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }),
      drawn(
        "text",
        { x: this.width - MARGIN.right, y: way === "isolated" ? y + 12 : y - 4, "text-anchor": "end" },
        `tolerance ${way} ${exact(tolerance)}`,
      ),
    );
  }

  chained(state) {
    const bars = { fine: "", bad: "" };
    const base = this.y(0),
      half = Math.max((this.x(1) - this.x(0)) / 2, 0.6);
    this.rows.forEach((row, i) => {
      if (row.chained === null && row.chained_shape === null) return;
      const value = level(row.chained, state.tolerance.chained);
      bars[value <= state.tolerance.chained ? "fine" : "bad"] +=
        `M${(this.x(i) - half).toFixed(1)} ${base}V${this.y(value).toFixed(1)}h${(2 * half).toFixed(2)}V${base}z`;
    });
    return Object.entries(bars).map(([kind, path]) => drawn("path", { class: `chained ${kind}`, d: path }));
  }

  isolated(state) {
    return this.rows.flatMap((row, i) => {
      if (row.isolated === null && row.isolated_shape === null) return [];
      const value = level(row.isolated, state.tolerance.isolated);
      const bad = !(value <= state.tolerance.isolated);
      return [
        drawn("circle", {
          class: bad ? "isolated bad" : "isolated",
          cx: this.x(i).toFixed(1),
          cy: this.y(value).toFixed(1),
          r: bad ? 4.5 : 1.6,
        }),
      ];
    });
  }

  marks(state) {
    const marks = [];
    if (state.judged.first >= 0) {
      const x = this.x(state.judged.first),
        left = x > this.width * 0.6;
      marks.push(drawn("line", { class: "first", x1: x, x2: x, y1: 14, y2: this.height - MARGIN.bottom }));
      marks.push(
        drawn(
          "text",
          { class: "first", x: x + (left ? -6 : 6), y: 14, "text-anchor": left ? "end" : "start" },
          this.rows[state.judged.first].name,
        ),
      );
    }
    if (state.selected >= 0) {
      const x = this.x(state.selected),
        y = this.height - MARGIN.bottom;
      marks.push(drawn("path", { class: "here", d: `M${x} ${y}l-5 8h10z` }));
    }
    return marks;
  }

  at(event) {
    const x = event.clientX - this.container.getBoundingClientRect().left;
    const i = Math.floor(((x - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right)) * this.rows.length);
    return i >= 0 && i < this.rows.length ? i : -1;
  }

  point(event) {
    const i = this.at(event);
    this.note.hidden = i < 0;
    if (i < 0) return;
    const row = this.rows[i];
    const values = this.ways.map(
      (way) =>
        `${way} ${row[way] ? short(row[way].relative) : row[`${way}_shape`] ? sized(row[`${way}_shape`]) : "–"}`,
    );
    this.note.replaceChildren(element("b", {}, row.name), element("span", {}, values.join(", ")));
    const x = this.x(i);
    this.note.style.left = `${Math.min(Math.max(x, 120), this.width - 120)}px`;
  }
}
