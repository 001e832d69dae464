// Shared by all widgets: elements, sliders, numbers, announcements. Joined in front of each widget's own code.

// An element with attributes and children; functions become listeners, strings become text (never HTML).
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== undefined) node.setAttribute(name, value);
  }
  // JupyterLab would take arrow keys and letters away from an input without this mark.
  if (["INPUT", "TEXTAREA", "SELECT"].includes(node.tagName) || "tabindex" in attributes) node.setAttribute("data-lm-suppress-shortcuts", "true");
  node.append(...children.flat());
  return node;
}

let serial = 0;
const page = Math.random().toString(36).slice(2, 8);  // two modules of one class on a page
const unique = (name) => `sl-${name}-${page}-${++serial}`;

// The frame of a widget: a named region with a title.
function frame(el, title, name) {
  const id = unique("title");
  const root = make("section", { class: `sl-widget sl-${name}`, "aria-labelledby": id }, make("p", { class: "sl-title", id }, title));
  el.append(root);
  return root;
}

// A labelled slider. `show` turns its position into what is read, for eyes and for screen readers.
function slider({ label, min, max, step, show = String, change }) {
  const output = make("output");
  const input = make("input", { type: "range", min, max, step, "aria-label": label, input: () => change(Number(input.value)) });
  const set = (value) => {
    input.value = value;
    output.textContent = show(Number(value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  return { row: make("label", { class: "sl-slider" }, make("span", {}, label), input, output), input, set };
}

// Radio buttons in a fieldset; `choices` are texts.
function radios({ legend, choices, change }) {
  const name = unique("radio");
  const inputs = choices.map((_, i) => make("input", { type: "radio", name, value: i, change: () => change(i) }));
  const box = make("fieldset", {}, make("legend", {}, legend),
    make("div", { class: "sl-row" }, inputs.map((input, i) => make("label", {}, input, choices[i]))));
  return { box, inputs, set: (i) => inputs.forEach((input, k) => { input.checked = k === i; }) };
}

function options(label, choices, change) {
  const select = make("select", { "aria-label": label, change: () => change(select.value) },
    choices.map(([value, text]) => make("option", { value }, text)));
  return select;
}

// Fixed decimals with a true minus sign, and never "-0.000".
function fixed(value, digits) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : "−∞";
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "−" : "") + text;
}

// Three significant digits, for numbers of any size.
function short(value) {
  if (!Number.isFinite(value)) return fixed(value, 0);
  const size = Math.abs(value);
  const text = size === 0 ? "0" : size >= 1e5 || size < 1e-3 ? size.toExponential(1) : String(Number(size.toPrecision(3)));
  return (value < 0 ? "−" : "") + text.replace("e-", "e−").replace("e+", "e");
}

// A line that screen readers speak when the reader has stopped moving.
function announcer(root) {
  const region = make("div", { class: "sl-hidden", role: "status" });
  root.append(region);
  let waiting;
  return (text) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { region.textContent = text; }, 500);
  };
}

// Redraw when one of the names changes, whoever changed it; the returned function stops that.
function follow(model, names, update) {
  names.forEach((name) => model.on(`change:${name}`, update));
  update();
  return () => names.forEach((name) => model.off(`change:${name}`, update));
}

function store(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

// Numbers that JavaScript and Python draw alike: mulberry32, 32-bit integers only.
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
