// Six real learning curves; the reader says what is wrong with each, and learns what every answer would look like.

// Where a curve would be drawn: [x, y] in pixels for each epoch; y runs from 0 to `top` nats.
export function curvePoints(values, top, box) {
  return values.map((v, i) => [
    box.left + (i / Math.max(values.length - 1, 1)) * box.width,
    box.top + (1 - Math.min(v, top) / top) * box.height,
  ]);
}

// Right or wrong, and why; `diagnoses` maps a key to its texts, `truth` is the key of the run.
export function explain(diagnoses, truth, choice) {
  const right = diagnoses[truth];
  if (choice === truth) return { right: true, text: `${right.seen} ${right.remedy}` };
  return { right: false, text: `With this diagnosis you would see something else: ${diagnoses[choice].sign} Look again: ${right.hint}` };
}

function render({ model, el }) {
  const root = frame(el, "Read the learning curve", "curves");
  const runs = model.get("runs"), keys = model.get("diagnoses").map((d) => d.key);
  const diagnoses = Object.fromEntries(model.get("diagnoses").map((d) => [d.key, d]));
  const letters = runs.map((_, i) => String.fromCharCode(65 + i));
  let current = 0;
  const pick = radios({ legend: "Run", choices: letters, change: (i) => { current = i; show(); } });
  const chart = make("div", { class: "sl-chart" });
  const answer = radios({ legend: "Your diagnosis", choices: keys.map((key) => diagnoses[key].name), change: (i) => {
    const answers = { ...model.get("answers"), [runs[current].key]: keys[i] };
    store(model, { answers, done: runs.every((r) => answers[r.key] === r.key) });
  } });
  answer.box.classList.add("sl-stack");
  const note = make("div", { class: "sl-note", role: "status" }), score = make("p", { class: "sl-score" });
  const next = make("button", { type: "button", class: "sl-main", click: () => { current = (current + 1) % runs.length; show(); } }, "Next run");
  const again = make("button", { type: "button", click: () => store(model, { answers: {}, done: false }) }, "Try again from the start");
  root.append(pick.box, make("div", { class: "sl-columns" }, make("div", {}, chart, make("p", { class: "sl-muted" }, model.get("about"))), answer.box),
    note, make("div", { class: "sl-row" }, next, again, score));

  function drawChart({ train, val }) {
    const box = { left: 40, top: 10, width: 280, height: 190 }, top = Math.ceil(Math.max(...train, ...val) * 5 + 0.2) / 5;
    const parts = [];
    const ticks = top > 1.6 ? 0.5 : 0.2;
    for (let v = 0; v <= top + 1e-9; v += ticks) {
      const y = box.top + (1 - v / top) * box.height;
      parts.push(draw("line", { class: "sl-grid", x1: box.left, x2: box.left + box.width, y1: y, y2: y }), draw("text", { x: box.left - 5, y: y + 4, "text-anchor": "end" }, fixed(v, 1)));
    }
    for (let e = 0; e <= train.length; e += 10) {
      const x = box.left + (Math.max(e - 1, 0) / (train.length - 1)) * box.width;
      parts.push(draw("text", { x, y: box.top + box.height + 15, "text-anchor": "middle" }, String(Math.max(e, 1))));
    }
    for (const [name, values, shape] of [["train", train, "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0"], ["val", val, "M0-4.5L4.5 3.5H-4.5Z"]]) {
      const points = curvePoints(values, top, box);
      parts.push(draw("polyline", { class: `sl-line sl-${name}`, points: points.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ") }));
      points.forEach(([x, y], i) => { if (i % 5 === (name === "val" ? 2 : 0)) parts.push(draw("path", { class: `sl-dot sl-${name}`, d: shape, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` })); });
    }
    parts.push(draw("text", { x: box.left + box.width / 2, y: 234, "text-anchor": "middle" }, "epoch"), draw("text", { x: 10, y: 105, "text-anchor": "middle", transform: "rotate(-90 10 105)" }, "loss in nats"));
    const lowest = Math.min(...val), last = train.length - 1;
    const spoken = `Training loss: ${fixed(train[0], 2)} in the first epoch, ${fixed(train[last], 2)} in the last. Held-out loss: ${fixed(val[0], 2)} in the first, lowest ${fixed(lowest, 2)} in epoch ${val.indexOf(lowest) + 1}, highest ${fixed(Math.max(...val), 2)}, ${fixed(val[last], 2)} in the last.`;
    const legend = make("p", { class: "sl-legend" },
      ...[["train", "training"], ["val", "held-out"]].flatMap(([name, text]) => [draw("svg", { viewBox: "0 0 30 10", width: 30, height: 10, "aria-hidden": "true" }, draw("path", { class: `sl-line sl-${name}`, d: "M0 5H30" }), draw("path", { class: `sl-dot sl-${name}`, d: name === "val" ? "M0-4.5L4.5 3.5H-4.5Z" : "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0", transform: "translate(15 5)" })), make("span", {}, text)]));
    return [legend, draw("svg", { viewBox: "0 0 330 240", role: "img", "aria-label": spoken }, parts)];
  }

  function show() {
    const answers = model.get("answers"), run = runs[current], choice = answers[run.key];
    pick.set(current);
    pick.inputs.forEach((input, i) => { input.nextSibling.textContent = letters[i] + ({ [runs[i].key]: " ✓" }[answers[runs[i].key]] ?? (answers[runs[i].key] ? " ✗" : "")); });
    chart.replaceChildren(...drawChart(run));
    answer.set(keys.indexOf(choice));
    note.hidden = choice === undefined;
    if (choice !== undefined) {
      const found = explain(diagnoses, run.key, choice);
      note.className = `sl-note ${found.right ? "sl-good" : "sl-bad"}`;
      note.replaceChildren(make("b", {}, found.right ? "✓ Right. " : "✗ Not this. "), found.text);
    }
    const right = runs.filter((r) => answers[r.key] === r.key).length;
    score.textContent = `${right} of ${runs.length} recognised${right === runs.length ? ": all of them." : ""}`;
    again.hidden = Object.keys(answers).length === 0;
    next.hidden = choice !== run.key || right === runs.length;
  }

  return follow(model, ["answers"], show);
}

export default { render };
