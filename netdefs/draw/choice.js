// Choosing a node, showing it, and the colours and notes of whoever shows the drawing.

Object.assign(Drawing.prototype, {
  select(name, {quiet = false} = {}) {
    const node = name === null ? null : this.node(name);
    if (name !== null && node === null) return null;
    if (this.selected) this.elements.get(this.selected)?.classList.remove("nd-selected");
    this.selected = node;
    if (this.panel) this.panel.show(node);
    if (node) {
      for (const block of this.ancestors(node).reverse()) this.setOpen(block, true);
      this.elements.get(node).classList.add("nd-selected");
      this.resize();
      this.reveal(node);
    }
    if (!quiet) this.options.onselect(node);
    return node;
  },

  reveal(node) {
    const target = this.elements.get(node).getBoundingClientRect();
    const view = this.view.getBoundingClientRect();
    const seen = target.left >= view.left && target.right <= view.right - this.covered() && target.top >= view.top
      && target.bottom <= view.bottom;
    if (!seen) this.center(this.elements.get(node), 0.4);
  },

  center(target, height) {
    const box = target.getBoundingClientRect();
    const view = this.view.getBoundingClientRect();
    const free = view.width - this.covered();
    this.view.scrollLeft += box.left + Math.min(box.width, free) / 2 - view.left - free / 2;
    this.view.scrollTop += box.top - view.top - view.height * height;
  },

  focus(target) {
    this.view.querySelectorAll("[tabindex='0']").forEach(other => { other.tabIndex = -1; });
    target.tabIndex = 0;
    target.focus({preventScroll: true});
  },

  trace(tensor) {
    this.view.querySelectorAll(".nd-traced").forEach(path => path.classList.remove("nd-traced"));
    if (tensor === undefined) return;
    this.view.querySelectorAll(`[data-tensor="${CSS.escape(tensor)}"]`).forEach(path => path.classList.add("nd-traced"));
  },

  // Colours and notes, by whoever shows the drawing.
  recolor() {
    for (const node of this.elements.keys()) this.paint(node);
    if (this.panel && this.selected) this.panel.show(this.selected);
  },

  paint(node) {
    const target = this.elements.get(node);
    const color = this.options.color(node);
    target.classList.toggle("nd-colored", Boolean(color));
    if (color) target.style.setProperty("--nd-mark", color);
    else target.style.removeProperty("--nd-mark");
    const note = target.querySelector(":scope > .nd-note, :scope > .nd-head > .nd-note");
    note.textContent = [this.options.note(node), node.alone].filter(Boolean).join(" · ");
  },
});
