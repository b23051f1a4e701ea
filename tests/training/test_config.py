"""The command line: presets, overrides, and one clear sentence for whatever is wrong."""

import pytest
import torch

from dali_pipes import InputError
from train.config import Config, paper, parse
from train.engine import learning_rate, make_mix, mix_generator


def test_the_defaults_are_the_papers():
    config, line = parse(["--data", "videos"], has_gpu=False)
    assert config.frames == 64 and config.crop == 160 and config.batch_size == 16 and config.epochs == 150
    assert (config.lr, config.weight_decay, config.dropout, config.eval_clips) == (1e-4, 1e-5, 0.5, 10)
    assert config.schedule == "temporal+" and config.translate_max_px == 100 and "paper" in line
    assert parse([], has_gpu=True)[0] == paper()


@pytest.mark.parametrize("arguments, has_gpu", [([], False), (["--device", "cpu"], True)])
def test_small_preset_without_gpu_and_data(arguments, has_gpu):
    config, line = parse([*arguments, "--epochs", "3"], has_gpu)
    assert config.crop < 160 and config.frames < 64 and config.epochs == 3
    assert line.startswith("Preset small") and "\n" not in line


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--aug", "rand"], "--aug: invalid choice: 'rand'.*none.*randaug.*randaug_t"),
        (["--schedule", "slow"], "--schedule: invalid choice"),
        (["--epochs", "many"], "--epochs: invalid int value: 'many'"),
        (["--epochs", "0"], "--epochs is 0, it must be at least 1"),
        (["--frames", "40"], "--frames is 40, SlowFast needs a multiple of 16"),
        (["--randaug-m", "31"], "level is 31"),
        (["--lr", "-1"], "--lr is -1"),
        (["--aug", "randaug", "--schedule", "mix"], "--schedule mix is for --aug randaug_t, not for --aug randaug"),
        (["--dataset", "ucf"], "--dataset: invalid choice: 'ucf'"),
        (["--split", "2"], "--split 2 needs a --dataset with official splits: ucf101, hmdb51, vipriors"),
        (["--dataset", "ucf101"], "--dataset ucf101 needs --data"),
        (
            ["--dataset", "ucf101", "--data", "x", "--split", "train"],
            "unknown --split of ucf101 'train': choose one of 1, 2, 3",
        ),
        (
            ["--dataset", "vipriors", "--data", "x", "--split", "test"],
            "unknown --split of vipriors 'test': choose one of train, train.val",
        ),
        (["--dataset", "hmdb51", "--data", "x", "--val-data", "y"], "--val-data y is of no use with --dataset hmdb51"),
        (["--mix", "mixip"], "unknown --mix 'mixip': choose one of none, cutout, framecutout"),
        (
            ["--mix", "mixup", "--mix-labels", "seen_frames"],
            "--mix-labels seen_frames is of no use: the labels of mixup",
        ),
        (["--mix", "cutmix,cutout", "--batch-size", "1"], "--batch-size 1 leaves --mix cutmix,cutout no other clip"),
        (["--mix", "mixup,none"], "unknown mix 'none'"),
        (["--mix", "mixup", "--mix-prob", "1.5"], "--mix-prob is 1.5, it must lie between 0 and 1"),
        (["--mix", "mixup", "--mix-alpha", "0"], "--mix-alpha is 0.0, it must lie above 0"),
        (
            ["--mix", "cutout,cubecutout", "--mix-alpha", "2"],
            "--mix-alpha 2 is of no use: cutout, cubecutout deletes",
        ),
        (["--mix-alpha", "2"], "--mix-alpha 2.0 needs a --mix: choose one of cutout"),
        (["--mix-labels", "seen_frames"], "--mix-labels seen_frames needs a --mix"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_wrong_options(arguments, message):
    with pytest.raises(InputError, match=message):
        parse(arguments, has_gpu=False)


def test_learning_rate_warms_up_and_falls_to_zero():
    config = Config(lr=1.0, warmup=0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(1.0) and rates[55] == pytest.approx(0.5) and rates[99] < 0.001
    assert learning_rate(Config(lr=1.0, warmup=0), 0, 1) == pytest.approx(1.0)


def test_mixes():
    config, _ = parse(
        ["--mix", "cutmix,fademixup", "--mix-alpha", "2", "--mix-prob", "0.25", "--mix-draw", "clip"], False
    )
    assert (config.mix, config.mix_alpha, config.mix_prob, config.mix_draw) == ("cutmix,fademixup", 2, 0.25, "clip")
    assert Config().mix == "none" and Config().mix_alpha is None


def test_the_mix_of_a_configuration():
    clips, labels = torch.eye(4)[:, :, None, None, None].expand(-1, -1, 8, 4, 4).contiguous(), torch.arange(4)
    same, targets = make_mix(Config(), 4)(clips, labels, generator=mix_generator(Config(), 0))
    assert same is clips and targets.equal(torch.eye(4))
    results = {}
    for name, options in (("all", {}), ("seen", {"mix_labels": "seen_frames"}), ("clip", {"mix_draw": "clip"})):
        config = Config(mix="framecutmix", mix_prob=1.0, frames=16, **options)
        results[name] = make_mix(config, 4)(clips.clone(), labels, generator=mix_generator(config, 3))
    assert results["all"][0].equal(results["seen"][0]) and not results["all"][1].equal(results["seen"][1])
    shares = {name: result[1].max(dim=1).values for name, result in results.items()}
    assert len(set(shares["all"].tolist()) - {1.0}) == 1 < len(set(shares["clip"].tolist()) - {1.0})


def test_each_step_mixes_alike_in_every_run_and_unlike_the_others():
    draws = {
        (seed, step): tuple(mix_generator(Config(seed=seed), step).random(3)) for seed in (0, 1) for step in range(50)
    }
    assert len(set(draws.values())) == 100
    assert draws[1, 7] == tuple(mix_generator(Config(seed=1), 7).random(3))
