// Changes to a picture and to a text that keep the label - and those that do not.

// A picture (height x width x channels, 0 to 255) after crop, flips, rotation, contrast, brightness and noise, as
// unrounded numbers. Bilinear; beyond the rim the nearest pixel is repeated.
export function augmentImage(pixels, width, height, channels, s) {
  const next = randomNumbers(s.seed);
  const left = (1 - s.crop) * next(), top = (1 - s.crop) * next();
  const angle = (s.rotation * Math.PI) / 180, cos = Math.cos(angle), sin = Math.sin(angle);
  const result = new Float64Array(pixels.length);
  const clamp = (v, high) => Math.min(Math.max(v, 0), high);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const dx = column + 0.5 - width / 2, dy = row + 0.5 - height / 2;
      const u = ((cos * dx - sin * dy) / width) * (s.flip_x ? -1 : 1) + 0.5, v = ((sin * dx + cos * dy) / height) * (s.flip_y ? -1 : 1) + 0.5;
      const x = clamp((left + s.crop * u) * width - 0.5, width - 1), y = clamp((top + s.crop * v) * height - 0.5, height - 1);
      const i = Math.min(Math.floor(x), width - 2), j = Math.min(Math.floor(y), height - 2), a = x - i, b = y - j;
      for (let c = 0; c < channels; c++) {
        const at = (r, q) => pixels[(r * width + q) * channels + c];
        result[(row * width + column) * channels + c] =
          (1 - b) * ((1 - a) * at(j, i) + a * at(j, i + 1)) + b * ((1 - a) * at(j + 1, i) + a * at(j + 1, i + 1));
      }
    }
  }
  const mean = result.reduce((sum, v) => sum + v, 0) / result.length;
  for (let k = 0; k < result.length; k++) {
    let v = ((result[k] - mean) * s.contrast + mean) * s.brightness;
    if (s.noise > 0) v += 255 * s.noise * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    result[k] = clamp(v, 255);
  }
  return result;
}

// How a picture stands: "mirror" and "quarter turn", "half turn" or "three quarter turn", as far as they apply.
export function pose(s) {
  const turn = Math.round((s.rotation + (s.flip_y ? 180 : 0)) / 90);
  return [s.flip_x !== s.flip_y ? "mirror" : "", ["", "quarter turn", "half turn", "three quarter turn"][((turn % 4) + 4) % 4]].filter(Boolean).join(", ");
}

// The words of a text after random changes; kind: kept, deleted, swapped, inserted or replaced.
export function augmentText(text, s, synonyms, fillers) {
  const next = randomNumbers(s.seed), words = text.split(/\s+/).filter(Boolean), found = [];
  const kinds = ["delete", "swap", "insert", "replace"].filter((kind) => s[kind]);
  for (let i = 0; i < words.length; i++) {
    const draws = [next(), next(), next()];  // three for each word, so that one change does not move all the others
    const kind = draws[0] < s.rate && kinds.length ? kinds[Math.floor(draws[1] * kinds.length)] : "";
    const pick = (list) => list[Math.floor(draws[2] * list.length)];
    if (kind === "delete") found.push({ word: words[i], kind: "deleted" });
    else if (kind === "swap" && i + 1 < words.length) {
      found.push({ word: words[i + 1], kind: "swapped" }, { word: words[i], kind: "swapped" });
      i += 1;
      next(); next(); next();
    } else if (kind === "insert") found.push({ word: words[i], kind: "kept" }, { word: pick(fillers), kind: "inserted" });
    else if (kind === "replace" && synonyms[bare(words[i])]) found.push({ word: pick(synonyms[bare(words[i])]), kind: "replaced", from: words[i] });
    else found.push({ word: words[i], kind: "kept" });
  }
  return found;
}

// A word without what stands around it, in lower case.
export function bare(word) {
  return word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");
}

// Words that carry the label: taking one away or moving it may turn the meaning around.
export function endangered(found, critical) {
  return found.filter((w) => ["deleted", "swapped"].includes(w.kind) && (critical.includes(bare(w.word)) || /\d/.test(w.word))).map((w) => w.word);
}

const SETTINGS = { flip_x: false, flip_y: false, rotation: 0, crop: 1, brightness: 1, contrast: 1, noise: 0, seed: 1 };

function render({ model, el }) {
  const root = frame(el, "What may change, and what must not", "augment");
  const pictures = model.get("pictures"), change = (values) => store(model, { image: { ...model.get("image"), ...values } });
  const changeText = (values) => store(model, { words: { ...model.get("words"), ...values } });
  const choose = options("picture", pictures.map((p, i) => [String(i), p.name]), (i) => store(model, { picture: Number(i) }));
  const tick = (label, get, set) => {
    const input = make("input", { type: "checkbox", change: () => set(input.checked) });
    return { row: make("label", {}, input, label), set: () => { input.checked = get(); } };
  };
  const flips = [tick("mirror left and right", () => model.get("image").flip_x, (v) => change({ flip_x: v })), tick("mirror top and bottom", () => model.get("image").flip_y, (v) => change({ flip_y: v }))];
  const percent = (v) => `${Math.round(100 * v)} %`;
  const range = (label, name, min, max, step, show) => [name, slider({ label, min, max, step, show, change: (v) => change({ [name]: v }) })];
  const sliders = Object.fromEntries([
    range("rotation", "rotation", -180, 180, 5, (v) => `${fixed(v, 0)}°`), range("crop, side", "crop", 0.3, 1, 0.05, percent),
    range("brightness", "brightness", 0, 2, 0.05, percent), range("contrast", "contrast", 0, 2, 0.05, percent), range("noise", "noise", 0, 0.6, 0.02, percent),
    range("seed", "seed", 1, 99, 1, String),
  ]);
  const before = make("canvas", { role: "img" }), after = make("canvas", { role: "img" }), note = make("p", { class: "sl-note", role: "status" });
  const reset = make("button", { type: "button", click: () => store(model, { image: SETTINGS }) }, "Reset");

  const id = unique("text"), text = make("textarea", { id, rows: 3, spellcheck: "false", input: () => store(model, { text: text.value }) });
  const kinds = ["delete", "swap", "insert", "replace"].map((kind) => tick(kind, () => model.get("words")[kind], (v) => changeText({ [kind]: v })));
  const rate = slider({ label: "share of words", min: 0, max: 0.6, step: 0.02, show: percent, change: (v) => changeText({ rate: v }) });
  const seed = slider({ label: "seed of text", min: 1, max: 99, step: 1, change: (v) => changeText({ seed: v }) });
  const result = make("p", { class: "sl-result" }), textNote = make("p", { class: "sl-note", role: "status" });
  root.append(
    make("fieldset", {}, make("legend", {}, "A picture"),
      make("div", { class: "sl-row" }, make("label", {}, "Picture: ", choose), reset),
      make("div", { class: "sl-columns" },
        make("div", { class: "sl-pair" }, make("div", {}, before, make("div", { class: "sl-muted" }, "before")), make("div", {}, after, make("div", { class: "sl-muted" }, "after"))),
        make("div", {}, make("div", { class: "sl-row" }, flips.map((f) => f.row)), Object.values(sliders).map((s) => s.row))),
      note),
    make("fieldset", {}, make("legend", {}, "A text"), make("label", { for: id }, "Text, labelled ", make("b", {}, model.get("text_label"))), text,
      make("div", { class: "sl-row" }, kinds.map((k) => k.row)), rate.row, seed.row, result, textNote));

  const paint = (canvas, values, { width, height, channels }) => {
    Object.assign(canvas, { width, height });
    const image = new ImageData(width, height);
    for (let p = 0; p < width * height; p++) {
      for (let c = 0; c < 3; c++) image.data[4 * p + c] = Math.round(values[p * channels + (channels === 3 ? c : 0)]);
      image.data[4 * p + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  };

  const stopImage = follow(model, ["image", "picture"], () => {
    const s = model.get("image"), shown = pictures[model.get("picture")];
    const pixels = Uint8Array.from(atob(shown.pixels), (c) => c.charCodeAt(0));
    const values = augmentImage(pixels, shown.width, shown.height, shown.channels, s);
    paint(before, pixels, shown);
    paint(after, values, shown);
    choose.value = String(model.get("picture"));
    flips.forEach((f) => f.set());
    for (const [name, control] of Object.entries(sliders)) control.set(s[name]);
    const how = pose(s), turned = shown.changes[how];
    before.setAttribute("aria-label", `${shown.name}, as it is`);
    after.setAttribute("aria-label", `${shown.name}, changed: ${how || "upright"}, brightness ${percent(s.brightness)}, contrast ${percent(s.contrast)}, noise ${percent(s.noise)}, crop ${percent(s.crop)}`);
    const visible = spread(pixels) * s.contrast * s.brightness;
    const gone = visible < 6 || visible < 255 * s.noise * 0.6 || s.brightness > 1.8;
    const cut = s.crop < 0.6;
    note.className = `sl-note ${turned || gone || cut ? "sl-bad" : "sl-good"}`;
    note.textContent = turned ? `✗ The label "${shown.label}" is wrong now: ${turned}`
      : gone ? `✗ Hardly anything is left to see: the label "${shown.label}" is a guess.`
      : cut ? `✗ Such a small crop may have cut away what the label "${shown.label}" is about. Look.`
      : `✓ Still "${shown.label}"${how ? `, although it stands differently (${how})` : ""}.`;
  });

  const stopText = follow(model, ["words", "text"], () => {
    if (text.value !== model.get("text")) text.value = model.get("text");
    const s = model.get("words"), found = augmentText(model.get("text"), s, model.get("synonyms"), model.get("fillers"));
    kinds.forEach((k) => k.set());
    rate.set(s.rate);
    seed.set(s.seed);
    result.replaceChildren(...found.flatMap((w) => [" ", w.kind === "deleted" ? make("del", {}, w.word)
      : w.kind === "inserted" ? make("ins", {}, w.word)
      : w.kind === "kept" ? w.word
      : make("mark", { class: `sl-${w.kind}` }, w.kind === "swapped" ? `↔ ${w.word}` : `${w.from} → ${w.word}`)]));
    const lost = endangered(found, model.get("critical")), changed = found.filter((w) => w.kind !== "kept").length;
    textNote.className = `sl-note ${lost.length ? "sl-bad" : "sl-good"}`;
    textNote.textContent = lost.length ? `✗ ${lost.map((w) => `"${w}"`).join(", ")} carried the meaning: "${model.get("text_label")}" may be wrong now.`
      : changed ? `✓ ${changed} changed places, none of them a word that turns the meaning around. Read it all the same.` : "✓ Nothing is changed yet.";
  });
  return () => { stopImage(); stopText(); };
}

// The standard deviation of all values.
export function spread(values) {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
}

export default { render };
