// Questions with one or several right choices; every choice has its explanation.

// Whether exactly the right choices are picked, and how many are missing or wrong.
export function judge(question, picked) {
  const right = question.choices.map((c) => c.right);
  const missing = right.filter((is, i) => is && !picked.includes(i)).length;
  const wrong = picked.filter((i) => !right[i]).length;
  return { right: missing === 0 && wrong === 0, missing, wrong };
}

const FRESH = { picked: [], checked: false, shown: false };

function render({ model, el }) {
  const questions = model.get("questions");
  const root = frame(el, model.get("title"), "quiz");
  const answer = (i) => model.get("answers")[i] ?? FRESH;
  const put = (i, values) => {
    const answers = questions.map((_, k) => (k === i ? { ...answer(k), ...values } : answer(k)));
    const solved = answers.map((a, k) => a.checked && !a.shown && judge(questions[k], a.picked).right);
    store(model, { answers, done: model.get("done") || solved.every(Boolean) });
  };
  const blocks = questions.map((question, i) => {
    const name = unique("quiz"), type = question.several ? "checkbox" : "radio";
    const inputs = question.choices.map((_, c) => make("input", { type, name, change: () => {
      put(i, { picked: question.choices.flatMap((_, k) => (inputs[k].checked ? [k] : [])), checked: false });
    } }));
    const marks = inputs.map(() => make("span", { class: "sl-mark" })), reasons = question.choices.map((choice) => {
      const box = make("div", { class: "sl-reason", id: unique("reason") }, inline(choice.explanation));
      return box;
    });
    const rows = question.choices.map((choice, c) => make("div", { class: "sl-choice" },
      // The letter names a choice that is a formula only, which has no words for a screen reader.
      make("label", {}, inputs[c], make("span", {}, make("span", { class: "sl-hidden" }, `${"ABCDEFGH"[c]}: `), inline(choice.text), marks[c])), reasons[c]));
    const check = make("button", { type: "button", class: "sl-main", click: () => put(i, { checked: true }) }, "Check");
    const again = make("button", { type: "button", click: () => { put(i, FRESH); inputs[0].focus(); } }, "Try again");
    const reveal = make("button", { type: "button", click: () => put(i, { shown: true }) }, "Explain all");
    const verdict = make("span", { class: "sl-verdict", role: "status" });
    const text = question.text.split(/```\w*\n([\s\S]*?)```/).flatMap((part, k) => (k % 2 ? make("pre", {}, part.trimEnd())
      : part.split(/\n\s*\n/).filter((p) => p.trim()).map((p) => make("p", {}, inline(p.trim())))));
    const box = make("fieldset", {}, make("legend", {}, `${i + 1}. `, inline(question.title), question.several ? make("span", { class: "sl-muted" }, " (several answers)") : ""),
      text, rows, make("div", { class: "sl-row" }, check, again, reveal, verdict));
    return { question, box, inputs, marks, reasons, rows, check, again, reveal, verdict };
  });
  const score = make("p", { class: "sl-score", role: "status" });
  const restart = make("button", { type: "button", click: () => { store(model, { answers: [] }); blocks[0].inputs[0].focus(); } }, "Start over");
  root.append(...blocks.map((b) => b.box), make("div", { class: "sl-row" }, score, restart));
  typeset(root).catch((error) => console.warn("MathJax left the formulas to the browser:", error));

  return follow(model, ["answers", "done"], () => {
    let solved = 0, checked = 0;
    blocks.forEach((b, i) => {
      const { picked, checked: asked, shown } = answer(i), found = judge(b.question, picked);
      const well = asked && found.right && !shown;
      solved += well;
      checked += asked;
      b.question.choices.forEach((choice, c) => {
        b.inputs[c].checked = picked.includes(c);
        const open = asked && (found.right || shown || picked.includes(c));
        b.reasons[c].hidden = !open;
        b.marks[c].textContent = open ? (choice.right ? " ✓ right" : " ✗ wrong") : "";
        b.rows[c].className = `sl-choice ${open ? (choice.right ? "sl-good" : "sl-bad") : ""}`;
        if (open) b.inputs[c].setAttribute("aria-describedby", b.reasons[c].id);
        else b.inputs[c].removeAttribute("aria-describedby");
      });
      b.check.disabled = !picked.length;
      b.check.hidden = asked;
      b.again.hidden = !asked || well;
      b.reveal.hidden = !asked || found.right || shown;
      b.verdict.textContent = !asked ? "" : well ? "✓ Right." : shown ? "Explained. Try again from memory."
        : "✗ Not yet: " + [found.wrong ? `${found.wrong} of your choices ${found.wrong > 1 ? "are" : "is"} wrong` : "", found.missing && b.question.several ? `${found.missing} right one${found.missing > 1 ? "s are" : " is"} missing` : ""].filter(Boolean).join(", ") + ".";
      b.verdict.className = `sl-verdict ${well ? "sl-well" : "sl-ill"}`;
    });
    score.textContent = `${solved} of ${blocks.length} right${solved === blocks.length ? ": quiz passed." : model.get("done") ? "; passed before." : ""}`;
    restart.hidden = checked === 0;
  });
}

export default { render };
