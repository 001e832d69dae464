"""Images on their way to the model: prepared by the facts that travel with the weights, read from bundled files."""

import json

import numpy as np
import pytest
import torch

import sftlab as sl
from sftlab import assets
from sftlab.errors import AssetError, BadData, SftlabError
from sftlab.sets.pictures import load_pictures


class Facts:
    """What ``sl.load`` leaves on an image model."""

    image_size, mean, std = 16, (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)


def encode(image: torch.Tensor, model=Facts) -> torch.Tensor:
    return sl.ImageInput().encode([{"image": image}], model)[0]["input"]


@pytest.mark.parametrize("size", [(16, 16), (8, 8), (40, 24)])
def test_images_are_prepared_by_the_models_facts(size):
    """Any size becomes the model's; a constant image shows the arithmetic of mean and std exactly."""
    found = encode(torch.full((3, *size), 0.5))
    expected = torch.tensor([(0.5 - m) / s for m, s in zip(Facts.mean, Facts.std, strict=True)])
    assert found.shape == (3, 16, 16) and torch.allclose(found.mean((1, 2)), expected, atol=1e-6)


def test_bytes_equal_floats_and_grey_equals_three_equal_channels():
    grey = torch.randint(0, 256, (1, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encode(grey), encode(grey.float() / 255))
    assert torch.equal(encode(grey), encode(grey.expand(3, -1, -1)))


def test_resizing_is_that_of_torchvision_with_antialiasing():
    """Shrinking without antialiasing would give other pixels than pretraining saw."""
    from torchvision.transforms.v2.functional import resize

    image = torch.rand(3, 37, 50, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (Facts.mean, Facts.std))
    assert torch.allclose(encode(image), (resize(image, [16, 16], antialias=True) - mean) / std, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "found NoneType"),
        (torch.zeros(8, 8), r"found \[8, 8\]"),
        (torch.zeros(8, 8, 3), r"found \[8, 8, 3\]"),
        (torch.zeros(4, 8, 8), r"found \[4, 8, 8\]"),
        (torch.zeros(3, 0, 8), r"found \[3, 0, 8\]"),
        (torch.full((3, 8, 8), 255.0), "found torch.float32, 255.0 to 255.0"),
        (torch.full((3, 8, 8), torch.nan), "found torch.float32, nan to nan"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "found torch.int64"),
    ],
)
def test_what_is_no_image_is_refused(image, said):
    with pytest.raises(BadData, match=rf"train\[1\]: 'image' must be.*{said}"):
        good = {"image": torch.zeros(3, 8, 8), "label": "a"}
        sl.Classify({"train": [good, {"image": image, "label": "b"}]}, ["a", "b"], sl.ImageInput())


def test_a_model_without_facts_is_refused():
    with pytest.raises(SftlabError, match="image_size, model.mean and model.std"):
        encode(torch.zeros(3, 8, 8), torch.nn.Linear(1, 1))


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A data set of three pictures with everything that pictures can have."""
    folder = tmp_path / "toys"
    folder.mkdir()
    images = np.arange(3 * 4 * 6 * 3, dtype=np.uint8).reshape(3, 4, 6, 3)
    np.savez_compressed(
        folder / "train.npz",
        images=images, labels=np.array([1, 0, 1]), masks=np.eye(4, 6, dtype=np.uint8)[None].repeat(3, 0),
        boxes=np.array([[0, 0, 2, 2], [1, 1, 3, 4], [2, 0, 6, 4]], dtype=np.float32),
        box_labels=np.array([0, 1, 1]), box_images=np.array([2, 0, 2]),
    )  # fmt: skip
    about = {
        "name": "toys",
        "kind": "data set",
        "title": "toys",
        "facts": {"labels": ["car", "sign"], "splits": {"train": 3}},
    }
    about["files"] = {"train.npz": assets.sha256(folder / "train.npz")}
    (folder / "asset.json").write_text(json.dumps(about))
    monkeypatch.setattr(assets, "bundled_root", lambda: tmp_path)
    return images


def test_bundled_pictures_come_with_all_that_is_known(bundled):
    found = load_pictures("toys", "train")
    assert [e["label"] for e in found] == ["sign", "car", "sign"]
    assert [e["boxes"] for e in found] == [[[1, 1, 3, 4]], [], [[0, 0, 2, 2], [2, 0, 6, 4]]]
    assert [e["labels"] for e in found] == [["sign"], [], ["car", "sign"]]
    for example, image in zip(found, bundled, strict=True):
        assert example["image"].dtype == torch.float32
        assert np.array_equal((example["image"] * 255).round().permute(1, 2, 0).numpy(), image)
        assert torch.equal(example["mask"], torch.eye(4, 6, dtype=torch.int64))


def test_an_unknown_split_lists_those_there_are(bundled):
    with pytest.raises(AssetError, match="'toys' has no split 'tset'; it has train"):
        load_pictures("toys", "tset")


def test_the_doctor_knows_the_models_statistics():
    """Pixels in [0, 1] for a model that expects others: found without telling the doctor what it expects (S12)."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    net.mean, net.std = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    loader = [(torch.rand(8, 3, 16, 16), torch.tensor([0, 1] * 4))]
    assert "input scale" in [finding.name for finding in sl.doctor(net, loader=loader).faults]
    right = [((x - 0.5) / 0.2, y) for x, y in loader]
    assert "input scale" not in [finding.name for finding in sl.doctor(net, loader=right).faults]
