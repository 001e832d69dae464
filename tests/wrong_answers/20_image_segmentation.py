"""Wrong answers to the exercises of chapter 20."""

import torch
import torch.nn.functional as F

from sftlab.teach.mistakes import wrong


@wrong("20-iou-per-class", says="the unknown pixels (-100) are counted")
def counts_unknown_pixels(guess, mask, classes):
    """Forgets that -100 means nobody knows."""
    return torch.stack(
        [((guess == k) & (mask == k)).sum() / ((guess == k) | (mask == k)).sum() for k in range(classes)]
    )


@wrong("20-iou-per-class", says="that is Dice")
def returns_dice(guess, mask, classes):
    """Counts the agreement twice."""
    guess, mask = guess[mask != -100], mask[mask != -100]
    pairs = [(guess == k, mask == k) for k in range(classes)]
    return torch.stack([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])


@wrong("20-iou-per-class", says="that is recall")
def returns_recall(guess, mask, classes):
    """Divides by the true pixels only."""
    guess, mask = guess[mask != -100], mask[mask != -100]
    return torch.stack([((guess == k) & (mask == k)).sum() / (mask == k).sum() for k in range(classes)])


@wrong("20-iou-per-class", says="should be NaN")
def nothing_is_zero(guess, mask, classes):
    """Gives 0 to a class that is nowhere."""
    guess, mask = guess[mask != -100], mask[mask != -100]
    pairs = [(guess == k, mask == k) for k in range(classes)]
    return torch.stack([(a & b).sum() / (a | b).sum().clamp(min=1) for a, b in pairs])


@wrong("20-crop-together", says="Image and mask show different places")
def draws_twice(image, mask, size, seed):
    """Draws a corner for the image and another for the mask."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for x in (image, mask):
        top, left = (int(torch.randint(n - size + 1, (1,), generator=generator)) for n in mask.shape)
        out.append(x[..., top : top + size, left : left + size])
    return tuple(out)


@wrong("20-crop-together", says="Some corners never come")
def never_the_last_corner(image, mask, size, seed):
    """Is one short in the range of corners."""
    generator = torch.Generator().manual_seed(seed)
    top, left = (int(torch.randint(max(1, n - size), (1,), generator=generator)) for n in mask.shape)
    return image[:, top : top + size, left : left + size], mask[top : top + size, left : left + size]


@wrong("20-crop-together", says="not drawn independently")
def seeds_twice(image, mask, size, seed):
    """Makes a fresh generator for each side, so that top and left are coupled."""
    top, left = (int(torch.rand(1, generator=torch.Generator().manual_seed(seed)) * (n - size + 1)) for n in mask.shape)
    return image[:, top : top + size, left : left + size], mask[top : top + size, left : left + size]


@wrong("20-crop-together", says="always the same square")
def crops_the_middle(image, mask, size, seed):
    """Takes the middle each time."""
    top, left = ((n - size) // 2 for n in mask.shape)
    return image[:, top : top + size, left : left + size], mask[top : top + size, left : left + size]


@wrong("20-dice-loss", says="not squared")
def without_squares(z, y):
    """Uses the form of the chapter."""
    known = y != -100
    p, y = z.sigmoid() * known, y * known
    return 1 - (2 * (p * y).sum(dim=(1, 2)) + 1) / ((p + y).sum(dim=(1, 2)) + 1)


@wrong("20-dice-loss", says="-100 enters as if it were a label")
def unknown_as_label(z, y):
    """Forgets the unknown pixels."""
    p = z.sigmoid()
    below = (p * p).sum(dim=(1, 2)) + (y * y).sum(dim=(1, 2))
    return 1 - (2 * (p * y).sum(dim=(1, 2)) + 1) / (below + 1)


@wrong("20-dice-loss", says="unknown pixels count as background")
def unknown_as_background(z, y):
    """Sets unknown labels to 0, and leaves their probabilities in."""
    p, y = z.sigmoid(), y.clamp(min=0)
    below = (p * p).sum(dim=(1, 2)) + (y * y).sum(dim=(1, 2))
    return 1 - (2 * (p * y).sum(dim=(1, 2)) + 1) / (below + 1)


@wrong("20-dice-loss", says="all images are added up")
def dice_of_the_batch(z, y):
    """Sums over the whole batch."""
    known = y != -100
    p, y = z.sigmoid() * known, y * known
    return 1 - (2 * (p * y).sum() + 1) / ((p * p).sum() + (y * y).sum() + 1)


@wrong("20-largest-piece", says="touch at a corner only")
def corners_count(mask):
    """Counts diagonal neighbours, too."""
    number = (torch.arange(mask.numel()).reshape(mask.shape) + 1.0) * mask
    for _ in range(mask.numel()):  # the largest number of a piece spreads in it
        number = F.max_pool2d(number[None, None], 3, stride=1, padding=1)[0, 0] * mask
    return mask & (number == number[mask].long().bincount().argmax())


@wrong("20-largest-piece", says="equally large")
def keeps_the_last(mask):
    """Keeps the last of several largest pieces."""
    number = (torch.arange(mask.numel()).reshape(mask.shape) + 1.0) * mask
    for _ in range(mask.numel()):
        up = F.max_pool2d(number[None, None], (3, 1), stride=1, padding=(1, 0))[0, 0]
        number = torch.maximum(up, F.max_pool2d(number[None, None], (1, 3), stride=1, padding=(0, 1))[0, 0]) * mask
    sizes = number[mask].long().bincount()
    return mask & (number == (sizes == sizes.max()).nonzero().max())


@wrong("20-largest-piece", says="With two pieces,")
def drops_specks(mask):
    """Drops single pixels only."""
    sides = torch.tensor([[[[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]]])
    return mask & (F.conv2d(mask.float()[None, None], sides, padding=1)[0, 0] > 0)


@wrong("20-largest-piece", says="larger piece comes last")
def keeps_the_first(mask):
    """Keeps the piece that comes first."""
    out = torch.zeros_like(mask)
    todo = mask.nonzero().tolist()[:1]
    while todo:
        i, j = todo.pop()
        if 0 <= i < mask.shape[0] and 0 <= j < mask.shape[1] and mask[i, j] and not out[i, j]:
            out[i, j] = True
            todo += [[i + 1, j], [i - 1, j], [i, j + 1], [i, j - 1]]
    return out


@wrong("20-ignore-loss", says="is NaN: one of the parts")
def mean_of_means(parts):
    """Averages what torch gives for each part."""
    return sum(F.cross_entropy(z, y) for z, y in parts) / len(parts)


@wrong("20-ignore-loss", says="parts with few labels weigh too much")
def skips_empty_parts(parts):
    """Averages the means of the parts that have labels."""
    means = [F.cross_entropy(z, y) for z, y in parts if (y != -100).any()]
    return sum(means) / max(1, len(means))


@wrong("20-ignore-loss", says="divided by all pixels")
def divides_by_all_pixels(parts):
    """Counts the unknown pixels, too."""
    return sum(F.cross_entropy(z, y, reduction="sum") for z, y in parts) / sum(y.numel() for _, y in parts)


@wrong("20-ignore-loss", says="not a tensor: no gradient")
def a_bare_zero(parts):
    """Returns the number 0 when there is no label."""
    total = sum(F.cross_entropy(z, y, reduction="sum") for z, y in parts)
    count = sum(int((y != -100).sum()) for _, y in parts)
    return total / count if count else 0.0
