"""--init of other programs' checkpoints: taken by name, or refused with a line that works; no file is executed."""

import argparse
import re
import shutil
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from dali_pipes import InputError
from train.models.zoo import build_model
from train.weights.checkpoint import load_checkpoint
from train.weights.pretrained import load_pretrained
from train.weights.weights_file import outline

pytestmark = pytest.mark.usefixtures("narrow")
FRAMES, SIDE = 16, 40


def network(classes: int = 3):
    return build_model("slowfast50", classes, num_frames=FRAMES, crop_px=SIDE)


@pytest.fixture
def backbone():
    torch.manual_seed(7)
    return network().backbone


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def load(path, model=None) -> tuple[str, dict]:
    model = model or network()
    return load_pretrained(model, path, ["a", "b", "c"]), model.backbone.state_dict()


def assert_same(found: dict, expected: dict, but=()) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items() if name not in but)


def refusal(path) -> str:
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    return str(error.value)


def follow(message: str, folder) -> Path:
    """Do what a refusal says; returns the file that was written."""
    line = re.search(r"torch\.save\(.+\)$", message)
    assert line, message
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        patch.chdir(folder)
        exec(line[0], {"torch": torch})
    return folder / "weights.pt"


# --- Lightning


@pytest.fixture
def lightning_checkpoint(backbone, tmp_path):
    """Write a checkpoint with Lightning's trainer, after a step."""
    lightning = pytest.importorskip("lightning")  # of the extra "test"

    class Module(lightning.LightningModule):
        def __init__(self, options, criterion):
            super().__init__()
            self.save_hyperparameters("options")
            self.model, self.criterion = backbone, criterion

        def training_step(self, clips, number):
            return self.model(clips).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-3, momentum=0.9)

    def write(options, criterion=None):
        trainer = lightning.Trainer(
            max_steps=1,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        clips = torch.rand(2, 3, FRAMES // 2, SIDE, SIDE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(Module(options, criterion), torch.utils.data.DataLoader(clips, batch_size=2))
            trainer.save_checkpoint(tmp_path / "lightning.ckpt")
        return tmp_path / "lightning.ckpt"

    return write


def test_a_lightning_checkpoint_is_taken(lightning_checkpoint, backbone):
    path = lightning_checkpoint({"width": 8})
    names = torch.load(path, weights_only=True)["state_dict"]
    assert set(names) == {f"model.{name}" for name in backbone.state_dict()}
    note, found = load(path)
    assert_same(found, backbone.state_dict())
    assert (
        "the classifier for 3 classes is loaded as well, and its outputs are assigned to the classes in this "
        "order: 0 a, 1 b, 2 c;" in note
    )


@pytest.mark.parametrize("options", [argparse.Namespace(width=8), Path("videos")])
def test_a_lightning_checkpoint_with_objects_is_refused_with_the_line_that_writes_its_weights(
    lightning_checkpoint, backbone, tmp_path, options
):
    path = lightning_checkpoint(options)
    message = refusal(path)
    kind = type(options).__name__
    assert re.search(rf"such as \S*\.{kind}, which could run any program and are not loaded; if you trust", message)
    loading = f'torch.load({str(path)!r}, map_location="cpu", weights_only=False)'
    assert message.endswith(f"""torch.save(dict({loading}['state_dict']), "weights.pt")""")
    assert_same(load(follow(message, tmp_path))[1], backbone.state_dict())


def test_weights_beside_the_network_are_named_with_the_line_that_leaves_them(lightning_checkpoint, backbone, tmp_path):
    path = lightning_checkpoint(None, nn.CrossEntropyLoss(weight=torch.ones(3)))
    message = refusal(path)
    assert (
        "contains the weights of slowfast50 under names that start with model., and other entries (1): "
        "criterion.weight; if" in message
    )
    assert_same(load(follow(message, tmp_path))[1], backbone.state_dict())


# --- prefixes and keys


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.", "backbone.", "model._orig_mod.module.", "a.b.c."])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "net", "model"])
def test_a_prefix_that_all_names_share_is_left_out(backbone, tmp_path, prefix, key):
    weights = OrderedDict((f"{prefix}{name}", value) for name, value in backbone.state_dict().items())
    content = (
        weights if key is None else {"epoch": 3, key: weights, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
    )
    assert_same(load(saved(tmp_path / "x.pt", content))[1], backbone.state_dict())


def test_networks_of_this_program_keep_their_scale_of_pixels_when_wrapped(tmp_path):
    first = network()
    first.set_normalisation((0.5,) * 3, (0.25,) * 3)
    weights = {f"net.module.{name}": value for name, value in first.state_dict().items()}
    second = network()
    note, found = load(saved(tmp_path / "x.pt", {"state_dict": weights}), second)
    assert_same(second.state_dict(), first.state_dict())
    assert "weights of this program" in note
    path = saved(tmp_path / "y.pt", {"state_dict": weights | {"loss.weight": torch.ones(3)}})
    third = network()
    load(follow(refusal(path), tmp_path), third)
    assert_same(third.state_dict(), first.state_dict())


def test_of_several_networks_the_one_with_a_usual_name_is_taken_else_none(backbone, tmp_path):
    weights = backbone.state_dict()
    other = {name: value + 1 for name, value in weights.items()}
    assert_same(load(saved(tmp_path / "x.pt", {"state_dict_ema": other, "state_dict": weights}))[1], weights)
    message = refusal(saved(tmp_path / "y.pt", {"student": weights, "teacher": other}))
    assert "contains weights under student, teacher; save only those of one network: " in message
    assert_same(load(follow(message, tmp_path))[1], weights)
    settings = {"model": {"depth": 50}, "state_dict": weights}  # a usual name for something else
    assert_same(load(saved(tmp_path / "z.pt", settings))[1], weights)


def test_of_many_classes_the_first_and_the_last_are_named_if_the_classifier_is_taken(tmp_path):
    path = saved(tmp_path / "x.pt", network(6).backbone.state_dict())
    note = load_pretrained(network(6), path, list("abcdef"))
    assert "assigned to the classes in this order: 0 a, 1 b, 2 c, ..., 5 f;" in note
    assert "order" not in load_pretrained(network(3), path, list("abc"))


# --- mmaction2


def mmaction2_checkpoint(path, backbone_names):
    weights = OrderedDict((f"backbone.{name}", value) for name, value in backbone_names.items())
    weights |= {"cls_head.fc_cls.weight": torch.zeros(3, 288), "cls_head.fc_cls.bias": torch.zeros(3)}
    return saved(path, {"meta": {"epoch": 256, "dataset_meta": {}}, "state_dict": weights, "message_hub": {}})


def test_mmaction2s_own_names_are_refused_in_one_sentence(tmp_path):
    names = {f"{path}_path.conv1.conv.weight": torch.zeros(1) for path in ("slow", "fast")}
    message = refusal(mmaction2_checkpoint(tmp_path / "slowfast.pth", names))
    assert message.endswith(
        "contains no weights of slowfast50; its first names are backbone.slow_path.conv1.conv.weight, "
        "backbone.fast_path.conv1.conv.weight, cls_head.fc_cls.weight, ..., as mmaction2 names them; it must contain "
        "the weights of SlowFast 4x16 R50 of PySlowFast or PyTorchVideo, or of a run of this program"
    )


def test_mmaction2s_checkpoint_of_a_network_of_here_is_taken_without_its_head(backbone, tmp_path):
    weights = backbone.state_dict()
    classifier = [name for name in weights if name.startswith("classifier.")]
    inner = {name: value for name, value in weights.items() if name not in classifier}
    message = refusal(mmaction2_checkpoint(tmp_path / "x.pth", inner))
    assert (
        "under names that start with backbone., and other entries (2): cls_head.fc_cls.weight, cls_head.fc_cls.bias; if"
        in message
    )
    note, found = load(follow(message, tmp_path))
    assert "the classifier for 3 classes is new (the file has none)" in note
    assert_same(found, weights, but=classifier)


# --- whole networks, programs, other objects


class Settings:
    """An object of another program."""


class Weights(dict):
    """A dict of another program."""


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content, expression",
    [
        (lambda net: net, ".state_dict()"),
        (lambda net: nn.DataParallel(net), ".state_dict()"),
        (lambda net: {"epoch": 1, "ema": None, "model": net}, "['model'].state_dict()"),
        (lambda net: {"cfg": Settings(), "model_state": net.state_dict()}, "['model_state']), "),
        (lambda net: {"cfg": Settings(), "weights": net.state_dict()}, "['weights']), "),
        (lambda net: {"cfg": Settings(), "net": Weights(net.state_dict())}, "['net']), "),
        (lambda net: Weights(net.state_dict()), "weights_only=False)), "),
        (lambda net: {**net.state_dict(), "cfg": Settings()}, "isinstance(value, torch.Tensor)}"),
    ],
    ids="network wrapped in-dict pyslowfast any-key own-dict own-dict-alone mixed".split(),
)
def test_the_line_for_other_objects_works(backbone, tmp_path, zipped, content, expression):
    path = saved(tmp_path / "it's.pt", content(backbone), _use_new_zipfile_serialization=zipped)
    message = refusal(path)
    assert "if you trust the file, save only its weights, where " in message and expression in message
    assert re.search(r"where (train|tests) can be imported", message), message
    assert_same(load(follow(message, tmp_path))[1], backbone.state_dict())


def test_what_cannot_be_found_is_said_with_what_there_is(tmp_path):
    message = refusal(saved(tmp_path / "x.pt", {"cfg": Settings(), "epoch": 3}))
    assert message.endswith(
        "no weights by name (a state dict) were found among 'cfg', 'epoch'; save only the weights, with the program "
        "that made the file: "
        'torch.save(model.state_dict(), "weights.pt")'
    )


def test_a_torchscript_program_is_not_run(backbone, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(backbone.eval(), torch.rand(1, 3, 8, SIDE, SIDE)), tmp_path / "x.pt")
    message = refusal(tmp_path / "x.pt")
    assert "is a TorchScript program; if you trust it, save only its weights: torch.save(torch.jit.load(" in message
    assert_same(load(follow(message, tmp_path))[1], backbone.state_dict())


def test_another_zip_archive(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    path = shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path / "folder")
    assert refusal(path).endswith("is a zip archive that torch.save did not write; save the weights with torch.save")


RAN = []


def run_it(*_):
    RAN.append("ran")
    return Settings()


class Runs:
    """Whatever loads it runs a function."""

    def __reduce__(self):
        return run_it, ("ran",), {"state": 1}


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path, zipped):
    RAN.clear()
    content = {"hook": Runs(), "set": {1}, "state_dict": {"a": torch.ones(2)}}
    path = saved(tmp_path / "x.pt", content, _use_new_zipfile_serialization=zipped)
    found = outline(path)
    assert found.foreign[0].endswith("test_weights_file.run_it") and set(found.content) == set(content)
    message = refusal(path)
    with pytest.raises(InputError):
        load_checkpoint(path)
    assert not RAN
    follow(message, tmp_path)
    assert RAN == ["ran"]


def test_other_programs_checkpoints_are_for_init(backbone, tmp_path):
    for path in (saved(tmp_path / "x.pt", {"model": backbone}), saved(tmp_path / "y.pt", backbone.state_dict())):
        with pytest.raises(
            InputError, match="y?x?.pt: is not a checkpoint of train/run.py; load weights of other programs with --init"
        ):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"checkpoint": {"state_dict": weights}},
        lambda weights: {"model": {"state_dict": weights, "epoch": 1}},
        lambda weights: {**weights, "epoch": 3},
    ],
    ids=["deeper", "deeper under a usual name", "beside a number"],
)
def test_the_line_for_weights_in_other_places_works(backbone, tmp_path, wrap):
    message = refusal(saved(tmp_path / "x.pt", wrap(backbone.state_dict())))
    assert "is not a weight; it must contain a network's weights by name (a state dict), at the top level" in message
    assert_same(load(follow(message, tmp_path))[1], backbone.state_dict())
