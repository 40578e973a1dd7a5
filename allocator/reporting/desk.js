// The desk: each knob's turn is solved by the server; answers that come late are dropped.
const desk = computed.desk, at = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token");
const turned = {}, kept = [];
let more = [], asked = 0, answered = 0, waiting = false, current = desk.first;

function element(kind, text, parent, attributes = {}) {
  const made = document.createElement(kind);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}
const spoken = (knob, value) => knob.unit === "fraction" ? percent(value) : knob.unit === "switch" ? (value ? "on" : "off") : value.toFixed(1);
const money = (amount) => Math.round(amount).toLocaleString("en-US").replace(/^-0$/, "0");
const figure = (name, value) => name === "effective_names" ? value.toFixed(1) : percent(value);
const words = (name) => name.replaceAll("_", " ");

// Knobs.
const setters = {};
for (const knob of desk.knobs) {
  const box = element("div", null, at("desk-knobs"), { class: "knob" });
  const id = "knob-" + desk.knobs.indexOf(knob), label = element("label", knob.label + " ", box, { for: id });
  const told = element("output", spoken(knob, knob.value), label, { for: id });
  const input = element("input", null, box, knob.unit === "switch" ? { type: "checkbox", id } :
    { type: "range", id, min: knob.low, max: knob.high, step: "any" });
  const read = () => knob.unit === "switch" ? Number(input.checked) : Number(input.value);
  setters[knob.id] = (value) => {
    if (knob.unit === "switch") input.checked = Boolean(value); else input.value = value;
    told.textContent = spoken(knob, value);
    input.setAttribute("aria-valuetext", told.textContent);
  };
  setters[knob.id](knob.value);
  input.addEventListener("input", () => {
    const value = knob.unit === "switch" ? read() : Math.min(knob.high, Math.max(knob.low, Number((Math.round(read() / knob.step) * knob.step).toFixed(9))));
    turned[knob.id] = value; setters[knob.id](value); ask();
  });
}

// Answers.
async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token, ...body }) });
  const text = await answer.text();  // a refusal is no JSON, but words
  try { return JSON.parse(text); } catch (error) { return { error: text }; }
}
async function ask() {
  const own = ++asked;
  if (waiting) return;
  waiting = true;
  at("desk-state").textContent = "solving …";
  try {
    const answer = await post("/solve", { sequence: own, turned, more });
    if (answer.sequence > answered) { answered = answer.sequence; show(answer); }
    else if (answer.error) tell(answer.error);
  } catch (error) { tell("The desk does not answer: is it still running?"); }
  waiting = false;
  if (asked !== own) ask();
}
const tell = (text) => { at("desk-state").textContent = text; };

function table(parent, head, rows) {
  parent.replaceChildren();
  const made = element("table", null, parent), top = element("tr", null, element("thead", null, made)), body = element("tbody", null, made);
  head.forEach((name, i) => element("th", name, top, i ? { scope: "col", class: "n" } : { scope: "col" }));
  for (const row of rows) {
    const line = element("tr", null, body);
    row.forEach((cell, i) => element(i ? "td" : "th", cell, line, i ? { class: "n" } : { scope: "row" }));
  }
}

function show(answer) {
  if (answer.error) return tell(answer.error);
  at("desk-conflict").replaceChildren();
  at("desk-keep").disabled = at("desk-write").disabled = Boolean(answer.conflict);
  if (answer.conflict) {
    tell("Nothing keeps every rule here; what is shown is the last that did.");
    element("p", answer.conflict, at("desk-conflict"));
    for (const fix of answer.fixes) {
      const button = element("button", fix.text, at("desk-conflict"), { type: "button" });
      button.addEventListener("click", () => {
        for (const [name, value] of Object.entries(fix.turned)) { turned[name] = value; setters[name](value); }
        more = [...more, ...fix.more]; ask();
      });
    }
    return;
  }
  current = answer;
  tell(answer.certificate);
  const widest = Math.max(...Object.values(answer.weights), ...Object.values(desk.first.weights), 1e-9);
  const bars = at("desk-weights");
  bars.replaceChildren();
  for (const name of desk.names) {
    const row = element("div", null, bars, { class: "bar" }), weight = answer.weights[name];
    element("span", name, row, { title: name });
    element("i", null, element("span", null, row)).style.width = 100 * Math.max(weight, 0) / widest + "%";
    element("span", percent(weight) + " (" + percent(desk.first.weights[name]) + ")", row);
  }
  const trades = Object.entries(answer.trades).filter(([, amount]) => Math.abs(amount) >= 1).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  table(at("desk-trades"), ["before whole lots", desk.currency], trades.map(([name, amount]) => [(amount < 0 ? "sell " : "buy ") + name, money(Math.abs(amount))]));
  table(at("desk-scenarios"), ["return in scenario", "here", "book"], Object.entries(answer.scenarios).map(
    ([name, gain]) => [words(name), percent(gain), percent(desk.first.scenarios[name] ?? NaN)]));
  table(at("desk-figures"), ["figure", "here", "book"], Object.entries(answer.figures).map(
    ([name, value]) => [words(name), figure(name, value), figure(name, desk.first.figures[name])]));
  at("desk-binding").replaceChildren();
  for (const limit of answer.binding) element("li", limit, at("desk-binding"));
}

// Compare, write, and back to the book.
at("desk-keep").addEventListener("click", () => {
  kept.push(current);
  const name = (one) => one.overrides.length ? one.overrides.join(", ") : "the book";
  table(at("desk-kept"), ["kept", ...kept.map(name)], [
    ...Object.keys(kept[0].figures).map((key) => [words(key), ...kept.map((one) => figure(key, one.figures[key]))]),
    ...desk.names.map((key) => [key, ...kept.map((one) => percent(one.weights[key]))]),
  ]);
});
at("desk-write").addEventListener("click", async () => {
  tell("planning whole lots …");
  try { const done = await post("/orders", { turned, more, shown: current.shown }); tell(done.error || "wrote " + done.written.join(" and ")); }
  catch (error) { tell("The desk does not answer: is it still running?"); }
});
at("desk-reset").addEventListener("click", () => {
  more = [];
  for (const knob of desk.knobs) { delete turned[knob.id]; setters[knob.id](knob.value); }
  ask();
});
show(desk.first);
