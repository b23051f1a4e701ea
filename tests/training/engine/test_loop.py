"""The training loop by itself, on a linear model: parts of a step, targets, the running average, its logs."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dali_pipes import InputError
from tests.training.linear_run import make_training
from tests.videos import dark_and_bright
from train.data import loaders
from train.engine.evaluation import evaluate
from train.engine.logbook import Logbook, git_state, sample_sheet
from train.engine.loop import bad_paths_of_all, fit, train_epoch
from train.engine.precision import choose_precision
from train.engine.training import STATE, update_average
from train.runtime.processes import Processes
from train.runtime.stop import Stopped, StopRequest


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> str:
    return str(dark_and_bright(tmp_path_factory.mktemp("engine"), train=(3, 3), val=(1, 1)))


def trained(videos, out, **changes):
    training = make_training(videos, str(out), epochs=2, **changes)
    with StopRequest() as stop:
        rows = fit(training, stop)
    return training, rows


def test_a_step_in_parts_is_the_same_step(videos, tmp_path):
    whole, rows = trained(videos, tmp_path / "a")
    for parts in (2, 3):
        other, other_rows = trained(videos, tmp_path / str(parts), accumulate=parts)
        assert torch.allclose(whole.model.layer.weight, other.model.layer.weight, rtol=1e-4, atol=1e-7)
        assert rows[1]["train_loss"] == pytest.approx(other_rows[1]["train_loss"], rel=1e-6)


def test_the_loss_and_the_gradient_are_means_over_the_step(videos, tmp_path):
    training = make_training(videos, str(tmp_path / "o"), epochs=1, max_steps=1, aug="none", label_smoothing=0.3)
    training.optimizer = torch.optim.SGD(training.model.parameters(), 1.0)
    (batch,) = [next(iter(training.train_loader))]
    training.train_loader.seek(0, 0)
    before = {name: value.clone() for name, value in training.model.named_parameters()}
    loss = cross_entropy(training.model(batch.clips_BCTHW), batch.labels_B, label_smoothing=0.3)
    gradient = torch.autograd.grad(loss, training.model.layer.weight)[0]
    with StopRequest() as stop:
        row = train_epoch(training, stop)
    assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert torch.allclose(before["layer.weight"] - row["lr"] * gradient, training.model.layer.weight, atol=1e-7)


def test_the_running_average_is_what_is_evaluated_and_kept(videos, tmp_path):
    plain, _ = trained(videos, tmp_path / "a")
    averaged, rows = trained(videos, tmp_path / "b", ema=0.5)
    assert torch.equal(plain.model.layer.weight, averaged.model.layer.weight)
    weights, expected = [], None
    stepped = make_training(videos, str(tmp_path / "c"), epochs=2)
    step = stepped.optimizer.step
    stepped.optimizer.step = lambda *a, **k: (
        step(*a, **k),
        weights.append(stepped.model.layer.weight.detach().clone()),
    )
    with StopRequest() as stop:
        fit(stepped, stop)
    for weight in weights:
        expected = weight if expected is None else 0.5 * expected + 0.5 * weight
    assert torch.allclose(averaged.ema.module.layer.weight, expected, rtol=1e-5)
    best = max(rows, key=lambda row: row["val_top1"])["epoch"]
    kept = torch.load(tmp_path / "b" / "best.pt", weights_only=True)
    assert kept["epoch"] == best and not torch.equal(kept["model"]["layer.weight"], plain.model.layer.weight)


def test_the_running_average_is_torchs():
    """Also of batch norm's counters, which are whole numbers."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    ours, theirs = (AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.6), use_buffers=True) for _ in range(2))
    for _ in range(4):
        model(torch.randn(5, 4))
        with torch.no_grad():
            model[0].weight.add_(torch.randn(3, 4))
        update_average(ours, model)
        theirs.update_parameters(model)
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


class Normed(torch.nn.Module):
    """Batch norm over the means of clips: of a single clip it has one value."""

    def __init__(self):
        super().__init__()
        self.norm, self.layer = torch.nn.BatchNorm3d(3), torch.nn.Linear(3, 2)

    def forward(self, clips_BCTHW):
        return self.layer(self.norm(torch.nn.functional.adaptive_avg_pool3d(clips_BCTHW, 1)).flatten(1))


@pytest.fixture(scope="module")
def five_videos(tmp_path_factory) -> str:
    """One clip is left for the second step of an epoch."""
    return str(dark_and_bright(tmp_path_factory.mktemp("five"), train=(3, 2), val=(1, 1)))


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix,framecutmixup"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_last_step_of_one_clip(five_videos, tmp_path, mix, accumulate):
    training = make_training(five_videos, str(tmp_path / "o"), epochs=1, mix=mix, accumulate=accumulate)
    assert [training.train_loader.videos_in_step(step) for step in range(2)] == [4, 1]
    targets = []
    training.mix = noting(training.mix, targets)
    with StopRequest() as stop:
        (row,) = fit(training, stop)
    assert [len(step) for step in targets] == [4, 1] and 0 < row["train_loss"] < 10
    torch.testing.assert_close(targets[1].amax(dim=1), torch.ones(1))  # mixed with nothing but itself


def noting(mix, targets):
    def noted(*arguments, **options):
        mixed = mix(*arguments, **options)
        targets.append(mixed[1])
        return mixed

    return noted


def test_batch_norm_of_a_lonely_clip(five_videos, tmp_path):
    training = make_training(five_videos, str(tmp_path / "a"), epochs=1)
    training.parallel = Normed()
    with (
        StopRequest() as stop,
        pytest.raises(InputError, match="Invalid --num-frames 16 with --crop-px 48: a batch of one such clip"),
    ):
        train_epoch(training, stop)
    training = make_training(five_videos, str(tmp_path / "b"), epochs=1, even_steps=True)
    training.parallel = Normed()
    with StopRequest() as stop:
        assert train_epoch(training, stop)["train_loss"] > 0


def test_how_a_network_and_its_average_are_compiled(videos, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "cc")
    modes = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, mode, dynamic: modes.append((mode, dynamic)))
    for value in (False, True, "reduce-overhead"):
        make_training(videos, str(tmp_path / "o"), epochs=1, ema=0.5, compile=value)
    assert modes == [(None, False)] * 2 + [("reduce-overhead", False)] * 2


def test_a_loss_that_is_no_number_names_the_videos(videos, tmp_path):
    training = make_training(videos, str(tmp_path / "o"), epochs=1, checkpoint_minutes=0)
    with torch.no_grad():
        training.model.layer.weight[:] = float("nan")
    message = r"the loss became nan in epoch 1, step 1, with the videos (.*/\w+/\d.avi, ){2}.*avi; lower --lr$"
    with StopRequest() as stop, pytest.raises(InputError, match=message):
        fit(training, stop)
    assert not (tmp_path / "o" / "last.pt").exists()


def test_a_stop_within_an_epochs_only_step(videos, tmp_path, monkeypatch):
    monkeypatch.setattr("train.engine.loop.evaluate", None)  # it does not come to that
    training = make_training(videos, str(tmp_path / "o"), epochs=1, max_steps=1)
    with StopRequest() as stop, pytest.raises(Stopped, match="stopped by SIGTERM") as stopped:
        stop.number = signal.SIGTERM
        fit(training, stop)
    state = torch.load(tmp_path / "o" / "last.pt", weights_only=True)
    assert stopped.value.exit_code == 143 and (state["epoch"], state["step"]) == (0, 1)


def test_a_second_interrupt_ends_at_once(monkeypatch):
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # torchrun's, right after the terminal's
        assert stop.number == signal.SIGINT
        monkeypatch.setattr("train.runtime.stop.AT_ONCE_AFTER_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a program that a script starts in the background
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.number == 0
            signal.raise_signal(signal.SIGTERM)
            assert stop.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_weights_that_are_no_numbers_are_not_saved(videos, tmp_path):
    training, _ = trained(videos, tmp_path / "o")
    kept = (tmp_path / "o" / "last.pt").read_bytes()
    with torch.no_grad():
        training.model.layer.weight[0, 0] = float("inf")
    with pytest.raises(
        InputError, match="Cannot save a checkpoint: the weights are no longer finite numbers; lower --lr"
    ):
        training.save()
    assert (tmp_path / "o" / "last.pt").read_bytes() == kept
    with (
        StopRequest() as stop,
        pytest.raises(InputError, match=r"0.avi: the network's scores for this video are not finite numbers"),
    ):
        evaluate(training.model, training.val_loader, training.config, training.processes, stop)


def test_resuming_on_another_device_or_in_another_precision(videos, tmp_path):
    """What a checkpoint of a GPU holds: a fused optimizer whose moments lie in memory as the weights did there."""
    whole, _ = trained(videos, tmp_path / "a")
    half = make_training(videos, str(tmp_path / "b"), epochs=2)
    half.epochs = 1
    with StopRequest() as stop:
        fit(half, stop)
    state = half.state_dict()
    for group in state["optimizer"]["param_groups"]:
        group["fused"] = True
    for moments in state["optimizer"]["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name] = moments[name].t().contiguous().t() if moments[name].ndim == 2 else moments[name]
    state["scaler"] = {}
    resumed = make_training(videos, str(tmp_path / "b"), epochs=2)
    told = []  # fused or not decides where the counters of steps are loaded to
    resumed.optimizer.register_load_state_dict_pre_hook(
        lambda _, loaded: told.extend(group["fused"] for group in loaded["param_groups"])
    )
    resumed.load_state_dict(state)
    assert told == [group["fused"] for group in resumed.optimizer.param_groups]
    weight = resumed.model.layer.weight
    assert resumed.optimizer.state[weight]["exp_avg"].stride() == weight.stride()
    assert not resumed.optimizer.param_groups[0]["fused"]
    with StopRequest() as stop:
        fit(resumed, stop)
    assert torch.equal(whole.model.layer.weight, resumed.model.layer.weight)


def test_what_a_checkpoint_holds(videos, tmp_path):
    """Names that other versions of this program load, and that load here: all but what a run is built from."""
    training, _ = trained(videos, tmp_path / "a", ema=0.5)
    state = training.state_dict()
    assert list(state) == (
        "model ema optimizer scaler epoch step sums metrics bad_paths config classes videos val_videos".split()
    )
    training.sums.loss, training.bad_paths, training.step = 3.0, {"gone.avi"}, 1
    state = training.state_dict()
    for name in ("config", "classes", "videos", "val_videos"):
        del state[name]
    again = make_training(videos, str(tmp_path / "b"), epochs=2, ema=0.5)
    again.load_state_dict(state)
    loaded = again.state_dict()
    assert {name: loaded[name] for name in state if name not in ("model", "ema", "optimizer")} == {
        name: value for name, value in state.items() if name not in ("model", "ema", "optimizer")
    }
    for name in ("model", "ema"):
        assert all(torch.equal(loaded[name][key], value) for key, value in state[name].items())
    without = make_training(videos, str(tmp_path / "c"), epochs=2)
    assert without.state_dict()["ema"] is None
    without.load_state_dict(state | {"ema": None})
    assert (without.epoch, without.step, without.sums.loss) == (2, 1, 3.0)


def test_bad_videos_are_counted_over_all_processes(videos, tmp_path):
    training = make_training(videos, str(tmp_path / "o"), epochs=1, on_bad_video="skip", max_bad_percent=40)
    training.train_loader.bad_videos = {1: "gone", 4: "gone"}
    paths = [video.path for video in training.train_loader.manifest.videos]

    class WithAnother:
        """A second process, which met video 4 too, and 5."""

        def __init__(self, others):
            self.others = others

        def sum(self, numbers):
            return numbers.index_add_(0, torch.tensor(self.others), torch.ones(len(self.others)))

    assert bad_paths_of_all(training.train_loader, training.config, WithAnother([4])) == {paths[1], paths[4]}
    with pytest.raises(
        InputError,
        match=r"3 of 6 videos can no longer be read, which is more than --max-bad-percent 40 allows; the last one is",
    ):
        bad_paths_of_all(training.train_loader, training.config, WithAnother([4, 5]))
    state = training.state_dict()
    assert state["bad_paths"] == sorted([paths[1], paths[4]])  # also in the middle of an epoch
    again = make_training(videos, str(tmp_path / "o"), epochs=1, on_bad_video="skip", max_bad_percent=40)
    again.load_state_dict(state)
    assert set(again.train_loader.bad_videos) == {1, 4}


def test_too_few_clips_to_mix(videos, tmp_path):
    with pytest.raises(
        InputError,
        match="Invalid --batch-size 4: leaves only one of .* for one of 4 processes, but --mix mixup needs two",
    ):
        make_training(videos, str(tmp_path / "o"), FourProcesses(), mix="mixup")
    make_training(videos, str(tmp_path / "o"), FourProcesses(), mix="cutout")


class FourProcesses(Processes):
    """The first of four, without the others."""

    def __init__(self):
        super().__init__(0, 4, 0, 4)

    def sum(self, numbers):
        return numbers

    def parallel(self, model):
        return model


def test_what_tensorboard_shows(videos, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    training = make_training(videos, str(tmp_path / "o"), epochs=2)
    training.logbook = Logbook(tmp_path / "o")
    with StopRequest() as stop:
        rows = fit(training, stop)
    training.close()

    def events():
        accumulator = EventAccumulator(str(tmp_path / "o" / "tensorboard"))
        accumulator.Reload()
        return accumulator

    tags = events().Tags()
    assert {"train/loss_of_step", "train/lr", "epoch/train_loss", "epoch/val_top1", "epoch/clips_per_s"} <= set(
        tags["scalars"]
    )
    assert tags["images"] == ["samples"] and (tmp_path / "o" / "samples.png").exists()
    assert [event.value for event in events().Scalars("epoch/train_loss")] == pytest.approx(
        [row["train_loss"] for row in rows]
    )
    assert [event.step for event in events().Scalars("train/lr")] == [0, 1, 2, 3]
    resumed = Logbook(tmp_path / "o", first_step=2)  # a run that was killed later and goes on from step 2
    resumed.scalars(2, {"train/lr": 9.0})
    resumed.close()
    assert [(event.step, event.value) for event in events().Scalars("train/lr")][-2:] == [
        (1, pytest.approx(rows[0]["lr"])),
        (2, 9),
    ]


def test_sample_clips_are_shown_as_the_network_sees_them():
    clips = torch.linspace(-1, 0.9, 16)[None, None, :, None, None].expand(2, 3, 16, 32, 32)
    image = sample_sheet(clips, torch.tensor([[0.75, 0.25], [0.0, 1.0]]), ["a", "b"])
    columns = [image[30, 150 + 4 + 36 * column + 16, 0] for column in range(8)]
    expected = [
        round(float(clips[0, 0, round(frame), 0, 0]) * 128 + 128) for frame in torch.linspace(0, 15, 8).tolist()
    ]
    assert columns == expected and columns[0] == 0


def test_the_state_of_the_code():
    state = git_state()
    if not (Path(__file__).resolve().parents[3] / ".git").exists():
        assert state is None
    else:
        assert len(state["commit"]) == 40 and isinstance(state["changed"], list)


def test_precision_on_a_cpu():
    assert choose_precision("auto", torch.device("cpu")) == "fp32"
    with pytest.raises(InputError, match="Invalid --precision bf16: needs a GPU; choose fp32 or auto on a CPU"):
        choose_precision("bf16", torch.device("cpu"))


def test_all_segments_of_a_bad_file_are_known_to_be_bad_after_a_resume():
    videos = [SimpleNamespace(path=path) for path in ("a.mp4", "b.mp4", "a.mp4")]
    loader = SimpleNamespace(manifest=SimpleNamespace(videos=videos), bad_videos={})
    training = SimpleNamespace(loaders=(loader,), bad_paths=set())
    STATE["bad_paths"].load(training, ["a.mp4"])
    assert set(loader.bad_videos) == {0, 2} and training.bad_paths == {"a.mp4"}


def test_an_evaluation_passes_many_videos_to_the_network_in_parts(tmp_path, monkeypatch):
    """On a GPU the loader has several videos in hand, so that several are decoded at once: same scores."""
    dark_and_bright(tmp_path / "videos", train=(2, 2), val=(3, 3))
    scores, parts = [], []
    for at_once in (1, 4):
        monkeypatch.setattr(loaders, "VIDEOS_IN_HAND", at_once)
        monkeypatch.setattr(loaders, "choose_device", lambda name: torch.device("cuda"))
        training = make_training(str(tmp_path / "videos"), str(tmp_path / "out"), eval_clips=3)
        seen: list[int] = []
        training.model.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(len(inputs[0])))
        with StopRequest() as stop:
            scores.append(evaluate(training.model, training.val_loader, training.config, Processes(), stop))
        parts.append(seen)
        training.close()
    assert parts == [[3] * 6, [3] * 6]
    torch.testing.assert_close(*scores, rtol=0, atol=1e-9)
