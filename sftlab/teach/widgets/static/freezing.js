// Which layers train: counts, memory, and the plan to copy.

// Bytes of training in float32: a weight 4; a trained weight 4 for its gradient and 8 for AdamW's two averages.
export function costs(sizes, trained) {
  const total = sizes.reduce((sum, n) => sum + n, 0);
  const count = sizes.reduce((sum, n, i) => sum + (trained[i] ? n : 0), 0);
  return { total, trained: count, share: count / total, weights: 4 * total, gradients: 4 * count, optimizer: 8 * count };
}

// The program that makes exactly this choice. The last layer is the head; every plan of the library trains it.
export function planText(names, trained) {
  const head = names.length - 1, count = trained.filter(Boolean).length;
  if (trained[head]) {
    if (count === 1) return "plan = sl.head_only()";
    if (count === names.length) return "plan = sl.full()";
    const below = count - 1;
    if (trained.slice(head - below, head).every(Boolean)) return `plan = sl.last_k(${below})`;
    if (trained.slice(0, below).every(Boolean)) return `plan = sl.surgical(first=${below})`;
  }
  if (count === 0) return "# Nothing trains: choose a layer.";
  const chosen = names.filter((_, i) => trained[i]).map((name) => `    ${JSON.stringify(name)},\n`).join("");
  return `${trained[head] ? "" : "# The head stays as it is: right only if it is already trained.\n"}train = {\n${chosen}}\nfor layer in sl.layer_map(model):\n` +
    "    for _, parameter in layer.parameters():\n        parameter.requires_grad_(layer.name in train)\n" +
    "optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)";
}

function render({ model, el }) {
  const root = frame(el, "Which layers train?", "freezing");
  const names = model.get("names"), sizes = model.get("sizes"), most = Math.max(...sizes);
  const group = new Intl.NumberFormat("en");
  const mebi = (bytes) => (bytes < 1024 ? `${bytes} B` : bytes < 2 ** 20 ? `${fixed(bytes / 1024, 1)} KiB` : `${fixed(bytes / 2 ** 20, bytes < 2 ** 24 ? 2 : 1)} MiB`);
  let brush = null, painted = false, last = 0;  // what a pressed mouse paints, whether it has, the last layer touched

  const paint = (from, to, state) => store(model, {
    trained: model.get("trained").map((old, i) => (i >= Math.min(from, to) && i <= Math.max(from, to) ? state : old)),
  });
  const boxes = names.map((name, i) => make("input", {
    type: "checkbox", "aria-label": `${name}, ${group.format(sizes[i])} parameters${i === names.length - 1 ? ", the head" : ""}`,
    keydown: (event) => onKey(event, i),
  }));
  const rows = names.map((name, i) => make("div", { class: "sl-layer" }, boxes[i],
    make("span", { class: "sl-name" }, name, i === names.length - 1 ? make("b", {}, " (head)") : ""),
    make("span", { class: "sl-size", "aria-hidden": "true" }, make("i", { style: `width:${Math.max(1.5, (100 * Math.sqrt(sizes[i])) / Math.sqrt(most))}%` })),
    make("span", { class: "sl-number sl-count" }, group.format(sizes[i])), make("span", { class: "sl-state", "aria-hidden": "true" })));
  const list = make("div", { class: "sl-list", role: "group", "aria-label": "Layers from input to output; a ticked layer trains" }, rows);
  // A mouse paints from the moment it is pressed. A finger scrolls the list, so its tap counts when it has become a
  // click, and so do Space and what a screen reader sends. Shift paints all from the last layer touched.
  rows.forEach((row, i) => {
    row.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      brush = event.shiftKey ? model.get("trained")[last] : !model.get("trained")[i];
      painted = true;
      paint(event.shiftKey ? last : i, i, brush);
      last = i;
    });
    row.addEventListener("pointerenter", (event) => {
      if (brush === null || !(event.buttons & 1)) return;
      paint(last, i, brush);
      last = i;
    });
    row.addEventListener("click", (event) => {
      event.preventDefault();
      if (!painted) paint(i, i, !model.get("trained")[i]);
      last = i;
      setTimeout(refresh);  // after this the browser puts a prevented box back to what it was
    });
  });
  const lift = () => {
    brush = null;
    setTimeout(() => { painted = false; });  // after the click that follows
  };
  addEventListener("pointerup", lift);

  function onKey(event, i) {
    const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined || !boxes[to]) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.shiftKey) paint(i, to, model.get("trained")[i]);
    last = to;
    boxes[to].focus();
  }

  const preset = (text, rule) => make("button", { type: "button", click: () => store(model, { trained: names.map((_, i) => rule(i)) }) }, text);
  const end = names.length - 1;
  const facts = make("table", { class: "sl-table" }), bar = make("div", { class: "sl-total", "aria-hidden": "true" }, make("i"));
  const plan = make("pre", { tabindex: 0, "aria-label": "program text of this choice" }), copied = make("span", { role: "status" });
  const copy = make("button", { type: "button", class: "sl-main", click: async () => {
    try {
      await navigator.clipboard.writeText(plan.textContent);
      copied.textContent = "✓ copied";
    } catch {  // an old page, or one that may not: select it for Ctrl-C
      getSelection().selectAllChildren(plan);
      copied.textContent = "selected: press Ctrl-C";
    }
  } }, "Copy");
  const summary = make("p", { class: "sl-summary" });
  root.append(
    make("div", { class: "sl-row" }, preset("Head only", (i) => i === end), preset("Last 2", (i) => i >= end - 2), preset("First layer", (i) => i === 0 || i === end), preset("All", () => true)),
    list,
    make("p", { class: "sl-muted" }, "Click a layer, or paint by dragging; Shift-click paints a range. Keys: arrows move, Space ticks, Shift with arrows paints."),
    summary, bar, facts, make("div", { class: "sl-row" }, make("b", {}, "The plan"), copy, copied), plan);
  const say = announcer(root);

  function refresh() {
    const trained = model.get("trained"), cost = costs(sizes, trained);
    boxes.forEach((box, i) => {
      box.checked = trained[i];
      rows[i].classList.toggle("sl-on", trained[i]);
      rows[i].lastChild.textContent = trained[i] ? "trains" : "frozen";
    });
    const share = `${fixed(100 * cost.share, cost.share < 0.01 ? 3 : 1)} %`;
    summary.replaceChildren(make("b", { class: "sl-number sl-trained" }, group.format(cost.trained)), ` of ${group.format(cost.total)} parameters train: `, make("b", { class: "sl-share" }, share));
    bar.firstChild.style.width = `${100 * cost.share}%`;
    const lines = [["weights", "4 bytes each", cost.weights], ["gradients", "4 bytes each that trains", cost.gradients],
      ["AdamW's two averages", "8 bytes each that trains", cost.optimizer], ["together", "without activations", cost.weights + cost.gradients + cost.optimizer]];
    facts.replaceChildren(make("caption", { class: "sl-hidden" }, "Memory of training in float32"),
      make("tbody", {}, lines.map(([what, how, bytes]) => make("tr", {}, make("th", { scope: "row" }, what), make("td", { class: "sl-muted" }, how), make("td", { class: "sl-number", "data-bytes": bytes }, mebi(bytes))))));
    plan.textContent = planText(names, trained);
    copied.textContent = "";
    say(`${group.format(cost.trained)} parameters train, ${share}; optimizer memory ${mebi(cost.optimizer)}`);
  }

  const stop = follow(model, ["trained"], refresh);
  return () => { removeEventListener("pointerup", lift); stop(); };
}

export default { render };
