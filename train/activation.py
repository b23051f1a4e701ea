"""Class activation maps in space and time: what a network saw of a class, where and when (paper section 4.6).

The logit of a class is linear in the features before the means over space and time, so it is the mean of a map plus what
comes from elsewhere: from the classifier's bias and, for SlowFast, from the other path (Zhou et al., CVPR 2016). The map
is the product of the features and the logit's gradient, summed over the channels: for a mean and a linear layer that is
the weighted sum of the features, and for s3d, whose means overlap, it is still exact. Where a class token comes between,
as in mvit_v2_s, it is Grad-CAM (Selvaraju et al., ICCV 2017) of the captum library.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from dali_pipes.errors import check_known

from .models import MODELS, Network


@dataclass(frozen=True)
class ClassMaps:
    """Maps of P classes of each of B clips."""

    maps_BPTHW: torch.Tensor
    """float32, of the features' frames, rows and columns. But for Grad-CAM, its mean over T, H, W is a part of the logit."""
    logits_BK: torch.Tensor
    """float32, of all classes."""

    @property
    def over_time_BPT(self) -> torch.Tensor:
        """The means over space."""
        return self.maps_BPTHW.mean(dim=(3, 4))


def is_exact(name: str) -> bool:
    """Whether the maps of this network of ``MODELS`` add up to its logits."""
    return MODELS[name].layout != "tokens"


def class_maps(network: Network, clips_BCTHW: torch.Tensor, classes_BP: torch.Tensor, layer: str = "") -> ClassMaps:
    """What the network saw of some classes.

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
    found = []

    def cut(module, inputs, output):
        found.append(output.detach().float().requires_grad_())  # what lies before needs no gradient
        return found[0].to(output.dtype)

    handle = module.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits_BK = network(clips_BCTHW).float()
            maps = [
                _map_of(logits_BK, chosen_B, *found, model.layout) for chosen_B in classes_BP.to(clips_BCTHW.device).T
            ]
    finally:
        handle.remove()
    return ClassMaps(torch.stack(maps, dim=1), logits_BK.detach())


def _map_of(logits_BK, chosen_B, features, layout: str) -> torch.Tensor:
    total = logits_BK.gather(1, chosen_B[:, None]).sum()  # clips do not depend on each other
    (gradient,) = torch.autograd.grad(total, features, retain_graph=True)
    map_BTHW = (gradient * features.detach()).sum(dim=layout.index("C"))
    return map_BTHW * map_BTHW[0].numel()  # so that the mean is what the sum was


def _grad_cam(network: Network, tokens: nn.Module, clips_BCTHW, classes_BP) -> ClassMaps:
    from captum.attr import LayerGradCam  # slow to import

    grid = nn.Identity()
    handle = tokens.register_forward_hook(_through(grid, network.backbone.pos_encoding.temporal_size))
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
    return ClassMaps(torch.stack(maps, dim=1).detach().float(), logits_BK)


def _through(grid: nn.Module, num_times: int):
    """A hook that hands tokens (B, 1 + T H W, C) through ``grid`` as (B, C, T, H, W), without the class token."""

    def hook(module, inputs, tokens):
        patches_BCN = tokens[:, 1:].transpose(1, 2)
        side = math.isqrt(patches_BCN.shape[2] // num_times)
        seen_BCTHW = grid(patches_BCN.unflatten(2, (num_times, side, side)))
        return torch.cat([tokens[:, :1], seen_BCTHW.flatten(2).transpose(1, 2)], dim=1)

    return hook


def map_frames(num_times: int, num_frames: int) -> np.ndarray:
    """(num_times,) float64: the frame of the clip that each time of a map stands for.

    Strided convolutions look around every n-th frame: of 32 frames SlowFast's slow path sees 0, 8, 16 and 24.
    """
    return np.arange(num_times) * num_frames / num_times


def stretch(map_THW: torch.Tensor, num_frames: int, side_px: int) -> torch.Tensor:
    """(num_frames, side_px, side_px): the map in the clip's size, linear between its places, constant after its last time."""
    times = map_frames(len(map_THW), num_frames)
    weights_FT = np.stack([np.interp(np.arange(num_frames), times, row) for row in np.eye(len(map_THW))], axis=1)
    map_FHW = torch.einsum("ft,thw->fhw", torch.from_numpy(weights_FT).to(map_THW), map_THW)
    return interpolate(map_FHW[:, None], size=(side_px, side_px), mode="bilinear", align_corners=False)[:, 0]
