// The drawing: blocks, cards and lanes in CSS grids, whose places Python chose; the browser computes their sizes.

const GAP = {label: 16, track: 9, arrow: 12};
const SVG = "http://www.w3.org/2000/svg";

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function gapHeight(block, gap) {
  if (!block.wires.some(wire => wire.gap === gap)) return 6;
  return GAP.label + GAP.track * block.gaps[gap] + GAP.arrow;
}

class Drawing {
  constructor(container, data, options) {
    this.container = container;
    this.data = data;
    this.options = {depth: data.depth, color: () => null, note: () => "", onselect: () => {}, details: true,
      toolbar: true, ...options};
    this.facts = new Map();  // node -> {parent, depth}
    this.byId = new Map();
    this.byTensor = new Map();
    this.elements = new Map();  // node -> its element, of what is built
    this.opened = new Set([data.root]);
    this.moved = new WeakMap();  // a card or port -> the middle that it was moved to
    this.selected = null;
    this.scale = 1;
    this.deepest = 0;
    this.learn(data.root, null, 0);
    this.dress();
    this.expand(this.options.depth);
  }

  learn(node, parent, depth) {
    this.facts.set(node, {parent, depth});
    this.byId.set(node.id, node);
    for (const name of node.tensors || []) this.byTensor.set(name, node);
    if (node.kind !== "block") return;
    this.deepest = Math.max(this.deepest, depth);
    for (const child of node.children) this.learn(child, node, depth + 1);
  }

  node(name) {
    return this.byId.get(name) || this.byTensor.get(name) || this.byId.get(`${name}.*`) || null;
  }

  inside(node) {
    if (node.kind !== "block") return [node];
    return node.children.flatMap(child => this.inside(child)).filter(layer => layer.kind === "layer");
  }

  // What is around the paper: toolbar, scrolled view, details.
  dress() {
    this.container.classList.add("nd-draw");
    this.view = element("div", "nd-view");
    this.view.setAttribute("role", "tree");
    this.view.setAttribute("aria-label", `The network ${this.data.name}`);
    this.space = element("div", "nd-space");
    this.paper = element("div", "nd-paper");
    this.space.append(this.paper);
    this.view.append(this.space);
    const body = element("div", "nd-body");
    body.append(this.view);
    this.panel = this.options.details ? new Panel(this) : null;
    if (this.panel) body.append(this.panel.element);
    this.bar = this.options.toolbar ? new Bar(this) : null;
    this.container.replaceChildren(...(this.bar ? [this.bar.element] : []), body);
    this.view.addEventListener("click", event => this.clicked(event));
    this.view.addEventListener("dblclick", event => this.clicked(event, true));
    this.view.addEventListener("keydown", event => this.pressed(event));
    this.view.addEventListener("wheel", event => this.wheeled(event), {passive: false});
    this.view.addEventListener("pointerdown", event => this.grab(event));
    this.view.addEventListener("pointerover", event => this.trace(event.target.dataset?.tensor));
    this.view.addEventListener("pointerout", () => this.trace(undefined));
  }

  // Building. Children of a closed block are not built.
  build(node) {
    const made = node.kind === "block" && this.opened.has(node) ? this.block(node) : this.card(node);
    made.dataset.id = node.id;
    made.tabIndex = -1;
    made.setAttribute("role", "treeitem");
    made.setAttribute("aria-label", node.path || this.data.name);
    if (node.kind === "block") made.setAttribute("aria-expanded", this.opened.has(node));
    if (node.partner === "") made.classList.add(node.minor ? "nd-minor" : "nd-alone");
    if (node === this.selected) made.classList.add("nd-selected");
    if (node.at) {
      made.style.gridRow = 2 * node.at[0] + 1;
      made.style.gridColumn = node.at[1] + 1;
    }
    this.elements.set(node, made);
    this.paint(node);
    return made;
  }

  card(node) {
    const card = element("div", `nd-card nd-${node.family} nd-kind-${node.kind}`);
    const name = element("div", "nd-name", node.label || node.path);
    card.append(name);
    if (node.kind === "block") {
      name.prepend(this.toggle("▸", "Open"));
      if (node.type) card.append(element("div", "nd-type", node.type));
      card.append(element("div", "nd-flow", node.flow), element("div", "nd-params", node.summary));
      card.append(element("div", "nd-size", node.size));
    } else {
      const type = element("div", "nd-type", node.kind === "layer" ? node.type : node.kind);
      type.append(element("span", "nd-dtype", node.dtype));
      card.append(type);
      if (node.params.length) card.append(element("div", "nd-params", node.params.join(" · ")));
      if (node.kind !== "layer") card.append(element("div", "nd-flow", node.flow));
    }
    card.append(element("div", "nd-note"));
    return card;
  }

  toggle(sign, action) {
    const button = element("button", "nd-toggle", sign);
    button.type = "button";
    button.tabIndex = -1;
    button.title = `${action} (${action === "Open" ? "→" : "←"})`;
    return button;
  }

  block(node) {
    const made = element("div", "nd-block");
    const head = element("div", "nd-head");
    if (node !== this.data.root) head.append(this.toggle("▾", "Close"));
    head.append(element("span", "nd-name", node.label || this.data.name), element("span", "nd-type", node.type),
      element("span", "nd-size", node === this.data.root ? this.data.title : node.size), element("span", "nd-note"));
    const grid = element("div", "nd-grid");
    grid.style.gridTemplateColumns = `repeat(${Math.max(node.columns, 1)}, auto)`;
    const rows = ["auto"];
    for (let gap = 0; gap < node.gaps.length; gap++) rows.push(`${gapHeight(node, gap)}px`, "auto");
    grid.style.gridTemplateRows = rows.join(" ");
    node.entering.forEach((column, i) => grid.append(this.port(node.in[i], node, 1, column, "in")));
    node.leaving.forEach((column, i) => grid.append(this.port(node.out[i], node, 2 * node.rows + 3, column, "out")));
    for (const [tensor, first, last, column] of node.lanes) {
      const lane = element("div", "nd-lane");
      lane.style.gridRow = `${2 * first + 1} / ${2 * last + 2}`;
      lane.style.gridColumn = column + 1;
      lane.append(element("span", "", node.dims[tensor]));
      grid.append(lane);
    }
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "nd-wires");
    svg.setAttribute("aria-hidden", "true");
    const children = node.children.map(child => this.build(child));
    node.slots.forEach((width, i) => { if (width) Object.assign(children[i].style, {minWidth: `${width}px`, maxWidth: "none"}); });
    grid.append(svg, ...children);
    made.append(head, grid);
    return made;
  }

  port(value, node, row, column, side) {
    const made = element("div", `nd-port nd-${side}`, node.dims[value.name]);
    made.title = value.name;
    made.dataset.tensor = value.name;
    made.style.gridRow = row;
    made.style.gridColumn = column + 1;
    return made;
  }

  // Opening and closing.
  isOpen(node) {
    return this.opened.has(node);
  }

  setOpen(node, open) {
    if (node.kind !== "block" || node === this.data.root || this.opened.has(node) === open) return;
    if (open) this.opened.add(node);
    else this.opened.delete(node);
    if (!this.elements.has(node)) return;
    const old = this.elements.get(node);
    const {left, top} = old.getBoundingClientRect();
    const focused = old.contains(document.activeElement);
    this.forget(node);
    const made = this.build(node);
    Object.assign(made.style, {minWidth: old.style.minWidth, maxWidth: old.style.maxWidth});
    old.replaceWith(made);
    this.draw([...this.openBlocks(node), ...this.ancestors(node)]);
    const now = made.getBoundingClientRect();  // what was clicked stays under the pointer
    this.view.scrollLeft += now.left - left;
    this.view.scrollTop += now.top - top;
    if (focused) this.focus(made);
  }

  forget(node) {
    this.elements.delete(node);
    if (node.kind === "block") node.children.forEach(child => { if (this.elements.has(child)) this.forget(child); });
  }

  ancestors(node) {
    const found = [];
    for (let up = this.facts.get(node).parent; up; up = this.facts.get(up).parent) found.push(up);
    return found;
  }

  openBlocks(node) {
    if (node.kind !== "block" || !this.opened.has(node)) return [];
    return [node, ...node.children.flatMap(child => this.openBlocks(child))];
  }

  expand(depth) {
    this.depth = Math.max(0, Math.min(depth, this.deepest));
    this.opened = new Set([...this.facts].filter(([node, fact]) => node.kind === "block" && fact.depth <= this.depth)
      .map(([node]) => node));
    this.opened.add(this.data.root);
    this.elements.clear();
    this.paper.replaceChildren(this.build(this.data.root));
    this.redraw();
    if (this.bar) this.bar.refresh();
    const first = this.paper.querySelector(".nd-grid > [data-id]");
    if (this.selected && this.elements.has(this.selected)) this.reveal(this.selected);
    else if (first) {
      this.center(first, 0);
      this.view.scrollTop = 0;
    }
    (first || this.view).tabIndex = 0;
  }

  redraw() {
    this.draw(this.openBlocks(this.data.root));
  }

  draw(blocks) {
    // All is measured before anything is written: the browser lays the page out once. Inner blocks come first.
    const inner = [...blocks].sort((a, b) => this.facts.get(b).depth - this.facts.get(a).depth);
    for (const block of inner) this.forgetMoves(this.elements.get(block));
    const drawn = inner.map(block => [this.elements.get(block), wires(block, this.elements.get(block),
      child => this.elements.get(child), child => this.opened.has(child), this.moved)]);
    for (const [target, {moves, content}] of drawn) {
      for (const [item, x] of moves) item.style.transform = `translateX(${x}px)`;
      target.querySelector(":scope > .nd-grid > .nd-wires").innerHTML = content;
    }
    this.resize();
  }

  forgetMoves(target) {
    for (const item of target.querySelectorAll(":scope > .nd-grid > *")) {
      if (this.moved.delete(item)) item.style.transform = "";
    }
  }

  resize() {
    this.paper.style.transform = `scale(${this.scale})`;
    const width = this.paper.offsetWidth * this.scale;
    const left = Math.max(0, (this.view.clientWidth - width) / 2);
    this.paper.style.left = `${left}px`;
    this.space.style.width = `${left + width + this.covered()}px`;
    this.space.style.height = `${this.paper.offsetHeight * this.scale}px`;
  }

  // How much of the view lies under the details. They don't push the drawing aside: a double click would miss.
  covered() {
    return this.panel ? this.panel.element.offsetWidth : 0;
  }

  zoom(scale, x = this.view.clientWidth / 2, y = this.view.clientHeight / 2) {
    const next = Math.max(0.05, Math.min(scale, 3));
    const ratio = next / this.scale;
    const [left, top] = [this.view.scrollLeft + x, this.view.scrollTop + y];
    this.scale = next;
    this.resize();
    this.view.scrollLeft = left * ratio - x;
    this.view.scrollTop = top * ratio - y;
  }

  fit() {
    const {clientWidth, clientHeight} = this.view;
    this.zoom(Math.min(clientWidth / this.paper.offsetWidth, clientHeight / this.paper.offsetHeight, 1));
  }

  destroy() {
    this.container.replaceChildren();
    this.container.classList.remove("nd-draw");
    this.elements.clear();
  }
}
