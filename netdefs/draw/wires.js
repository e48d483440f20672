// The lines between what is in a block's grid, along the tracks that Python chose.

const CORNER = 5;
const COLUMN_GAP = 26;  // as in draw.css

function escapeText(text) {
  return text.replace(/[&<>"]/g, sign => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})[sign]);
}

// The insides of an open block, measured: `moves` are the places of cards and ports along their columns, so that chains
// are straight where a column is wider than they are; `content` is the SVG. Blocks inside of it are measured before it.
function wires(block, element, elementOf, isOpen, moved) {
  const grid = element.querySelector(":scope > .nd-grid");
  const lanes = [...grid.querySelectorAll(":scope > .nd-lane")];
  const ports = {in: [...grid.querySelectorAll(":scope > .nd-in")], out: [...grid.querySelectorAll(":scope > .nd-out")]};
  const style = getComputedStyle(grid);
  const heights = style.gridTemplateRows.split(" ").map(parseFloat);
  const widths = style.gridTemplateColumns.split(" ").map(parseFloat);
  const tops = [parseFloat(style.paddingTop)];
  heights.forEach(height => tops.push(tops[tops.length - 1] + height));
  const rowTop = row => tops[2 * row];
  const rowBottom = row => tops[2 * row + 1];
  const sharp = x => Math.floor(x) + 0.5;
  const middle = target => moved.get(target) ?? sharp(target.offsetLeft + target.offsetWidth / 2);
  const itemOf = ([kind, index]) => kind === "child" ? elementOf(block.children[index]) : ports[kind]?.[index];
  const isFixed = ([kind, index]) => kind === "lane" || (kind === "child" && isOpen(block.children[index]));
  const columnOf = ([kind, index]) => kind === "child" ? block.children[index].at[1]
    : kind === "lane" ? block.lanes[index][3] : block[kind === "in" ? "entering" : "leaving"][index];

  // The place of a wire's end; `below`: at the lower side of what it is at.
  function place([kind, index, slot, count], wire, below) {
    if (kind === "lane") {
      const row = below ? wire.gap : wire.gap + 1;
      return [middle(lanes[index]), below ? rowBottom(row) : rowTop(row)];
    }
    if (kind !== "child") {
      const port = ports[kind][index];
      return [middle(port), port.offsetTop + (below ? port.offsetHeight : 0)];
    }
    const child = block.children[index], box = elementOf(child);
    const y = box.offsetTop + (below ? box.offsetHeight : 0);
    if (isOpen(child) && !wire.back) {
      const inner = box.querySelector(":scope > .nd-grid");
      const names = (below ? child.out : child.in).map(value => value.name);
      const port = inner.querySelectorAll(`:scope > .nd-${below ? "out" : "in"}`)[names.indexOf(wire.tensor)];
      return [box.offsetLeft + box.clientLeft + inner.offsetLeft + middle(port), y];
    }
    return [sharp(middle(box) + box.offsetWidth * ((slot + 1) / (count + 1) - 0.5)), y];
  }

  // Cards and ports go below or above what they are joined to in their column, first upwards from open blocks.
  const moves = [];
  const free = widths.length === block.columns ? grid.clientWidth - widths.reduce((a, b) => a + b, 0)
    - COLUMN_GAP * (widths.length - 1) : 0;
  function follow(end, other, wire, below) {
    const item = itemOf(end);
    if (wire.back || isFixed(end) || moved.has(item) || other[0] === "lane" || columnOf(end) !== columnOf(other)) return;
    if (!isFixed(other) && !moved.has(itemOf(other))) return;
    const column = columnOf(end);
    const left = free / 2 + widths.slice(0, column).reduce((a, b) => a + b, 0) + COLUMN_GAP * column;
    const half = item.offsetWidth / 2;
    const x = isFixed(other) ? place(other, wire, !below)[0] : middle(itemOf(other));
    const fitting = sharp(Math.max(left + half, Math.min(x, left + widths[column] - half)));
    moves.push([item, fitting - sharp(item.offsetLeft + half)]);
    moved.set(item, fitting);
  }
  const downwards = [...block.wires].sort((a, b) => a.gap - b.gap);
  for (const wire of [...downwards].reverse()) wire.bottom.forEach(end => follow(wire.top, end, wire, true));
  for (const wire of downwards) wire.bottom.forEach(end => follow(end, wire.top, wire, false));

  const lines = [], labels = [];
  block.lanes.forEach(([tensor, first, last], i) => {
    const x = middle(lanes[i]);
    lines.push(line(tensor, `M${x} ${rowTop(first)}V${rowBottom(last)}`, ""));
    const fits = rowBottom(last) - rowTop(first) > 8 + 6.5 * block.dims[tensor].length;  // half a label would mislead
    lanes[i].firstChild.style.visibility = fits ? "" : "hidden";
  });
  for (const wire of block.wires) {
    const [x, y] = place(wire.top, wire, true);
    const track = tops[2 * wire.gap + 1] + GAP.label + GAP.track * wire.track + GAP.track / 2;
    let way = "", arrows = wire.back && wire.top[0] === "child" ? `M${x - 4} ${y + 7}L${x} ${y}L${x + 4} ${y + 7}z` : "";
    for (const end of wire.bottom) {
      if (end[0] === "lane" && wire.top[0] === "lane" && end[1] === wire.top[1]) {
        continue;  // the lane is drawn as a whole
      }
      let [toX, toY] = place(end, wire, false);
      if (Math.abs(toX - x) < 3) toX = x;
      const r = Math.min(CORNER, Math.abs(toX - x) / 2), sign = Math.sign(toX - x);
      way += toX === x ? `M${x} ${y}V${toY}`
        : `M${x} ${y}V${track - r}q0 ${r} ${sign * r} ${r}H${toX - sign * r}q${sign * r} 0 ${sign * r} ${r}V${toY}`;
      if (end[0] !== "lane" && !wire.back) arrows += `M${toX - 4} ${toY - 7}L${toX} ${toY}L${toX + 4} ${toY - 7}z`;
    }
    if (way) lines.push(line(wire.tensor, way, arrows, wire.back));
    const closed = wire.top[0] === "child" && !isOpen(block.children[wire.top[1]]);
    if (closed && !wire.back) {
      labels.push(`<text x="${x + 5}" y="${y + 12}">${escapeText(block.dims[wire.tensor])}</text>`);
    }
  }
  return {moves, content: lines.join("") + labels.join("")};
}

function line(tensor, way, arrows, back) {
  const name = escapeText(tensor);
  return `<g class="nd-wire${back ? " nd-back" : ""}" data-tensor="${name}"><title>${name}</title>`
    + `<path class="nd-touch" data-tensor="${name}" d="${way}"/><path d="${way}"/>`
    + (arrows ? `<path class="nd-arrow" d="${arrows}"/>` : "") + "</g>";
}
