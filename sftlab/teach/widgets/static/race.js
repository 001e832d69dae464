// Six optimizers on one surface, as torch.optim computes them.

export const OPTIMIZERS = {
  gd: "GD", momentum: "momentum", nesterov: "Nesterov", rmsprop: "RMSProp", adam: "Adam", adamw: "AdamW",
};

// All points of a path, the start first. `s`: rate, adaptive_rate, momentum, alpha, beta1, beta2, weight_decay.
export function trajectory(name, gradient, start, steps, s) {
  const path = [[...start]], first = [0, 0], second = [0, 0], eps = 1e-8;
  for (let t = 1; t <= steps; t++) {
    const point = path[t - 1], g = gradient(...point);
    path.push(point.map((theta, k) => {
      if (name === "gd") return theta - s.rate * g[k];
      if (name === "momentum" || name === "nesterov") {
        first[k] = s.momentum * first[k] + g[k];
        return theta - s.rate * (name === "nesterov" ? g[k] + s.momentum * first[k] : first[k]);
      }
      if (name === "rmsprop") {
        second[k] = s.alpha * second[k] + (1 - s.alpha) * g[k] * g[k];
        return theta - (s.adaptive_rate * g[k]) / (Math.sqrt(second[k]) + eps);
      }
      first[k] = s.beta1 * first[k] + (1 - s.beta1) * g[k];
      second[k] = s.beta2 * second[k] + (1 - s.beta2) * g[k] * g[k];
      const kept = name === "adamw" ? theta * (1 - s.adaptive_rate * s.weight_decay) : theta;
      const m = first[k] / (1 - s.beta1 ** t), v = second[k] / (1 - s.beta2 ** t);
      return kept - (s.adaptive_rate * m) / (Math.sqrt(v) + eps);
    }));
  }
  return path;
}

// The greatest stable rates on a quadratic whose steepest curvature is L.
export function bounds(L, momentum) {
  return { gd: 2 / L, momentum: (2 * (1 + momentum)) / L, nesterov: (2 * (1 + momentum)) / (L * (1 + 2 * momentum)) };
}

// The first step at which a path is ten times the picture's width away from its middle, or no number; -1 if there is none.
export function divergesAt(path, [x0, x1], [y0, y1]) {
  return path.findIndex(([x, y]) => !(Math.abs(x - (x0 + x1) / 2) <= 10 * (x1 - x0) && Math.abs(y - (y0 + y1) / 2) <= 10 * (y1 - y0)));
}

const DASHES = ["", "9 3", "2 3", "9 3 2 3", "5 4", "14 3 2 3 2 3"];
const INKS = ["--sl-grey", "--sl-blue", "--sl-green", "--sl-yellow", "--sl-red", "--sl-purple"];
const SHAPES = [  // around (0, 0)
  "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0", "M-4-4H4V4H-4Z", "M0-5.5L5 4H-5Z", "M0-5.5L5 0L0 5.5L-5 0Z", "M0 5.5L5-4H-5Z",
  "M-5-1.7H-1.7V-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5Z",
];
const SETTINGS = ["rate", "adaptive_rate", "momentum", "alpha", "beta1", "beta2", "weight_decay"];

function render({ model, el }) {
  const root = frame(el, "A race of optimizers", "race");
  const specs = Object.fromEntries(model.get("specs").map((s) => [s.key, s])), names = Object.keys(OPTIMIZERS);
  let drawing, runs = {}, now = model.get("steps"), timer = null, computed = "";

  const choose = options("surface", model.get("specs").map((s) => [s.key, s.title]), (key) =>
    store(model, { surface: key, rate: specs[key].rates[0], adaptive_rate: specs[key].rates[1] }));
  const log = (label, name) => slider({ label, min: -4, max: 0.5, step: 0.02, show: (v) => short(10 ** v), change: (v) => store(model, { [name]: 10 ** v }) });
  const plain = (label, name, max, step, digits) => slider({ label, min: 0, max, step, show: (v) => fixed(v, digits), change: (v) => store(model, { [name]: v }) });
  const controls = {
    rate: log("η of GD, momentum, Nesterov", "rate"), adaptive_rate: log("η of RMSProp, Adam, AdamW", "adaptive_rate"),
    momentum: plain("momentum β", "momentum", 0.99, 0.01, 2), alpha: plain("RMSProp's α", "alpha", 0.999, 0.001, 3), beta1: plain("Adam's β₁", "beta1", 0.99, 0.01, 2),
    beta2: plain("Adam's β₂", "beta2", 0.999, 0.001, 3), weight_decay: plain("AdamW's weight decay", "weight_decay", 1, 0.01, 2),
  };
  const steps = slider({ label: "steps", min: 10, max: 300, step: 10, change: (v) => { pause(); now = v; store(model, { steps: v }); } });
  const time = slider({ label: "step shown", min: 0, max: 300, step: 1, change: (v) => { pause(); now = v; show(); } });
  const play = make("button", { type: "button", class: "sl-main", click: () => (timer ? pause() : start()) }, "▶ Play");
  const one = make("button", { type: "button", click: () => { pause(); now = now >= model.get("steps") ? 1 : now + 1; show(); } }, "Step");
  const zero = make("button", { type: "button", click: () => { pause(); now = 0; show(); } }, "To the start");
  const rows = names.map((name, i) => ({
    shown: make("input", { type: "checkbox", "aria-label": `show ${OPTIMIZERS[name]}`, change: (event) => {
      const others = model.get("shown").filter((n) => n !== name);
      store(model, { shown: event.target.checked ? names.filter((n) => n === name || others.includes(n)) : others });
    } }),
    sample: draw("svg", { viewBox: "0 0 34 14", width: 34, height: 14, "aria-hidden": "true" },
      draw("path", { d: "M1 7H33", class: "sl-path", style: `stroke:var(${INKS[i]})`, "stroke-dasharray": DASHES[i] }),
      draw("path", { d: SHAPES[i], class: "sl-shape", style: `fill:var(${INKS[i]})`, transform: "translate(17 7)" })),
    loss: make("td", { class: "sl-number" }), state: make("td"), name,
  }));
  const table = make("table", { class: "sl-table" }, make("caption", { class: "sl-hidden" }, "Loss and state of each optimizer at the step that is shown"),
    make("thead", {}, make("tr", {}, ["optimizer", "loss", "state"].map((t) => make("th", { scope: "col" }, t)))),
    make("tbody", {}, rows.map((r) => make("tr", { "data-name": r.name }, make("th", { scope: "row" }, make("label", { class: "sl-row" }, r.shown, r.sample, OPTIMIZERS[r.name])), r.loss, r.state))));
  const place = make("div"), note = make("p", { class: "sl-note" }), formula = make("p", { class: "sl-muted" });
  root.append(make("div", { class: "sl-row" }, make("label", {}, "Surface: ", choose)), formula,
    make("div", { class: "sl-columns" },
      make("div", {}, place, make("div", { class: "sl-row" }, play, one, zero), time.row),
      make("div", {}, table, note)),
    make("fieldset", { class: "sl-settings" }, make("legend", {}, "Settings"), SETTINGS.map((name) => controls[name].row), steps.row));
  const about = "Lost: ten widths of the picture away. Arrived: the loss is within 0.001 of the least.";
  note.after(make("p", { class: "sl-muted" }, about));
  const say = announcer(root);

  function start() {
    if (now >= model.get("steps")) now = 0;
    play.textContent = "❚❚ Pause";
    timer = setInterval(() => {
      now += 1;
      if (now >= model.get("steps")) pause();
      show();
    }, 50);
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
  }

  function compute() {
    const key = model.get("surface"), spec = specs[key];
    if (drawing?.shown !== key) {
      drawing = plane(SURFACES[key], spec.x, spec.y, ["θ₁", "θ₂"]);
      drawing.shown = key;
      place.replaceChildren(drawing.node);
      formula.textContent = spec.formula;
    }
    const settings = Object.fromEntries(SETTINGS.map((name) => [name, model.get(name)]));
    const wanted = JSON.stringify([key, settings, model.get("steps")]);
    if (wanted === computed) return;
    computed = wanted;
    for (const name of names) {
      const path = trajectory(name, SURFACES[key].gradient, spec.start, model.get("steps"), settings);
      runs[name] = { path, lost: divergesAt(path, spec.x, spec.y) };
    }
  }

  function show() {
    const spec = specs[model.get("surface")], shown = model.get("shown"), surface = SURFACES[model.get("surface")];
    const marks = [];
    rows.forEach((row, i) => {
      const { path, lost } = runs[row.name], gone = lost >= 0 && now >= lost;
      const points = path.slice(0, (gone ? lost : now) + 1).filter((p) => p.every(Number.isFinite)).map((p) => drawing.at(...p));
      row.shown.checked = shown.includes(row.name);
      const loss = surface.value(...path[Math.min(now, path.length - 1)]);
      row.loss.textContent = gone && !(Math.abs(loss) < 1e300) ? "overflow" : short(loss);
      row.state.textContent = gone ? `✗ lost at ${lost}` : loss - spec.lowest < 1e-3 ? "✓ arrived" : "on its way";
      if (!row.shown.checked) return;
      const style = `stroke:var(${INKS[i]})`, d = "M" + points.map((p) => p.map((v) => Math.max(-1e4, Math.min(1e4, v)).toFixed(1)).join(" ")).join("L");
      marks.push(draw("path", { class: "sl-halo", d }), draw("path", { class: "sl-path", d, style, "stroke-dasharray": DASHES[i] }));
      const every = Math.max(1, Math.floor(path.length / 6));
      points.forEach(([x, y], t) => {
        if ((t % every === 0 && t > 0) || t === points.length - 1) marks.push(draw("path", { class: "sl-shape", d: SHAPES[i], style: `fill:var(${INKS[i]})`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }));
      });
    });
    const [sx, sy] = drawing.at(...spec.start);
    marks.push(draw("text", { x: sx + 8, y: sy - 8, class: "sl-from" }, "start"));
    drawing.layer.replaceChildren(...marks);
    time.input.max = model.get("steps");
    time.set(now);
    const limit = spec.curvature && bounds(spec.curvature, model.get("momentum")), eta = model.get("rate");
    const over = limit ? ["gd", "momentum", "nesterov"].filter((name) => eta > limit[name]) : [];
    const lost = names.filter((name) => runs[name].lost >= 0);
    const rule = { gd: "η > 2/L", momentum: "η > 2(1+β)/L", nesterov: "η > 2(1+β)/(L(1+2β))" };
    note.className = `sl-note ${over.length || lost.length ? "sl-bad" : "sl-good"}`;
    note.textContent = over.length
      ? over.map((name) => `✗ ${OPTIMIZERS[name]}: ${rule[name]}, here ${short(eta)} > ${short(limit[name])}.`).join(" ") + " The steepest direction grows with every step."
      : lost.length ? `✗ Diverged: ${lost.map((name) => OPTIMIZERS[name]).join(", ")}. Lower the learning rate.`
      : limit ? `✓ GD is stable: η = ${short(eta)} ≤ 2/L = ${short(limit.gd)}.` : "✓ No optimizer diverges with these rates.";
    say(`step ${now}. ` + rows.map((row) => `${OPTIMIZERS[row.name]}: ${row.state.textContent}`).join(", "));
  }

  const stop = follow(model, ["surface", "steps", "shown", ...SETTINGS], () => {
    now = Math.min(now, model.get("steps"));
    compute();
    choose.value = model.get("surface");
    steps.set(model.get("steps"));
    for (const name of SETTINGS) controls[name].set(name.endsWith("rate") ? Math.log10(model.get(name)) : model.get(name));
    show();
  });
  return () => { pause(); stop(); };
}

export default { render };
