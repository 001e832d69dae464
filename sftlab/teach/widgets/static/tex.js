// Inline Markdown of a quiz: `code`, **strong**, *emphasis* and $mathematics$, as nodes, never as HTML source.

const SYMBOLS = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ϵ", varepsilon: "ε", eta: "η", theta: "θ", lambda: "λ", mu: "μ", nu: "ν", pi: "π",
  rho: "ρ", sigma: "σ", tau: "τ", phi: "ϕ", varphi: "φ", chi: "χ", psi: "ψ", omega: "ω", Delta: "Δ", Theta: "Θ", Lambda: "Λ", Sigma: "Σ", Phi: "Φ",
  Omega: "Ω", ell: "ℓ", infty: "∞", partial: "∂", nabla: "∇", emptyset: "∅",
};
const OPERATORS = {
  cdot: "⋅", times: "×", le: "≤", leq: "≤", ge: "≥", geq: "≥", ne: "≠", neq: "≠", approx: "≈", sim: "∼", to: "→", rightarrow: "→", leftarrow: "←", in: "∈",
  pm: "±", ldots: "…", dots: "…", cdots: "⋯", sum: "∑", prod: "∏", int: "∫", "|": "‖", "{": "{", "}": "}", mid: "|", propto: "∝", ll: "≪", gg: "≫", top: "⊤", odot: "⊙",
};
const FUNCTIONS = ["log", "ln", "exp", "max", "min", "argmax", "argmin", "softmax", "sin", "cos", "tanh", "det", "dim", "Pr"];
const ACCENTS = { hat: "^", bar: "¯", tilde: "~", vec: "→", dot: "˙" };
const SPACES = { ",": ".17em", ";": ".28em", ":": ".22em", "!": "0", quad: "1em", qquad: "2em", " ": ".25em" };

// TeX as a tree [tag, children or text, attributes] of MathML; what it does not know stays readable as its source.
export function texTree(source) {
  const tokens = source.match(/\\[a-zA-Z]+|\\.|[0-9]+(?:[.,][0-9]+)*|[^\s]/g) ?? [];
  let at = 0;

  function group() {  // one argument: a token, or all between braces
    if (tokens[at] !== "{") return atom();
    at += 1;
    const inside = list("}");
    at += 1;
    return inside.length === 1 ? inside[0] : ["mrow", inside];
  }

  function words() {  // the letters of \text{...}, from the source, with its spaces
    const raw = [];
    if (tokens[at] !== "{") return [...(tokens[at++] ?? "")].join("");
    at += 1;
    while (at < tokens.length && tokens[at] !== "}") raw.push(tokens[at++]);
    at += 1;
    const found = /\\(?:text|mathrm|operatorname)\s*\{([^}]*)\}/g;
    const all = [...source.matchAll(found)].map((m) => m[1]).find((text) => text.replace(/\s+/g, "") === raw.join("").replace(/\s+/g, ""));
    return all ?? raw.join("");
  }

  function atom() {
    const token = tokens[at++];
    if (token === undefined) return ["mrow", []];
    if (token === "{") { at -= 1; return group(); }
    if (/^[0-9]/.test(token)) return ["mn", token];
    if (/^[a-zA-Z]$/.test(token)) return ["mi", token];
    if (token[0] !== "\\") return ["mo", { "-": "−", "*": "∗" }[token] ?? token, "()[]|".includes(token) ? { stretchy: "false" } : {}];
    const name = token.slice(1);
    if (name in SYMBOLS) return ["mi", SYMBOLS[name]];
    if (name in OPERATORS) return ["mo", OPERATORS[name]];
    if (FUNCTIONS.includes(name)) return ["mrow", [["mi", name, {}], ["mspace", "", { width: ".17em" }]]];
    if (name in SPACES) return ["mspace", "", { width: SPACES[name] }];
    if (name === "frac" || name === "tfrac" || name === "dfrac") return ["mfrac", [group(), group()]];
    if (name === "sqrt") return ["msqrt", [group()]];
    if (name in ACCENTS) return ["mover", [group(), ["mo", ACCENTS[name], { stretchy: "false" }]], { accent: "true" }];
    if (name === "text" || name === "mathrm" || name === "operatorname") return ["mtext", words()];
    if (name === "mathbf" || name === "boldsymbol") return ["mrow", [group()], { style: "font-weight:bold" }];
    if (name === "mathbb") return ["mi", { R: "ℝ", E: "𝔼", N: "ℕ", P: "ℙ" }[words()] ?? "?"];
    if (name === "mathcal") return ["mi", { L: "ℒ", N: "𝒩", D: "𝒟" }[words()] ?? "?"];
    if (name === "left" || name === "right") return ["mo", { "\\{": "{", "\\}": "}", "\\|": "‖", ".": "" }[tokens[at]] ?? tokens[at], (at += 1, {})];
    return ["mtext", token];
  }

  function list(end) {
    const found = [];
    while (at < tokens.length && tokens[at] !== end) {
      if (tokens[at] === "'") { at += 1; found.push(["msup", [found.pop() ?? ["mrow", []], ["mo", "′"]]]); continue; }
      if (tokens[at] !== "_" && tokens[at] !== "^") { found.push(atom()); continue; }
      const base = found.pop() ?? ["mrow", []], marks = {};
      while (tokens[at] === "_" || tokens[at] === "^") { const mark = tokens[at++]; marks[mark] = group(); }
      const tag = marks._ && marks["^"] ? "msubsup" : marks._ ? "msub" : "msup";
      found.push([tag, [base, marks._, marks["^"]].filter(Boolean)]);
    }
    return found;
  }

  return ["mrow", list(null)];
}

function mathNode(source) {
  const build = ([tag, inside, attributes = {}]) => {
    const node = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...(Array.isArray(inside) ? inside.map(build) : [inside]));
    return node;
  };
  return build(["math", [texTree(source)], { class: "sl-math" }]);
}

// MathJax, where the page has it, draws nicer formulas than the browser; the browser's own are there until then.
async function typeset(root) {
  const engine = globalThis.MathJax;
  if (!engine?.startup?.promise) return;
  await engine.startup.promise;
  if (!engine.tex2svgPromise) return;
  for (const math of root.querySelectorAll("math.sl-math")) {
    const drawn = await engine.tex2svgPromise(math.parentNode.dataset.tex, { display: false });
    math.replaceWith(drawn);
  }
  engine.startup.document?.updateDocument?.();  // brings the style of its drawings into the page
}

// [kind, text] for each stretch of a line; kind: text, code, strong, emphasis or math.
export function inlineParts(text) {
  const parts = [], pattern = /(`[^`]+`)|(\$[^$]+\$)|(\*\*[^*]+\*\*)|(\*[^*\s][^*]*\*)/g;
  let from = 0;
  for (const found of text.matchAll(pattern)) {
    if (found.index > from) parts.push(["text", text.slice(from, found.index)]);
    const [kind, edge] = found[1] ? ["code", 1] : found[2] ? ["math", 1] : found[3] ? ["strong", 2] : ["emphasis", 1];
    parts.push([kind, found[0].slice(edge, -edge)]);
    from = found.index + found[0].length;
  }
  if (from < text.length) parts.push(["text", text.slice(from)]);
  return parts;
}

function inline(text) {
  return inlineParts(text).map(([kind, part]) =>
    kind === "text" ? part
    : kind === "math" ? make("span", { class: "sl-tex", "data-tex": part }, mathNode(part))
    : make({ code: "code", strong: "b", emphasis: "i" }[kind], {}, part));
}
