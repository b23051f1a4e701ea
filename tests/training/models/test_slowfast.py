"""The network: shapes of both paths, parameter count, the paper's structure, and frames left out by the loader."""

import pytest
import torch
from torch import nn

from dali_pipes import InputError
from train.models.slowfast import SlowFast, slowfast50


def shapes_by_stage(model, clips):
    shapes = {"slow": [], "fast": []}
    for path in shapes:
        for stage in getattr(model, path):
            stage.register_forward_hook(lambda _, __, out, path=path: shapes[path].append(tuple(out.shape[1:])))
    with torch.no_grad():
        model(clips)
    return shapes


def test_stages_are_those_of_the_slowfast_paper():
    """Table 1 of the SlowFast paper, at 64 frames of 160 x 160 instead of 224."""
    shapes = shapes_by_stage(slowfast50(5).eval(), torch.zeros(1, 3, 64, 160, 160))
    assert shapes["slow"] == [(64, 4, 40, 40), (256, 4, 40, 40), (512, 4, 20, 20), (1024, 4, 10, 10), (2048, 4, 5, 5)]
    assert shapes["fast"] == [(8, 32, 40, 40), (32, 32, 40, 40), (64, 32, 20, 20), (128, 32, 10, 10), (256, 32, 5, 5)]


def test_parameter_count():
    """SlowFast 4x16 R50 is published with 34.48 million for Kinetics-400; its laterals' batch norms have 928."""
    count = sum(p.numel() for p in slowfast50(400).parameters())
    assert round((count + 928) / 1e6, 2) == 34.48


def test_half_the_width_has_half_the_channels_of_every_layer():
    """But for the three colours, and the classes."""
    whole, half = (dict(slowfast50(5, width=width).named_parameters()) for width in (64, 32))
    for name, weights in half.items():
        fixed = ("slow.0.0.weight", "fast.0.0.weight", "classifier.weight", "classifier.bias")
        share = (
            {1: 0.5, 5: 0.25}.get(weights.dim(), 0.5) if name not in fixed else weights.numel() / whole[name].numel()
        )
        assert weights.numel() == share * whole[name].numel(), name
    sizes = {name: half[name].shape for name in ("slow.0.0.weight", "fast.0.0.weight", "classifier.weight")}
    assert sizes == {
        "slow.0.0.weight": (32, 3, 1, 7, 7),
        "fast.0.0.weight": (4, 3, 5, 7, 7),
        "classifier.weight": (5, 1024 + 128),
    }


@pytest.mark.parametrize("width", [0, 12, -8])
def test_widths_that_the_fast_path_cannot_have_an_eighth_of(width):
    with pytest.raises(InputError, match=f"Invalid --width {width}: must be a multiple of 8 above 0"):
        slowfast50(5, width=width)


def test_stages_have_as_many_blocks_as_asked_for():
    with torch.device("meta"):
        deeper = SlowFast(5, width=8, blocks=(3, 4, 23, 3))  # a ResNet-101
    assert [[len(stage) for stage in path[1:]] for path in (deeper.slow, deeper.fast)] == [[3, 4, 23, 3]] * 2


@pytest.mark.parametrize("blocks", [(3, 4, 6), (3, 4, 0, 3)])
def test_wrong_numbers_of_blocks(blocks):
    with pytest.raises(InputError) as error:
        SlowFast(5, blocks=blocks)
    assert str(error.value) == f"Invalid blocks {blocks}: must be 4 numbers of at least 1, those of stages 2 to 5"


def test_laterals_are_plain_convolutions():
    model = slowfast50(5)
    assert [(lateral.in_channels, lateral.out_channels) for lateral in model.laterals] == [
        (8, 16),
        (32, 64),
        (64, 128),
        (128, 256),
    ]
    assert all(isinstance(lateral, nn.Conv3d) and lateral.stride == (8, 1, 1) for lateral in model.laterals)
    assert model.dropout.p == 0.5


def test_temporal_kernels():
    model = slowfast50(5)

    def kernels(path):
        return [path[0][0].kernel_size[0]] + [stage[0].conv_a.kernel_size[0] for stage in list(path)[1:]]

    assert kernels(model.slow) == [1, 1, 1, 3, 3] and kernels(model.fast) == [5, 3, 3, 3, 3]


def test_leaving_out_every_second_frame_is_exact():
    torch.manual_seed(0)
    whole, kept = SlowFast(5, width=16).eval(), SlowFast(5, width=16, fast_stride=1).eval()
    kept.load_state_dict(whole.state_dict())
    clips = torch.randn(2, 3, 32, 32, 32)
    assert torch.equal(whole(clips), kept(clips[:, :, ::2]))


def test_every_parameter_learns():
    torch.manual_seed(0)
    model = SlowFast(3, width=16)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.ones_(module.weight)
    model(torch.randn(2, 3, 16, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_wrong_number_of_frames():
    with pytest.raises(InputError, match="Invalid clips_BCTHW of 20 frames: must be a multiple of 16 for SlowFast"):
        slowfast50(5)(torch.zeros(1, 3, 20, 32, 32))
