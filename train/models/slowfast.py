"""SlowFast-50 (Feichtenhofer et al., ICCV 2019) as in paper section 4.1: 4 slow and 32 fast frames of a 64-frame clip.

The slow path sees every 16th frame with many channels, the fast path every 2nd with 1/8 of them; after the stem and
stages 2 to 4 a time-strided convolution carries the fast path's features into the slow path.

The published Kinetics-400 weights (SlowFast 4x16 R50) belong to a network whose lateral convolutions are followed by
batch norm and ReLU; the SlowFast paper's are plain, and so are the default ones here.
"""

from collections.abc import Sequence

import torch
from torch import nn

from dali_pipes.errors import InputError, check_known

ALPHA = 8  # fast frames per slow frame
BETA = 8  # slow channels per fast channel
BLOCKS = (3, 4, 6, 3)  # residual blocks of stages 2 to 5: a ResNet-50
EXPANSION = 4
LATERAL_KERNEL = 5
LATERALS = ("plain", "norm_relu")
WIDTH = 64
"""Channels of the slow path's stem in the paper."""
Sizes = tuple[int, int, int]


def _conv(in_channels: int, out_channels: int, kernel_THW: Sizes, stride_THW: Sizes = (1, 1, 1)) -> nn.Conv3d:
    frames, height, width = kernel_THW
    padding_THW = (frames // 2, height // 2, width // 2)
    return nn.Conv3d(in_channels, out_channels, kernel_THW, stride_THW, padding_THW, bias=False)


class Bottleneck(nn.Module):
    """(kernel_T x 1 x 1, 1 x 3 x 3, 1 x 1 x 1) with a shortcut; space is strided in the middle convolution."""

    def __init__(self, in_channels: int, width: int, kernel_T: int, stride: int):
        super().__init__()
        out_channels = width * EXPANSION
        self.conv_a, self.norm_a = _conv(in_channels, width, (kernel_T, 1, 1)), nn.BatchNorm3d(width)
        self.conv_b, self.norm_b = _conv(width, width, (1, 3, 3), (1, stride, stride)), nn.BatchNorm3d(width)
        self.conv_c, self.norm_c = _conv(width, out_channels, (1, 1, 1)), nn.BatchNorm3d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = _conv(in_channels, out_channels, (1, 1, 1), (1, stride, stride))
            self.shortcut = nn.Sequential(projection, nn.BatchNorm3d(out_channels))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's features, with the shortcut added."""
        y = self.relu(self.norm_a(self.conv_a(x)))
        y = self.relu(self.norm_b(self.conv_b(y)))
        return self.relu(self.norm_c(self.conv_c(y)) + self.shortcut(x))


def _stem(width: int, kernel_T: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(3, width, (kernel_T, 7, 7), (1, 2, 2)),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    )


def _pathway(
    stem_width: int, stem_kernel_T: int, blocks: Sequence[int], kernels_T: Sequence[int], lateral: bool
) -> nn.ModuleList:
    """Build the stem and stages 2 to 5; ``lateral`` adds room for the fast path's channels at each stage's entry."""
    stages = nn.ModuleList([_stem(stem_width, stem_kernel_T)])
    channels = stem_width
    for stage, (count, kernel_T) in enumerate(zip(blocks, kernels_T, strict=True)):
        width = stem_width * 2**stage
        entry = channels + (2 * channels // BETA if lateral else 0)
        stride = 1 if stage == 0 else 2
        first = Bottleneck(entry, width, kernel_T, stride)
        channels = width * EXPANSION
        stages.append(nn.Sequential(first, *(Bottleneck(channels, width, kernel_T, 1) for _ in range(count - 1))))
    return stages


def _lateral(fast_channels: int, kind: str) -> nn.Module:
    conv = _conv(fast_channels, 2 * fast_channels, (LATERAL_KERNEL, 1, 1), (ALPHA, 1, 1))
    if kind == "plain":
        return conv
    return nn.Sequential(conv, nn.BatchNorm3d(2 * fast_channels), nn.ReLU(inplace=True))


class SlowFast(nn.Module):
    """Clips (B, 3, T, H, W) -> logits (B, num_classes).

    Args:
        blocks: residual blocks of stages 2 to 5, at least one each; the others are as for :func:`slowfast50`.

    Attributes:
        slow, fast: stem and stages 2 to 5 of both paths.
        laterals: after the stem and stages 2 to 4, fast channels C -> 2 C at the slow path's frames: convolutions, or
            (convolution, batch norm, ReLU) with ``lateral="norm_relu"``.
        fast_stride, slow_stride: which frames of the clips each path sees; T must be a multiple of ``slow_stride``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        fast_stride: int = 2,
        dropout: float = 0.5,
        width: int = WIDTH,
        lateral: str = "plain",
        blocks: Sequence[int] = BLOCKS,
    ):
        super().__init__()
        check_known("--lateral", lateral, LATERALS)
        check_width(width)
        if len(blocks) != len(BLOCKS) or min(blocks) < 1:
            raise InputError(
                f"Invalid blocks {tuple(blocks)}: must be {len(BLOCKS)} numbers of at least 1, those of stages 2 to 5"
            )
        self.fast_stride, self.slow_stride = fast_stride, fast_stride * ALPHA
        self.slow = _pathway(width, 1, blocks, (1, 1, 3, 3), lateral=True)
        self.fast = _pathway(width // BETA, 5, blocks, (3, 3, 3, 3), lateral=False)
        fast_channels = [width // BETA] + [width // BETA * EXPANSION * 2**stage for stage in range(3)]
        self.laterals = nn.ModuleList(_lateral(channels, lateral) for channels in fast_channels)
        features = width * 8 * EXPANSION
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features + features // BETA, num_classes)
        self.apply(_initialise)
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.norm_c.weight)  # each block starts as its shortcut (Goyal et al., 2017)

    def forward(self, clips_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return (B, K) logits of (B, 3, T, H, W) clips; T is a multiple of the slow path's stride."""
        if clips_BCTHW.shape[2] % self.slow_stride:
            raise InputError(
                f"Invalid clips_BCTHW of {clips_BCTHW.shape[2]} frames: "
                f"must be a multiple of {self.slow_stride} for SlowFast"
            )
        slow, fast = clips_BCTHW[:, :, :: self.slow_stride], clips_BCTHW[:, :, :: self.fast_stride]
        for stage, (slow_stage, fast_stage) in enumerate(zip(self.slow, self.fast, strict=True)):
            slow, fast = slow_stage(slow), fast_stage(fast)
            if stage < len(self.laterals):
                slow = torch.cat([slow, self.laterals[stage](fast)], dim=1)
        features = torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1)
        return self.classifier(self.dropout(features))


def check_width(width: int) -> None:
    """Raise :class:`InputError` if the fast path cannot have an eighth of the channels."""
    if width < BETA or width % BETA:
        raise InputError(f"Invalid --width {width}: must be a multiple of {BETA} above 0")


def frame_weights(num_frames: int, fast_stride: int = 2) -> torch.Tensor:
    """(T,) float64, sum 1: how much of what SlowFast looks at each frame is, if both paths count the same.

    Of 64 frames with ``fast_stride=2`` the fast path sees every 2nd, each worth 1/64, the slow path every 16th, worth
    1/8 more; what neither sees has 0.
    """
    weights_T = torch.zeros(num_frames, dtype=torch.float64)
    for stride in (fast_stride, fast_stride * ALPHA):
        weights_T[::stride] += 0.5 / len(weights_T[::stride])
    return weights_T


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def slowfast50(
    num_classes: int, *, fast_stride: int = 2, dropout: float = 0.5, lateral: str = "plain", width: int = WIDTH
) -> SlowFast:
    """Build SlowFast-50 of the paper (section 4.1), with random weights.

    It has alpha 8, beta 1/8, and 4 + 32 frames for clips of 64.

    Args:
        num_classes: size of the output.
        fast_stride: the fast path's step in the clips given; 2 for clips of 64 frames as in the paper, 1 for clips
            from which the loader has left out every second frame already (``keep_every=2``). Same network, same result.
        dropout: before the classifier.
        lateral: ``"plain"``, or ``"norm_relu"`` for the network of the published weights. Both start from the same
            random numbers.
        width: channels of the slow path's stem, a multiple of 8; all other layers are in proportion.

    Returns:
        A module of float clips (B, 3, T, H, W) -> logits (B, num_classes). T must be a multiple of 8 x ``fast_stride``,
        and the loader's pixels, (pixel - 128) / 128, are what it expects.

    Raises:
        InputError: unknown ``lateral``, or ``width`` is no multiple of 8.
    """
    return SlowFast(num_classes, fast_stride=fast_stride, dropout=dropout, lateral=lateral, width=width)
