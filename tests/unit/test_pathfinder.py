import numpy as np
import pytest

import plain.pathfinder as plain
from tacit.data.pathfinder import NoPlaceError, Renderer, num_distractor_paths
from tacit.settings.pathfinder import Rendering

SMALL = {"window": (64, 64), "padding": 6, "seed_distance": 10, "segment_length": 4, "margins": (2,)}
CASES = {
    "published, short": (3, {}),
    "published, long": (9, {}),
    "not square": (5, {"window": (96, 128), "padding": 8, "seed_distance": 12}),
    "crowded": (4, SMALL),
    "no padding": (2, SMALL | {"padding": 0, "margins": (1, 2)}),
    "margins and contrasts": (
        7,
        {"margins": (2, 3), "path_contrasts": (1.0, 0.5), "segment_contrasts": (1.0, 0.7)},
    ),
    "single segments": (4, {"use_single_segments": True, "window": (200, 200)}),
    "last segments masked": (5, {"mask_last_segments": True}),
    "few distractors": (5, {"distractor_segments": 7}),
    "one segment": (1, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_the_plain_generator_from_the_same_draws(case):
    path_length, changes = CASES[case]
    rendering = Rendering(**changes)
    renderer = Renderer(rendering, path_length)
    for number in range(2):
        uniforms = np.random.default_rng([7, number]).random(100_000)
        images, used = renderer.render_from(uniforms)
        expected = plain.render(uniforms, path_length, rendering)
        assert used == expected["num_draws"]
        assert images.labels[0] == expected["label"]
        assert tuple(images.marked_paths[0]) == (expected["origin_path"], expected["terminal_path"])
        assert images.num_distractors[0] == expected["num_distractors"]
        assert images.num_restarts[0] == expected["num_restarts"]
        np.testing.assert_array_equal(images.tips[0, :, 0], expected["origins"])
        np.testing.assert_array_equal(images.tips[0, :, 1], expected["terminals"])
        np.testing.assert_array_equal(images.segments[0], expected["segments"])
        np.testing.assert_array_equal(images.images[0], expected["image"])


def test_shards_and_batches_change_no_bit():
    renderer = Renderer(Rendering(**SMALL), 3)
    whole = renderer.render(5, 0, 600)
    for first, last in ((0, 1), (17, 18), (250, 300), (599, 600)):
        part = renderer.render(5, first, last)
        for name in whole._fields:
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[first:last])
    assert not np.array_equal(renderer.render(6, 0, 1).images, whole.images[:1])


def test_an_image_that_needs_more_numbers_than_a_block_is_the_same(monkeypatch):
    renderer = Renderer(Rendering(**SMALL), 4)
    expected = renderer.render(0, 0, 40)
    monkeypatch.setattr("tacit.data.pathfinder._UNIFORMS", 32)
    for ours, theirs in zip(renderer.render(0, 0, 40), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_too_few_uniforms_are_an_error():
    with pytest.raises(ValueError, match="do not suffice"):
        Renderer(Rendering(), 3).render_from(np.full(5, 0.5))


@pytest.fixture(scope="module", params=[3, 5, 7, 9])
def published(request):
    """400 images of each published path length."""
    return request.param, Renderer(Rendering(), request.param).render(0, 0, 400)


def test_statistics_are_those_of_the_reference(published):
    """Mean tip distance, restarts, intensity, number of distractors and balance."""
    path_length, images = published
    tips = images.tips.astype(float)
    distances = np.linalg.norm(tips[:, :, 0] - tips[:, :, 1], axis=-1)
    expected, restarts = {3: (26, 0.3), 5: (47, 0.4), 7: (66, 0.8), 9: (87, 1.1)}[path_length]
    error = distances.std() / np.sqrt(distances.size)
    assert abs(distances.mean() - expected) < 1 + 3 * error  # the reference rounds to whole pixels
    assert abs(images.num_restarts.mean() - restarts) < 0.3
    assert 0.003 < images.images.mean() / 255 < 0.0056
    slots = num_distractor_paths(path_length, 30)
    assert slots == {3: 30, 5: 18, 7: 13, 9: 10}[path_length]
    assert np.mean(images.num_distractors == slots) > 0.98
    assert abs(images.labels.mean() - 0.5) < 4 / (2 * np.sqrt(400))
    assert abs(images.marked_paths[:, 0].mean() - 0.5) < 4 / (2 * np.sqrt(400))


def test_brightness_is_as_published(published):
    _, images = published
    assert (images.images.max(axis=(1, 2)) == 255).all()
    # Beside the tip, on the side away from its path, a disc shows its own grey.
    inside = []
    for image, tips, marked in zip(images.images, images.tips, images.marked_paths, strict=True):
        row, column = tips[marked[0], 0]
        block = image[row - 1 : row + 2, column - 1 : column + 2]
        inside.append(np.median(block))
    assert 200 <= np.median(inside) <= 212


def test_labels_follow_from_the_geometry(published):
    """The discs lie where they should, and on one path exactly if the label is 1."""
    path_length, images = published
    same = images.marked_paths[:, 0] == images.marked_paths[:, 1]
    np.testing.assert_array_equal(same, images.labels == 1)
    segments = images.segments.astype(int)
    assert segments.shape == (400, 2, path_length, 2, 2)
    np.testing.assert_array_equal(images.tips[:, :, 0], segments[:, :, 0, 0])
    np.testing.assert_array_equal(images.tips[:, :, 1], segments[:, :, -1, 0])
    for image, tips, marked in zip(images.images, images.tips, images.marked_paths, strict=True):
        for end in (0, 1):
            row, column = tips[marked[end], end]
            assert image[row - 1 : row + 2, column - 1 : column + 2].min() > 180
            row, column = other = tips[1 - marked[end], end]
            discs = (tips[marked[0], 0], tips[marked[1], 1])
            if min(np.abs(other - disc).max() for disc in discs) > 8:
                assert image[row - 2 : row + 3, column - 2 : column + 3].min() < 60


def test_the_published_geometry_holds(published):
    """Origins 27 px apart, gaps of about 6 px, strokes inside the window, origins clear of the border."""
    _, images = published
    segments = images.segments.astype(float)
    apart = np.linalg.norm(segments[:, 0, 0, 0] - segments[:, 1, 0, 0], axis=-1)
    assert abs(apart - 27).max() < 1
    assert segments[..., 0, :].min() >= 22
    assert segments[..., 0, :].max() < 300 - 22
    # A stroke ends one gap short of the outer tip before it; the first one's outer end is where it was drawn to.
    outer = segments[:, :, :-1, 0].copy()
    outer[:, :, 0] = segments[:, :, 0, 1]
    gaps = np.linalg.norm(segments[:, :, 1:, 1] - outer, axis=-1)
    assert 5.5 < gaps.mean() < 6.5
    assert gaps.max() < 9.5


def test_straight_paths_reach_as_far_as_they_can():
    images = Renderer(Rendering(continuity=60), 9).render(0, 0, 60)
    tips = images.tips.astype(float)
    distances = np.linalg.norm(tips[:, :, 0] - tips[:, :, 1], axis=-1)
    assert abs(distances.mean() - (11 * 9 - 6)) < 3


def test_paths_that_find_no_place_are_an_error():
    rendering = Rendering(window=(64, 64), padding=20, seed_distance=10)
    with pytest.raises(NoPlaceError, match=r"9 segments of 5 px.*64 x 64 px.*enlarge window"):
        Renderer(rendering, 9).render(0, 0, 1)


def test_progress_is_reported_in_full():
    seen = []
    Renderer(Rendering(distractor_segments=0, **SMALL), 2).render(0, 0, 300, advance=seen.append)
    assert sum(seen) == 300
