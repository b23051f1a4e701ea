"""Class activation maps in space and time: what a network saw of a class, where and when (paper section 4.6).

The logit of a class is a mean over the places of the last features of their product with the classifier's weights of
that class, plus what comes from elsewhere: the bias and, for SlowFast, the other path. The map is that product at each
place (Zhou et al., CVPR 2016). It is taken from the logit's gradient, which for a mean and a linear layer is those
weights, and also says how much each place counts where means overlap, as in s3d. Where a class token comes between, as
in mvit_v2_s, the map is Grad-CAM (Selvaraju et al., ICCV 2017) of the captum library.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from dali_pipes.errors import InputError, check_known

from ..models.zoo import MODELS, Network


@dataclass(frozen=True)
class ClassMaps:
    """Maps of P classes of each of B clips."""

    maps_BPTHW: torch.Tensor
    """float32, of the features' frames, rows and columns."""
    weights_BTHW: torch.Tensor
    """float32, 1 on average: how much each place counts. The mean of map times weight is a part of the logit, but for
    Grad-CAM."""
    logits_BK: torch.Tensor
    """float32, of all classes."""

    @property
    def over_time_BPT(self) -> torch.Tensor:
        """The means over space."""
        return self.maps_BPTHW.mean(dim=(3, 4))


def check_finite(maps: ClassMaps, network: Network) -> ClassMaps:
    """The maps, or :class:`InputError` if they or the logits are not numbers."""
    if not (maps.logits_BK.isfinite().all() and maps.maps_BPTHW.isfinite().all()):
        raise InputError(
            f"Cannot compute activation maps: the scores of this {network.name} are not finite numbers; "
            "train it again with a lower --lr"
        )
    return maps


def is_exact(name: str) -> bool:
    """Return whether the maps of this network of ``MODELS`` add up to its logits."""
    return MODELS[name].layout != "tokens"


def class_maps(network: Network, clips_BCTHW: torch.Tensor, classes_BP: torch.Tensor, layer: str = "") -> ClassMaps:
    """Return the class activation maps of some classes.

    Args:
        network: is put into evaluation mode.
        clips_BCTHW: the loader's.
        classes_BP: int64, the classes asked for, of each clip its own.
        layer: of the features, by default the first of ``MODELS[network.name].features``: SlowFast's slow path.

    Raises:
        InputError: this network has no such layer; names those it has.
    """
    model = MODELS[network.name]
    layer = layer or next(iter(model.features))
    check_known("--layer", layer, model.features)
    network.eval()
    module = network.backbone.get_submodule(model.features[layer])
    if not is_exact(network.name):
        return _grad_cam(network, module, clips_BCTHW, classes_BP)
    found: list[torch.Tensor] = []

    def cut(module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        found.append(output.detach().float().requires_grad_())  # what lies before needs no gradient
        return found[0].to(output.dtype)

    handle = module.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits_BK = network(clips_BCTHW).float()
            pairs = [
                _map_of(logits_BK, chosen_B, found[0], model.layout) for chosen_B in classes_BP.to(clips_BCTHW.device).T
            ]
    finally:
        handle.remove()
    maps, weights = zip(*pairs, strict=True)
    return ClassMaps(torch.stack(maps, dim=1), weights[0], logits_BK.detach())


def _map_of(
    logits_BK: torch.Tensor, chosen_B: torch.Tensor, features: torch.Tensor, layout: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T, H, W) both: the map, and how much its places count."""
    total = logits_BK.gather(1, chosen_B[:, None]).sum()  # clips do not depend on each other
    (gradient,) = torch.autograd.grad(total, features, retain_graph=True)
    channels = layout.index("C")
    weights_BTHW = gradient.abs().sum(dim=channels)  # of all channels alike: the classifier's weights times the place's
    weights_BTHW = weights_BTHW / weights_BTHW.mean(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo().tiny)
    map_BTHW = (gradient * features.detach()).sum(dim=channels) * gradient[0].select(channels - 1, 0).numel()
    return map_BTHW / weights_BTHW.clamp_min(torch.finfo().tiny), weights_BTHW


def _grad_cam(network: Network, tokens: nn.Module, clips_BCTHW: torch.Tensor, classes_BP: torch.Tensor) -> ClassMaps:
    from captum.attr import LayerGradCam  # slow to import

    grid = nn.Identity()
    handle = tokens.register_forward_hook(_through(grid, network.backbone.get_submodule("pos_encoding").temporal_size))
    try:
        cam = LayerGradCam(network, grid)
        with torch.enable_grad():
            maps = [
                cam.attribute(clips_BCTHW, target=chosen_B)[:, 0] for chosen_B in classes_BP.to(clips_BCTHW.device).T
            ]
        with torch.no_grad():
            logits_BK = network(clips_BCTHW).float()
    finally:
        handle.remove()
    maps_BPTHW = torch.stack(maps, dim=1).detach().float()
    return ClassMaps(maps_BPTHW, torch.ones_like(maps_BPTHW[:, 0]), logits_BK)


def _through(grid: nn.Module, num_times: Any) -> Callable[[nn.Module, tuple, torch.Tensor], torch.Tensor]:
    """A hook that hands tokens (B, 1 + T H W, C) through ``grid`` as (B, C, T, H, W), without the class token."""

    def hook(module: nn.Module, inputs: tuple, tokens: torch.Tensor) -> torch.Tensor:
        patches_BCN = tokens[:, 1:].transpose(1, 2)
        side = math.isqrt(patches_BCN.shape[2] // num_times)
        seen_BCTHW = grid(patches_BCN.unflatten(2, (num_times, side, side)))
        return torch.cat([tokens[:, :1], seen_BCTHW.flatten(2).transpose(1, 2)], dim=1)

    return hook


def map_frames(num_times: int, num_frames: int) -> np.ndarray:
    """(num_times,) float64: the frame of the clip that each time of a map stands for.

    Strides of 2 after each other look around every n-th frame, n a power of 2: of 32 frames SlowFast's slow path sees
    0, 8, 16 and 24, and r3d_18 looks at 0, 8 and 16 of 17.
    """
    return np.arange(num_times) * 2.0 ** math.ceil(math.log2(num_frames / num_times))


def stretch(map_THW: torch.Tensor, num_frames: int, side_px: int) -> torch.Tensor:
    """(num_frames, crop_px, crop_px): the map in the clip's size, linear between places, constant after the last."""
    times = map_frames(len(map_THW), num_frames)
    weights_FT = np.stack([np.interp(np.arange(num_frames), times, row) for row in np.eye(len(map_THW))], axis=1)
    map_FHW = torch.einsum("ft,thw->fhw", torch.from_numpy(weights_FT).to(map_THW), map_THW)
    return interpolate(map_FHW[:, None], size=(side_px, side_px), mode="bilinear", align_corners=False)[:, 0]
