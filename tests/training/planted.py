"""Networks whose maps are known beforehand: they look at colours, and only where and when they are told to."""

from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import avg_pool3d

from dali_pipes.pictures.preview import load_clip
from train.config.options import Config
from train.models.zoo import MODELS, Network, build_model
from train.weights.checkpoint import save_checkpoint

CELL = (2, 8, 8)  # frames, rows and columns of the clip that one place of the features sees


class Look(nn.Module):
    """Means of red, green and blue over cells, from 0 to 2, times a (T, H, W) mask of the cells."""

    def __init__(self, mask_THW=None, same_at_all_times: bool = False):
        super().__init__()
        self.mask_THW, self.same_at_all_times = mask_THW, same_at_all_times

    def forward(self, clips_BCTHW):
        features = avg_pool3d(clips_BCTHW + 1, CELL)
        if self.same_at_all_times:
            features = features.mean(dim=2, keepdim=True).expand_as(features)
        return features if self.mask_THW is None else features * self.mask_THW


class Planted(nn.Module):
    """In SlowFast's place: class 0 is red, class 1 green, class 2 blue; the fast path sees nothing."""

    def __init__(self, look: Look, sign: float = 1.0):
        super().__init__()
        self.slow = nn.ModuleList([*(nn.Identity() for _ in range(4)), look])
        self.classifier = nn.Linear(3, 3)
        with torch.no_grad():
            self.classifier.weight.copy_(sign * torch.eye(3))
            self.classifier.bias.copy_(torch.tensor([0.25, -0.5, 1.0]))

    def forward(self, clips_BCTHW):
        return self.classifier(self.slow[4](clips_BCTHW).mean(dim=(2, 3, 4)))


def planted(mask_THW=None, *, same_at_all_times: bool = False, sign: float = 1.0) -> Network:
    return Network("slowfast50", Planted(Look(mask_THW, same_at_all_times), sign)).eval()


def plain_clips(*colours: int, num_frames: int = 16, crop_px: int = 32) -> torch.Tensor:
    """(B, 3, T, H, W): clips that are red (0), green (1) or blue (2) and otherwise black."""
    clips = torch.full((len(colours), 3, num_frames, crop_px, crop_px), -1.0)
    for clip, colour in enumerate(colours):
        clips[clip, colour] = 1.0
    return clips


@cache
def shaken(name: str, num_classes: int = 5, num_frames: int = 32, crop_px: int = 64) -> Network:
    """A network of ``MODELS`` in which every weight, bias and running statistic counts; the same for all tests."""
    torch.manual_seed(3)
    network = build_model(name, num_classes, num_frames=num_frames, crop_px=crop_px).eval()
    with torch.no_grad():
        for tensor in (*network.backbone.parameters(), *network.backbone.buffers()):
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.2 * torch.rand_like(tensor))
    return network


def guessing_checkpoint(path: Path, classes: list[str], config: Config, seed: int = 0) -> Network:
    """Write a checkpoint of a network that has learned nothing, but prefers some classes; returns the network."""
    torch.manual_seed(seed)
    network = build_model(config.model, len(classes), num_frames=config.num_frames, crop_px=config.crop_px).eval()
    with torch.no_grad():
        network.backbone.get_submodule(MODELS[config.model].classifier).weight.normal_(std=0.1)
    save_checkpoint(path, model=network.state_dict(), config=asdict(config), classes=classes)
    return network


def evaluated_clip(path, config: Config) -> torch.Tensor:
    """(3, T, H, W): every second frame of the middle window of a video, as the network is given it."""
    frames_FHWC = load_clip(str(path), config.num_frames, config.crop_px, None)[::2]
    return torch.from_numpy(frames_FHWC).movedim(-1, 0).sub(128.0).div(128.0)
