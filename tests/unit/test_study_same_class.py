import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from torchvision import transforms
from torchvision.transforms import functional

from tacit import store, streams
from tacit.data import image_sources, pairs
from tacit.data.images import select
from tacit.errors import UserError
from tacit.figures import same_class as figure
from tacit.nn import resnets
from tacit.optim.long_range import Patch, draw_order
from tacit.settings.base import SettingsError
from tacit.settings.images import Images
from tacit.settings.networks import Network
from tacit.settings.same_class import Canvas, Pairs, RunSettings, SameClassSettings
from tacit.studies import locality
from tacit.studies import same_class as study
from tacit.training import networks
from tacit.training.images import Augmented, Bytes, ImagePairs, LabelledImages, crop_and_flip

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
PUBLISHED = Canvas(height=224, width=224)
FORMATS = [torch.contiguous_format, torch.channels_last]


# Pairs.


def test_labels_are_those_of_the_classes_and_balanced_by_chance():
    classes = RANDOM.integers(0, 10, 3000)
    drawn = pairs.draw(classes, 20_000, generator=np.random.default_rng(1))
    first, second = classes[drawn.indices].T
    np.testing.assert_array_equal(drawn.labels, first == second)
    assert abs(drawn.labels.mean() - 0.5) < 4 / (2 * np.sqrt(20_000))


def chi_square(counts, expected):
    """Excess over its mean in standard deviations."""
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(counts) - 1
    return (statistic - freedom) / np.sqrt(2 * freedom)


def test_every_pair_is_as_likely_as_it_should_be():
    """Unequal classes, so that uniform over classes and uniform over images differ."""
    classes = np.array([2, 0, 1, 0, 2, 0, 2, 2])
    num = 200_000
    drawn = pairs.draw(classes, num, generator=np.random.default_rng(2))
    counts, expected = [], []
    found = Counter(map(tuple, drawn.indices.tolist()))
    for first, second in itertools.product(range(8), repeat=2):
        own = (classes == classes[first]).sum()
        others = own if classes[first] == classes[second] else 8 - own
        counts.append(found[first, second])
        expected.append(num / 2 / 3 / own / others)
    assert np.isclose(sum(expected), num)
    assert min(counts) > 0, "the same image may be there twice"
    assert abs(chi_square(np.array(counts), np.array(expected))) < 4


def test_fewer_pairs_are_the_first_of_many():
    classes = RANDOM.integers(0, 10, 300)
    many, few = (pairs.draw(classes, num, generator=np.random.default_rng(3)) for num in (100, 40))
    np.testing.assert_array_equal(many.indices[:40], few.indices)
    np.testing.assert_array_equal(many.labels[:40], few.labels)


def test_one_class_alone_makes_no_pairs():
    with pytest.raises(UserError, match="two classes"):
        pairs.draw(np.zeros(5, int), 3, generator=RANDOM)


# Canvases.


@pytest.mark.parametrize(
    ("distance", "left", "right"), [(0, 80, 112), (40, 60, 132), (80, 40, 152), (120, 20, 172), (160, 0, 192)]
)
def test_images_lie_where_they_were_published(distance, left, right):
    assert PUBLISHED.place(32, distance) == ((96, left), (96, right))


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("canvas", [(8, 31), (9, 32), (20, 33)])
def test_images_are_as_far_apart_as_asked_for_or_refused(canvas, side):
    height, width = canvas
    for distance in range(width):
        try:
            (row, left), (_, right) = Canvas(height=height, width=width).place(side, distance)
        except ValueError:
            # What is refused has no room, but for the half pixel that rounding takes.
            assert 2 * side + distance + 2 > width
            continue
        assert right - (left + side) == distance
        assert min(row, left) >= 0
        assert right + side <= width
        assert row + side <= height


def dataset(count=30, side=32, channels=3):
    return RANDOM.integers(0, 256, (count, channels, side, side), dtype=np.uint8)


MEAN, STD = (0.491, 0.482, 0.446), (0.247, 0.243, 0.261)


def composed(images, indices, distance=40, canvas=PUBLISHED):
    data = Bytes.on(CPU, images, MEAN[: images.shape[1]], STD[: images.shape[1]])
    corners = canvas.place(images.shape[2], distance)
    labels = np.zeros(len(indices), np.uint8)
    return ImagePairs(data, indices, labels, canvas=(canvas.height, canvas.width), corners=corners)


def plain_canvas(images, pair, distance):
    """One canvas, made of single images by torchvision's transforms."""
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    canvas = torch.zeros(3, 224, 224)
    left = 112 - 32 - distance // 2
    for image, column in zip(images[pair], (left, left + 32 + distance), strict=True):
        canvas[:, 96:128, column : column + 32] = to_tensor(image.transpose(1, 2, 0))
    return canvas


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("distance", [0, 40, 160])
def test_canvases_are_those_of_single_images(distance, memory_format):
    images, indices = dataset(), RANDOM.integers(0, 30, (12, 2))
    data = composed(images, indices, distance)
    # Smaller, larger and smaller batches share memory, of which nothing may be left over.
    for numbers in ([3], [0, 1, 2, 3, 4], [7, 7], list(range(12)), [11, 5]):
        batch = data.batch(torch.tensor(numbers), memory_format)
        assert batch.is_contiguous(memory_format=memory_format)
        expected = torch.stack([plain_canvas(images, indices[number], distance) for number in numbers])
        torch.testing.assert_close(batch, expected, atol=2e-6, rtol=0)
        outside = torch.ones(224, 224, dtype=torch.bool)
        for _, column in data.corners:
            outside[96:128, column : column + 32] = False
        assert (batch[:, :, outside] == 0).all()


def test_distance_moves_pixels_and_changes_none():
    images, indices = dataset(), RANDOM.integers(0, 30, (6, 2))
    near, far = (composed(images, indices, distance).batch(torch.arange(6), FORMATS[0]) for distance in (0, 120))
    for one, other in zip(near, far, strict=True):
        assert torch.equal(one[one != 0].sort().values, other[other != 0].sort().values)


def test_formats_can_change_from_batch_to_batch():
    images, indices = dataset(), RANDOM.integers(0, 30, (6, 2))
    data = composed(images, indices)
    first = data.batch(torch.arange(4), FORMATS[0]).clone()
    assert torch.equal(data.batch(torch.arange(4), FORMATS[1]), first)
    assert torch.equal(data.batch(torch.arange(4), FORMATS[0]), first)


def test_channels_need_as_many_statistics():
    with pytest.raises(ValueError, match="3 channels, but 1 means"):
        LabelledImages.on(CPU, dataset(), np.zeros(30), mean=[0.5], std=[0.5])


# Augmentation.


def augmented(pixels, *, padding):
    """Pixels (B, H, W, C), each shifted and mirrored at random."""
    labels = torch.zeros(len(pixels), device=pixels.device)
    images = Augmented(
        LabelledImages(Bytes(pixels, *[None] * 2), labels), padding=padding, flips=True, stream=("test", 0)
    )
    return crop_and_flip(pixels, images._shifts, images._mirrored, padding=padding)


@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_images_are_torchvisions_for_the_same_shift_and_side(channels):
    pixels = torch.from_numpy(RANDOM.integers(1, 256, (400, 6, 6, channels), dtype=np.uint8))
    found = augmented(pixels, padding=2)
    assert found.dtype == torch.uint8
    for before, after in zip(pixels, found, strict=True):
        padded = functional.pad(before.permute(2, 0, 1), [2, 2, 2, 2])
        options = [functional.crop(padded, row, column, 6, 6) for row in range(5) for column in range(5)]
        options += [functional.hflip(option) for option in options]
        assert sum(torch.equal(after.permute(2, 0, 1), option) for option in options) == 1


def outcomes(images, original):
    """How often each of the 50 outcomes came up."""
    padded = functional.pad(original, [2, 2, 2, 2])
    options = [functional.crop(padded, row, column, 6, 6) for row in range(5) for column in range(5)]
    options += [functional.hflip(option) for option in options]
    number = {bytes(option.numpy().tobytes()): k for k, option in enumerate(options)}
    return np.bincount([number[image.contiguous().numpy().tobytes()] for image in images], minlength=50)


def test_augmentation_is_torchvisions_in_distribution():
    count = 20_000
    original = torch.from_numpy(RANDOM.integers(1, 256, (1, 6, 6), dtype=np.uint8))
    ours = augmented(original.permute(1, 2, 0).repeat(count, 1, 1, 1), padding=2)
    torch.manual_seed(0)
    transform = transforms.Compose([transforms.RandomCrop(6, padding=2), transforms.RandomHorizontalFlip()])
    theirs = [transform(original) for _ in range(count)]
    counts = [outcomes(images, original) for images in (ours.permute(0, 3, 1, 2), theirs)]
    for found in counts:
        assert abs(chi_square(found, np.full(50, count / 50))) < 4


def test_augmented_bytes_are_normalised_like_any_others():
    data = Bytes.on(CPU, dataset(8), MEAN, STD)
    images = Augmented(LabelledImages(data, torch.zeros(8)), padding=0, flips=True, stream=("test",))
    numbers = torch.tensor([5, 0, 3, 7, 1])
    flips = images._mirrored[numbers].tolist()
    expected = [image.flip(2) if flip else image for image, flip in zip(data.normalised(numbers), flips, strict=True)]
    assert 0 < sum(flips) < 5
    assert torch.equal(images.batch(numbers, FORMATS[0]), torch.stack(expected))


def test_each_epoch_moves_images_anew_and_each_image_by_itself():
    data = LabelledImages(Bytes.on(CPU, dataset(8), MEAN, STD), torch.zeros(8))
    one, two = (Augmented(data, padding=4, flips=True, stream=("test", 1)) for _ in range(2))
    first = one.batch(torch.arange(8), FORMATS[0])
    assert torch.equal(two.batch(torch.tensor([6, 2]), FORMATS[0]), first[[6, 2]])
    one.begin(1)
    assert not torch.equal(one.batch(torch.arange(8), FORMATS[0]), first)
    one.begin(0)
    assert torch.equal(one.batch(torch.arange(8), FORMATS[0]), first)
    still = Augmented(data, padding=4, flips=False, stream=("test", 1))
    assert not still._mirrored.any() and torch.equal(still._shifts, two._shifts)


def cut(count=8, side=32, *, cutout, **changes):
    """Images without a zero, but for what is cut out."""
    data = Bytes.on(CPU, np.full((count, 3, side, side), 200, dtype=np.uint8), MEAN, STD)
    options = {"padding": 0, "flips": True, "stream": ("test", 2), "cutout": cutout} | changes
    return Augmented(LabelledImages(data, torch.zeros(count)), **options)


def test_a_square_around_any_pixel_is_cut_out():
    """Of 16 x 16 px, from the centre on 8 up and left and 7 down and right, as much of it as lies in the image."""
    images = cut(6000, cutout=16)
    zero = images.batch(torch.arange(6000), FORMATS[0]) == 0
    assert (zero == zero[:, :1]).all()
    rows, columns = zero[:, 0].any(2), zero[:, 0].any(1)
    assert torch.equal(zero[:, 0], rows[:, :, None] & columns[:, None, :])
    for found in (rows, columns):
        assert found.sum(1).min() == 8 and found.sum(1).max() == 16
        # The centre is where 8 px of the square come before it, or where it is cut at the upper border.
        first, size = found.int().argmax(1), found.sum(1)
        centres = torch.where(first > 0, first + 8, size - 8)
        counts = np.bincount(centres.numpy(), minlength=32)
        assert len(counts) == 32 and abs(chi_square(counts, np.full(32, 6000 / 32))) < 4
    sizes = np.array([min(centre + 8, 32) - max(centre - 8, 0) for centre in range(32)])
    expected, spread = sizes.mean() ** 2, np.sqrt((sizes**2).mean() ** 2 - sizes.mean() ** 4)
    assert expected == 14**2
    assert abs(zero[:, 0].sum((1, 2)).double().mean() - expected) < 4 * spread / np.sqrt(6000)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_squares_are_cut_out_last_and_change_nothing_else(memory_format):
    data = LabelledImages(Bytes.on(CPU, dataset(8), MEAN, STD), torch.zeros(8))
    options = {"padding": 4, "flips": True, "stream": ("test", 1)}
    whole, some = Augmented(data, **options), Augmented(data, **options, cutout=3)
    assert torch.equal(whole._shifts, some._shifts) and torch.equal(whole._mirrored, some._mirrored)
    numbers = torch.tensor([6, 2, 3, 0])
    one, two = whole.batch(numbers, memory_format), some.batch(numbers, memory_format)
    assert two.is_contiguous(memory_format=memory_format)
    covered = torch.zeros_like(one, dtype=torch.bool)
    for number, (row, column) in enumerate(some._centres[:, numbers].T.tolist()):
        covered[number, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
    assert torch.equal(two, one.masked_fill(covered, 0.0))


def test_squares_depend_on_epoch_and_image_alone():
    images, other = cut(cutout=5), cut(cutout=5, flips=False)
    first = images.batch(torch.arange(8), FORMATS[0])
    assert len({image.numpy().tobytes() for image in first}) == 8
    assert torch.equal(other.batch(torch.tensor([6, 2]), FORMATS[0]), first[[6, 2]])
    images.begin(1)
    assert not torch.equal(images.batch(torch.arange(8), FORMATS[0]), first)
    images.begin(0)
    assert torch.equal(images.batch(torch.arange(8), FORMATS[0]), first)
    assert (cut(cutout=0).batch(torch.arange(8), FORMATS[0]) != 0).all()
    assert not cut(cutout=70).batch(torch.arange(8), FORMATS[0]).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_composes_and_augments_as_a_processor_does():
    images, indices = dataset(), RANDOM.integers(0, 30, (6, 2))
    on_both = []
    for device in (CPU, torch.device("cuda")):
        data = Bytes.on(device, images, MEAN, STD)
        pairs_of = ImagePairs(data, indices, np.zeros(6, np.uint8), canvas=(224, 224), corners=PUBLISHED.place(32, 40))
        numbers = torch.arange(6, device=device)
        pixels = augmented(data.pixels[:6], padding=4)
        on_both.append((pairs_of.batch(numbers, FORMATS[1]).cpu(), pixels.cpu()))
    torch.testing.assert_close(on_both[0][0], on_both[1][0], atol=1e-6, rtol=0)
    assert torch.equal(on_both[0][1], on_both[1][1])


# The study.


def settings(**changes):
    run = {
        "images": {"source": "digits", "num_train": 200, "num_test": 60},
        "canvas": {"height": 12, "width": 32},
        "network": {"name": "resnet8", "width": 4, "stem_stride": 1},
        "training": {
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "momentum": 0.9,
            "weight_decay": 0,
            "batch_size": 16,
            "epochs": 2,
            "perfect_epochs": 20,
            "precision": "float32",
            "channels_last": True,
            "compile": False,
        },
    }
    return run | changes


@pytest.fixture(scope="module")
def digits():
    images = image_sources.convert(
        image_sources.SOURCES["digits"], folder=".", size=8, download=False, advance=lambda count: None
    )
    return select(images, Images(source="digits", num_train=200, num_test=60))


def paired(digits, num_train=72, num_test=40):
    arrays = study.pair(digits, Pairs(seed=0, num_train=num_train, num_test=num_test))
    return store.Record(arrays, {"images": "these"}, {})


def test_pairs_are_drawn_for_each_part_from_its_own_images(digits):
    arrays = paired(digits).arrays
    assert arrays["train_indices"].shape == (72, 2)
    assert arrays["test_indices"].max() < 60
    for part in ("train", "test"):
        first, second = getattr(digits, f"{part}_labels")[arrays[f"{part}_indices"]].T
        np.testing.assert_array_equal(arrays[f"{part}_labels"], first == second)
    assert not np.array_equal(arrays["train_labels"][:40], arrays["test_labels"])


def test_test_pairs_may_be_of_training_images(digits, tmp_path):
    """Those to learn from stay, test pairs are others of the same images; a run is tested on them, and learns alike."""
    chosen = Pairs(seed=0, num_train=72, num_test=40, test_from="train")
    arrays, before = study.pair(digits, chosen), paired(digits).arrays
    for name in ("train_indices", "train_labels"):
        np.testing.assert_array_equal(arrays[name], before[name])
    first, second = digits.train_labels[arrays["test_indices"]].T
    np.testing.assert_array_equal(arrays["test_labels"], first == second)
    assert 60 <= arrays["test_indices"].max() < 200
    assert not np.array_equal(arrays["test_indices"], arrays["train_indices"][:40])
    # The same as with a test set that holds the training images.
    doubled = digits._replace(test_images=digits.train_images, test_labels=digits.train_labels)
    run, axes = RunSettings.from_plain(settings()), {"distance": 4, "coefficient": 0.0, "seed": 0}
    record = store.Record(arrays, {"images": "these", "pairs": chosen.plain()}, {})
    found = study.train(digits, record, run, **axes, checkpoint=tmp_path / "a.pt")
    expected = study.train(doubled, store.Record(arrays, {}, {}), run, **axes, checkpoint=tmp_path / "b.pt")
    assert all(np.array_equal(found[name], expected[name]) for name in found)
    usual = train(digits, tmp_path / "c.pt")
    assert np.array_equal(found["train_loss"], usual["train_loss"])
    assert not np.array_equal(found["test_loss"], usual["test_loss"])
    assert paired(digits).settings == {"images": "these"}
    assert Pairs(seed=0, num_train=72, num_test=40).plain() == {"seed": 0, "num_train": 72, "num_test": 40}


def train(digits, checkpoint, *, distance=4, coefficient=0.0, seed=0):
    torch.set_num_threads(1)
    return study.train(
        digits,
        paired(digits),
        RunSettings.from_plain(settings()),
        distance=distance,
        coefficient=coefficient,
        seed=seed,
        checkpoint=checkpoint,
    )


def plain_penalty(model, x, first, second):
    """Cosines of input gradients, before and after the second square comes from the next canvas; by autograd alone."""

    def gradient(canvases):
        canvases = canvases.detach().clone().requires_grad_()
        (full,) = torch.autograd.grad(model(canvases).sum(), canvases, create_graph=True)
        return full[:, :, 2:10, first : first + 8].flatten(1)

    mixed = x.clone()
    mixed[:, :, 2:10, second : second + 8] = x[:, :, 2:10, second : second + 8].roll(-1, 0)
    return torch.cosine_similarity(gradient(x), gradient(mixed), eps=0).abs().mean()


@pytest.mark.parametrize("coefficient", [0.0, 1.0])
def test_a_run_is_that_of_a_plain_loop_over_canvases(digits, tmp_path, coefficient):
    run = train(digits, tmp_path / "a.pt", coefficient=coefficient)
    arrays = paired(digits).arrays
    checked = RunSettings.from_plain(settings())
    mean, std = (np.array(part, np.float32) for part in checked.images.statistics)

    def canvas(part, number):
        left, right = (getattr(digits, f"{part}_images")[k, 0] for k in arrays[f"{part}_indices"][number])
        out = np.zeros((1, 12, 32), np.float32)
        # Ten pixels from the edge: the middle, less half of the distance and the side of an image.
        out[0, 2:10, 6:14] = (left / 255 - mean) / std
        out[0, 2:10, 18:26] = (right / 255 - mean) / std
        return out

    torch.manual_seed(streams.torch_seed("same_class", "train", 0, "init"))
    model = resnets.build(checked.network, in_channels=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses, penalties = [], []
    for epoch in range(2):
        draws = streams.numpy_generator("same_class", "train", 0, "patches", epoch)
        order = streams.numpy_generator("same_class", "train", 0, "order", epoch).permutation(72)
        total = penalised = 0.0
        for start in range(0, 72, 16):
            numbers = order[start : start + 16]
            x = torch.from_numpy(np.stack([canvas("train", number) for number in numbers]))
            y = torch.from_numpy(arrays["train_labels"][numbers]).float()
            loss = objective = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
            if coefficient > 0:
                columns = (6, 18) if draws.integers(2) else (18, 6)
                penalty = plain_penalty(model, x, *columns)
                penalised += penalty.item() * len(numbers)
                objective = loss + coefficient * penalty
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
            total += loss.item() * len(numbers)
        losses.append(total / 72)
        penalties.append(penalised / 72)
    # With the regulariser rounding grows: cosines have a kink at 0.
    compared = 1 if coefficient else 2
    np.testing.assert_allclose(run["train_loss"][:compared], losses[:compared], rtol=1e-4)
    np.testing.assert_allclose(run["regularization"][:compared], penalties[:compared], rtol=1e-4)
    if coefficient:
        return
    model.eval()
    with torch.no_grad():
        x = torch.from_numpy(np.stack([canvas("test", number) for number in range(40)]))
        correct = (model(x) > 0).numpy() == arrays["test_labels"].astype(bool)
    assert run["test_accuracy"][-1] == pytest.approx(correct.mean(), abs=1 / 40 + 1e-9)


def test_regularised_runs_start_from_the_same_network_and_differ(digits, tmp_path):
    plain, regularised = (train(digits, tmp_path / f"{c}.pt", coefficient=c) for c in (0.0, 1.0))
    assert (plain["regularization"] == 0).all()
    assert (regularised["regularization"] > 0).all()
    assert (regularised["regularization"] <= 1).all()
    assert not np.array_equal(plain["train_loss"], regularised["train_loss"])
    again = train(digits, tmp_path / "again.pt", coefficient=1.0)
    for name in networks.METRICS:
        np.testing.assert_array_equal(regularised[name], again[name])


def test_a_checkpoint_of_another_distance_is_refused(digits, tmp_path, monkeypatch, caplog):
    """It is set aside with a warning, and the training starts anew."""
    checkpoint = tmp_path / "a.pt"
    monkeypatch.setenv("TACIT_CHECKPOINT_EPOCHS", "1")
    train(digits, checkpoint, distance=8)
    assert checkpoint.exists()
    resumed = train(digits, checkpoint, distance=4)
    undisturbed = train(digits, tmp_path / "b.pt", distance=4)
    np.testing.assert_array_equal(resumed["train_loss"], undisturbed["train_loss"])


def test_the_patches_are_the_two_images_in_either_order():
    patches = (Patch(96, 60, 32, 32), Patch(96, 132, 32, 32))
    generator = np.random.default_rng(0)
    drawn = [draw_order(patches, generator) for _ in range(4000)]
    assert set(drawn) == {patches, patches[::-1]}
    assert abs(sum(pair == patches for pair in drawn) - 2000) < 4 * np.sqrt(1000)


def test_the_regularizer_is_given_exactly_the_places_of_the_images(digits, tmp_path, monkeypatch):
    seen = set()

    def fit(build, train, test, training, objective, **others):
        seen.update(objective.sample_patches(np.random.default_rng(k)) for k in range(20))
        canvas = train.batch(torch.arange(len(train.labels)), torch.contiguous_format)
        for patch in next(iter(seen)):
            patch.of(canvas).zero_()
        assert (canvas == 0).all(), "all that is not background lies in the two patches"

    monkeypatch.setattr(networks, "fit", fit)
    train(digits, tmp_path / "a.pt", distance=4, coefficient=1.0)
    left, right = Patch(2, 6, 8, 8), Patch(2, 18, 8, 8)
    assert seen == {(left, right), (right, left)}


def test_the_network_has_the_published_size():
    model = resnets.build(Network(name="resnet18"), in_channels=3)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_177_025


def whole(**changes):
    study_settings = {"distances": [0, 4], "coefficients": [0, 1], "seeds": 2}
    study_settings |= {"pairs": {"seed": 0, "num_train": 8, "num_test": 8}}
    return settings(**study_settings) | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distances": [0, 17]}, "two images of 8 px at a distance of 17 px do not fit on a canvas of 12 x 32 px"),
        ({"canvas": {"height": 7, "width": 32}}, "do not fit on a canvas of 7 x 32 px"),
        ({"images": {"source": "digits", "size": 16}}, "two images of 16 px"),
        ({"distances": [4, 4]}, "once"),
        ({"distances": [-1]}, "greater than or equal to 0"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(SettingsError, match=words):
        SameClassSettings.from_plain(whole(**changes))


def test_the_published_grid_fits_and_one_pixel_more_does_not():
    published = whole(images={"source": "cifar10"}, canvas={"height": 224, "width": 224})
    SameClassSettings.from_plain(published | {"distances": [0, 40, 80, 120, 160]})
    with pytest.raises(SettingsError, match="161 px"):
        SameClassSettings.from_plain(published | {"distances": [161]})


@pytest.fixture
def runs(tmp_path):
    """Two distances, two coefficients, three seeds: the effect of the paper."""
    accuracies = {(0, 0.0): 0.61, (0, 1.0): 0.61, (160, 0.0): 0.504, (160, 1.0): 0.584}
    paths = []
    for (distance, coefficient), accuracy in accuracies.items():
        for seed in range(3):
            paths.append(tmp_path / f"{distance}-{coefficient}-{seed}.h5")
            run = {"distance": distance, "coefficient": coefficient, "seed": seed}
            arrays = {name: np.array([1.0, 0.5]) for name in locality.METRICS}
            last = accuracy + 0.002 * (seed - 1)
            arrays["test_accuracy"], arrays["train_accuracy"] = np.array([0.5, last]), np.array([0.5, 1.0])
            arrays["test_correct"] = (np.arange(10_000) < round(10_000 * last)).astype(np.uint8)
            store.write(paths[-1], arrays, kind=study.RUN, settings=run)
    return paths


def test_the_published_numbers_make_the_claims_hold(runs):
    """All on the same 10,000 pairs."""
    planned = {"difficulties": [0, 160], "coefficients": [0, 1]}
    claims = locality.tables(study.AXIS, runs, planned=planned, missing=0)["claims"].set_index("id")
    assert set(claims["verdict"]) == {"held"}
    assert claims.loc["falls", "claim"].endswith("accuracy at a distance of 160 px is below that at 0 px")
    assert claims.loc["regularizer_helps", "effect"] == pytest.approx(8)
    assert claims.loc["falls_less", "effect"] == pytest.approx(8)


def test_the_figure_says_what_it_shows(runs):
    summary = locality.summarize(study.AXIS, locality.collect(study.AXIS, runs))
    chosen = SameClassSettings.from_plain(whole(images={"source": "digits"})).plain()
    drawn = figure.draw(summary, settings=chosen | {"scale": "demo"}, missing=1)
    words = " ".join(text.get_text() for text in drawn.findobj(lambda artist: hasattr(artist, "get_text")))
    for part in (
        "Is Same Class, PARTIAL: 1 run missing, demo scale",
        "scikit-learn digits, 8 x 8 px on 12 x 32 px",
        "8 train, 8 test pairs",
        "3 seeds",
        "distance between images (px)",
    ):
        assert part in words.replace("\n", " ")
    (axes,) = drawn.axes
    assert list(axes.get_xticks()) == [0, 160]
    low, high = axes.get_ylim()
    assert low < 50 < 61 < high < 65
