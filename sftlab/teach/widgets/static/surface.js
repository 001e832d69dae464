// One point on a loss surface: its value, its gradient, and where a step of gradient descent would lead.

function render({ model, el }) {
  const root = frame(el, "A loss over two weights", "surface");
  const names = model.get("names"), specs = Object.fromEntries(model.get("specs").map((s) => [s.key, s]));
  const own = Object.keys(model.get("grid")).length > 0;
  let surface, drawing, spec;  // of the surface that is shown

  const choose = options("surface", model.get("specs").map((s) => [s.key, s.title]), (key) =>
    store(model, { surface: key, point: specs[key].start, path: [], rate: specs[key].rates[0] }));
  const place = make("div", {
    class: "sl-place", tabindex: 0, role: "application", "aria-roledescription": "movable point",
    "aria-label": "Point on the surface. Arrow keys move it, with Shift in large steps.", keydown: onKey,
  });
  const sliders = names.map((name, k) => slider({
    label: name, min: 0, max: 1, step: 0.01, show: (v) => fixed(v, 2),
    change: (v) => { const p = [...model.get("point")]; p[k] = v; move(p); },
  }));
  const rate = slider({
    label: "learning rate η", min: -4, max: 0.5, step: 0.05, show: (v) => short(10 ** v),
    change: (v) => store(model, { rate: 10 ** v }),
  });
  const facts = make("dl", { class: "sl-facts" }), note = make("p", { class: "sl-note", role: "status" });
  const step = make("button", { type: "button", class: "sl-main", click: () => {
    const [x, y] = model.get("point"), [gx, gy] = surface.gradient(x, y), eta = model.get("rate");
    store(model, { path: [...model.get("path"), [x, y]], point: [x - eta * gx, y - eta * gy] });
  } }, "Step −η∇L");
  const back = make("button", { type: "button", click: () => store(model, { point: spec.start, path: [] }) }, "Start again");
  const formula = make("p", { class: "sl-muted" });
  root.append(
    own ? "" : make("div", { class: "sl-row" }, make("label", {}, "Surface: ", choose)), formula,
    make("div", { class: "sl-columns" }, place,
      make("div", {}, sliders.map((s) => s.row), rate.row, make("div", { class: "sl-row" }, step, back), facts, note,
        make("p", { class: "sl-muted" }, "Darker is a higher loss. Solid arrow: the gradient, uphill, its length on a log scale. Dashed: the next step, true to scale. Drag the point, or use the arrow keys."))));
  const say = announcer(root);

  function move(point) {
    const clamp = (v, [low, high]) => Math.min(Math.max(v, low), high);
    store(model, { point: [clamp(point[0], spec.x), clamp(point[1], spec.y)], path: [] });
  }

  function onKey(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    const [x, y] = model.get("point"), share = event.shiftKey ? 0.1 : 0.02;
    move([x + way[0] * share * (spec.x[1] - spec.x[0]), y + way[1] * share * (spec.y[1] - spec.y[0])]);
  }

  function rebuild() {
    const key = model.get("surface");
    spec = own ? model.get("spec") : specs[key];
    surface = own ? gridSurface(model.get("grid"), spec.x, spec.y) : SURFACES[key];
    drawing = plane(surface, spec.x, spec.y, names);
    drawing.shown = key;
    let dragging = false;
    drawing.svg.addEventListener("pointerdown", (event) => {
      dragging = true;
      drawing.svg.setPointerCapture(event.pointerId);
      move(drawing.read(event));
    });
    drawing.svg.addEventListener("pointermove", (event) => { if (dragging) move(drawing.read(event)); });
    for (const end of ["pointerup", "pointercancel"]) drawing.svg.addEventListener(end, () => { dragging = false; });
    place.replaceChildren(drawing.node);
    [spec.x, spec.y].forEach(([low, high], k) => Object.assign(sliders[k].input, { min: low, max: high, step: (high - low) / 200 }));
    formula.textContent = spec.formula;
    choose.value = key;
  }

  return follow(model, ["surface", "point", "rate", "path"], () => {
    if (!drawing || drawing.shown !== model.get("surface")) rebuild();
    const [x, y] = model.get("point"), eta = model.get("rate"), path = model.get("path");
    const loss = surface.value(x, y), [gx, gy] = surface.gradient(x, y), size = Math.hypot(gx, gy);
    const next = [x - eta * gx, y - eta * gy], after = surface.value(...next);
    sliders[0].set(x);
    sliders[1].set(y);
    rate.set(Math.log10(eta));
    const [px, py] = drawing.at(x, y), marks = [];
    const trail = [...path, [x, y]].map((p) => drawing.at(...p).map((v) => v.toFixed(1)).join(",")).join(" ");
    if (path.length) marks.push(draw("polyline", { class: "sl-trail", points: trail }), ...path.map((p) => {
      const [cx, cy] = drawing.at(...p);
      return draw("circle", { class: "sl-dot", cx, cy, r: 2.5 });
    }));
    marks.push(draw("line", { class: "sl-step", x1: px, y1: py, x2: drawing.at(...next)[0], y2: drawing.at(...next)[1] }));
    if (size > 1e-9) {
      const ux = gx / (spec.x[1] - spec.x[0]), uy = -gy / (spec.y[1] - spec.y[0]), norm = Math.hypot(ux, uy);
      const length = Math.min(75, 12 + 12 * Math.log1p(size)), [ax, ay] = [ux / norm, uy / norm];
      const tip = [px + ax * length, py + ay * length];
      marks.push(draw("path", { class: "sl-arrow", d: `M${px} ${py}L${tip[0]} ${tip[1]}M${tip[0] - 9 * ax - 5 * ay} ${tip[1] - 9 * ay + 5 * ax}L${tip[0]} ${tip[1]}L${tip[0] - 9 * ax + 5 * ay} ${tip[1] - 9 * ay - 5 * ax}` }));
    }
    marks.push(draw("circle", { class: "sl-grip", cx: px, cy: py, r: 20 }), draw("circle", { class: "sl-point", cx: px, cy: py, r: 6.5 }));
    drawing.layer.replaceChildren(...marks);
    const rows = [
      [`L(${names.join(", ")})`, fixed(loss, 6), "sl-loss"], [`∂L/∂${names[0]}`, fixed(gx, 6), "sl-dx"], [`∂L/∂${names[1]}`, fixed(gy, 6), "sl-dy"],
      ["length of ∇L", fixed(size, 4), "sl-size"], ["L after a step", short(after), "sl-after"],
    ];
    facts.replaceChildren(...rows.flatMap(([name, text, mark]) => [make("dt", {}, name), make("dd", { class: `sl-number ${mark}` }, text)]));
    const outside = x < spec.x[0] || x > spec.x[1] || y < spec.y[0] || y > spec.y[1];
    step.disabled = !Number.isFinite(loss) || Math.abs(x) + Math.abs(y) > 1e6 || (own && outside);
    const bound = spec.curvature ? 2 / spec.curvature : Infinity;
    const bad = eta > bound || (after > loss && size > 1e-6);
    note.className = `sl-note ${bad || outside ? "sl-bad" : "sl-good"}`;
    note.textContent = outside ? "✗ The point has left the picture."
      : eta > bound ? `✗ η = ${short(eta)} > 2/L = ${short(bound)}: along the steepest direction each step overshoots by more than it corrects.`
      : bad ? "✗ This step goes uphill: it is too long for the curvature here."
      : size <= 1e-6 ? "✓ The gradient is 0: the point stays where it is." : "✓ The step lowers the loss.";
    say(`${names[0]} ${fixed(x, 2)}, ${names[1]} ${fixed(y, 2)}, loss ${short(loss)}`);
  });
}

export default { render };
