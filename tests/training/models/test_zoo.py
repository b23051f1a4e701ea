"""Every network of --model: sizes it takes, frames it is given, its input step; each still is torchvision's."""

import re

import pytest
import torch
from torch import nn
from torchvision.models import video
from torchvision.ops import StochasticDepth

from dali_pipes import InputError
from dali_pipes.loader.graph import MEAN, STD
from train.models.slowfast import LATERALS, frame_weights, slowfast50
from train.models.zoo import MODELS, build_model, check_clips, frame_weights_of

TORCHVISION = [name for name in MODELS if name != "slowfast50"]
WEIGHTS = {
    "r3d_18": video.R3D_18_Weights,
    "mc3_18": video.MC3_18_Weights,
    "r2plus1d_18": video.R2Plus1D_18_Weights,
    "s3d": video.S3D_Weights,
    "mvit_v2_s": video.MViT_V2_S_Weights,
    "swin3d_t": video.Swin3D_T_Weights,
}


def clips(name, frames, side, batch=1):
    return torch.randn(batch, 3, frames // MODELS[name].keep_every, side, side)


@pytest.mark.parametrize(("frames", "side"), [(16, 40), (32, 56), (64, 112)])
@pytest.mark.parametrize("name", MODELS)
def test_sizes(name, frames, side):
    """On the meta device, which knows shapes alone."""
    with torch.no_grad(), torch.device("meta"):
        logits = build_model(name, 5, num_frames=frames, crop_px=side).eval()(clips(name, frames, side))
    assert logits.shape == (1, 5)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    model = build_model(name, 5, num_frames=32, crop_px=56, dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.ones_(module.weight)
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    logits = model(clips(name, 32, 56, batch=2))
    assert logits.shape == (2, 5) and logits.isfinite().all()
    logits.square().sum().backward()
    idle = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # MViT reads its class token alone: what the last block does to the others is lost
    assert all(name == "mvit_v2_s" and key.startswith("backbone.blocks.15.attn.") for key in idle), idle


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_networks_are_unchanged(name):
    """The same names, and at a size torchvision takes as it is, the same logits."""
    frames, side = {"s3d": (32, 224), "mvit_v2_s": (64, 224)}.get(name, (32, 56))
    theirs = getattr(video, name)(num_classes=5).eval()
    ours = build_model(name, 5, num_frames=frames, crop_px=side).eval()
    ours.backbone.load_state_dict(theirs.state_dict())
    given = clips(name, frames, side)
    with torch.no_grad():
        torch.testing.assert_close(ours(given), theirs(given), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_before_the_classifier_alone(name):
    with torch.device("meta"):
        model = build_model(name, 5, num_frames=32, crop_px=56, dropout=0.3)
    drops = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    assert [p for p in drops if p] == [0.3]


@pytest.mark.parametrize("name", TORCHVISION)
def test_published_sizes_and_pixels(name):
    transforms = WEIGHTS[name].DEFAULT.transforms()
    assert (list(MODELS[name].mean), list(MODELS[name].std)) == (list(transforms.mean), list(transforms.std))
    trained_on = {"s3d": 32, "swin3d_t": 32}.get(name, 16)
    assert 64 // MODELS[name].keep_every == trained_on


@pytest.mark.parametrize("name", ["slowfast50", "r3d_18", "swin3d_t"])
def test_the_backbone_sees_the_pixels_it_expects(name):
    model = build_model(name, 5, num_frames=16, crop_px=40).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pixels = torch.randint(0, 256, (1, 3, 16 // MODELS[name].keep_every, 40, 40)).float()
    loaded = (pixels - MEAN) / STD
    with torch.no_grad():
        model(loaded)
        model.set_normalisation(MODELS[name].mean, MODELS[name].std)
        model(loaded)
    assert torch.equal(seen[0], loaded)  # no bit changes until then
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MODELS[name].mean, MODELS[name].std))
    torch.testing.assert_close(seen[1], (pixels / 255 - mean) / std, rtol=0, atol=1e-5)
    assert set(model.state_dict()) == {
        "input_scale",
        "input_shift",
        *(f"backbone.{k}" for k in model.backbone.state_dict()),
    }


def test_frame_weights():
    assert torch.equal(frame_weights_of("slowfast50", 64), frame_weights(32, fast_stride=1))
    assert frame_weights_of("r3d_18", 64).tolist() == [1 / 16] * 16
    assert all(abs(frame_weights_of(name, 64).sum() - 1) < 1e-12 for name in MODELS)


def test_laterals():
    models = []
    for lateral in LATERALS:
        torch.manual_seed(0)
        models.append(slowfast50(400, lateral=lateral))
    plain, norm_relu = models
    assert [[type(part) for part in lateral] for lateral in norm_relu.laterals] == [
        [nn.Conv3d, nn.BatchNorm3d, nn.ReLU]
    ] * 4
    assert round(sum(p.numel() for p in norm_relu.parameters()) / 1e6, 2) == 34.48  # as published
    same = {
        re.sub(r"^(laterals\.\d)\.0\.", r"\1.", key): value
        for key, value in norm_relu.state_dict().items()
        if not re.match(r"laterals\.\d\.1\.", key)
    }
    assert same.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, same[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize(
    ("name", "frames", "side", "message"),
    [
        ("slowfast", 64, 160, "Invalid --model 'slowfast': choose one of slowfast50, r3d_18, "),
        ("slowfast50", 24, 160, "Invalid --num-frames 24: must be a multiple of 16 for --model slowfast50"),
        ("s3d", 24, 160, "Invalid --num-frames 24: must be a multiple of 16 for --model s3d"),
        ("r3d_18", 30, 160, "Invalid --num-frames 30: must be a multiple of 4 for --model r3d_18"),
        ("r3d_18", 0, 160, "Invalid --num-frames 0: must be a multiple of 4 for --model r3d_18"),
        ("mvit_v2_s", 64, 58, "Invalid --crop-px 58: must be at least 32 and a multiple of 4 for --model mvit_v2_s"),
        ("swin3d_t", 64, 20, "Invalid --crop-px 20: must be at least 32 for --model swin3d_t"),
    ],
)
def test_sizes_a_network_cannot_take(name, frames, side, message):
    with pytest.raises(InputError) as error:
        check_clips(name, frames, side)
    assert str(error.value).startswith(message)


def test_wrong_options():
    with pytest.raises(InputError, match="Invalid --lateral 'relu': choose one of norm_relu, plain"):
        slowfast50(5, lateral="relu")
    with pytest.raises(
        InputError, match="Invalid --lateral norm_relu: needs --model slowfast50, because r3d_18 has no lateral"
    ):
        build_model("r3d_18", 5, num_frames=64, crop_px=112, lateral="norm_relu")
