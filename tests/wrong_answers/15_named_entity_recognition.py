"""Wrong answers to the exercises of chapter 15."""

from sftlab.teach.mistakes import wrong


@wrong("15-all-pieces", says="the tag of the word is repeated")
def repeats_the_tag(word_ids, tags):
    """Gives every piece the tag of its word."""
    return [None if w is None else tags[w] for w in word_ids]


@wrong("15-all-pieces", says="only first pieces have a tag")
def first_pieces_only(word_ids, tags):
    """Leaves the further pieces out, as the chapter does."""
    return [tags[w] if w is not None and w not in word_ids[:t] else None for t, w in enumerate(word_ids)]


@wrong("15-all-pieces", says="has the tag `I-`")
def inside_of_nothing(word_ids, tags):
    """Puts I- before the rest of every tag, O included."""
    return [
        None if w is None else tags[w] if w not in word_ids[:t] else "I-" + tags[w][2:] for t, w in enumerate(word_ids)
    ]


@wrong("15-iob1", says="Every I- has become B-")
def all_begin(tags):
    """Replaces every I- by B-."""
    return ["B-" + tag[2:] if tag[0] == "I" else tag for tag in tags]


@wrong("15-iob1", says="An I- behind another kind begins a name.")
def only_after_o(tags):
    """Begins a name only behind an O."""
    return [
        "B-" + tag[2:] if tag[0] == "I" and before == "O" else tag
        for before, tag in zip(["O", *tags], tags, strict=False)
    ]


@wrong("15-borders", says="the kind is still compared")
def compares_kinds(said, true):
    """Compares whole spans, kind included."""
    both = [{(i, *span) for i, some in enumerate(side) for span in some} for side in (said, true)]
    return 2 * len(both[0] & both[1]) / max(1, sum(map(len, both)))


@wrong("15-borders", says="spans of different sentences")
def forgets_the_sentence(said, true):
    """Puts the spans of all sentences into one set."""
    s, t = ({(a, b) for some in side for _, a, b in some} for side in (said, true))
    return 2 * len(s & t) / max(1, len(s) + len(t))


@wrong("15-bioes", says="is not closed")
def leaves_the_last_open(tags):
    """Looks at the next tag only where there is one."""
    out = list(tags)
    for t in range(len(tags) - 1):
        if tags[t] != "O" and not tags[t + 1].startswith("I-"):
            out[t] = {"B": "S", "I": "E"}[tags[t][0]] + tags[t][1:]
    return out


@wrong("15-bioes", says="a name of one word is S-, not E-")
def ends_singles(tags):
    """Gives every last word E-."""
    return [
        "E-" + tag[2:] if tag != "O" and not after.startswith("I-") else tag
        for tag, after in zip(tags, [*tags[1:], "O"], strict=True)
    ]


@wrong("15-transitions", says="the transitions are not used")
def best_of_each(z, A):
    """Takes the best tag of each word."""
    return z.argmax(dim=1).tolist()


@wrong("15-transitions", says="goes from left to right")
def from_left_to_right(z, A):
    """Takes the best tag behind the one that was taken before."""
    path = [int(z[0].argmax())]
    for t in range(1, len(z)):
        path.append(int((A[path[-1]] + z[t]).argmax()))
    return path


@wrong("15-transitions", says="the wrong way round")
def turned_transitions(z, A):
    """Reads A as a score for j behind k."""
    s, back = z[0], []
    for t in range(1, len(z)):
        best, where = (s[:, None] + A.T).max(dim=0)
        s = best + z[t]
        back.append(where)
    path = [int(s.argmax())]
    for where in reversed(back):
        path.append(int(where[path[-1]]))
    return path[::-1]
