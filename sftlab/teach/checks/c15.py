"""Checks of chapter 15: tags of all pieces, an old scheme, borders only, BIOES, Viterbi with transitions."""

from itertools import product

import torch

from ..compare import a_kind, call, draw, expect


def all_pieces(answer) -> None:
    """First piece: the word's tag; further ones I-KIND or O; special tokens None."""
    word_ids = [None, 0, 1, 1, 1, 2, 3, 3, 4, 4, None]
    tags = ["O", "B-PER", "I-PER", "O", "B-LOC"]
    right = [None, "O", "B-PER", "I-PER", "I-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", None]
    found = _list(call(answer, list(word_ids), list(tags)), "all_pieces", 11, "piece")
    repeated = [None if w is None else tags[w] for w in word_ids]
    first = [tag if w not in word_ids[:t] else None for t, (w, tag) in enumerate(zip(word_ids, repeated, strict=True))]
    say = {
        tuple(repeated): "the tag of the word is repeated, so every further piece of a B- begins a new name.",
        tuple(first): "only first pieces have a tag; here the further ones have one too.",
    }
    expect("I-" not in found, "A further piece of a word outside of names has the tag `I-`; `O` stays `O`.")
    expect(found[0] is None and found[-1] is None, "A special token has a tag: it belongs to no word, so its label is "
           "None.")  # fmt: skip
    expect(found == right, f"The labels are {found}: " + say.get(tuple(found), f"expected {right}."))
    split = call(answer, [0, 0, 1, 1], ["B-PER", "B-PER"])
    expect(split == ["B-PER", "I-PER", "B-PER", "I-PER"], "Two names of one word each, next to each other: the first "
           "piece of the second word should be B-PER, too.")  # fmt: skip


def iob1(answer) -> None:
    """An I- that continues nothing becomes B-."""
    cases = {
        "a name at the beginning": (["I-PER", "I-PER", "O", "I-LOC"], ["B-PER", "I-PER", "O", "B-LOC"]),
        "two kinds next to each other": (["O", "I-PER", "I-LOC", "I-LOC"], ["O", "B-PER", "B-LOC", "I-LOC"]),
        "two names of one kind next to each other": (
            ["I-ORG", "I-ORG", "B-ORG", "I-ORG"],
            ["B-ORG", "I-ORG", "B-ORG", "I-ORG"],
        ),
        "an empty sentence": ([], []),
    }
    for what, (given, right) in cases.items():
        found = _list(call(answer, list(given)), "from_iob1", len(given), "word")
        say = ""
        if found == ["B-" + tag[2:] if tag[0] == "I" else tag for tag in given]:
            say = " Every I- has become B-: words inside of a name begin names of their own."
        elif found == given:
            say = " Nothing has changed."
        elif found and found[0] != right[0]:
            say = " Nothing stands before the first word, so its I- begins a name."
        elif what.startswith("two kinds"):
            say = " An I- behind another kind begins a name."
        elif what.startswith("two names"):
            say = " A B- begins a name already, and the I- behind it continues that one."
        expect(found == right, f"{what.capitalize()}: {given} gives {found}, expected {right}.{say}")


def borders(answer) -> None:
    """F1 of (sentence, start, end)."""
    said = [{("PER", 0, 2), ("LOC", 4, 5)}, {("ORG", 0, 1)}, set()]
    true = [{("ORG", 0, 2), ("LOC", 3, 5)}, set(), {("PER", 0, 1), ("PER", 2, 4)}]
    found = _number(call(answer, said, true))
    hits, n = 1, 3 + 4  # (0, 1) is said in sentence 2 and true in sentence 3
    right = 2 * hits / n
    say = {
        0.0: "the kind is still compared: drop it from the tuples.",
        2 * 2 / (2 + 3 + 2): "spans of different sentences are taken for one another: keep the sentence's number.",
        2 * 2 / (3 + 4): "spans of different sentences are taken for one another: keep the sentence's number.",
        2 * 2 / (3 + 3): "spans of different sentences are taken for one another: keep the sentence's number.",
        hits / 3: "that is the precision.",
        hits / 4: "that is the recall.",
        (2 * 1 / 4 + 0 + 0) / 3: "that is a mean over sentences; count over all of them, then divide once.",
    }
    near = next((text for value, text in say.items() if abs(found - value) < 1e-9), f"expected {right:.4f}.")
    expect(abs(found - right) < 1e-9, f"One border of 3 said and 4 true ones gives {found:.4f}: {near}")
    expect(_number(call(answer, [set()], [set()])) == 0.0, "With no span on both sides the score should be 0.0.")
    same = [{("PER", 0, 1), ("LOC", 5, 7)}]
    expect(_number(call(answer, same, same)) == 1.0, "Equal spans on both sides should give 1.0.")


def bioes(answer) -> None:
    """S- single, E- end."""
    given = ["B-PER", "O", "B-LOC", "I-LOC", "I-LOC", "B-ORG", "B-ORG", "I-ORG"]
    right = ["S-PER", "O", "B-LOC", "I-LOC", "E-LOC", "S-ORG", "B-ORG", "E-ORG"]
    found = _list(call(answer, list(given)), "to_bioes", len(given), "word")
    say = f"expected {right}."
    if found == given:
        say = "nothing has changed."
    elif found[-1] == "I-ORG":
        say = "the name at the end of the sentence is not closed: behind the last word there is no I-."
    elif found[5] == "B-ORG":
        say = "a name ends where the next one begins, too, not only before an O."
    elif found[0] == "E-PER":
        say = "a name of one word is S-, not E-."
    elif found[0] == "B-PER":
        say = "a name of one word is S-; it both begins and ends."
    expect(found == right, f"{given} gives {found}: {say}")
    expect(call(answer, []) == [], "An empty sentence should give an empty list.")


def transitions(answer) -> None:
    """The best of all K^T paths, found by trying them."""
    for seed in range(6):
        z, A = draw(5, 3, seed=seed), 2 * draw(3, 3, seed=seed + 50)
        right = _best(z, A)
        found = call(answer, z, A)
        expect(
            isinstance(found, list | tuple | torch.Tensor) and len(found) == len(z),
            f"`best_path` should return {len(z)} tag numbers, and returns {a_kind(found)}.",
        )
        found = [int(k) for k in found]
        greedy = [int(z[0].argmax())]
        for t in range(1, len(z)):
            greedy.append(int((A[greedy[-1]] + z[t]).argmax()))
        say = {
            tuple(z.argmax(dim=1).tolist()): "the transitions are not used: that is the best tag of each word.",
            tuple(greedy): "it goes from left to right and takes the best each time; a later word may call for another "
            "beginning.",
            tuple(_best(z, A.T)): "the transitions are read the wrong way round: A[j, k] is for k behind j.",
            tuple(right[::-1]): "the path stands in reverse: turn it round at the end.",
        }
        expect(found == right, f"Scores for 5 words and 3 tags: the path {found} scores less than {right}: "
               + say.get(tuple(found), "compare the sums of both paths by hand."))  # fmt: skip
    z = draw(1, 4)
    expect([int(k) for k in call(answer, z, draw(4, 4))] == [int(z.argmax())], "The path of one word is its best tag.")


def _best(z: torch.Tensor, A: torch.Tensor) -> list[int]:
    def score(path):
        return sum(z[t, k] for t, k in enumerate(path)) + sum(A[j, k] for j, k in zip(path, path[1:], strict=False))

    return list(max(product(range(z.shape[1]), repeat=len(z)), key=lambda path: float(score(path))))


def _list(found, name: str, count: int, of: str) -> list:
    expect(isinstance(found, list | tuple), f"`{name}` should return a list, and returns {a_kind(found)}.")
    expect(len(found) == count, f"`{name}` should return one entry for each {of}, {count}; found {len(found)}.")
    return list(found)


def _number(found) -> float:
    expect(
        isinstance(found, int | float) and not isinstance(found, bool),
        f"`border_f1` should return a number, and returns {a_kind(found)}.",
    )
    return float(found)


CHECKS = {
    "15-all-pieces": all_pieces,
    "15-iob1": iob1,
    "15-borders": borders,
    "15-bioes": bioes,
    "15-transitions": transitions,
}
INSIDE = set()
