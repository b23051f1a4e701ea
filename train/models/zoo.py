"""The networks of ``--model``: SlowFast-50, and torchvision's for video, all started at random; nothing is downloaded.

A network looks at every ``keep_every``-th frame of the ``--num-frames`` window; the loader does not decode the others.
Every network stands behind the same small step, :class:`Network`, that turns the loader's pixel values into those its
weights were trained on: it changes nothing until published weights are loaded (:mod:`train.weights.pretrained`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dali_pipes.deprecated import renamed_arguments
from dali_pipes.errors import InputError, check_known
from dali_pipes.loader import MEAN, STD

from .slowfast import WIDTH, check_width, frame_weights, slowfast50


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network that ``--model`` names."""

    build: Callable[..., nn.Module]
    """``build(num_classes, kept_frames, crop_px, dropout, lateral, width)``; ``kept_frames`` of a window are
    decoded."""
    keep_every: int
    """A 64-frame window gives as many frames as the published weights were trained on."""
    frames_multiple: int
    """The window must be a multiple of this."""
    min_crop_px: int = 32
    crop_multiple_px: int = 1
    """Width and height of the clips must be a multiple of this."""
    classifier: str
    """Name of the last layer, whose size depends on the classes."""
    mean: tuple[float, float, float]
    """Mean of red, green, blue from 0 to 1: the published weights expect (pixel / 255 - mean) / std."""
    std: tuple[float, float, float]
    features: dict[str, str]
    """Last layers before the means over space and time, which activation maps are of: name -> place in the network."""
    layout: str = "BCTHW"
    """Layout of those features: BCTHW, BTHWC, or tokens: (B, 1 + T H W, C), the first of which is the class token."""


def _slowfast50(
    num_classes: int, kept_frames: int, crop_px: int, dropout: float, lateral: str, width: int
) -> nn.Module:
    return slowfast50(num_classes, fast_stride=1, dropout=dropout, lateral=lateral, width=width)


def _torchvision(name: str, change: Callable[[Any, int, int, float], None] | None = None) -> Callable[..., nn.Module]:
    def build(num_classes: int, kept_frames: int, crop_px: int, dropout: float, lateral: str, width: int) -> nn.Module:
        from torchvision.models import video  # slow to import

        model = getattr(video, name)(weights=None, num_classes=num_classes)
        (change or _add_dropout)(model, kept_frames, crop_px, dropout)
        return model

    return build


def _add_dropout(model: Any, kept_frames: int, crop_px: int, dropout: float) -> None:
    # before the classifier without a name of its own, so that torchvision's weights fit
    model.avgpool = nn.Sequential(model.avgpool, nn.Dropout(dropout))


def _fit_s3d(model: Any, kept_frames: int, crop_px: int, dropout: float) -> None:
    """Fit the final pooling to smaller clips: S3D's 2 x 7 x 7 suits at least 14 frames of 224 x 224."""
    size_THW = (kept_frames // 8, crop_px // 32, crop_px // 32)
    frames, height, width = (min(size) for size in zip(model.avgpool.kernel_size, size_THW, strict=True))
    model.avgpool = nn.AvgPool3d((frames, height, width), stride=1)
    model.classifier[0].p = dropout


def _fit_mvit(model: Any, kept_frames: int, crop_px: int, dropout: float) -> None:
    """The numbers of patches. The position tables keep their published size, the forward pass interpolates them."""
    step_THW = model.conv_proj.stride
    model.pos_encoding.temporal_size = kept_frames // step_THW[0]
    model.pos_encoding.spatial_size = (crop_px // step_THW[1], crop_px // step_THW[2])
    model.head[0].p = dropout


_KINETICS: dict[str, Any] = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}
_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_GREY: dict[str, Any] = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}
_RESNET: dict[str, Any] = {
    "keep_every": 4,
    "frames_multiple": 4,
    "classifier": "fc",
    "features": {"last": "layer4"},
    **_KINETICS,
}
_BOTH_PATHS = {"slow": "slow.4", "fast": "fast.4"}

MODELS: dict[str, Model] = {
    "slowfast50": Model(
        build=_slowfast50, keep_every=2, frames_multiple=16, classifier="classifier", features=_BOTH_PATHS, **_GREY
    ),
    "r3d_18": Model(build=_torchvision("r3d_18"), **_RESNET),
    "mc3_18": Model(build=_torchvision("mc3_18"), **_RESNET),
    "r2plus1d_18": Model(build=_torchvision("r2plus1d_18"), **_RESNET),
    "s3d": Model(
        build=_torchvision("s3d", _fit_s3d),
        keep_every=2,
        frames_multiple=16,
        classifier="classifier.1",
        features={"last": "features"},
        **_KINETICS,
    ),
    "mvit_v2_s": Model(
        build=_torchvision("mvit_v2_s", _fit_mvit),
        keep_every=4,
        frames_multiple=8,
        crop_multiple_px=4,
        classifier="head.1",
        features={"last": "blocks.15.norm1"},
        layout="tokens",
        **_GREY,
    ),
    "swin3d_t": Model(
        build=_torchvision("swin3d_t"),
        keep_every=2,
        frames_multiple=4,
        classifier="head",
        features={"last": "norm"},
        layout="BTHWC",
        **_IMAGENET,
    ),
}
"""Name -> network of ``--model``: ``keep_every`` says which frames of the window it is given, ``window``,
``min_crop_px`` and ``side`` which clips it takes. docs/models.md describes each."""


class Network(nn.Module):
    """The loader's clips (B, 3, T, H, W) -> logits (B, num_classes): ``backbone(clips * input_scale + input_shift)``.

    Scale and shift are saved with the weights, under the same names in every checkpoint. They are 1 and 0, which
    changes no bit, unless the backbone started from weights that were trained on other values. Folding them into the
    first convolution would be wrong at the borders, where it sees zeros.

    Attributes:
        name: of ``MODELS``.
        backbone: the network itself, with its own names (such as torchvision's) for its weights.
        input_scale, input_shift: (3, 1, 1, 1), of red, green and blue.
    """

    def __init__(self, name: str, backbone: nn.Module):
        super().__init__()
        self.name, self.backbone = name, backbone
        self.input_scale: torch.Tensor
        self.input_shift: torch.Tensor
        self.register_buffer("input_scale", torch.ones(3, 1, 1, 1))
        self.register_buffer("input_shift", torch.zeros(3, 1, 1, 1))

    def forward(self, clips_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return (B, K) logits of the loader's (B, 3, T, H, W) clips."""
        return self.backbone(torch.addcmul(self.input_shift, clips_BCTHW, self.input_scale))

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise the backbone's input to (pixel / 255 - mean) / std; the loader's clips are (pixel - 128) / 128.

        Args:
            mean: of red, green and blue, from 0 to 1.
            std: of red, green and blue, from 0 to 1. A mean of 0.45 and deviation of 0.225 turn the loader's -1 (black)
                into -2 and its 0 (grey 128) into 0.231.
        """
        centre, spread = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1, 1) for values in (mean, std))
        self.input_scale.copy_(STD / 255 / spread)
        self.input_shift.copy_((MEAN / 255 - centre) / spread)


@renamed_arguments(frames="num_frames", side="crop_px")
def build_model(
    name: str,
    num_classes: int,
    *,
    num_frames: int,
    crop_px: int,
    dropout: float = 0.5,
    lateral: str = "plain",
    width: int = WIDTH,
) -> Network:
    """Build a network of ``MODELS`` with random weights.

    Args:
        name: of ``MODELS``.
        num_classes: size of the output.
        num_frames: frames of the window; the network gets clips of ``num_frames // MODELS[name].keep_every`` frames.
        crop_px: width and height of the clips in pixels.
        dropout: before the classifier.
        lateral: of slowfast50, see :func:`train.models.slowfast50`.
        width: of slowfast50.

    Returns:
        A module of the loader's clips (B, 3, T, H, W) -> logits (B, num_classes).

    Raises:
        InputError: unknown name, or a number of frames or pixels, or an option, that this network cannot take.
    """
    model = check_clips(name, num_frames, crop_px)
    check_slowfast_options(name, lateral, width)
    return Network(name, model.build(num_classes, num_frames // model.keep_every, crop_px, dropout, lateral, width))


def check_clips(name: str, num_frames: int, crop_px: int) -> Model:
    """The entry of ``MODELS``, if that network can take windows of ``num_frames`` and clips of that size.

    Raises:
        InputError: it cannot, or the name is unknown.
    """
    check_known("--model", name, MODELS)
    model = MODELS[name]
    if num_frames < model.frames_multiple or num_frames % model.frames_multiple:
        needed = f"a multiple of {model.frames_multiple}"
        raise InputError(f"Invalid --num-frames {num_frames}: must be {needed} for --model {name}")
    if crop_px < model.min_crop_px or crop_px % model.crop_multiple_px:
        multiple = f" and a multiple of {model.crop_multiple_px}" if model.crop_multiple_px > 1 else ""
        raise InputError(
            f"Invalid --crop-px {crop_px}: must be at least {model.min_crop_px}{multiple} for --model {name}"
        )
    return model


def check_slowfast_options(name: str, lateral: str, width: int) -> None:
    """Raise :class:`InputError` if an option of SlowFast is chosen for another network, or has no such value."""
    if name != "slowfast50" and width != WIDTH:
        raise InputError(f"Invalid --width {width}: needs --model slowfast50, because {name} has one width only")
    check_width(width)
    if name != "slowfast50" and lateral != "plain":
        raise InputError(
            f"Invalid --lateral {lateral}: needs --model slowfast50, because {name} has no lateral convolutions"
        )


def frame_weights_of(name: str, num_frames: int) -> torch.Tensor:
    """(T,) float64, sum 1: how much of what the network looks at each kept frame of a window of ``num_frames`` is.

    T is ``num_frames // keep_every``: of 64 frames 32 for slowfast50 (:func:`train.models.slowfast.frame_weights`),
    and 16 for r3d_18, each 1/16.
    """
    check_known("--model", name, MODELS)
    kept_frames = num_frames // MODELS[name].keep_every
    if name == "slowfast50":
        return frame_weights(kept_frames, fast_stride=1)
    return torch.full((kept_frames,), 1 / kept_frames, dtype=torch.float64)
