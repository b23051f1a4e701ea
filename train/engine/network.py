"""The network that the options name."""

from ..config.options import Config
from ..models.zoo import Network, build_model


def make_network(config: Config, num_classes: int) -> Network:
    """Return a new network for these options, on the CPU, with random weights."""
    return build_model(
        config.model,
        num_classes,
        num_frames=config.num_frames,
        crop_px=config.crop_px,
        dropout=config.dropout,
        lateral=config.lateral,
        width=config.width,
    )
