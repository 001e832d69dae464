"""Chapter 20: U-Net, Dice and IoU against autograd and torchmetrics; own masks, the full profile, torchvision."""

import cells
import hub
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
import web
import zoo
from PIL import Image
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_jaccard_index

import sftlab as sl

NAME = "20_image_segmentation"
RESNET, DEEPLAB, LRASPP = "microsoft/resnet-18", "deeplabv3_resnet50", "lraspp_mobilenet_v3_large"
DATA = 'task = sl.task("lesions")'
PROOFS = "eight = mine.encode("  # the first cell behind those that define model, loss and task


@pytest.fixture(scope="module")
def defined():
    """What the cells define up to the proofs; no training."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        sl.start(seed=0, device="cpu", precision="float32")
        yield cells.run(NAME, monkeypatch, until=PROOFS)


def own_folders(folder, count=20, classes=2, scale=None):
    """Photos (JPEG) of several sizes with round spots, and masks (PNG); values 0, 1, ... or times ``scale``."""
    draw = np.random.default_rng(0)
    for name in ("my_photos", "my_masks"):
        (folder / name).mkdir()
    for i in range(count):
        high, wide = (48, 80) if i % 2 else (90, 64)
        image, mask = draw.integers(120, 200, (high, wide, 3)), np.zeros((high, wide), int)
        y, x = np.mgrid[:high, :wide]
        for k in range(1, classes):
            inside = (y - draw.integers(10, high - 10)) ** 2 + (x - draw.integers(10, wide - 10)) ** 2 < (4 + i) ** 2
            image[inside], mask[inside] = (40 * k, 20, 90), k
        Image.fromarray(image.astype(np.uint8)).save(folder / "my_photos" / f"{i}.jpg")
        Image.fromarray((mask * (scale or 1)).astype(np.uint8)).save(folder / "my_masks" / f"{i}.png")
    return str(folder / "my_photos"), str(folder / "my_masks")


def checked(space):
    """What must hold for every model and data, beside the chapter's own assertions."""
    assert set(space["by_loss"]) == {"cross-entropy", "Dice", "sum"}
    assert list(space["runs"]) == ["encoder frozen", "last 2 stages", "free", "free, scratch"]
    for some in (*space["by_loss"].values(), *space["runs"].values()):
        assert len(some) == 3
        assert all(0 <= found[m] <= 1 for _, found, _ in some for m in ("pixels", "dice", "small"))
    assert space["trained"]["free"] == space["trained"]["free, scratch"]
    assert len(space["real"]) == 3 and space["finding"].result == "fault"


# Other data, other models


@pytest.mark.parametrize(("classes", "scale"), [(2, 255), (3, None)])
def test_own_masks_by_one_cell(tmp_path, monkeypatch, classes, scale):
    """The cell that makes the task is replaced by the line that stands in it as a comment; sizes are the reader's."""
    photos, masks = own_folders(tmp_path, classes=classes, scale=scale)
    names = ["skin", "lesion", "hair"][:classes]
    values = f", values={ {0: 'skin', 255: 'lesion'} }" if scale else ""
    own = f"task, elsewhere = sl.from_mask_folder({photos!r}, {masks!r}, {names}{values}), True"
    space = cells.run(NAME, monkeypatch, {DATA: own})
    assert space["names"] == names and space["test"][0]["mask"].shape == (64, 64)
    assert {tuple(row["mask"].shape) for row in space["task"].examples("train")} == {(48, 80), (90, 64)}
    assert set(torch.cat([row["mask"].unique() for row in space["pool"]]).tolist()) == set(range(classes))
    checked(space)


def test_the_comment_shows_that_line():
    cell = next(c for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source)
    assert '# task, elsewhere = sl.from_mask_folder("my_photos", "my_masks", ["skin", "lesion"]), True' in cell.source


def test_full_profile_from_the_same_cells(tmp_path, monkeypatch):
    """microsoft/resnet-18 from the hub's cache, torchvision's DeepLabV3 from a server: small and random, true names."""
    hub.use(monkeypatch, hub.layout(tmp_path / "hub", RESNET))
    with web.serve() as server:
        zoo.use(monkeypatch, tmp_path / "torch", server, DEEPLAB)
        space = cells.run(NAME, monkeypatch)
    assert space["other"].name == f"torchvision/{DEEPLAB}" and space["other"].loading["used"]
    assert space["checkpoint"] == RESNET and space["elsewhere"]
    assert space["net"].encoder.config.hidden_sizes == [8, 16] and space["joins"] == 2
    assert space["net"].mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    checked(space)


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_torchvisions_models_go_through_the_same_task(defined, name):
    """They return a dict; fit and evaluate take its "out"."""
    torch.manual_seed(0)
    model = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, num_classes=2)
    task = defined["of"](defined["draw"](0, 4), defined["test"][:4])
    plan = sl.full(epochs=2, lr=1e-3)
    run = sl.fit(model, task, plan, batch=4, seed=0, validate=None, show=False)
    assert run.cost.trained_parameters > 1e6
    found = sl.evaluate(model, task, "test")
    assert found["count"] == 4 and np.isfinite(found["loss"])
    assert sl.predict(model, task, "test")[0].shape == (64, 64)


# The model


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 41)])
def test_logits_have_the_size_of_the_image(defined, size):
    net = defined["unet"](0).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, *size)).shape == (1, 2, *size)


def test_layers_stand_in_the_order_of_the_plans(defined):
    """Encoder, decoder, head: freezing all but the decoder leaves every bit of the encoder as it was."""
    net = defined["unet"](0)
    assert [name for name, _ in net.named_children()] == ["encoder", "decoder", "head"]
    names = [layer.name for layer in sl.layer_map(net)]
    assert names[-1] == "head" and names[-5:-1] == [f"decoder.{i}" for i in range(4)]
    assert names[:5] == ["encoder.embedder", *(f"encoder.encoder.stages.{i}" for i in range(4))]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    plan = sl.last_k(4, epochs=1, lr=1e-2, head_lr=1e-2)
    sl.fit(net, defined["of"](defined["draw"](0, 4)), plan, batch=4, seed=0, validate=None, show=False)
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert moved and not [k for k in moved if k.startswith("encoder")]
    assert {k.split(".")[0] for k in moved} == {"decoder", "head"}


def test_the_encoder_is_the_checkpoints(defined):
    """Pretrained, it holds the checkpoint's weights; from scratch, the same shapes and other numbers."""
    from sftlab.model.loading import load_trunk

    trunk, _ = load_trunk(sl.find_asset("glyphnet"))
    ours, fresh = (defined["unet"](0, pretrained=p).encoder.state_dict() for p in (True, False))
    assert all(torch.equal(v, ours[k]) for k, v in trunk.state_dict().items())
    assert {k: v.shape for k, v in fresh.items()} == {k: v.shape for k, v in ours.items()}
    key = "encoder.stages.0.layers.0.layer.0.convolution.weight"
    assert not torch.equal(fresh[key], ours[key])
    again = defined["unet"](0, pretrained=False).encoder.state_dict()
    assert torch.equal(fresh[key], again[key])


# Dice, IoU and the loss


def random_pair(seed, classes, shape=(6, 7), unknown=True):
    draw = torch.Generator().manual_seed(seed)
    guess, mask = (torch.randint(classes, shape, generator=draw) for _ in range(2))
    if unknown:
        mask[torch.rand(shape, generator=draw) < 0.2] = -100
    return guess, mask


@pytest.mark.parametrize("seed", range(12))
def test_iou_and_dice_are_torchmetrics(defined, seed):
    classes = 2 + seed % 3
    guess, mask = random_pair(seed, classes)
    iou, dice = defined["iou_and_dice"](defined["confusion"](guess, mask, classes))
    setting = {"num_classes": classes, "average": "none", "ignore_index": -100}
    assert torch.allclose(iou, multiclass_jaccard_index(guess[None], mask[None], **setting).double(), atol=1e-6)
    assert torch.allclose(dice, multiclass_f1_score(guess[None], mask[None], **setting).double(), atol=1e-6)
    assert torch.allclose(dice, 2 * iou / (1 + iou))  # the two order predictions alike


def test_iou_and_dice_of_empty_masks(defined):
    """A class that is nowhere has no measure; one that is only claimed, or only there, has 0."""
    measure = lambda g, m: [x.tolist() for x in defined["iou_and_dice"](defined["confusion"](g, m, 2))]  # noqa: E731
    none, all_ = torch.zeros(3, 3).long(), torch.ones(3, 3).long()
    for found in measure(none, none):
        assert found[0] == 1 and np.isnan(found[1])
    assert measure(all_, none) == measure(none, all_) == [[0, 0], [0, 0]]
    assert all(np.isnan(x) for found in measure(none, none - 100) for x in found)
    score = defined["score"]([none] * len(defined["test"]), [{"mask": none}] * len(defined["test"]))
    assert score["dice"] == 1 and score["pixels"] == 1  # an empty picture that is left empty


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("empty", [False, True])
def test_gradient_of_dice(defined, seed, empty):
    """Formula (3) against autograd and finite differences, for random masks and for those without any object."""
    draw = torch.Generator().manual_seed(seed)
    p = torch.rand(5, 6, generator=draw, dtype=torch.float64).requires_grad_()
    y = (torch.rand(5, 6, generator=draw) < 0.3).double() * (not empty)
    loss = lambda p: 1 - defined["soft_dice"](p, y)  # noqa: E731
    by_torch = torch.autograd.grad(loss(p), p)[0]
    with torch.no_grad():
        by_hand = (defined["soft_dice"](p, y) - 2 * y) / ((p + y).sum() + 1)
        steps = 1e-6 * torch.eye(30, dtype=torch.float64).reshape(30, 5, 6)
        by_steps = torch.stack([(loss(p + s) - loss(p - s)) / 2e-6 for s in steps]).reshape(5, 6)
    assert torch.allclose(by_hand, by_torch, atol=1e-14) and torch.allclose(by_hand, by_steps, atol=1e-8)
    assert torch.isfinite(by_hand).all() and bool((by_hand[y == 0] > 0).all()) and bool((by_hand[y == 1] < 0).all())


@pytest.mark.parametrize("seed", range(6))
def test_soft_dice_of_hard_masks_is_dice(defined, seed):
    """Without its epsilon and with probabilities of 0 and 1 it is the F1 of the pixels."""
    guess, mask = random_pair(seed, 2, unknown=False)
    soft = defined["soft_dice"](guess.double(), mask.double(), eps=0.0)
    assert soft == pytest.approx(float(multiclass_f1_score(guess[None], mask[None], 2, average="none")[1]))
    none = torch.zeros(4, 4)
    assert float(defined["soft_dice"](none, none)) == 1
    assert float(defined["soft_dice"](none + 0.5, none)) == pytest.approx(1 / 9)  # S = 8


@pytest.mark.parametrize("classes", [2, 3])
def test_terms_by_hand(defined, classes):
    """Formula (4) image by image, with unknown pixels; an image without any known pixel adds Dice's 0 and is finite."""
    draw = torch.Generator().manual_seed(classes)
    z = torch.randn(3, classes, 5, 6, generator=draw, dtype=torch.float64)
    y = torch.randint(classes, (3, 5, 6), generator=draw)
    y[0, :2], y[2] = -100, -100
    found = defined["terms"](z, y)
    for i in range(2):
        known = y[i] != -100
        p = z[i].softmax(0)[:, known]
        ce = F.cross_entropy(z[i][:, known].T, y[i][known])
        each = []
        for k in range(1, classes):
            t = (y[i][known] == k).double()
            each.append(1 - (2 * (p[k] * t).sum() + 1) / (p[k].sum() + t.sum() + 1))
        assert float(found[i]) == pytest.approx(float(ce + sum(each) / len(each)))
        assert float(defined["terms"](z, y, dice=0.0)[i]) == pytest.approx(float(ce))
    assert float(found[2]) == 0


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_micro_batches_change_nothing(defined, micro):
    """8 at once = parts of 8, through the engine, in 64 bits: the same weights after two epochs."""
    rows = [{**row, "input": row["input"].double()} for row in defined["draw"](0, 8)]
    rows[0] = {**rows[0], "mask": rows[0]["mask"].clone()}
    rows[0]["mask"][:40] = 255  # unequal numbers of labelled pixels
    plan = sl.last_k(4, epochs=2, lr=1e-3, head_lr=1e-3)
    weights = []
    for size in (8, micro):
        net = defined["unet"](0).double()
        sl.fit(net, defined["of"](rows, rows), plan, batch=8, micro_batch=size, seed=0, validate=None, show=False)
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.allclose(weights[0], weights[1], atol=1e-7)


# What is refused


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mask": torch.zeros(50, 64).long()}, r"'mask' is \[50, 64\], the image \[3, 64, 64\].*; resize the mask"),
        ({"mask": torch.full((64, 64), 7)}, r"'mask' holds \[7\]; the 2 classes are 0 to 1: map them to classes"),
        ({"mask": torch.zeros(64, 64)}, r"whole numbers, found torch.float32; use mask.round\(\).long\(\)"),
        ({"input": torch.zeros(3, 0, 0), "mask": torch.zeros(0, 0).long()}, "has no pixels.*; leave it out"),
    ],
    ids=["size", "values", "floats", "empty"],
)
@pytest.mark.parametrize("at", [0, 2])
def test_refusals_name_the_picture_and_the_fix(defined, change, says, at):
    rows = defined["draw"](0, 3)
    rows[at] = {**rows[at], **change}
    with pytest.raises(sl.errors.BadData, match=rf"train\[{at}\]: .*{says}"):
        defined["of"](rows)


def test_masks_that_are_shrunk_keep_their_classes(defined):
    """Nearest pixels: no class appears that was not there, and unknown pixels stay unknown, as -100."""
    mask = torch.randint(2, (90, 47), generator=torch.Generator().manual_seed(0)) * 2
    mask[:9] = 255
    row = defined["sized"]({"input": torch.rand(3, 90, 47), "mask": mask})
    assert row["input"].shape == (3, 64, 64) and row["mask"].shape == (64, 64)
    assert set(row["mask"].unique().tolist()) == {0, 2, -100}
    assert 0 <= float(row["input"].min()) and float(row["input"].max()) <= 1
    same = defined["sized"]({"input": torch.rand(3, 64, 64), "mask": mask[:64, :1].expand(64, 64)})
    assert torch.equal(same["mask"], mask[:64, :1].expand(64, 64).masked_fill(mask[:64, :1] == 255, -100))


# The broken program


@pytest.fixture(scope="module")
def broken(defined):
    """The cells around the broken program alone, after those that define what they use."""
    own = defined["of"](defined["draw"](0, 4), defined["test"][:4])
    space = dict(defined) | {"other": sl.load(f"torchvision/{LRASPP}", own, seed=0, pretrained=False)}
    code = [c for c in cells.chapters.read(NAME).cells if c.cell_type == "code"]
    at = next(i for i, c in enumerate(code) if "list_models" in c.source)
    for cell in code[at : at + 3]:
        exec(cell.source, space)
    return space


def test_the_failure_is_shown_and_found(broken):
    with pytest.raises(TypeError, match="cross_entropy"):
        broken["broken"](broken["other"], broken["batch"])
    assert broken["finding"].result == "fault"
    with pytest.raises(sl.errors.SftlabError, match="a dict without 'out'; its keys: 'masks'"):
        broken["mine"].logits(lambda x: {"masks": x}, {"inputs": {"input": torch.zeros(1, 3, 8, 8)}})


def test_each_wrong_way_of_mending_has_its_message(broken):
    check = broken["check_mended"]

    def by(pick):
        return check(lambda model, batch: F.cross_entropy(pick(model(batch[0])), batch[1]))

    assert by(lambda found: found).startswith("Not yet: cross_entropy")
    assert by(lambda found: found["out"]).startswith("Not yet")
    first = by(lambda found: next(iter(found.values())) if isinstance(found, dict) else found)
    assert "that of the wrong one" in first
    assert by(lambda found: found["out"] if isinstance(found, dict) else found * 2).endswith("has changed.")
    assert by(lambda found: found["out"] if isinstance(found, dict) else found).startswith("Mended")
