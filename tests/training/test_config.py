"""The command line: presets, overrides, and one clear sentence for whatever is wrong."""

import pytest

from dali_pipes import InputError
from train.config import Config, paper, parse
from train.engine import learning_rate


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
