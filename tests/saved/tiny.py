"""A network of 300 weights, whose checkpoints are small enough to be kept: those here are of it."""

import torch
from torch import nn


class Tiny(nn.Module):
    """One convolution with batch norm, and what every network here ends with: means, dropout, ``classifier``."""

    def __init__(self, num_classes: int, dropout: float):
        super().__init__()
        self.conv, self.norm = nn.Conv3d(3, 4, 3, stride=(1, 4, 4), bias=False), nn.BatchNorm3d(4)
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(4, num_classes)

    def forward(self, clips_BCTHW: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.conv(clips_BCTHW)).relu().mean(dim=(2, 3, 4))
        return self.classifier(self.dropout(features))


def tiny(num_classes: int, kept_frames: int, side: int, dropout: float, lateral: str, width: int = 64) -> Tiny:
    return Tiny(num_classes, dropout)
