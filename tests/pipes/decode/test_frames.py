"""Decoded frames are the planned ones, on the CPU and through DALI's decoder."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from nvidia import dali

from dali_pipes import ClipSampler, RandAugmentT, VideoError, scan_videos
from dali_pipes.dataset.probe import read_video_info
from dali_pipes.decode.dali import why_not_dali
from dali_pipes.decode.frames import decode_frames
from dali_pipes.decode.pyav import open_input
from dali_pipes.loader.source import ClipSource
from dali_pipes.plan.batches import BatchSampler
from tests import odd_videos as odd
from tests.dali_decoding import decode_with_dali, first_four_clips
from tests.odd_videos import odd_text
from tests.videos import natural_clip, rgb_of, write_lossless, write_video

# codec, container, options: intra only; B-frames and distant key frames; MPEG-4 with B-frames as UCF-101's
CODECS = [
    ("ffv1", "avi", {}),
    ("mpeg4", "avi", {"bf": 2, "qmin": 1, "qmax": 1}),
    ("libx264", "mp4", {"bf": 3, "qp": 1}),
]
PLANS = [range(0, 40), [0], [39], [5, 6, 7], [30, 2, 2, 17, 39, 0], np.repeat(np.arange(10), 4)]


@pytest.mark.parametrize("codec, container, options", CODECS)
@pytest.mark.parametrize("plan", PLANS, ids=[str(list(plan)[:6]) for plan in PLANS])
def test_frames_are_the_planned_ones(tmp_path, codec, container, options, plan):
    path = write_lossless(tmp_path / f"video.{container}", 40, codec=codec, gop=100, **options)
    frames = decode_frames(str(path), plan)
    assert frames.shape == (len(plan), 48, 64, 3) and frames.dtype == np.uint8
    expected = np.array([rgb_of(index) for index in plan])
    assert np.abs(frames.mean(axis=(1, 2, 3)) - expected).max() < 1.7  # neighbours differ by 3.5


def coloured_video(path, size_hw=(48, 64)):
    """One still frame of smooth colours, lossless; and its planes."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width]
    luma = (40 + x * 2 + y).astype(np.uint8)
    chroma = np.stack([90 + x[::2, ::2], 160 - y[::2, ::2]]).astype(np.uint8)
    planes = np.concatenate([luma.reshape(-1), chroma.reshape(-1)]).reshape(height * 3 // 2, width)
    return write_video(path, [planes] * 3, size_hw), luma, chroma


def test_colours_are_bt601(tmp_path):
    path, luma, chroma = coloured_video(tmp_path / "colours.avi")
    y, (cb, cr) = 1.164 * (luma - 16.0), chroma.repeat(2, axis=1).repeat(2, axis=2) - 128.0
    expected = np.stack([y + 1.596 * cr, y - 0.392 * cb - 0.813 * cr, y + 2.017 * cb], axis=-1).clip(0, 255)
    assert np.abs(decode_frames(str(path), [1])[0] - expected).max() <= 1.5


MATRICES = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 2: (0.299, 0.114)}  # BT.709, BT.601, unspecified: kr, kb


@pytest.mark.parametrize("colorspace", MATRICES)
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv440p", "yuv420p10le", "yuv422p10le", "gray"]
)
@pytest.mark.parametrize("size_hw", [(48, 64), (47, 63)])
def test_colours_of_every_format_range_and_matrix(tmp_path, pix_fmt, color_range, colorspace, size_hw):
    """Against the formulas of the standards (ITU-R BT.601, BT.709): another range or matrix is off by 10 and more, the
    rounding of older FFmpeg by 5."""
    codec, suffix = ("mjpeg", ".avi") if pix_fmt == "yuvj420p" else ("ffv1", ".mkv")
    if codec == "mjpeg" and (color_range == 1 or colorspace != 6):
        pytest.skip("JPEG is full range BT.601")
    y, cb, cr = yuv = (110, 128, 128) if pix_fmt == "gray" else (110, 80, 190)
    path = odd.of_format(tmp_path / f"video{suffix}", pix_fmt, yuv, size_hw, color_range, colorspace, codec)
    kr, kb = MATRICES[colorspace]
    scale_y, scale_c, black = (255, 255, 0) if color_range == 2 else (219, 224, 16)
    luma, blue, red = (y - black) / scale_y, (cb - 128) / scale_c, (cr - 128) / scale_c
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    expected = 255 * np.array([r, (luma - kr * r - kb * b) / (1 - kr - kb), b])
    frames = decode_frames(str(path), [0, 2], size_hw=size_hw)
    assert frames.shape == (2, *size_hw, 3) and np.abs(frames - expected).max() < 6
    assert np.abs(decode_frames(str(path), [1], (3, 5, 33, 35), 20) - expected).max() < 6


def test_a_matrix_that_cannot_be_converted_is_refused(tmp_path):
    path = odd.of_format(tmp_path / "video.mp4", "yuv444p", (120, 100, 150), colorspace=8, codec="libx264")
    with pytest.raises(VideoError, match="video.mp4: its colour matrix is YCgCo, which cannot be converted to RGB"):
        decode_frames(str(path), [0])


@pytest.mark.parametrize("box", [(0, 0, 48, 64), (10, 20, 30, 52), (11, 21, 30, 52), (46, 0, 48, 2)])
def test_a_box_is_part_of_the_frame(tmp_path, box):
    path, _, _ = coloured_video(tmp_path / "colours.avi")
    y0, x0, y1, x1 = box
    part, whole = decode_frames(str(path), [2, 0], box), decode_frames(str(path), [2, 0])
    # a box with odd edges takes another converter, which interpolates chroma
    assert np.abs(part.astype(int) - whole[:, y0:y1, x0:x1]).max() <= (0 if y0 % 2 == 0 else 4)


@pytest.mark.parametrize("box", [(2, 4, 42, 44), (3, 5, 43, 45), (0, 8, 48, 56)])
@pytest.mark.parametrize("crop_px", [16, 17, 32, 40, 64])
def test_scaling_keeps_colours_in_their_place(tmp_path, box, crop_px):
    """Linear colours: scaled pixel i shows the colour at its centre, whichever converter does it."""
    path, _, _ = coloured_video(tmp_path / "colours.avi")
    whole = decode_frames(str(path), [1])[0].astype(float)
    scaled = decode_frames(str(path), [1], box, crop_px)[0]
    y0, x0, y1, _ = box
    centres = (np.arange(2, crop_px - 2) + 0.5) * (y1 - y0) / crop_px - 0.5
    low = np.floor(centres).astype(int)
    weight = (centres - low)[:, None]
    rows = whole[y0 + low] * (1 - weight[..., None]) + whole[y0 + low + 1] * weight[..., None]
    expected = rows[:, x0 + low] * (1 - weight) + rows[:, x0 + low + 1] * weight
    assert scaled.shape == (crop_px, crop_px, 3)
    difference = np.abs(scaled[2:-2, 2:-2] - expected)
    # colours have half the result's resolution, and this ramp is steep after shrinking to 16 pixels
    assert difference.mean() < (3.5 if crop_px == 16 else 1.5) and difference.max() < 7


def test_ends_too_early(tmp_path):
    path = write_lossless(tmp_path / "short.avi", 7)
    with pytest.raises(VideoError, match=r"short.avi: ends after 7 frames, but frame 9 is requested"):
        decode_frames(str(path), [3, 9])


def test_another_size_than_expected(tmp_path):
    path = write_lossless(tmp_path / "small.avi", 3)
    with pytest.raises(VideoError, match="frame 0 has the size 64x48, but 320x240 is expected"):
        decode_frames(str(path), [0], size_hw=(240, 320))


@pytest.mark.parametrize(
    "content, reason", [(b"", "cannot be read as video"), (b"not a video\n" * 99, "cannot be read as video")]
)
def test_not_a_video(tmp_path, content, reason):
    path = tmp_path / "text.avi"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=f"text.avi: {reason}"):
        decode_frames(str(path), [0])


def test_missing_file():
    with pytest.raises(VideoError, match="nowhere.avi: cannot be read as video .No such file"):
        decode_frames("nowhere.avi", [0])


@pytest.mark.skipif(int(dali.__version__.split(".")[0]) < 2, reason="DALI's CPU decoder reads VP9 since 2.0")
@pytest.mark.parametrize("plan", PLANS, ids=[str(list(plan)[:6]) for plan in PLANS])
def test_the_gpu_graph_picks_the_same_frames(tmp_path, plan):
    """DALI's CPU decoder stands in for the GPU's: only the word ``mixed`` differs."""
    path = write_lossless(tmp_path / "video.webm", 40, (64, 96), codec="libvpx-vp9", gop=15)
    theirs, ours = decode_with_dali(str(path), plan, "cpu"), decode_frames(str(path), plan)
    assert theirs.shape == ours.shape
    assert np.abs(theirs.astype(int) - ours.astype(int)).mean() <= 1  # frames differ by 2 grey levels


@pytest.mark.skipif(int(dali.__version__.split(".")[0]) < 2, reason="DALI's CPU decoder reads VP9 since 2.0")
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("colorspace, oddity", [(1, "BT.709"), (2, ""), (5, ""), (6, ""), (9, "BT.2020")])
def test_dali_decodes_what_has_its_colours(tmp_path, colorspace, oddity, color_range):
    """DALI knows one matrix: videos of another are for the CPU, all others look alike."""
    options = {"size_hw": (64, 96), "color_range": color_range, "colorspace": colorspace, "codec": "libvpx-vp9"}
    path = odd.of_format(tmp_path / "video.webm", "yuv420p", (110, 90, 200), **options)
    video = read_video_info(str(path))
    difference = np.abs(decode_with_dali(str(path), [1], "cpu").astype(int) - decode_frames(str(path), [1])).max()
    assert odd_text(video) == (f"not BT.601: {oddity}" if oddity else "")
    if oddity:
        assert difference > 4 and f"not BT.601: {oddity}), which DALI does not decode correctly" in why_not_dali(video)
    else:
        assert difference <= 2 and why_not_dali(video) is None


def test_real_clips_equal_a_sequential_decode(shared_clips):
    for path in sorted((shared_clips / "actions").rglob("*.avi")):
        with open_input(str(path)) as container:
            luma = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
        plan = [0, len(luma) // 2, len(luma) - 1]
        grey = decode_frames(str(path), plan) @ [0.299, 0.587, 0.114]
        for index, frame in zip(plan, grey, strict=True):
            assert abs((luma[index] - 16) * 255 / 219 - frame.mean()) < 3 or abs(luma[index] - frame.mean()) < 3, path


READS_VP9 = pytest.mark.skipif(int(dali.__version__.split(".")[0]) < 2, reason="DALI's CPU decoder reads VP9 since 2.0")


@READS_VP9
@pytest.mark.parametrize(
    "sampling, length",
    [
        ({"training": False, "clips_per_video": 5}, 30),
        ({"num_frames": 64}, 20),
        ({"short_videos": "pad", "num_frames": 64}, 20),
    ],
    ids=["overlapping", "slowed down", "padded"],
)
def test_repeated_frames_are_decoded_once(tmp_path, sampling, length):
    path = write_lossless(tmp_path / "video.webm", length, (48, 64), codec="libvpx-vp9", gop=10, lossless=1, b=0)
    sampler = ClipSampler(videos=scan_videos([(str(path), 0)]).videos * 4, **{"num_frames": 16, **sampling})
    source = ClipSource(BatchSampler(sampler, 4), 32, "gpu")
    clips, _ = first_four_clips(sampler, 32, "gpu")
    for sample in range(4):
        planned = sampler.plan(0, sample).frame_indices
        arrays = dict(zip(source.names, source(SimpleNamespace(idx_in_epoch=sample)), strict=True))
        frame_indices, order = arrays["frame_indices"], arrays["order"]
        assert len(set(planned.tolist())) < len(planned)
        assert frame_indices.tolist() == sorted(set(planned.tolist())) and frame_indices.dtype == np.int32
        np.testing.assert_array_equal(frame_indices[order], planned)
        whole = decode_with_dali(str(path), planned, "cpu").mean(axis=(1, 2, 3))  # every index as it is planned
        np.testing.assert_allclose(clips[sample].mean(axis=(1, 2, 3)) * 128 + 128, whole, atol=0.5)


@pytest.fixture(scope="module")
def natural_video(tmp_path_factory):
    planes = [cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420) for frame in natural_clip(30, 160, 224)]
    path = tmp_path_factory.mktemp("natural") / "video.webm"
    return write_video(path, planes, (160, 224), codec="libvpx-vp9", gop=15, crf=4, b=0)


@READS_VP9
@pytest.mark.parametrize("crop_px", [40, 96, 112])
def test_the_gpu_graph_gives_the_same_clips(natural_video, crop_px):
    """The whole graph with DALI's decoder against PyAV's workers: frames, crop, resize, augmentation, flip."""
    videos = scan_videos([(str(natural_video), 0)]).videos * 4
    sampler = ClipSampler(videos=videos, num_frames=16, augment=RandAugmentT(translate_max_px=20), seed=6)
    clips = {}
    for decoder in ("cpu", "gpu"):
        clips[decoder], shown = first_four_clips(sampler, crop_px, decoder)
        assert shown == [sampler.plan(0, sample).video for sample in range(4)]
    difference, other = (np.abs(clips["cpu"] - clips["gpu"][order]) * 128 for order in ([0, 1, 2, 3], [3, 2, 1, 0]))
    assert clips["gpu"].shape == (4, 16, crop_px, crop_px, 3)
    assert {sampler.plan(0, sample).flip for sample in range(4)} == {True, False}
    # operations such as equalize stretch what the decoders round differently
    assert difference.mean() < 3 and np.quantile(difference, 0.95) < 10 and other.mean() > 20
