// WordPiece, as the tokenizers of BERT do it: clean, lower, split, then the longest piece that is known, again and again.

// The vocabulary travels as one string: deflated, base64, words separated by line ends.
export async function readVocabulary(packed) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const words = (await new Response(stream).text()).split("\n");
  return { words, ids: new Map(words.map((word, i) => [word, i])) };
}

const SPECIAL = /(\[(?:PAD|UNK|CLS|SEP|MASK)\])/;
const CHINESE = /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;
const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}/u;

// Without control characters, spaces around Chinese characters, without accents, in lower case.
export function normalize(text, lower) {
  const clean = text.replace(/(?![\t\n\r])[\ufffd\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, "").replace(/\p{White_Space}/gu, " ").replace(CHINESE, " $& ");
  if (!lower) return clean;
  return [...clean.normalize("NFD").replace(/\p{Mn}/gu, "")].map((c) => c.toLowerCase()).join("");
}

// Words and single punctuation marks.
export function splitWords(text) {
  const words = [];
  for (const part of text.split(/\p{White_Space}+/u)) {
    let word = "";
    for (const character of part) {
      if (PUNCTUATION.test(character)) {
        if (word) words.push(word);
        words.push(character);
        word = "";
      } else word += character;
    }
    if (word) words.push(word);
  }
  return words;
}

// Greedy: the longest known beginning, then the longest known continuation (marked ##). A word with a hole is unknown.
export function wordPieces(word, ids) {
  const letters = [...word];
  if (letters.length > 100) return ["[UNK]"];
  const pieces = [];
  for (let start = 0; start < letters.length;) {
    let end = letters.length, piece = null;
    for (; end > start; end--) {
      const candidate = (start ? "##" : "") + letters.slice(start, end).join("");
      if (ids.has(candidate)) { piece = candidate; break; }
    }
    if (piece === null) return ["[UNK]"];
    pieces.push(piece);
    start = end;
  }
  return pieces;
}

// All pieces of a text between [CLS] and [SEP], cut and padded to `length`; word: number of the word, -1 for specials.
export function encode(text, ids, lower, length) {
  const found = [];
  let word = 0;
  for (const part of text.split(SPECIAL)) {
    if (SPECIAL.test(part)) found.push({ piece: part, word: -1 });
    else for (const w of splitWords(normalize(part, lower))) {
      for (const piece of wordPieces(w, ids)) found.push({ piece, word });
      word += 1;
    }
  }
  const kept = found.slice(0, length - 2), cut = found.length - kept.length;
  const all = [{ piece: "[CLS]", word: -1 }, ...kept, { piece: "[SEP]", word: -1 }];
  const used = all.length;
  while (all.length < length) all.push({ piece: "[PAD]", word: -1 });
  return { pieces: all.map((p, i) => ({ ...p, id: ids.get(p.piece), mask: i < used ? 1 : 0 })), used, cut, words: word };
}

async function render({ model, el }) {
  const { ids, words } = await readVocabulary(model.get("vocabulary"));
  const root = frame(el, "How a text is cut into pieces", "tokens");
  const lower = model.get("lower"), id = unique("text");
  const text = make("textarea", { id, rows: 3, spellcheck: "false", input: () => store(model, { text: text.value }) });
  const length = slider({ label: "padded length", min: 4, max: 64, step: 1, change: (v) => store(model, { length: v }) });
  const list = make("ol", { class: "sl-pieces", "aria-label": "pieces with their ids" });
  const summary = make("p", { class: "sl-summary" }), note = make("p", { class: "sl-note" });
  const raw = make("pre", { tabindex: 0, "aria-label": "what the model gets" });
  root.append(
    make("label", { for: id }, "Your text"), text, length.row, list, summary, note,
    make("details", {}, make("summary", {}, "What the model gets"), raw),
    make("p", { class: "sl-muted" }, `Pieces of one word share a colour and are joined; ## marks a continuation. The vocabulary has ${words.length.toLocaleString("en")} pieces.`));
  const say = announcer(root);
  const INKS = ["blue", "green", "yellow", "purple", "red"];

  return follow(model, ["text", "length"], () => {
    const found = encode(model.get("text"), ids, lower, model.get("length"));
    if (text.value !== model.get("text")) text.value = model.get("text");
    length.set(model.get("length"));
    list.replaceChildren(...found.pieces.map(({ piece, word, id, mask }) => make("li", {
      class: `sl-piece ${word < 0 ? "sl-special" : `sl-${INKS[word % INKS.length]}`} ${piece.startsWith("##") ? "sl-joined" : ""} ${mask ? "" : "sl-pad"}`,
    }, make("span", { class: "sl-word" }, piece), make("span", { class: "sl-id sl-number" }, String(id)), make("span", { class: "sl-mask" }, `mask ${mask}`))));
    const real = found.pieces.filter((p) => p.word >= 0), unknown = real.filter((p) => p.piece === "[UNK]").length;
    summary.textContent = `${found.words} words, ${found.used} tokens with the special ones, ${found.pieces.length - found.used} of padding.`;
    note.className = `sl-note ${found.cut || unknown ? "sl-bad" : "sl-good"}`;
    note.textContent = [
      found.cut ? `✗ The text is too long: its last ${found.cut} pieces are cut off, and the model never sees them.` : "",
      unknown ? `✗ ${unknown} word${unknown > 1 ? "s" : ""} of which no cut is known: [UNK].` : "",
    ].filter(Boolean).join(" ") || "✓ Every piece is known and nothing is cut off.";
    raw.textContent = `input_ids      [${found.pieces.map((p) => p.id).join(", ")}]\nattention_mask [${found.pieces.map((p) => p.mask).join(", ")}]`;
    say(`${found.used} tokens: ${found.pieces.slice(0, found.used).map((p) => p.piece).join(" ")}`);
  });
}

export default { render };
