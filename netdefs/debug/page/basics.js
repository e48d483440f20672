// Elements, numbers and colors: what all parts of the page use.

// An element: attributes, "on..." listeners, then children. Strings become text, never markup.
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A name that leads to its row; `go` is `select` of page.js.
function rowLink(name, place, go) {
  const follow = (event) => {
    event.preventDefault();
    go(place, true);
  };
  return element("a", { href: `#${encodeURIComponent(name)}`, onclick: follow }, name);
}

function debounced(work, wait) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, wait);
  };
}

// JSON has no infinities: Python writes them as words.
const WORDS = { inf: Infinity, "-inf": -Infinity, nan: NaN };
const numeric = (value) => (typeof value === "string" && value in WORDS ? WORDS[value] : value);

function exact(value) {
  if (value === null || value === undefined) return "";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    value === 0 ? "0" : size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
  return tidy(text);
}

const tidy = (text) =>
  text
    .replace(/\.?0+e/, "e")
    .replace("e+", "e")
    .replaceAll("-", "−");

function short(value) {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return exact(value);
  return value === 0 ? "0" : tidy(value.toExponential(1));
}

const percent = (share) => (share === 0 ? "0" : share < 1e-4 ? "<0.01%" : `${(100 * share).toFixed(2)}%`);
const sized = (shape) => (shape.length ? shape.join("×") : "1");
const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many || `${one}s`}`;

const SLUGS = { "own error": "own", wrong: "wrong", inherited: "inherited", ok: "ok" };
const chip = (verdict) => element("span", { class: `chip ${SLUGS[verdict]}` }, verdict);

// Errors are colored by their distance from the tolerance, in powers of ten: four steps of ten on either side.
const DECADES = 4;
// Far below it, just below it; just above it, then worse. What stands out must be what is wrong, on either paper.
const PALETTES = {
  light: { good: ["e2e9f0", "96bed6"], bad: ["ffc154", "d63c1e", "7a0020"] },
  dark: { good: ["343e4a", "46708c"], bad: ["d99a2b", "ff6a3c", "ff3048"] },
};
for (const palette of Object.values(PALETTES)) {
  for (const side of ["good", "bad"]) {
    palette[side] = palette[side].map((hex) => hex.match(/../g).map((byte) => parseInt(byte, 16)));
  }
}
const night = window.matchMedia("(prefers-color-scheme: dark)");
let palette = PALETTES.light;

// Chooses the colors for the paper, as the button or else the system has it.
function seePaper() {
  const chosen = document.documentElement.dataset.theme;
  palette = PALETTES[chosen || (night.matches ? "dark" : "light")];
}

function mixed(stops, share) {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const parts = stops[low].map((from, i) => Math.round(from + (stops[low + 1][i] - from) * (at - low)));
  return `rgb(${parts.join(",")})`;
}

function errorColor(needed, tolerance) {
  if (needed <= tolerance) {
    return mixed(palette.good, needed <= 0 ? 0 : 1 + Math.log10(needed / tolerance) / DECADES);
  }
  return mixed(palette.bad, Number.isFinite(needed) ? Math.log10(needed / tolerance) / DECADES : 1);
}

// The bytes of a map; 255 marks NaN and infinities.
const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

const HEAT = [
  [8, 6, 30],
  [72, 16, 110],
  [168, 40, 100],
  [236, 96, 52],
  [252, 180, 60],
  [252, 250, 190],
];
const VALUES = [
  [20, 46, 110],
  [40, 120, 160],
  [120, 190, 160],
  [220, 220, 150],
  [250, 250, 230],
];
