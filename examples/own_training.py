"""A training loop of your own on the loader: a small network, and nothing of train/.

    python examples/own_training.py FOLDER [EPOCHS]

FOLDER holds train/<class>/<file> and val/<class>/<file>. After each epoch own_training.pt is written to the working
folder; the same command goes on from there, with the batches that would have come next.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from dali_pipes import RandAugmentT, VideoLoader, resolve_videos, scan_videos

CHECKPOINT = Path("own_training.pt")
FRAMES, SIDE_PX = 16, 64


def make_network(num_classes):
    layers = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv3d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, num_classes))


@torch.no_grad()
def accuracy(network, loader):
    """The share of videos that are recognised by the sum of their clips' scores."""
    network.eval()
    scores_VK = torch.zeros(len(loader.manifest), len(loader.manifest.classes))
    for batch in loader:
        scores_VK.index_add_(0, batch.videos_B, network(batch.clips_BCTHW).softmax(dim=1).cpu())
    labels_V = torch.tensor([video.label for video in loader.manifest.videos])
    return (scores_VK.argmax(dim=1) == labels_V).float().mean().item()


def main(folder, epochs=2):
    sets = resolve_videos(folder)
    for note in sets.notes:
        print(note)
    train, val = (scan_videos(items, classes=sets.classes) for items in (sets.train, sets.val))
    policy = RandAugmentT(n=2, m=10, schedule="temporal+", translate_max_px=100 * SIDE_PX / 160)
    common = {"num_frames": FRAMES, "crop_px": SIDE_PX, "workers": 1}
    train_loader = VideoLoader(train, batch_size=4, augment=policy, **common)
    val_loader = VideoLoader(val, batch_size=2, training=False, clips_per_video=2, **common)
    torch.manual_seed(0)
    network = make_network(len(train.classes)).to(train_loader.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT, map_location=train_loader.device)
        for name, what in (("network", network), ("optimizer", optimizer), ("loader", train_loader)):
            what.load_state_dict(saved[name])
    while train_loader.epoch < int(epochs):
        network.train()
        for batch in train_loader:  # one epoch: each video once
            loss = nn.functional.cross_entropy(network(batch.clips_BCTHW), batch.labels_B)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        state = {"network": network, "optimizer": optimizer, "loader": train_loader}
        torch.save({name: what.state_dict() for name, what in state.items()}, CHECKPOINT)
        print(
            f"epoch {train_loader.epoch}: loss {loss.item():.3f}, accuracy {100 * accuracy(network, val_loader):.0f} %"
        )


if __name__ == "__main__":  # the worker processes import this file again
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
