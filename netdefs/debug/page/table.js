// The table: only the rows that are seen are built, so that a thousand layers scroll as ten do. A row keeps its
// elements while it is seen: a press and its release are a click only if what was pressed is still there.

const ROW = 26; // pixels

// What is typed: a glob over the whole name if it has * or ?, else a part of it; letters of both cases are the same.
function matcher(text) {
  const wanted = text.trim().toLowerCase();
  if (!/[*?]/.test(wanted)) return (name) => name.toLowerCase().includes(wanted);
  const pattern = wanted
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*/g, ".*")
    .replace(/\?/g, ".");
  const glob = new RegExp(`^${pattern}$`, "s");
  return (name) => glob.test(name.toLowerCase());
}

// Gives the parent these children, in this order. Those that stay are not taken out and put in again: to a press on one
// of them that would be the same as another element.
function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  let next = parent.firstChild;
  for (const child of children) {
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
}

class Table {
  constructor(container, report, ways, choose) {
    Object.assign(this, { container, report, ways, choose, sort: { key: "at", down: false }, shown: [] });
    this.filters = { text: "", verdicts: new Set(), type: "" };
    this.built = new Map(); // the elements of the rows that are seen, by the rows' places in the report
    this.columns = columnsOf(ways, (i) => this.state.judged.verdicts[i]);
    this.build();
  }

  build() {
    const types = [...new Set(this.report.rows.map((row) => row.module_type || row.layer_type))].sort(natural);
    this.text = element("input", {
      type: "search",
      placeholder: "Filter: part of a name, or layer3.*.conv?",
      "aria-label": "Filter by name",
      spellcheck: "false",
      oninput: () => {
        this.filters.text = this.text.value;
        this.refresh();
      },
    });
    this.types = element(
      "select",
      {
        "aria-label": "Filter by type",
        onchange: () => {
          this.filters.type = this.types.value;
          this.refresh();
        },
      },
      element("option", { value: "" }, "all types"),
      types.map((type) => element("option", {}, type)),
    );
    this.chips = VERDICTS.map((verdict) =>
      element(
        "button",
        { class: `chip ${SLUGS[verdict]}`, "aria-pressed": "false", onclick: () => this.toggle(verdict) },
        verdict,
      ),
    );
    this.count = element("span", { class: "count", "aria-live": "polite" });
    this.reset = element("button", { class: "plain", hidden: true, onclick: () => this.clear() }, "clear");
    this.head = element(
      "div",
      { class: "head", role: "row" },
      this.columns.map((column) =>
        element(
          "button",
          {
            role: "columnheader",
            class: column.right ? "right" : "",
            "data-key": column.key,
            title: column.hint || null,
            onclick: () => this.order(column.key),
          },
          column.title,
        ),
      ),
    );
    this.space = element("div", { class: "space", role: "presentation" });
    this.body = element(
      "div",
      {
        class: "rows",
        role: "grid",
        tabindex: "0",
        "aria-label": "Layers",
        "aria-rowcount": this.report.rows.length,
        onscroll: () => this.paint(),
        onkeydown: (event) => this.key(event),
        onclick: (event) => this.click(event),
      },
      this.head,
      this.space,
    );
    const widths = this.columns.map((column) => column.width).join(" ");
    this.body.style.setProperty("--columns", widths);
    this.container.append(
      element(
        "div",
        { class: "filters" },
        this.text,
        this.types,
        element("span", { class: "chips" }, this.chips),
        this.count,
        this.reset,
      ),
      this.body,
    );
    new ResizeObserver(() => this.paint()).observe(this.body);
    const printing = window.matchMedia("print");
    printing.addEventListener("change", () => this.paint());
    window.addEventListener("beforeprint", () => this.paint(true));
    window.addEventListener("afterprint", () => this.paint());
  }

  toggle(verdict, alone = false) {
    const wanted = this.filters.verdicts;
    if (alone) {
      wanted.clear();
      wanted.add(verdict);
    } else if (!wanted.delete(verdict)) wanted.add(verdict);
    this.refresh();
  }

  clear() {
    this.filters = { text: "", verdicts: new Set(), type: "" };
    this.text.value = this.types.value = "";
    this.refresh();
  }

  order(key) {
    this.sort = {
      key,
      down: this.sort.key === key ? !this.sort.down : !["at", "name", "type", "verdict", "cosine"].includes(key),
    };
    this.refresh();
  }

  update(state) {
    this.state = state;
    this.refresh();
  }

  refresh() {
    const { text, verdicts, type } = this.filters,
      { rows } = this.report;
    const fits = matcher(text);
    const column = this.columns.find((c) => c.key === this.sort.key);
    this.shown = rows
      .map((row, i) => i)
      .filter(
        (i) =>
          fits(rows[i].name) &&
          (!verdicts.size || verdicts.has(this.state.judged.verdicts[i])) &&
          (!type || (rows[i].module_type || rows[i].layer_type) === type),
      );
    const values = new Map(this.shown.map((i) => [i, column.value(rows[i], i)]));
    const missing = (i) => values.get(i) === null || Number.isNaN(values.get(i));
    this.shown.sort(
      (a, b) =>
        missing(a) - missing(b) ||
        (missing(a) ? 0 : (this.sort.down ? -1 : 1) * column.compare(values.get(a), values.get(b))) ||
        a - b,
    );
    this.chips.forEach((button, i) => {
      button.replaceChildren(VERDICTS[i], " ", element("b", {}, String(this.state.judged.counts[VERDICTS[i]])));
      button.setAttribute("aria-pressed", String(verdicts.has(VERDICTS[i])));
      button.hidden = !this.state.judged.counts[VERDICTS[i]] && !verdicts.has(VERDICTS[i]);
    });
    for (const cell of this.head.children) {
      const sorted = cell.dataset.key === this.sort.key;
      cell.setAttribute("aria-sort", sorted ? (this.sort.down ? "descending" : "ascending") : "none");
    }
    this.count.textContent =
      this.shown.length === rows.length
        ? plural(rows.length, "row")
        : `${this.shown.length} of ${plural(rows.length, "row")}`;
    this.reset.hidden = !(text || verdicts.size || type);
    this.body.dataset.first = String(this.shown[0] ?? "");
    this.paint();
  }

  paint(all = window.matchMedia("print").matches) {
    if (!this.state) return;
    this.space.style.height = `${Math.max(this.shown.length, 1) * ROW}px`; // first: it may move what is in view
    const from = all ? 0 : Math.max(Math.floor(this.body.scrollTop / ROW) - 12, 0);
    const to = all
      ? this.shown.length
      : Math.min(from + Math.ceil(this.body.clientHeight / ROW) + 26, this.shown.length);
    this.built = new Map(this.shown.slice(from, to).map((i) => [i, this.built.get(i) || this.row(i)]));
    [...this.built].forEach(([i, node], k) => this.dress(node, i, from + k));
    arrange(this.space, [...this.built.values()]);
    if (!this.shown.length) this.space.append(element("p", { class: "none" }, "No row fits the filter."));
  }

  row(i) {
    const row = this.report.rows[i];
    const cells = this.columns.map((column) => {
      if (column.key === "verdict") return element("span", { role: "gridcell" }, element("span"));
      const text = column.text(row, i);
      const cell = element(
        "span",
        {
          role: "gridcell",
          class: column.right ? "right" : "",
          title: ["name", "type", "shape"].includes(column.key) ? (column.key === "type" ? row.type : text) : null,
        },
        text,
      );
      if (this.ways.includes(column.key) && this.needed(row, column.key) !== null)
        cell.prepend(element("i", { class: "dot", "data-way": column.key }));
      return cell;
    });
    return element("div", { role: "row", "data-row": i }, cells);
  }

  // The tolerance a row needs to agree; infinite if the shapes differ, null if it was not measured.
  needed(row, way) {
    return row[way] ? row[way].needed : row[`${way}_shape`] ? Infinity : null;
  }

  // What of a row depends on the tolerances, the choice and the order.
  dress(node, i, place) {
    const { judged, selected, tolerance } = this.state,
      row = this.report.rows[i];
    node.className = `row ${SLUGS[judged.verdicts[i]]}`;
    node.classList.toggle("chosen", i === selected);
    node.classList.toggle("output", row.kind === "output");
    node.setAttribute("aria-selected", String(i === selected));
    node.setAttribute("aria-rowindex", place + 1);
    node.style.top = `${place * ROW}px`;
    const mark = node.querySelector("span > span");
    mark.className = `chip ${SLUGS[judged.verdicts[i]]}`;
    mark.textContent = judged.verdicts[i];
    for (const dot of node.querySelectorAll(".dot")) {
      const { way } = dot.dataset;
      dot.style.background = errorColor(this.needed(row, way), tolerance[way]);
    }
  }

  click(event) {
    const row = event.target.closest("[data-row]");
    if (row) this.choose(Number(row.dataset.row));
  }

  key(event) {
    const page = Math.max(Math.floor(this.body.clientHeight / ROW) - 2, 1),
      last = this.shown.length - 1;
    const at = this.shown.indexOf(this.state.selected);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: last }[
      event.key
    ];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(this.shown[Math.min(Math.max(to, 0), last)]);
  }

  reveal(i) {
    const place = this.shown.indexOf(i),
      head = this.head.offsetHeight;
    if (place < 0) return;
    const top = place * ROW,
      room = this.body.clientHeight - head - ROW;
    if (top < this.body.scrollTop || top > this.body.scrollTop + room)
      this.body.scrollTop = Math.max(top - room / 3, 0);
    this.paint();
  }
}
