"use strict";

// --- light or dark ---------------------------------------------------------------------------------------------------
const themes = matchMedia("(prefers-color-scheme: dark)");
const toggle = document.getElementById("theme");
const isDark = () => (document.documentElement.dataset.theme || (themes.matches ? "dark" : "light")) === "dark";
const name_it = () => { toggle.textContent = isDark() ? "Light" : "Dark"; };
toggle.addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("caviar-theme", next); } catch { /* then only until the page is left */ }
  name_it();
});
themes.addEventListener("change", name_it);
name_it();

// --- copy ------------------------------------------------------------------------------------------------------------
for (const button of document.querySelectorAll(".copy button")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {  // no clipboard in a file of some browsers
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// --- tables that sort ------------------------------------------------------------------------------------------------
for (const head of document.querySelectorAll(".sortable th")) {
  const sort = () => {
    const body = head.closest("table").tBodies[0], at = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const of = row => row.cells[at].dataset.value === undefined ? row.cells[at].textContent : +row.cells[at].dataset.value;
    const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * order(of(a), of(b))));
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); sort(); } });
}

// --- figures ---------------------------------------------------------------------------------------------------------
const config = {displaylogo: false, displayModeBar: false, responsive: false, scrollZoom: false};
const figures = [...document.querySelectorAll(".plot")];
const drawn = new Map();  // figure -> the width that it was drawn for

// Where the labels of an axis have no room side by side, every other one is left out, or more.
function thinned(layout, width) {
  const out = {...layout};
  for (const name of Object.keys(layout).filter(k => /^xaxis\d*$/.test(k))) {
    const {tickvals, ticktext, domain} = layout[name];
    if (!Array.isArray(tickvals) || !Array.isArray(ticktext)) continue;
    const [low, high] = domain || [0, 1], room = (high - low) * (width - 60);
    const every = Math.ceil(ticktext.reduce((sum, t) => sum + 7 * String(t).length + 10, 0) / Math.max(room, 1));
    const kept = i => (ticktext.length - 1 - i) % every === 0;
    out[name] = {...layout[name], tickangle: 0, tickvals: tickvals.filter((_, i) => kept(i)), ticktext: ticktext.filter((_, i) => kept(i))};
  }
  return out;
}

// Small multiples are laid out in fewer columns where there is no room for three.
function narrowed(layout, width) {
  const names = Object.keys(layout).filter(k => /^xaxis\d*$/.test(k)).sort((a, b) => (+a.slice(5) || 1) - (+b.slice(5) || 1));
  const lefts = new Set(names.map(n => (layout[n].domain || [0, 1])[0]));
  if (lefts.size < 2 || width >= 700) return layout;
  const columns = width < 520 ? 1 : 2, rows = Math.ceil(names.length / columns);
  const top = (layout.margin || {}).t || 0, height = columns === 1 ? 215 : 235, label = 54 / height;
  const out = {...layout, height: top + 50 + rows * height};
  names.forEach((name, i) => {
    const row = Math.floor(i / columns), column = i % columns, gap = columns > 1 ? 0.1 : 0;
    const across = (1 - gap * (columns - 1)) / columns, left = column * (across + gap), high = 1 - row / rows;
    const y = name.replace("x", "y");
    out[name] = {...layout[name], domain: [left, Math.min(left + across, 1)]};
    out[y] = {...layout[y], domain: [Math.max(high - (1 - label) / rows, 0), high]};
  });
  return out;
}

// A figure that has many axes side by side scrolls within its box rather than being squeezed.
function least(data) {
  const wide = data.find(t => t.type === "parcoords");
  return wide ? 110 + 78 * (wide.dimensions || []).length : 0;
}

// A colour bar lies above the figure where there is no room beside it, and says its ends only.
function raised(layout, width) {
  const bar = layout.coloraxis && layout.coloraxis.colorbar;
  if (width >= 520 || !bar) return layout;
  const ends = a => a && a.length > 2 ? [a[0], a[a.length - 1]] : a;
  const colorbar = {...bar, orientation: "h", x: 0.5, xanchor: "center", y: 1.02, yanchor: "bottom", len: 0.72, lenmode: "fraction",
                    thickness: 10, title: {text: ""}, tickvals: ends(bar.tickvals), ticktext: ends(bar.ticktext)};
  return {...layout, coloraxis: {...layout.coloraxis, colorbar}, margin: {...layout.margin, t: 50, r: 12}};
}

const weight = data => data.some(t => t.type === "scattergl" || t.type === "parcoords");

function draw(figure) {
  const width = figure.clientWidth;
  if (!width || drawn.get(figure) === width) return;
  const {data, layout} = JSON.parse(document.getElementById("data-" + figure.dataset.of).textContent);
  drawn.set(figure, width);
  figure.dataset.heavy = weight(data);
  const fitted = raised(thinned(narrowed(layout, width), width), width);
  figure.style.minHeight = fitted.height + "px";
  const inner = figure.firstElementChild || figure.appendChild(document.createElement("div"));
  const phone = matchMedia("(pointer: coarse)").matches;
  Plotly.react(inner, data, {...fitted, width: Math.max(width, least(data)), dragmode: phone ? false : "zoom"}, config);
  figure.dataset.drawn = "yes";
}

// Drawn when they come near; those on the graphics card are dropped when they are far, as a browser allows few of them.
const watcher = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (isIntersecting) draw(target);
    else if (target.dataset.heavy === "true" && drawn.has(target)) {
      Plotly.purge(target.firstElementChild);
      target.replaceChildren();
      drawn.delete(target);
      delete target.dataset.drawn;
    }
  }
}, {rootMargin: "1200px 0px"});
figures.forEach(figure => watcher.observe(figure));

const sizes = new ResizeObserver(entries => {
  requestAnimationFrame(() => { for (const {target} of entries) if (drawn.has(target)) draw(target); });
});
figures.forEach(figure => sizes.observe(figure));
addEventListener("beforeprint", () => figures.forEach(draw));
