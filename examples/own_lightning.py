"""The loader in PyTorch Lightning: pip install lightning.

    python examples/own_lightning.py FOLDER [PROCESSES]

FOLDER holds train/<class>/<file> and val/<class>/<file>. Each process trains on its share of every batch; the loader
deals them out itself and counts epochs itself. Lightning saves in its checkpoints where the loader stands, so that
trainer.fit(..., ckpt_path=...) goes on with the next batch, also in the middle of an epoch.
"""

import sys

import lightning
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from dali_pipes import RandAugmentT, VideoLoader, resolve_videos, scan_videos
from dali_pipes.dataset import default_cache

FRAMES, SIDE_PX = 16, 64


class Videos(lightning.LightningDataModule):
    def __init__(self, folder, batch_size, workers=1):
        super().__init__()
        self.folder, self.batch_size, self.workers = folder, batch_size, workers

    def prepare_data(self):  # on one process of each machine: the others read what it found
        self.setup()

    def setup(self, stage=None):
        sets = resolve_videos(self.folder)
        self.train, self.val = (
            scan_videos(items, classes=sets.classes, cache=default_cache(items)) for items in (sets.train, sets.val)
        )

    def train_dataloader(self):
        policy = RandAugmentT(n=2, m=10, schedule="temporal+", translate_max_px=100 * SIDE_PX / 160)
        return self._loader(self.train, augment=policy)

    def val_dataloader(self):
        return self._loader(self.val, training=False)

    def _loader(self, manifest, **sampling):
        device = self.trainer.strategy.root_device
        return VideoLoader(
            manifest,
            batch_size=self.batch_size // self.trainer.world_size,
            even_steps=True,  # with batches of at least 2, no process goes without in the last step
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            device=str(device),
            workers=self.workers,
            num_frames=FRAMES,
            crop_px=SIDE_PX,
            **sampling,
        )


class Classifier(lightning.LightningModule):
    def __init__(self, num_classes):
        super().__init__()
        layers = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv3d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm3d(outputs), nn.ReLU()]
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, num_classes))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.network(batch.clips_BCTHW), batch.labels_B)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch))
        self.log("train_videos", float(len(batch)), on_step=False, on_epoch=True, reduce_fx="sum", sync_dist=True)
        return loss

    def validation_step(self, batch, batch_idx):
        # counts over all processes, exact for uneven shares
        self.accuracy.update(self.network(batch.clips_BCTHW), batch.labels_B)
        self.log("val_accuracy", self.accuracy, on_step=False, on_epoch=True, batch_size=len(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(folder, processes="1"):
    videos = Videos(folder, batch_size=2 * int(processes))
    model = Classifier(len(resolve_videos(folder).classes))
    trainer = lightning.Trainer(
        max_epochs=2,
        devices=int(processes),
        strategy="ddp" if int(processes) > 1 else "auto",
        use_distributed_sampler=False,  # the loader's rank and world_size do its work
        logger=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, videos)
    if trainer.is_global_zero:
        print({name: round(value.item(), 3) for name, value in sorted(trainer.callback_metrics.items())})


if __name__ == "__main__":  # the worker processes import this file again
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
