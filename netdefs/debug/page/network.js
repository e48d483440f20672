// The network, drawn by netdefs.draw, with every node colored by its error.

class NetworkView {
  constructor(container, data, rows, ways, choose) {
    Object.assign(this, { container, data, rows, ways, choose });
    this.rowOf = new Map(rows.map((row, i) => [row.tensor, i]));
    this.nodes = new Map(); // name of a tensor -> the layer that makes it
    const visit = (node) => {
      for (const name of node.tensors || []) this.nodes.set(name, node);
      for (const child of node.children || []) visit(child);
    };
    visit(data.root);
    this.inside = new Map(); // id of a node -> the rows in it
    const gather = (node) => {
      const own = node.kind === "output" ? [node.label] : node.tensors || [];
      const found = own.map((name) => this.rowOf.get(name)).filter((i) => i !== undefined);
      for (const child of node.children || []) found.push(...gather(child));
      this.inside.set(node.id, found);
      return found;
    };
    gather(data.root);
    this.way = ways.includes("isolated") ? "isolated" : "chained";
    this.canvas = element("div", { class: "drawing" });
    this.legend = element("div", { class: "legend" });
    const pick = element(
      "select",
      {
        "aria-label": "Color by",
        onchange: () => {
          this.way = pick.value;
          this.update(this.state);
        },
      },
      ways.map((way) =>
        element(
          "option",
          { value: way, selected: way === this.way },
          way === "isolated" ? "own error (isolated)" : "error in the chain",
        ),
      ),
    );
    container.append(
      element("div", { class: "tools" }, element("label", {}, "color: ", pick), this.legend),
      this.canvas,
    );
    // Built when it comes into view: the rest of the page does not wait for it.
    const watch = new IntersectionObserver(
      (seen) => {
        if (!seen.some((entry) => entry.isIntersecting)) return;
        watch.disconnect();
        this.build();
      },
      { rootMargin: "300px" },
    );
    watch.observe(this.canvas);
  }

  build() {
    if (this.view) return;
    this.view = netdefsDraw(this.canvas, this.data, {
      color: (node) => this.color(node),
      note: (node) => this.note(node),
      details: false,
      onselect: (node) => {
        const found = node ? this.worst(node) : undefined;
        if (found !== undefined) this.choose(found, this);
      },
    });
    if (this.wanted !== undefined) this.show(this.wanted);
  }

  needed(i) {
    const row = this.rows[i];
    return row[this.way] ? row[this.way].needed : row[`${this.way}_shape`] ? Infinity : null;
  }

  worst(node) {
    let found,
      most = -1;
    for (const i of this.inside.get(node.id) || []) {
      const needed = this.needed(i) ?? 0;
      if (needed > most) [found, most] = [i, needed];
    }
    return found;
  }

  color(node) {
    const worst = this.worst(node);
    const needed = worst === undefined ? null : this.needed(worst);
    return needed === null ? null : errorColor(needed, this.state.tolerance[this.way]);
  }

  note(node) {
    const worst = this.worst(node);
    if (worst === undefined) return "";
    const row = this.rows[worst];
    return row[this.way]
      ? short(row[this.way].relative)
      : row[`${this.way}_shape`]
        ? sized(row[`${this.way}_shape`])
        : "";
  }

  update(state) {
    this.state = state;
    const tolerance = state.tolerance[this.way];
    const steps = Array.from({ length: 2 * DECADES }, (_, i) => 10 ** (i - DECADES + 0.5));
    this.legend.replaceChildren(
      element("span", {}, short(tolerance / 10 ** DECADES)),
      ...steps.map((s, i) =>
        element("i", {
          class: i === DECADES ? "limit" : "",
          style: `background:${errorColor(s * tolerance, tolerance)}`,
        }),
      ),
      element("span", {}, short(tolerance * 10 ** DECADES)),
      element("small", {}, `fine up to ${exact(tolerance)}`),
    );
    this.view?.recolor();
  }

  show(i, build = false) {
    this.wanted = i;
    if (build) this.build();
    const node = i >= 0 && this.nodes.get(this.rows[i].tensor);
    if (this.view && i >= 0) this.view.select(node ? node.id : `output:${this.rows[i].tensor}`, { quiet: true });
  }
}
