// Pointer, wheel and keys.

Object.assign(Drawing.prototype, {
  nodeAt(target) {
    const found = target.closest?.("[data-id]");
    return found && this.view.contains(found) ? this.byId.get(found.dataset.id) : null;
  },

  clicked(event, twice = false) {
    const node = this.nodeAt(event.target);
    if (this.dragged || (!node && event.target.closest(".nd-details"))) return;
    if (node && (twice || event.target.closest(".nd-toggle"))) this.setOpen(node, !this.isOpen(node));
    else if (!twice) this.choose(node === this.data.root ? null : node);
  },

  choose(node) {
    this.select(node ? node.id : null);
    if (node) this.focus(this.elements.get(node));
  },

  pressed(event) {
    const node = this.nodeAt(event.target);
    if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
    const built = [...this.view.querySelectorAll("[data-id]")];
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step) this.go(built[built.indexOf(this.elements.get(node)) + step]);
    else if (event.key === "ArrowRight" && node.kind === "block" && !this.isOpen(node)) this.setOpen(node, true);
    else if (event.key === "ArrowLeft" && node.kind === "block" && this.isOpen(node)) this.setOpen(node, false);
    else if (event.key === "ArrowLeft") this.go(this.elements.get(this.facts.get(node).parent));
    else if (event.key === "Home") this.go(built[0]);
    else if (event.key === "End") this.go(built[built.length - 1]);
    else if (event.key === "Enter" || event.key === " ") this.choose(node === this.data.root ? null : node);
    else if (event.key === "Escape") this.choose(null);
    else if (event.key === "/" && this.bar) this.bar.search.focus();
    else return;
    event.preventDefault();
  },

  go(target) {
    if (!target) return;
    this.focus(target);
    this.reveal(this.byId.get(target.dataset.id));
  },

  wheeled(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = this.view.getBoundingClientRect();
    this.zoom(this.scale * Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  },

  grab(event) {
    this.dragged = false;
    if (event.button !== 0 || event.target.closest(".nd-card, .nd-head, .nd-toggle") || event.pointerType === "touch") {
      return;
    }
    const [x, y, left, top] = [event.clientX, event.clientY, this.view.scrollLeft, this.view.scrollTop];
    const move = moved => {
      if (Math.abs(moved.clientX - x) + Math.abs(moved.clientY - y) > 4) this.dragged = true;
      this.view.scrollLeft = left + x - moved.clientX;
      this.view.scrollTop = top + y - moved.clientY;
    };
    const done = () => window.removeEventListener("pointermove", move);
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", done, {once: true});
    window.addEventListener("pointercancel", done, {once: true});
  },
});
