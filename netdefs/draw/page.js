// One drawing, or two side by side whose partners are selected together.

const drawn = JSON.parse(document.getElementById("drawings").textContent);
const views = [];
drawn.forEach((data, i) => {
  views.push(netdefsDraw(document.getElementById(`drawing-${i}`), data, {
    onselect: node => views.forEach((view, j) => {
      if (j !== i && view) view.select(node && node.partner ? node.partner : null, {quiet: true});
    }),
  }));
});
window.addEventListener("resize", () => views.forEach(view => view.redraw()));
document.querySelector(".theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
if (location.hash.length > 1) views[0].select(decodeURIComponent(location.hash.slice(1)));
