"""Chapter 18: its formulas hold; it runs on one's own folder of pictures and with ResNet-18 from a local hub layout."""

import cells
import hub
import numpy as np
import pytest
import torch
from PIL import Image

import sftlab as sl

NAME = "18_image_classification"
RESNET = "microsoft/resnet-18"
DATA = 'task = sl.task("digits")'
OWN = '# task, elsewhere = sl.from_image_folder("my_pictures"), True'


def own_folder(folder):
    """Pictures of two classes and several sizes, some of them grey."""
    draw = np.random.default_rng(0)
    for i in range(60):
        name = ("dark", "light")[i % 2]
        (folder / name).mkdir(exist_ok=True)
        pixels = draw.integers(0, 90, (20 + i % 7, 30 - i % 5, 3), dtype=np.uint8) + np.uint8(150 * (i % 2))
        Image.fromarray(pixels).convert(("RGB", "L")[i % 3 == 0]).save(folder / name / f"{i}.png")
    return folder


def checked(space):
    """What must hold for every model and data, beside the chapter's own assertions."""
    assert set(space["scores"]) == {"scratch", "head only", "last stage", "full"}
    assert all(len(values) == 3 and all(0 <= v <= 1 for v in values) for values in space["scores"].values())
    trained = {name: cost[0][1] for name, cost in space["costs"].items()}
    assert trained["head only"] < trained["last stage"] < trained["full"] == trained["scratch"]
    assert set(space["far"]) == {"digits", "faces", "textures", "tissue"}
    assert min(space["likeness"][m, True] for m in (8, 4, 2)) > 1 - 1e-6
    assert space["finding"].name == "input scale"


def test_own_pictures_by_one_cell(tmp_path, monkeypatch):
    """The line of the comment in place of the first; all other cells stay."""
    line = OWN.removeprefix("# ").replace('"my_pictures"', repr(str(own_folder(tmp_path))))
    space = cells.run(NAME, monkeypatch, {DATA: line})
    assert space["names"] == ["dark", "light"] and space["elsewhere"]
    checked(space)


def test_the_comment_shows_that_line():
    (cell,) = [c for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source]
    assert OWN in cell.source


def test_full_profile_from_the_same_cells(tmp_path, monkeypatch):
    """A small random ResNet under the true name: only the weights are missing here."""
    cache = hub.layout(tmp_path, RESNET)
    (facts,) = cache.rglob("preprocessor_config.json")
    facts.write_text(facts.read_text().replace("224", "64"))  # a model that learns nothing: so many pixels take minutes
    hub.use(monkeypatch, cache)
    space = cells.run(NAME, monkeypatch)
    assert space["base"].name == RESNET and space["elsewhere"] and space["base"].image_size == 64
    checked(space)


@pytest.fixture(scope="module")
def chapter():
    """The chapter's functions, on a model that was not trained."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        space = cells.run(NAME, monkeypatch, until="scores, costs, kept")
        (source,) = [c.source for c in cells.chapters.read(NAME).cells if "def grad_cam" in c.source]
        exec(source, space)
        yield space


def test_a_head_by_hand_is_the_librarys(chapter):
    """Equation (1) for maps of any size, in 64 bits."""
    model = sl.load("glyphnet", chapter["draws"][0], seed=3).double()
    hand = chapter["Headed"](model.trunk, chapter["C"], 10).double()
    hand.head.load_state_dict(model.head.state_dict())
    for height, width in ((32, 32), (33, 70), (128, 64)):
        x = torch.rand(2, 3, height, width, dtype=torch.float64)
        assert torch.allclose(hand.eval()(x), model(x), atol=1e-12)


@pytest.mark.parametrize("stage", range(4))
def test_grad_cam_weights_are_derivatives(chapter, stage):
    """alpha: how the logit changes when a whole channel is raised, by finite differences; for every stage."""
    model = sl.load("glyphnet", chapter["draws"][0], seed=0).double()
    layer = model.trunk.encoder.stages[stage]
    x, classes = torch.rand(2, 3, 64, 64, dtype=torch.float64), torch.tensor([3, 7])
    maps, alpha = chapter["grad_cam"](model, x, classes, layer)
    assert maps.shape[0] == 2 and (maps >= 0).all()
    for channel in (0, 5, 11):
        z = []
        for step in (1e-5, -1e-5):

            def raised(_, __, out, step=step, channel=channel):
                moved = out.clone()
                moved[:, channel] += step
                return moved

            handle = layer.register_forward_hook(raised)
            with torch.no_grad():
                z.append(model(x)[range(2), classes])
            handle.remove()
        slope = (z[0] - z[1]) / 2e-5 / maps[0].numel()
        assert torch.allclose(alpha[:, channel], slope, atol=1e-7)
    assert not layer._forward_hooks, "the hook is left behind"


def test_grad_cam_of_the_last_map_is_linear_in_the_head(chapter):
    """The maps before the relu, averaged, are the logit without its bias."""
    model = sl.load("glyphnet", chapter["draws"][0], seed=0).double()
    x, classes = torch.rand(3, 3, 96, 96, dtype=torch.float64), torch.tensor([0, 4, 9])
    layer = model.trunk.encoder.stages[-1]
    kept = []
    handle = layer.register_forward_hook(lambda _, __, out: kept.append(out))
    _, alpha = chapter["grad_cam"](model, x, classes, layer)
    handle.remove()
    total = (alpha[..., None, None] * kept[0]).sum(dim=(1, 2, 3))
    with torch.no_grad():
        assert torch.allclose(total, model(x)[range(3), classes] - model.head.bias[classes], atol=1e-9)


def test_occlusion_of_nothing_changes_nothing(chapter):
    """A square that is already the ground's colour takes nothing away; the input is left alone."""
    model, ground = chapter["base"], torch.tensor([-1.4, -1.4, -1.4])[:, None, None]
    x = ground.expand(3, 32, 32)[None].clone()
    x[0, :, 8:16, 16:24] += 1
    before = x.clone()
    fall = chapter["occluded"](model, x, torch.tensor([2]), 8, ground)
    assert fall.shape == (1, 4, 4) and torch.equal(x, before)
    other = torch.ones(4, 4, dtype=torch.bool)
    other[1, 2] = False
    assert fall[0][other].abs().max() < 1e-5 < fall[0, 1, 2].abs()
