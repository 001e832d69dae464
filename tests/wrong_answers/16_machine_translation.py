"""Wrong answers to the exercises of chapter 16."""

from collections import Counter

from sftlab.teach.mistakes import wrong


@wrong("16-shift", says="it is not moved")
def shift_not(labels, start, pad):
    """Gives the decoder the labels themselves."""
    return [pad if label == -100 else label for label in labels]


@wrong("16-shift", says="moved to the left")
def shift_left(labels, start, pad):
    """Moves in the wrong direction."""
    return [pad if label == -100 else label for label in labels[1:]] + [start]


@wrong("16-shift", says="-100 is no token")
def shift_with_mask(labels, start, pad):
    """Lets the mask value through: the embedding has no row -100."""
    return [start, *labels[:-1]]


@wrong("16-shift", says="one longer than the labels")
def shift_too_long(labels, start, pad):
    """Puts the start token in front and drops nothing."""
    return [start, *(pad if label == -100 else label for label in labels)]


@wrong("16-pairs", says="the lengths are not looked at")
def pairs_of_any_length(pairs, least, most):
    """Drops empty sides, copies and doubles, nothing else."""
    seen, kept = set(), []
    for i, pair in enumerate(pairs):
        source, target = (side.strip() for side in pair)
        if source and target and source != target and (source, target) not in seen:
            kept.append(i)
        seen.add((source, target))
    return kept


@wrong("16-pairs", says="its *words* count")
def pairs_by_letters(pairs, least, most):
    """Divides the letters of one side by those of the other."""
    return [i for i, (s, t) in enumerate(pairs) if s and least <= len(t) / len(s) <= most and s != t]


@wrong("16-pairs", says="only pairs that agree on *both* sides")
def pairs_of_new_sources(pairs, least, most):
    """Drops every source that was there before, whatever its translation."""
    seen, kept = set(), []
    for i, pair in enumerate(pairs):
        source, target = (side.strip() for side in pair)
        if source and target and source != target and source not in seen:
            if least <= len(target.split()) / len(source) <= most:
                kept.append(i)
        seen.add(source)
    return kept


@wrong("16-clipped", says="not clipped")
def hits_without_clipping(said, reference, n):
    """Asks of each run only whether the reference has it."""

    def runs(text):
        words = text.split()
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    return sum(run in runs(reference) for run in runs(said)), len(runs(said))


@wrong("16-clipped", says="as a set")
def hits_of_sets(said, reference, n):
    """Counts each run once."""

    def runs(text):
        words = text.split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    return len(runs(said) & runs(reference)), len(runs(said))


@wrong("16-clipped", says="divides by what was *said*")
def hits_of_the_reference(said, reference, n):
    """Divides by the runs of the reference: that is recall."""

    def runs(text):
        words = text.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    return (runs(said) & runs(reference)).total(), runs(reference).total()


@wrong("16-greedy", says="EOS is in it")
def greedy_with_eos(next_logits, start, eos, limit):
    """Returns the end with the sentence."""
    read = [start]
    while len(read) <= limit and (len(read) == 1 or read[-1] != eos):
        read.append(next_logits(read).argmax().item())
    return read[1:]


@wrong("16-greedy", says="the start token is in it")
def greedy_with_start(next_logits, start, eos, limit):
    """Returns the start with the sentence."""
    read = [start]
    for _ in range(limit):
        token = next_logits(read).argmax().item()
        if token == eos:
            break
        read.append(token)
    return read


@wrong("16-greedy", says="goes on after EOS")
def greedy_without_end(next_logits, start, eos, limit):
    """Does not stop at EOS and cuts it off afterwards."""
    read = [start]
    while len(read) < 20:
        read.append(next_logits(read).argmax().item())
    return read[1 : read.index(eos)]


@wrong("16-greedy", says="with a part of the beginning")
def greedy_of_the_last_token(next_logits, start, eos, limit):
    """Shows the model the start and the last token only."""
    read = [start]
    for _ in range(limit):
        token = next_logits([start, *read[1:][-1:]]).argmax().item()
        if token == eos:
            break
        read.append(token)
    return read[1:]


@wrong("16-beam", says="what greedy decoding says")
def beam_of_one(next_logits, start, eos, k, limit):
    """Keeps one beginning."""
    read = [start]
    for _ in range(limit):
        read.append(next_logits(read).argmax().item())
        if read[-1] == eos:
            break
    return [token for token in read[1:] if token != eos]


@wrong("16-beam", says="compared by the sum")
def beam_by_the_sum(next_logits, start, eos, k, limit):
    """Compares finished sentences by their sum of log-probabilities."""
    beams, done = [(0.0, [start])], []
    for _ in range(limit):
        longer = [(s + v, [*r, t]) for s, r in beams for t, v in enumerate(next_logits(r).log_softmax(-1).tolist())]
        best = sorted(longer, reverse=True)[:k]
        done += [one for one in best if one[1][-1] == eos]
        beams = [one for one in best if one[1][-1] != eos]
        if not beams:
            break
    best = max(done or beams, key=lambda one: one[0])
    return [token for token in best[1][1:] if token != eos]


@wrong("16-beam", says="sum of *log-probabilities*")
def beam_of_logits(next_logits, start, eos, k, limit):
    """Adds logits, which do not compare between beginnings."""
    beams, done = [(0.0, [start])], []
    for _ in range(limit):
        longer = [(s + v, [*r, t]) for s, r in beams for t, v in enumerate(next_logits(r).tolist())]
        best = sorted(longer, reverse=True)[:k]
        done += [one for one in best if one[1][-1] == eos]
        beams = [one for one in best if one[1][-1] != eos]
        if not beams:
            break
    best = max(done or beams, key=lambda one: one[0] / (len(one[1]) - 1))
    return [token for token in best[1][1:] if token != eos]


@wrong("16-beam", says="the first finished sentence")
def beam_of_the_first(next_logits, start, eos, k, limit):
    """Stops as soon as one sentence is finished."""
    beams, done = [(0.0, [start])], []
    for _ in range(limit):
        longer = [(s + v, [*r, t]) for s, r in beams for t, v in enumerate(next_logits(r).log_softmax(-1).tolist())]
        best = sorted(longer, reverse=True)[:k]
        done += [one for one in best if one[1][-1] == eos]
        beams = [one for one in best if one[1][-1] != eos]
        if done or not beams:
            break
    best = max(done or beams, key=lambda one: one[0] / (len(one[1]) - 1))
    return [token for token in best[1][1:] if token != eos]
