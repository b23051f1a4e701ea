"""--init: published names are mapped right (checked with the peer's own network), and what does not fit is refused."""

import pickle
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models import video

from dali_pipes import InputError
from train.models.slowfast import WIDTH
from train.models.zoo import MODELS, Network, build_model
from train.weights.checkpoint import save_checkpoint
from train.weights.pretrained import NAMINGS, load_pretrained, slowfast_names

FRAMES, SIDE = 32, 40  # of the window: SlowFast sees 16 and 2 of them


def scramble(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight and running statistic random, such that swapped layers of one shape change the result."""
    draw = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm3d):
            for values, low, high in (
                (part.weight, 0.5, 1.5),
                (part.bias, -0.3, 0.3),
                (part.running_mean, -0.3, 0.3),
                (part.running_var, 0.5, 1.5),
            ):
                values.data.uniform_(low, high, generator=draw)
        elif isinstance(part, (nn.Conv3d, nn.Linear)):
            fan_in = part.weight[0].numel()
            part.weight.data.normal_(0, fan_in**-0.5, generator=draw)
            if part.bias is not None:
                part.bias.data.uniform_(-0.3, 0.3, generator=draw)
    return module


def slowfast(classes: int = 400, lateral: str = "norm_relu", width: int = WIDTH) -> Network:
    return build_model("slowfast50", classes, num_frames=FRAMES, crop_px=SIDE, lateral=lateral, width=width)


@pytest.fixture(scope="module")
def weights():
    """Of a scrambled SlowFast 4x16 R50 with 400 classes, by this project's names."""
    return scramble(slowfast()).backbone.state_dict()


def named_as_in(naming: str, weights: dict) -> dict:
    back = {here: there for there, here in slowfast_names(naming).items()}
    return {f"{back[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in weights.items()}


def saved(path, content):
    torch.save(content, path)
    return path


def same(model: Network, weights: dict, but=()) -> bool:
    mine = model.backbone.state_dict()
    return all(torch.equal(value, mine[name]) for name, value in weights.items() if name not in but)


# --- the peer's network


def peer_network():
    from pytorchvideo.models import slowfast as slowfast_of  # of the extra "test"

    torch.manual_seed(1)
    peer = slowfast_of.create_slowfast(
        slowfast_channel_reduction_ratio=(8,),
        slowfast_fusion_conv_kernel_size=(5, 1, 1),
        slowfast_fusion_conv_stride=(8, 1, 1),
        model_num_class=400,
        head_pool_kernel_sizes=((2, 2, 2), (16, 2, 2)),
    )
    return scramble(peer, seed=1).eval()


def test_logits_are_those_of_pytorchvideos_network(tmp_path):
    peer = peer_network()
    model = slowfast()
    note = load_pretrained(model, saved(tmp_path / "SLOWFAST_4x16_R50.pyth", {"model_state": peer.state_dict()}))
    assert "SlowFast, named as in PyTorchVideo" in note and "the classifier for 400 classes is loaded as well" in note
    model.eval()
    clips = torch.rand(2, 3, FRAMES // 2, SIDE, SIDE)  # pixels from 0 to 1
    seen = (clips - 0.45) / 0.225
    with torch.no_grad():
        theirs = peer([seen[:, :, ::8], seen])
        ours = model((clips * 255 - 128) / 128)
        assert theirs.std() > 0.1  # there is something to compare
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
        assert (model(seen) - theirs).abs().max() > 1e-2  # and other pixels give other logits

    # two layers of one shape that change places are seen
    blocks = model.backbone.slow[1]
    blocks[1].conv_b, blocks[2].conv_b = blocks[2].conv_b, blocks[1].conv_b
    with torch.no_grad():
        assert (model((clips * 255 - 128) / 128) - theirs).abs().max() > 1e-2


def test_parameters_are_as_many_as_in_pytorchvideos_network():
    peer = peer_network()
    assert sum(p.numel() for p in peer.parameters()) == sum(p.numel() for p in slowfast().parameters())


# --- PySlowFast: written out by its naming rules, not by the table under test

PYSLOWFAST = """
s1.pathway0_stem.conv.weight             64 3 1 7 7        slow.0.0.weight
s1.pathway0_stem.bn.running_var          64                slow.0.1.running_var
s1.pathway1_stem.conv.weight             8 3 5 7 7         fast.0.0.weight
s1.pathway1_stem.bn.bias                 8                 fast.0.1.bias
s1_fuse.conv_f2s.weight                  16 8 5 1 1        laterals.0.0.weight
s1_fuse.bn.running_mean                  16                laterals.0.1.running_mean
s2.pathway0_res0.branch1.weight          256 80 1 1 1      slow.1.0.shortcut.0.weight
s2.pathway0_res0.branch1_bn.weight       256               slow.1.0.shortcut.1.weight
s2.pathway0_res0.branch2.a.weight        64 80 1 1 1       slow.1.0.conv_a.weight
s2.pathway0_res0.branch2.a_bn.bias       64                slow.1.0.norm_a.bias
s2.pathway0_res2.branch2.b.weight        64 64 1 3 3       slow.1.2.conv_b.weight
s2.pathway0_res2.branch2.b_bn.weight     64                slow.1.2.norm_b.weight
s2.pathway1_res0.branch1.weight          32 8 1 1 1        fast.1.0.shortcut.0.weight
s2.pathway1_res1.branch2.c.weight        32 8 1 1 1        fast.1.1.conv_c.weight
s2.pathway1_res1.branch2.c_bn.bias       32                fast.1.1.norm_c.bias
s2_fuse.conv_f2s.weight                  64 32 5 1 1       laterals.1.0.weight
s3.pathway0_res0.branch1.weight          512 320 1 1 1     slow.2.0.shortcut.0.weight
s3.pathway1_res3.branch2.a.weight        16 64 3 1 1       fast.2.3.conv_a.weight
s3_fuse.bn.weight                        128               laterals.2.1.weight
s4.pathway0_res5.branch2.a.weight        256 1024 3 1 1    slow.3.5.conv_a.weight
s4.pathway1_res5.branch2.b.weight        32 32 1 3 3       fast.3.5.conv_b.weight
s4_fuse.conv_f2s.weight                  256 128 5 1 1     laterals.3.0.weight
s5.pathway0_res0.branch2.a.weight        512 1280 3 1 1    slow.4.0.conv_a.weight
s5.pathway0_res2.branch2.c_bn.running_var 2048             slow.4.2.norm_c.running_var
s5.pathway1_res0.branch1_bn.running_mean 256               fast.4.0.shortcut.1.running_mean
head.projection.weight                   400 2304          classifier.weight
head.projection.bias                     400               classifier.bias
"""


def pyslowfast_names():
    """All names of SlowFast 4x16 R50 in PySlowFast, by its rules: stages s1 to s5, blocks res0.., branches 1 and 2."""
    convs, norms = [], []
    for pathway in (0, 1):
        convs.append(f"s1.pathway{pathway}_stem.conv")
        norms.append(f"s1.pathway{pathway}_stem.bn")
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
            for block in range(blocks):
                start = f"s{stage}.pathway{pathway}_res{block}"
                branches = [f"{start}.branch2.{letter}" for letter in "abc"]
                if block == 0:
                    branches.append(f"{start}.branch1")
                convs += branches
                norms += [f"{branch}_bn" for branch in branches]
    for stage in (1, 2, 3, 4):
        convs.append(f"s{stage}_fuse.conv_f2s")
        norms.append(f"s{stage}_fuse.bn")
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = [f"{conv}.weight" for conv in convs] + [f"{norm}.{kind}" for norm in norms for kind in kinds]
    return names + ["head.projection.weight", "head.projection.bias"]


def test_pyslowfasts_names(weights, tmp_path):
    named = named_as_in("PySlowFast", weights)
    assert sorted(named) == sorted(pyslowfast_names()) and len(named) == 662  # as many as PyTorchVideo's network has
    for line in PYSLOWFAST.strip().splitlines():
        there, *shape, here = line.split()
        assert tuple(named[there].shape) == tuple(map(int, shape)), there
        assert named[there] is weights[here], there
    model = slowfast()
    # as PySlowFast writes them: in the format from before PyTorch 1.6, with more beside
    content = {"epoch": 195, "model_state": OrderedDict(named), "optimizer_state": {"state": {}}, "cfg": "TRAIN: ..."}
    torch.save(content, tmp_path / "x.pyth", _use_new_zipfile_serialization=False)
    note = load_pretrained(model, tmp_path / "x.pyth")
    assert "SlowFast, named as in PySlowFast): 662 weights" in note and "mean 0.45 and standard deviation 0.225" in note
    assert same(model, weights)


def test_every_layer_has_one_name_in_each_naming(weights):
    layers = {name.rpartition(".")[0] for name in weights}
    for naming in NAMINGS:
        names = slowfast_names(naming)
        assert len(set(names.values())) == len(names) and layers <= set(names.values())


# --- what is loaded


def test_the_classifier_of_other_classes_is_left_new(weights, tmp_path):
    path = saved(tmp_path / "x.pyth", named_as_in("PyTorchVideo", weights))  # bare
    model = slowfast(classes=51)
    new = model.backbone.classifier.weight.clone()
    note = load_pretrained(model, path)
    assert note.endswith(
        "660 weights are loaded; the classifier for 51 classes is new (that of the file has 400); "
        "pixels are normalised with mean 0.45 and standard deviation 0.225."
    )
    assert torch.equal(model.backbone.classifier.weight, new)
    assert same(model, weights, but=("classifier.weight", "classifier.bias"))


def test_counters_of_batches_may_be_missing_and_wrappers_leave_prefixes(weights, tmp_path):
    named = {
        f"module.{name}": value
        for name, value in named_as_in("PySlowFast", weights).items()
        if not name.endswith("num_batches_tracked")
    }
    model = slowfast()
    load_pretrained(model, saved(tmp_path / "x.pyth", {"model_state": named}))
    assert same(model, weights, but=[name for name in weights if name.endswith("num_batches_tracked")])


@pytest.mark.parametrize("name", [name for name in MODELS if name != "slowfast50"])
def test_torchvisions_weights(name, tmp_path):
    torch.manual_seed(0)
    theirs = getattr(video, name)(num_classes=400).state_dict()
    torch.manual_seed(1)
    model = build_model(name, 7, num_frames=FRAMES, crop_px=SIDE)
    note = load_pretrained(model, saved(tmp_path / "x.pth", theirs))
    assert f"(torchvision's {name})" in note and "classifier for 7 classes is new (that of the file has 400)" in note
    classifier = MODELS[name].classifier
    assert same(model, theirs, but=(f"{classifier}.weight", f"{classifier}.bias"))
    black = torch.tensor(MODELS[name].mean).neg() / torch.tensor(MODELS[name].std)
    torch.testing.assert_close((model.input_shift - model.input_scale).flatten(), black, rtol=0, atol=1e-5)


def test_a_run_of_this_program(tmp_path):
    """Weights, classes and the pixels the run started from; also runs from before there was a choice of networks."""
    first = slowfast(classes=3, width=8)
    first.set_normalisation((0.45,) * 3, (0.225,) * 3)
    run = {"model": first.state_dict(), "config": {"model": "slowfast50"}, "classes": ["a", "b", "c"], "optimizer": {}}
    save_checkpoint(tmp_path / "last.pt", **run)
    second = slowfast(classes=3, width=8)
    note = load_pretrained(second, tmp_path / "last.pt", classes=["a", "b", "c"])
    assert "weights of this program" in note and "the classifier for 3 classes is loaded as well" in note
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    third = slowfast(classes=3, width=8)
    note = load_pretrained(third, tmp_path / "last.pt", classes=["a", "c", "b"])
    assert "the classifier for 3 classes is new (that of the file is for other classes)" in note
    assert not torch.equal(third.backbone.classifier.weight, first.backbone.classifier.weight)

    averaged = {f"module.{key}": value + 1 for key, value in first.state_dict().items()} | {
        "n_averaged": torch.tensor(1)
    }
    save_checkpoint(tmp_path / "ema.pt", **run | {"ema": averaged})
    load_pretrained(second, tmp_path / "ema.pt", classes=["a", "b", "c"])
    assert all(torch.equal(value + 1, second.state_dict()[key]) for key, value in first.state_dict().items())

    plain = slowfast(classes=3, lateral="plain", width=8)
    save_checkpoint(tmp_path / "old.pt", **run | {"model": plain.backbone.state_dict(), "config": {"epochs": 1}})
    fourth = slowfast(classes=3, lateral="plain", width=8)
    fourth.set_normalisation((0.45,) * 3, (0.225,) * 3)
    load_pretrained(fourth, tmp_path / "old.pt")
    assert all(torch.equal(value, fourth.state_dict()[key]) for key, value in plain.state_dict().items())


# --- what is refused


def refusal(model, path) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_pretrained(model, path)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    return str(error.value)


def test_other_laterals(weights, tmp_path):
    path = saved(tmp_path / "x.pyth", {"model_state": named_as_in("PyTorchVideo", weights)})
    plain = slowfast(lateral="plain")
    assert refusal(plain, path).endswith(
        "have batch norm and ReLU, but the network's are plain; use --lateral norm_relu"
    )
    path = saved(tmp_path / "last.pt", {"model": plain.state_dict(), "config": {}, "classes": []})
    assert refusal(slowfast(), path).endswith(
        "are plain, but the network's have batch norm and ReLU; use --lateral plain"
    )


def test_another_width(weights, tmp_path):
    path = saved(tmp_path / "x.pyth", {"model_state": named_as_in("PySlowFast", weights)})
    narrow = build_model("slowfast50", 400, num_frames=FRAMES, crop_px=SIDE, lateral="norm_relu", width=32)
    assert refusal(narrow, path) == f"{path}: its width is 64, but the network's is 32; use --width 64"
    path = saved(tmp_path / "last.pt", {"model": narrow.state_dict(), "config": {}, "classes": []})
    assert refusal(slowfast(), path).endswith("its width is 32, but the network's is 64; use --width 32")


@pytest.mark.parametrize("lateral", ["plain", "norm_relu"])
def test_slowfast_8x8(weights, tmp_path, lateral):
    """Alpha 4, lateral kernels of 7 frames."""
    other = {
        name: torch.zeros(*value.shape[:2], 7, 1, 1) if name.endswith("conv_f2s.weight") else value
        for name, value in named_as_in("PySlowFast", weights).items()
    }
    message = refusal(slowfast(lateral=lateral), saved(tmp_path / "x.pyth", {"model_state": other}))
    assert "cover 7 frames, but those of slowfast50 cover 5" in message and message.endswith(
        "use those of SlowFast 4x16 R50"
    )


def test_weights_that_do_not_fit_are_named(weights, tmp_path):
    named = named_as_in("PySlowFast", weights)
    del named["s4.pathway0_res3.branch2.b.weight"], named["s5.pathway1_res0.branch1_bn.running_var"]
    named["s4.pathway0_res22.branch2.a.weight"] = torch.zeros(1)
    named["s1.pathway1_stem.bn.weight"] = torch.zeros(16)
    assert refusal(slowfast(), saved(tmp_path / "x.pyth", {"model_state": named})).endswith(
        "does not contain the weights of this network: 2 missing: s4.pathway0_res3.branch2.b.weight, "
        "s5.pathway1_res0.branch1_bn.running_var; 1 unknown: s4.pathway0_res22.branch2.a.weight; "
        "1 with another shape: s1.pathway1_stem.bn.weight (16,), not (8,)"
    )


def test_a_layer_under_two_names(weights, tmp_path):
    named = named_as_in("PySlowFast", weights)
    named["slow.0.0.weight"] = named["s1.pathway0_stem.conv.weight"]
    assert "contains a layer twice" in refusal(slowfast(), saved(tmp_path / "x.pyth", named))


def test_weights_of_another_network(weights, tmp_path):
    theirs = saved(tmp_path / "r3d.pth", video.r3d_18().state_dict())
    assert "contains no weights of slowfast50; its first names are stem.0.weight, " in refusal(slowfast(), theirs)
    assert "with another shape: layer2.0.conv1.0.weight (" in refusal(
        build_model("mc3_18", 7, num_frames=16, crop_px=40), theirs
    )
    r3d = build_model("r3d_18", 7, num_frames=16, crop_px=40)
    path = saved(tmp_path / "last.pt", {"model": r3d.state_dict(), "config": {"model": "r3d_18"}, "classes": []})
    assert refusal(slowfast(), path).endswith("contains the weights of r3d_18, not of slowfast50; use --model r3d_18")


class Foreign:
    def __reduce__(self):
        return (pytest.fail, ("a file was run",))


def test_files_that_are_no_checkpoints(weights, tmp_path):
    model = build_model("r3d_18", 7, num_frames=16, crop_px=40)
    assert refusal(model, tmp_path / "missing.pt").endswith("cannot be read (No such file or directory)")
    assert refusal(model, tmp_path).endswith("is a folder; give a checkpoint file such as best.pt")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("<html>404</html>")
    for name in ("empty.pt", "text.pt"):
        assert "is a file of another kind, but must be weights saved by PyTorch" in refusal(model, tmp_path / name)
    (tmp_path / "caffe2.pkl").write_bytes(pickle.dumps({"blobs": {}}, protocol=2))
    assert "is a pickle of another program, such as PySlowFast's Caffe2 weights" in refusal(
        model, tmp_path / "caffe2.pkl"
    )
    for zipped in (True, False):
        path = tmp_path / f"foreign-{zipped}.pt"
        torch.save({"model_state": {}, "cfg": Foreign()}, path, _use_new_zipfile_serialization=zipped)
        message = refusal(model, path)
        assert re.search(r"than weights, numbers and text, such as \S+, which could run any program", message), message
    assert refusal(model, saved(tmp_path / "list.pt", [1])).endswith(
        "contains a list, but must contain the weights of a network by name (a state dict)"
    )
    assert "its entry 'epoch' is not a weight; it must contain" in refusal(
        model, saved(tmp_path / "odd.pt", {"epoch": 1})
    )
    assert ": it is empty; it must contain" in refusal(model, saved(tmp_path / "none.pt", {"model_state": {}}))


@pytest.mark.parametrize("zipped", [True, False])
def test_cut_short(tmp_path, zipped):
    model = build_model("r3d_18", 7, num_frames=16, crop_px=40)
    whole, path = tmp_path / "whole.pt", tmp_path / "cut.pt"
    small = {name: value[:1] for name, value in model.backbone.state_dict().items() if value.ndim}
    torch.save({name: value.clone() for name, value in small.items()}, whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    for share in (0.01, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(data[: int(share * len(data))])
        assert "is damaged or cut off" in refusal(model, path), share
