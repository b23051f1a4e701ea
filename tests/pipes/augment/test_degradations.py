"""blur, noise and jpeg, which have graph functions only, against OpenCV and numpy, frame by frame."""

import cv2
import numpy as np
import pytest

from dali_pipes import augment_clip
from dali_pipes.augment.graph_ops import NOISE_MAX_PX
from tests.videos import natural_clip, noise_clip

CLIP = natural_clip(6, 41, 56)


def changed(name: str, levels, frames=CLIP, **options) -> np.ndarray:
    return augment_clip(frames, [name], [np.asarray(levels, np.float32)], **options)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    return request.param


@pytest.mark.parametrize("name", ["blur", "noise", "jpeg"])
def test_level_0_changes_nothing(name, device):
    np.testing.assert_array_equal(changed(name, np.zeros(6), device=device), CLIP)


def test_blur_is_opencvs(device):
    levels = np.array([0, 0.3, 3, 7.5, 15, 30], np.float32)
    ours = changed("blur", levels, device=device)
    for frame, sigma, found in zip(CLIP[1:], levels[1:] * 4 / 30, ours[1:], strict=True):
        side = 2 * int(np.ceil(3 * sigma)) + 1
        expected = cv2.GaussianBlur(frame, (side, side), float(sigma), borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(found.astype(int) - expected).max() <= 2


def test_jpeg_is_opencvs_at_the_lowest_quality_where_the_quality_is_below_100(device):
    levels = np.array([0, 0, 10, 29, 0, 1], np.float32)
    ours, quality = changed("jpeg", levels, device=device), int(100 - 99 * 29 / 30)
    for frame, level, found in zip(CLIP, levels, ours, strict=True):
        _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1] if level else frame
        difference = np.abs(found.astype(int) - expected)
        assert difference.max() == 0 if device == "cpu" or not level else difference.mean() < 2
    assert (ours[2] != CLIP[2]).mean() > 0.5


def noise_by_numpy(frames: np.ndarray, sigmas) -> np.ndarray:
    """One number for each pixel, frame by frame, in Python's integers."""
    rows, columns = (np.random.default_rng(seed).integers(2**31, size=shape, dtype=np.int32) for seed, shape in
                     enumerate([(NOISE_MAX_PX, 1, 1), (NOISE_MAX_PX, 3)]))  # fmt: skip
    result = frames.copy()
    for f, y, x, c in np.ndindex(frames.shape):
        bits = (int(rows[y, 0, 0]) + int(columns[x, c]) + int(round(sigmas[f] * 65536)) * 0x9E3779B1) % 2**32
        bits = (bits ^ (bits >> 16)) * 0x7FEB352D % 2**32
        bits = (bits ^ (bits >> 15)) * 0x846CA68B % 2**32
        bits ^= bits >> 16
        sum_of_halves = (bits & 0xFFFF) + (bits >> 16)
        added = (sum_of_halves - 65535) / (65536 * np.sqrt(1 / 6)) * sigmas[f]
        result[f, y, x, c] = np.clip(np.rint(frames[f, y, x, c] + added), 0, 255)
    return result


def test_noise_is_that_of_a_slow_loop(device):
    frames = noise_clip(3, 9, 12)
    levels = np.array([1, 7, 25], np.float32)
    ours = changed("noise", levels, frames, device=device)
    assert np.abs(ours.astype(int) - noise_by_numpy(frames, levels * 2)).max() <= 1  # of a number between two integers
    assert (ours != frames).mean() > 0.5


def test_noise_has_its_standard_deviation_and_is_independent_from_pixel_to_pixel_and_frame_to_frame():
    grey = np.full((2, 160, 160, 3), 128, np.uint8)
    added_FHWC = changed("noise", [10, 10.01], grey).astype(float) - 128
    assert added_FHWC.std() == pytest.approx(20, rel=0.02) and abs(added_FHWC.mean()) < 0.2
    for one, other in (
        (added_FHWC[0], added_FHWC[1]),
        (added_FHWC[:, 1:], added_FHWC[:, :-1]),
        (added_FHWC[:, :, 1:], added_FHWC[:, :, :-1]),
        (added_FHWC[..., 0], added_FHWC[..., 1]),
    ):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02
    np.testing.assert_array_equal(added_FHWC[0], changed("noise", [10, 3], grey)[0].astype(float) - 128)
