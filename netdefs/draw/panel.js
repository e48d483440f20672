// The toolbar and the details of what is selected.

const FOUND = 14;  // names shown while typing

class Bar {
  constructor(drawing) {
    this.drawing = drawing;
    this.element = element("div", "nd-bar");
    this.search = element("input", "nd-search");
    this.search.type = "search";
    this.search.placeholder = "Find a layer, type or weight ( / )";
    this.search.setAttribute("aria-label", "Find a layer, type or weight");
    this.list = element("ul", "nd-found");
    this.list.hidden = true;
    const box = element("div", "nd-searchbox");
    box.append(this.search, this.list);
    this.depth = element("span", "nd-depth");
    this.element.append(box,
      this.button("−", "Close one level", () => drawing.expand(drawing.depth - 1)), this.depth,
      this.button("+", "Open one level", () => drawing.expand(drawing.depth + 1)),
      element("span", "nd-spring"),
      this.button("−", "Smaller (Ctrl and wheel)", () => drawing.zoom(drawing.scale / 1.25)),
      this.button("1:1", "Real size", () => drawing.zoom(1)),
      this.button("Fit", "All of it", () => drawing.fit()),
      this.button("+", "Larger (Ctrl and wheel)", () => drawing.zoom(drawing.scale * 1.25)));
    this.search.addEventListener("input", () => this.look());
    this.search.addEventListener("keydown", event => this.pressed(event));
    this.search.addEventListener("blur", () => setTimeout(() => { this.list.hidden = true; }, 200));
    this.list.addEventListener("pointerdown", event => {
      event.preventDefault();
      const item = event.target.closest("li");
      if (item?.dataset.id) this.take(item.dataset.id);
    });
  }

  button(text, title, action) {
    const made = element("button", "nd-button", text);
    made.type = "button";
    made.title = title;
    made.setAttribute("aria-label", title);
    made.addEventListener("click", action);
    return made;
  }

  refresh() {
    const {depth, deepest} = this.drawing;
    this.depth.textContent = `blocks open to depth ${depth} of ${deepest}`;
  }

  look() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = node => {
      const text = [node.path, node.type, ...(node.params || []), ...(node.weights || []).map(weight => weight.key)]
        .join(" ").toLowerCase();
      return node.path && words.every(word => text.includes(word));
    };
    const found = words.length ? [...this.drawing.facts.keys()].filter(fits) : [];
    const exact = found.findIndex(node => node.path.toLowerCase() === words[0] && node.kind !== "block");
    if (exact > 0) found.unshift(...found.splice(exact, 1));
    this.at = 0;
    this.list.replaceChildren(...found.slice(0, FOUND).map(node => {
      const item = element("li", "", node.path);
      item.dataset.id = node.id;
      item.append(element("span", "", node.kind === "block" ? node.type || "block" : node.type));
      return item;
    }));
    if (found.length > FOUND) this.list.append(element("li", "nd-more", `and ${found.length - FOUND} more`));
    if (words.length && !found.length) this.list.append(element("li", "nd-more", "nothing has these words"));
    this.list.hidden = !words.length;
    this.mark();
  }

  mark() {
    [...this.list.children].forEach((item, i) => item.classList.toggle("nd-at", i === this.at));
  }

  pressed(event) {
    const items = this.list.querySelectorAll("li[data-id]");
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step) this.at = Math.max(0, Math.min(this.at + step, items.length - 1));
    else if (event.key === "Enter" && items[this.at]) this.take(items[this.at].dataset.id);
    else if (event.key === "Escape") this.list.hidden = true;
    else return;
    event.preventDefault();
    this.mark();
  }

  take(id) {
    this.list.hidden = true;
    this.drawing.choose(this.drawing.node(id));
  }
}

class Panel {
  constructor(drawing) {
    this.drawing = drawing;
    this.element = element("aside", "nd-details");
    this.element.setAttribute("aria-live", "polite");
    this.element.hidden = true;
  }

  show(node) {
    this.element.hidden = node === null;
    if (node === null) return;
    const close = element("button", "nd-button nd-close", "×");
    close.type = "button";
    close.title = "Close";
    close.addEventListener("click", () => this.drawing.choose(null));
    this.element.replaceChildren(close, element("h3", "", node.path || node.label));
    const kind = [node.kind === "block" ? node.type || "block" : node.type, node.dtype].filter(Boolean).join(" · ");
    this.element.append(element("p", "nd-type", kind));
    this.rows("", (node.params || []).map(text => [text]));
    if (node.kind === "block") this.rows("", [[node.size], [node.summary]]);
    this.rows("in", node.in.map(value => [shown(value), value.name]));
    this.rows("out", node.out.map(value => [shown(value), value.name]));
    this.rows("weights", (node.weights || []).map(weight => [weight.shape.join("×"), weight.key]));
    if (node.source) this.rows("defined at", [[node.source]]);
    const text = this.drawing.options.note(node);
    if (text) this.rows("note", [[text]]);
    if (node.partner !== null) this.rows("partner", [[node.partner === "" ? "none" : node.partner]]);
  }

  rows(title, rows) {
    if (!rows.length) return;
    if (title) this.element.append(element("h4", "", title));
    for (const [first, second] of rows) {
      const row = element("p", "nd-row", first);
      if (second) row.append(element("code", "", second));
      this.element.append(row);
    }
  }
}

function shown(value) {
  return `${value.shape.join("×") || "scalar"} ${value.dtype}`;
}
