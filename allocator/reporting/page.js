"use strict";
// The slider shows allocations that were solved and verified before; nothing is computed here but lengths of bars.
const computed = JSON.parse(document.getElementById("computed").textContent);
const percent = (part) => (100 * part).toFixed(1).replace(/^-(0\.0)$/, "$1") + "%";
const slider = document.getElementById("belief");
function show(at) {
  const { names, own, points } = computed.slider, point = points[at], widest = computed.slider.widest || 1;
  document.getElementById("slider-at").textContent = percent(point.probability) + (at === own ? ", the book's own" : "");
  slider.setAttribute("aria-valuetext", percent(point.probability));
  document.getElementById("slider-figures").textContent = point.says;
  names.forEach((name, i) => {
    const [bar, text] = rows[i];
    bar.style.width = 100 * point.weights[i] / widest + "%";
    text.textContent = percent(point.weights[i]) + " (" + percent(points[own].weights[i]) + ")";
  });
}
const rows = [];
if (slider) {
  for (const name of computed.slider.names) {
    const row = document.createElement("div"), label = document.createElement("span"), track = document.createElement("span");
    const bar = document.createElement("i"), text = document.createElement("span");
    row.className = "bar"; label.textContent = name; label.title = name; track.append(bar); row.append(label, track, text);
    document.getElementById("slider-bars").append(row); rows.push([bar, text]);
  }
  slider.addEventListener("input", () => show(Number(slider.value)));
  slider.value = computed.slider.own; show(computed.slider.own);
}
const folded = () => document.querySelectorAll("details:not([open])");
window.addEventListener("beforeprint", () => folded().forEach((one) => { one.open = true; one.dataset.printed = "1"; }));
window.addEventListener("afterprint", () => document.querySelectorAll("[data-printed]").forEach((one) => { one.open = false; delete one.dataset.printed; }));
