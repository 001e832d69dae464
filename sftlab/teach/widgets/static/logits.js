// Logits, softmax, cross-entropy and its gradient.

// The same as torch.nn.functional.cross_entropy(z / temperature, label, label_smoothing=smoothing) and its gradient in z.
export function softmaxLoss(logits, label, temperature, smoothing) {
  const scaled = logits.map((z) => z / temperature);
  const greatest = Math.max(...scaled);
  const logSumExp = greatest + Math.log(scaled.reduce((sum, s) => sum + Math.exp(s - greatest), 0));
  const logProbabilities = scaled.map((s) => s - logSumExp);
  const probabilities = logProbabilities.map(Math.exp);
  const target = logits.map((_, k) => smoothing / logits.length + (k === label ? 1 - smoothing : 0));
  const loss = -target.reduce((sum, q, k) => sum + q * logProbabilities[k], 0);
  const gradient = probabilities.map((p, k) => (p - target[k]) / temperature);
  return { logSumExp, probabilities, target, loss, gradient };
}

function render({ model, el }) {
  const names = model.get("labels");
  const root = frame(el, "From logits to loss and gradient", "logits");
  const sliders = names.map((name, k) => slider({
    label: name, min: -6, max: 6, step: 0.1, show: (z) => fixed(z, 1),
    change: (z) => store(model, { logits: model.get("logits").map((old, i) => (i === k ? z : old)) }),
  }));
  const label = radios({ legend: "Right label y", choices: names, change: (k) => store(model, { label: k }) });
  const temperature = slider({
    label: "temperature T", min: 0.1, max: 5, step: 0.1, show: (t) => fixed(t, 1), change: (t) => store(model, { temperature: t }),
  });
  const smoothing = slider({
    label: "smoothing ε", min: 0, max: 0.5, step: 0.01, show: (e) => fixed(e, 2), change: (e) => store(model, { smoothing: e }),
  });
  const bar = (kind) => make("span", { class: `sl-bar sl-${kind}`, "aria-hidden": "true" }, make("i", { class: "sl-fill" }));
  const rows = names.map((name) => ({
    mark: make("span", { class: "sl-mark" }), p: make("span", { class: "sl-number" }), q: make("td"), g: make("span", { class: "sl-number" }),
    pBar: bar("share"), gBar: bar("signed"), name,
  }));
  const table = make("table", { class: "sl-table" },
    make("caption", { class: "sl-hidden" }, "Probability, target and gradient for each class"),
    make("thead", {}, make("tr", {}, ["class", "probability p", "target q", "gradient ∂L/∂z"].map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, rows.map((r) => make("tr", {}, make("th", { scope: "row" }, r.name, r.mark),
      make("td", {}, r.p, r.pBar), r.q, make("td", {}, r.g, r.gBar)))));
  const formulas = make("div", { class: "sl-formulas" });
  const loss = make("output", { class: "sl-number sl-loss" });
  root.append(
    make("div", { class: "sl-columns" },
      make("fieldset", {}, make("legend", {}, "Logits z"), sliders.map((s) => s.row)),
      make("div", {}, label.box, make("fieldset", {}, make("legend", {}, "Settings"), temperature.row, smoothing.row))),
    table, make("p", {}, make("b", {}, "Loss L = "), loss, " nats"), formulas);
  const say = announcer(root);
  const sub = (text) => make("sub", {}, text);
  const sup = (text) => make("sup", {}, text);

  return follow(model, ["logits", "label", "temperature", "smoothing"], () => {
    const [z, y, t, e] = ["logits", "label", "temperature", "smoothing"].map((name) => model.get(name));
    const found = softmaxLoss(z, y, t, e);
    z.forEach((value, k) => sliders[k].set(value));
    label.set(y);
    temperature.set(t);
    smoothing.set(e);
    rows.forEach((row, k) => {
      row.mark.textContent = k === y ? " ← y" : "";
      row.p.textContent = fixed(found.probabilities[k], 6);
      row.q.textContent = fixed(found.target[k], 3);
      row.g.textContent = fixed(found.gradient[k], 6);
      row.pBar.firstChild.style.width = `${100 * found.probabilities[k]}%`;
      const part = Math.min(50, Math.abs(found.gradient[k]) * t * 50);  // the length shows p - q, which lies in [-1, 1]
      row.gBar.firstChild.style.width = `${part}%`;
      row.gBar.firstChild.style.left = found.gradient[k] < 0 ? `${50 - part}%` : "50%";
      row.gBar.classList.toggle("sl-minus", found.gradient[k] < 0);
    });
    loss.textContent = fixed(found.loss, 6);
    const over = t === 1 ? "" : ` / ${fixed(t, 1)}`;
    const powers = z.flatMap((value, k) => [k ? " + " : "", "e", sup(fixed(value, 1) + over)]);
    const logs = found.probabilities.map((p, k) => fixed(Math.log(p), 4));
    const sum = e === 0
      ? ["−log p", sub(names[y]), " = −(", logs[y], ")"]
      : ["−Σ q log p = −(", found.target.map((q, k) => `${fixed(q, 3)}·(${logs[k]})`).join(" + "), ")"];
    formulas.replaceChildren(
      make("p", {}, "log-sum-exp = log(", powers, ") = ", make("span", { class: "sl-number sl-lse" }, fixed(found.logSumExp, 6))),
      make("p", {}, "p", sub(names[y]), " = e", sup(`${fixed(z[y], 1)}${over} − ${fixed(found.logSumExp, 4)}`), ` = ${fixed(found.probabilities[y], 6)}`),
      make("p", {}, "L = ", sum, ` = ${fixed(found.loss, 6)}`),
      make("p", {}, "∂L/∂z", sub(names[y]), t === 1 ? " = p − q = " : " = (p − q) / T = ",
        t === 1 ? "" : "(", `${fixed(found.probabilities[y], 4)} − ${fixed(found.target[y], 4)}`, t === 1 ? "" : `)${over}`,
        ` = ${fixed(found.gradient[y], 6)}`),
      make("p", { class: "sl-muted" }, "The gradients add up to 0: what one class gains the others lose."));
    say(`loss ${fixed(found.loss, 3)}, probability of ${names[y]} ${fixed(found.probabilities[y], 3)}`);
  });
}

export default { render };
