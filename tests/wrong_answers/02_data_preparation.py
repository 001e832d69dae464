"""Wrong answers to the exercises of chapter 02."""

import html
import random
import re

import torch

from sftlab.teach.mistakes import wrong


@wrong("02-clean", says="stop words carry meaning")
def clean_as_for_a_bag_of_words(text):
    """Lowers the case and drops punctuation, as one does for a bag of words."""
    text = html.unescape(re.sub(r"</?[a-zA-Z][^>]*>", " ", text))
    return " ".join(re.findall(r"\w+", text.lower()))


@wrong("02-clean", says="that is a comparison")
def clean_with_a_greedy_tag(text):
    """Takes everything between < and > for a tag."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


@wrong("02-clean", says="Two words are glued")
def clean_without_a_space(text):
    """Removes tags without putting a space there."""
    return " ".join(html.unescape(re.sub(r"</?[a-zA-Z][^>]*>", "", text)).split())


@wrong("02-clean", says="remove the tags, then decode")
def clean_decodes_first(text):
    """Decodes the entities first."""
    return " ".join(re.sub(r"</?[a-zA-Z][^>]*>", " ", html.unescape(text)).split())


@wrong("02-clean", says="no plain space")
def clean_plain_spaces(text):
    """Forgets that `&nbsp;` is another kind of space."""
    text = html.unescape(re.sub(r"</?[a-zA-Z][^>]*>", " ", text))
    return re.sub(r"[ \t\n]+", " ", text).strip()


@wrong("02-standardise", says="Both parts take those of the training part")
def standardise_each_by_itself(train, other):
    """Gives each part its own mean and deviation."""
    return tuple((x - x.mean(0)) / x.std(0, correction=0) for x in (train, other))


@wrong("02-standardise", says="include the other part")
def standardise_by_everything(train, other):
    """Learns the statistics from both parts."""
    both = torch.cat([train, other])
    mean, std = both.mean(0), both.std(0, correction=0)
    return (train - mean) / std, (other - mean) / std


@wrong("02-standardise", says="gives NaN or infinity")
def standardise_divides_by_zero(train, other):
    """Forgets columns without spread."""
    mean, std = train.mean(0), train.std(0, correction=0)
    return (train - mean) / std, (other - mean) / std


@wrong("02-standardise", says="divides by N - 1")
def standardise_sample_deviation(train, other):
    """Takes torch's default, the deviation with N - 1."""
    mean, std = train.mean(0), train.std(0)
    return (train - mean) / std, (other - mean) / std


@wrong("02-standardise", says="each column has its own (dim=0)")
def standardise_one_mean(train, other):
    """Takes one mean and one deviation for the whole table."""
    mean, std = train.mean(), train.std(correction=0)
    return (train - mean) / std, (other - mean) / std


@wrong("02-pad", says="made from the ids")
def pad_mask_from_ids(rows, value, limit):
    """Makes the mask from the ids, so that a token with the id of the padding is lost."""
    rows = [row if len(row) <= limit else row[: limit - 1] + row[-1:] for row in rows]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [value] * (longest - len(row)) for row in rows])
    return ids, (ids != value).long()


@wrong("02-pad", says="stands on the left")
def pad_on_the_left(rows, value, limit):
    """Pads on the left."""
    rows = [row if len(row) <= limit else row[: limit - 1] + row[-1:] for row in rows]
    longest = max(map(len, rows))
    ids = torch.tensor([[value] * (longest - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])


@wrong("02-pad", says="its last id is gone")
def pad_cuts_the_end(rows, value, limit):
    """Cuts the closing token away."""
    rows = [row[:limit] for row in rows]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [value] * (longest - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])


@wrong("02-pad", says="changes its input `rows`")
def pad_in_place(rows, value, limit):
    """Lengthens the caller's rows."""
    lengths = [len(row) for row in rows]
    for row in rows:
        row.extend([value] * (max(lengths) - len(row)))
    return torch.tensor(rows), torch.tensor([[int(i < n) for i in range(max(lengths))] for n in lengths])


@wrong("02-pad", says="Pad to the longest row of the batch")
def pad_to_the_limit(rows, value, limit):
    """Pads every batch to the limit."""
    rows = [row if len(row) <= limit else row[: limit - 1] + row[-1:] for row in rows]
    ids = torch.tensor([row + [value] * (limit - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (limit - len(row)) for row in rows])


@wrong("02-noise", says="power was taken for an amplitude")
def noise_scaled_by_power(x, decibel, seed):
    """Multiplies the noise by a ratio of powers."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    noise = noise / noise.square().mean().sqrt() * x.square().mean().sqrt()
    return x + noise * 10 ** (-decibel / 10)


@wrong("02-noise", says="the wrong way round")
def noise_sign(x, decibel, seed):
    """Adds more noise for more decibels."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return x + noise * (x.square().mean() / noise.square().mean()).sqrt() * 10 ** (decibel / 20)


@wrong("02-noise", says="power of the waveform is missing")
def noise_without_the_signal(x, decibel, seed):
    """Forgets that the ratio compares with the waveform."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return x + noise / noise.square().mean().sqrt() * 10 ** (-decibel / 20)


@wrong("02-noise", says="near, but not exact")
def noise_of_expected_power(x, decibel, seed):
    """Takes the expected power of the noise for that of the noise drawn."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return x + noise * x.square().mean().sqrt() * 10 ** (-decibel / 20)


@wrong("02-noise", says="different results")
def noise_without_seed(x, decibel, seed):
    """Does not use the seed."""
    noise = torch.randn_like(x)
    return x + noise * (x.square().mean() / noise.square().mean()).sqrt() * 10 ** (-decibel / 20)


@wrong("02-split", says="a class is missing")
def split_without_strata(labels, share, seed):
    """Draws from all rows together."""
    return random.Random(seed).sample(range(len(labels)), round(share * len(labels)))


@wrong("02-split", says="the first rows of each class")
def split_first_rows(labels, share, seed):
    """Takes the first rows of each class."""
    held_out = []
    for name in sorted(set(labels)):
        rows = [i for i, label in enumerate(labels) if label == name]
        held_out += rows[: max(1, round(share * len(rows)))]
    return held_out


@wrong("02-split", says="the seed is not used")
def split_same_seed(labels, share, seed):
    """Draws with a seed of its own."""
    held_out, draw = [], random.Random(1)
    for name in sorted(set(labels)):
        rows = [i for i, label in enumerate(labels) if label == name]
        held_out += draw.sample(rows, max(1, round(share * len(rows))))
    return held_out


@wrong("02-split", says="the same number of each class")
def split_balanced(labels, share, seed):
    """Holds out the same number of each class."""
    held_out, draw = [], random.Random(seed)
    each = max(1, round(share * len(labels) / len(set(labels))))
    for name in sorted(set(labels)):
        rows = [i for i, label in enumerate(labels) if label == name]
        held_out += draw.sample(rows, min(len(rows), each))
    return held_out


@wrong("02-split", says="a class is missing")
def split_rounds_to_nothing(labels, share, seed):
    """Rounds the share of a small class down to nothing."""
    held_out, draw = [], random.Random(seed)
    for name in sorted(set(labels)):
        rows = [i for i, label in enumerate(labels) if label == name]
        held_out += draw.sample(rows, int(share * len(rows)))
    return held_out


@wrong("02-find-leak", says="only equal texts are found")
def leak_equal_texts(train, held_out):
    """Compares the texts as they are."""
    return [i for i, text in enumerate(held_out) if text in set(train)]


@wrong("02-find-leak", says="compare words, not texts")
def leak_folded_texts(train, held_out):
    """Compares in lower case."""
    known = {text.lower() for text in train}
    return [i for i, text in enumerate(held_out) if text.lower() in known]


@wrong("02-find-leak", says="Divide by the words of *both* texts")
def leak_by_containment(train, held_out):
    """Divides by the words of the held-out text alone."""
    known, found = [set(re.findall(r"\w+", text.lower())) for text in train], []
    for i, text in enumerate(held_out):
        words = set(re.findall(r"\w+", text.lower()))
        if any(len(words & k) > 0.5 * len(words) for k in known):
            found.append(i)
    return found


@wrong("02-find-leak", says="the whole training part")
def leak_against_all_words(train, held_out):
    """Compares with the words of all training texts together."""
    known = {word for text in train for word in re.findall(r"\w+", text.lower())}
    found = []
    for i, text in enumerate(held_out):
        words = set(re.findall(r"\w+", text.lower()))
        if len(words & known) > 0.5 * len(words):
            found.append(i)
    return found


@wrong("02-find-leak", says="positions in the training part")
def leak_positions_in_train(train, held_out):
    """Returns where the copies stand in the training part."""
    other, found = [set(re.findall(r"\w+", text.lower())) for text in held_out], []
    for i, text in enumerate(train):
        words = set(re.findall(r"\w+", text.lower()))
        if any(len(words & k) > 0.5 * len(words | k) for k in other):
            found.append(i)
    return found
