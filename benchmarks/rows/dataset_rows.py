"""Contestants of bench_loader.py as researchers write them: a PyTorch dataset that decodes, crops and augments."""

from rows.noise_rows import M, N


class Windows:
    """A dataset of random windows of videos: ``clip_of(video, window, box, options, rng)`` makes each clip.

    ``window`` are the first frame and the number of frames, ``box`` the crop's top, left and side.
    """

    def __init__(self, videos, options, clip_of):
        self.videos, self.options, self.clip_of = videos, options, clip_of

    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        import numpy as np

        rng = np.random.default_rng(index)
        video, frames = self.videos[index % len(self.videos)], self.options.num_frames
        start = int(rng.integers(max(1, video.num_frames - frames + 1)))
        window = start, min(frames, video.num_frames)
        side = min(int(rng.integers(160, 201)), video.height, video.width)
        top, left = (int(rng.integers(size - side + 1)) for size in (video.height, video.width))
        return self.clip_of(video, window, (top, left, side), self.options, rng)


def data_loader(videos, options, clip_of):
    from torch.utils.data import DataLoader

    clips = Windows(videos, options, clip_of)
    for batch in DataLoader(clips, batch_size=options.batch_size, num_workers=options.workers, prefetch_factor=2):
        yield len(batch)


def straightforward_clip(video, window, box, options, rng):
    """OpenCV reads and seeks, PIL augments frame by frame."""
    import cv2
    import numpy as np
    import torch

    frames = [cv2.resize(frame, (options.crop_px,) * 2) for frame in _read_with_opencv(video, window, box, options)]
    clip = torch.from_numpy(np.stack(_augment_with_pil(frames, rng))).permute(3, 0, 1, 2)
    return (clip.float() - 128) / 128


def torchvision_clip(video, window, box, options, rng):
    import numpy as np
    import torch

    frames = np.stack(_read_with_opencv(video, window, box, options))
    return _with_torchvision(torch.from_numpy(frames).permute(0, 3, 1, 2), options)


class TorchcodecClip:
    """torchcodec decodes the window in one call and with one thread, since the workers share the cores.

    It seeks by the file's own index, which its documentation recommends for speed, instead of scanning the file first.
    """

    def __init__(self):
        self.ends = {}  # of videos whose header promises frames that torchcodec cannot decode

    def __call__(self, video, window, box, options, rng):
        import torch

        top, left, side = box
        frames = self.read(video, *window)[:, :, top : top + side, left : left + side]
        if len(frames) < options.num_frames:  # an index keeps channels last in memory, where torchvision is faster
            frames = frames[torch.arange(options.num_frames).clamp(max=len(frames) - 1)]
        return _with_torchvision(frames, options)

    def read(self, video, start, count):
        from torchcodec.decoders import VideoDecoder

        decoder = VideoDecoder(video.path, num_ffmpeg_threads=1, seek_mode="approximate")
        end = min(start + count, self.ends.get(video.path, video.num_frames))
        while True:
            try:
                return decoder.get_frames_in_range(start, end).data
            except RuntimeError:
                if end - start < 2:
                    raise
                self.ends[video.path] = end = end - 1


def why_not_torchcodec() -> str | None:
    """A sentence about what is missing, and how to get it."""
    try:
        from torchcodec.decoders import VideoDecoder

        VideoDecoder(b"")
    except ImportError:
        return 'torchcodec is not installed: run pip install -e ".[bench]"'
    except (OSError, RuntimeError, ValueError) as error:
        if "libtorchcodec" in str(error):
            return (
                "torchcodec cannot load its libraries: install those of FFmpeg, for example with "
                'apt-get install ffmpeg, and a torch and a torchcodec that fit, with pip install -e ".[bench]"'
            )
    return None


def _read_with_opencv(video, window, box, options):
    """The frames of a window, cropped; the last one is repeated where the video is short."""
    import cv2

    cv2.setNumThreads(0)
    (start, _), (top, left, side) = window, box
    capture = cv2.VideoCapture(video.path)
    capture.set(cv2.CAP_PROP_POS_FRAMES, start)
    frames = []
    while len(frames) < options.num_frames:
        good, frame = capture.read()
        if not good:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    frames += [frames[-1]] * (options.num_frames - len(frames))
    return [frame[top : top + side, left : left + side] for frame in frames]


def _with_torchvision(frames_FCHW, options):
    from torchvision.transforms import v2

    clip = v2.functional.resize(frames_FCHW, [options.crop_px, options.crop_px], antialias=True)
    clip = v2.RandAugment(num_ops=N, magnitude=int(M))(clip)
    return (clip.permute(1, 0, 2, 3).float() - 128) / 128


def _augment_with_pil(frames, rng):
    import numpy as np
    from PIL import Image

    from dali_pipes.augment.ops import OPS
    from dali_pipes.plan.magnitude import schedule_levels
    from tests.reference import pil_ops

    images = [Image.fromarray(frame) for frame in frames]
    for name in rng.choice(list(OPS), N):
        levels, sign = schedule_levels("temporal+", M, len(images), rng), rng.choice([-1, 1])
        images = [
            pil_ops.apply(name, image, pil_ops.value_of(name, float(level), sign, "paper"))
            for image, level in zip(images, levels, strict=True)
        ]
    return [np.asarray(image) for image in images]
