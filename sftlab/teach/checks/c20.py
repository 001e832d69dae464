"""Checks of chapter 20: IoU by class, one crop for two, Dice with squares, the largest piece, a mean over parts."""

import torch
import torch.nn.functional as F

from ..compare import a_kind, call, draw, expect, expect_attached, expect_close, expect_shape

NOBODY_KNOWS = -100


def iou_per_class(answer) -> None:
    """Intersection over union of each class, over the known pixels; NaN where a class is nowhere."""
    guess = torch.tensor([[0, 1, 1, 2], [0, 1, 2, 2], [0, 0, 1, 1]])
    mask = torch.tensor([[0, 1, 1, 1], [0, 0, 2, -100], [-100, 0, 1, 2]])
    known = mask != NOBODY_KNOWS
    right = _iou(guess[known], mask[known], 3)
    dice = 2 * right / (1 + right)
    hit = torch.stack([((guess == k) & (mask == k)).sum() for k in range(3)]).double()
    said, true = (torch.stack([(x[known] == k).sum() for k in range(3)]).double() for x in (guess, mask))
    suspects = {
        "the unknown pixels (-100) are counted in the union; leave them out first.": _iou(
            guess.flatten(), mask.flatten(), 3
        ),
        "that is Dice, which counts the agreement twice.": dice,
        "divided by what the mask holds: that is recall.": hit / true,
        "divided by what the guess says: that is precision.": hit / said,
        "the intersection is counted twice below the line: union = guess + mask - intersection.": hit / (said + true),
        "one number is wanted for each class, not their mean.": right.mean(),
    }
    found = call(answer, guess, mask, 3)
    expect_close(found, right, "IoU of the three classes", suspects)
    found = call(answer, guess, mask, 5)
    expect_shape(found, (5,), "IoU of five classes")
    expect(
        bool(torch.isnan(torch.as_tensor(found)[3:]).all()),
        f"Classes 3 and 4 occur in neither; their IoU should be NaN, found {torch.as_tensor(found)[3:].tolist()}.",
        "Nothing to measure is neither 0 nor 1.",
    )
    expect_close(torch.as_tensor(found)[:3], right, "IoU of the classes that do occur, with `classes` = 5", suspects)
    apart = call(answer, torch.zeros(2, 2).long(), torch.ones(2, 2).long(), 2)
    expect_close(apart, torch.zeros(2), "IoU where guess and mask share no pixel")
    nothing = call(answer, torch.zeros(2, 2).long(), torch.full((2, 2), NOBODY_KNOWS), 2)
    expect(
        bool(torch.isnan(torch.as_tensor(nothing)).all()),
        "With no known pixel every class should get NaN.",
    )


def _iou(guess, mask, classes):
    pairs = [((guess == k), (mask == k)) for k in range(classes)]
    return torch.stack([(a & b).sum().double() / (a | b).sum() for a, b in pairs])


def crop_together(answer) -> None:
    """The same random square of an image and its mask."""
    high, wide, size = 5, 7, 4
    mask = torch.arange(high * wide).reshape(high, wide)  # each pixel says where it was
    image = torch.stack([mask, mask + 100, mask + 200]).float()
    corners = set()
    for seed in range(80):
        found = call(answer, image, mask, size, seed)
        expect(
            isinstance(found, tuple | list) and len(found) == 2 and all(isinstance(x, torch.Tensor) for x in found),
            f"`crop_together` should return two tensors, `(image, mask)`, and returns {a_kind(found)}.",
        )
        part, its_mask = found
        expect_shape(part, (3, size, size), "the cropped image")
        expect_shape(its_mask, (size, size), "the cropped mask")
        expect(
            torch.equal(part[0].long(), its_mask),
            f"Image and mask show different places: the image begins at pixel {int(part[0, 0, 0])}, the mask at "
            f"{int(its_mask[0, 0])}.",
            "Draw the corner once, and cut both with it.",
        )
        top, left = divmod(int(its_mask[0, 0]), wide)
        window = mask[top : top + size, left : left + size]
        expect(torch.equal(its_mask, window), "The crop is no square of neighbouring pixels of the picture.")
        corners.add((top, left))
        if seed < 3:
            again = call(answer, image, mask, size, seed)
            expect(torch.equal(again[1], its_mask), "The same seed should give the same square, and did not.")
    every = {(top, left) for top in range(high - size + 1) for left in range(wide - size + 1)}
    expect(len(corners) > 1, "With 80 seeds it is always the same square.", "Is `seed` used?")
    expect(
        {left for _, left in corners} == set(range(wide - size + 1)) and {top for top, _ in corners} == {0, 1},
        "Some corners never come: a square of 4 has two places in 5 rows, and four in 7 columns.",
        "`torch.randint(n, ...)` ends at n - 1, so n must be `H - size + 1`.",
    )
    expect(
        corners == every,
        f"Only the corners {sorted(corners)} come: top and left are not drawn independently.",
        "The same seed twice gives the same number twice; use one generator for both.",
    )
    whole = call(answer, image[:, :, :5], mask[:, :5], 5, 0)
    expect(torch.equal(whole[1], mask[:, :5]), "A square as large as the picture is the picture.")


def dice_loss(answer) -> None:
    """V-Net's: squares below the line, one number for each image, unknown pixels out."""
    z, y = draw(3, 4, 5), (draw(3, 4, 5, seed=1) > 0.3).long()
    y[0, :2], y[2] = NOBODY_KNOWS, 0
    known = (y != NOBODY_KNOWS).double()
    p, t = z.sigmoid(), y * known

    def loss(p, t, square=True, sums=(1, 2), plus=1):
        below = p.square().sum(sums) + t.square().sum(sums) if square else (p + t).sum(sums)
        return 1 - (2 * (p * t).sum(sums) + plus) / (below + plus)

    right = loss(p * known, t)
    suspects = {
        "the probabilities below the line are not squared.": loss(p * known, t, square=False),
        "-100 enters as if it were a label; leave these pixels out.": loss(p, y.double()),
        "unknown pixels count as background: their p is still below the line.": loss(p, t),
        "that is Dice itself; a loss is 1 minus it.": 1 - right,
        "that is the mean over images; one number is wanted for each.": right.mean(),
        "all images are added up before the division; each has a Dice of its own.": loss(p * known, t, sums=(0, 1, 2)),
        "the logits are used as if they were probabilities: a sigmoid is missing.": loss(z * known, t),
        "the agreement is counted once; Dice counts it twice.": (
            1 - ((p * t).sum((1, 2)) + 1) / ((p * known).square().sum((1, 2)) + t.sum((1, 2)) + 1)
        ),
        "the 1 above and below the line is missing.": loss(p * known, t, plus=0),
    }
    expect_close(call(answer, z, y), right, "the loss of three images", suspects)
    leaf = z.clone().requires_grad_()
    expect_attached(call(answer, leaf, y), "dice_loss")
    nobody = torch.full_like(y, NOBODY_KNOWS)
    expect_close(call(answer, z, nobody), torch.zeros(3), "the loss where no pixel is known")
    expect_close(call(answer, -60 * torch.ones(1, 2, 2), torch.zeros(1, 2, 2).long()), torch.zeros(1),
                 "the loss where nothing is there and nothing is claimed")  # fmt: skip


def largest_piece(answer) -> None:
    """The largest set of pixels that touch at sides."""
    for what, before, after, look in (
        ("two pieces", "##..#/##..#/.....", "##.../##.../.....", "Only one piece may be left."),
        ("the larger piece comes last", "#..../..###/...##", "...../..###/...##", "Compare sizes, not places."),
        ("pieces that touch at a corner only", "##.../..###/.....", "...../..###/.....",
         "Neighbours are up, down, left and right; a corner is no side."),
        ("a snake", "#####/....#/###.#/#...#/#####", "#####/....#/###.#/#...#/#####",
         "A piece grows until no neighbour is left, not by one step."),
        ("two pieces equally large", ".#.../.#.##/.....", ".#.../.#.../.....", "`>` keeps the first, `>=` the last."),
        ("two equal pieces, the first to begin is on the right", "...#/#..#/#...", "...#/...#/....",
         "Reading order: row by row, from left to right."),
        ("pixels at the edges", "#...#/#...#/#....", "#..../#..../#....", "Indices below 0 wrap around."),
        ("one full mask", "##/##", "##/##", ""),
        ("an empty mask", ".../...", ".../...", "No piece is the largest of none."),
    ):  # fmt: skip
        found = call(answer, _mask(before))
        expect(
            isinstance(found, torch.Tensor) and found.dtype == torch.bool,
            f"`largest_piece` should return a mask of True and False, and returns "
            f"{found.dtype if isinstance(found, torch.Tensor) else a_kind(found)}.",
        )
        right = _mask(after)
        expect(found.shape == right.shape, f"The mask has shape {list(found.shape)}, expected {list(right.shape)}.")
        expect(
            torch.equal(found, right),
            f"With {what}, {before!r} gives {_text(found)!r}; expected {after!r} (# is True, / a new row).",
            look,
        )


def _mask(text: str) -> torch.Tensor:
    return torch.tensor([[c == "#" for c in row] for row in text.split("/")])


def _text(mask: torch.Tensor) -> str:
    return "/".join("".join(".#"[bool(c)] for c in row) for row in mask)


def ignore_loss(answer) -> None:
    """One mean over the labelled pixels of all micro-batches; 0 without any."""
    sizes, known = (2, 3, 1), (0.9, 0.15, 0.0)
    parts = []
    for i, (n, share) in enumerate(zip(sizes, known, strict=True)):
        z, y = draw(n, 3, 4, 5, seed=i), draw(n, 4, 5, seed=9 + i).abs().mul(10).long() % 3
        seen = torch.rand(n, 4, 5, generator=torch.Generator().manual_seed(i)) < share
        parts.append((z, y.masked_fill(~seen, NOBODY_KNOWS)))
    sums = torch.stack([F.cross_entropy(z, y, reduction="sum") for z, y in parts])
    counts = torch.tensor([int((y != NOBODY_KNOWS).sum()) for _, y in parts])
    right = sums.sum() / counts.sum()
    means = (sums / counts.clamp(min=1))[:2]
    suspects = {
        "that is the mean of the parts' means; parts with few labels weigh too much.": means.mean(),
        "that is the mean of the parts' means, the empty part as 0.": means.sum() / 3,
        "that is the sum of the parts' means.": means.sum(),
        "that is the sum over the pixels; divide it by their number.": sums.sum(),
        "divided by all pixels, the unknown ones too.": sums.sum() / sum(y.numel() for _, y in parts),
        "divided by the number of images.": sums.sum() / sum(sizes),
        "divided by the number of parts.": sums.sum() / 3,
    }
    found = call(answer, parts)
    expect(
        not (isinstance(found, torch.Tensor) and bool(found.isnan().any())),
        "The loss is NaN: one of the parts has no labelled pixel, and a mean over nothing is NaN.",
        "Add sums and counts, and divide once at the end.",
    )
    expect_close(found, right, "the loss of three micro-batches", suspects)
    expect_close(call(answer, parts[:1]), sums[0] / counts[0], "the loss of one micro-batch")
    leaves = [(z.clone().requires_grad_(), y) for z, y in parts]
    result = call(answer, leaves)
    expect_attached(result, "ignore_loss")
    leaf, nobody = draw(2, 3, 4, 5).requires_grad_(), torch.full((2, 4, 5), NOBODY_KNOWS)
    found = call(answer, [(leaf, nobody)])
    expect(
        not (isinstance(found, torch.Tensor) and bool(found.isnan().any())),
        "Without any labelled pixel the loss is NaN; it should be 0.",
        "Divide by the count, but at least by 1.",
    )
    expect_close(found, 0.0, "the loss without any labelled pixel")
    expect_attached(found, "ignore_loss")


CHECKS = {
    "20-iou-per-class": iou_per_class,
    "20-crop-together": crop_together,
    "20-dice-loss": dice_loss,
    "20-largest-piece": largest_piece,
    "20-ignore-loss": ignore_loss,
}
INSIDE = set()
