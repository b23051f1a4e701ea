"""The command line: presets, overrides, and one clear sentence for whatever is wrong."""

from dataclasses import asdict, replace

import pytest
import torch

from dali_pipes import OPS, PAPER_OPS, POLICIES, InputError, make_policy
from dali_pipes.augment import policy_row
from dali_pipes.system import RENAMED_OPTIONS, flag
from train.config.command_line import ActionOptions, evaluation_config, new_config, parse, resumed_config
from train.config.options import Config, from_saved, paper, small
from train.data import videos as data
from train.data.loaders import _augmentation, make_loaders
from train.engine.loop import learning_rate, mix_generator
from train.engine.training import make_mix
from train.runtime.processes import Processes
from train.weights.checkpoint import saved_config

OLD = {"frames": 32, "stride": 2, "crop": 48, "short": "pad", "time_limit": 300.0}


def config_of(arguments, has_gpu):
    overrides, job = parse(arguments)
    assert job == ActionOptions()
    return new_config(overrides, has_gpu)


def test_the_defaults_are_the_papers():
    config, line = config_of(["--data", "videos"], has_gpu=False)
    assert config.num_frames == 64 and config.crop_px == 160 and config.batch_size == 16 and config.epochs == 150
    assert (config.lr, config.weight_decay, config.dropout, config.eval_clips) == (1e-4, 1e-5, 0.5, 10)
    assert config.schedule == "temporal+" and "paper" in line
    assert config_of([], has_gpu=True)[0] == paper()


@pytest.mark.parametrize("arguments, has_gpu", [([], False), (["--device", "cpu"], True)])
def test_small_preset_without_gpu_and_data(arguments, has_gpu):
    config, line = config_of([*arguments, "--epochs", "3"], has_gpu)
    assert config.crop_px < 160 and config.num_frames < 64 and config.epochs == 3
    assert line.startswith("Preset small") and "\n" not in line
    assert f"{config.num_frames} frames of {config.crop_px}x{config.crop_px} pixels, 3 epochs" in line


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--aug", "rand"], "--aug: invalid choice: 'rand'.*none.*randaug.*randaug_t"),
        (["--schedule", "slow"], "--schedule: invalid choice"),
        (["--epochs", "many"], "--epochs: invalid int value: 'many'"),
        (["--epochs", "0"], "Invalid --epochs 0: must be at least 1"),
        (["--num-frames", "40"], "Invalid --num-frames 40: must be a multiple of 16 for --model slowfast50"),
        (["--randaug-m", "31"], "Invalid --randaug-m 31: must be between 0 and --randaug-scale, 30"),
        (
            ["--randaug-m", "11", "--randaug-scale", "10"],
            "Invalid --randaug-m 11: must be between 0 and --randaug-scale, 10",
        ),
        (["--randaug-scale", "0"], "Invalid --randaug-scale 0: must be above 0"),
        (["--lr", "-1"], "Invalid --lr -1"),
        (["--aug", "randaug", "--schedule", "mix"], "Invalid --schedule mix: needs --aug randaug_t, not --aug randaug"),
        (
            ["--aug", "none", "--schedule", "temporal+"],
            "Invalid --schedule temporal.: needs --aug randaug_t, not --aug none",
        ),
        (["--aug", "trivial", "--randaug-n", "3"], "Invalid --randaug-n 3: needs --aug randaug or randaug_t or dyna"),
        (
            ["--aug", "augmix", "--randaug-m", "10"],
            "Invalid --randaug-m 10.0: needs .* not --aug augmix",
        ),
        (
            ["--aug", "dynaaugment", "--schedule", "mix"],
            "Invalid --schedule mix: needs --aug randaug_t, not",
        ),
        (
            ["--aug", "dynaaugment", "--randaug-ranges", "paper"],
            "Invalid --randaug-ranges paper: needs --aug",
        ),
        (
            ["--aug", "rand-m7-n4", "--randaug-invert"],
            "Invalid --randaug-invert True: needs --aug",
        ),
        (["--aug", "rand-m7-z4"], "Invalid (--)?aug 'rand-m7-z4': must be rand .* 'z4' is wrong"),
        (["--dataset", "ucf"], "--dataset: invalid choice: 'ucf'"),
        (
            ["--split", "2"],
            "Invalid --split 2: needs a --dataset with official splits; choose one of ucf101, hmdb51, vipriors",
        ),
        (["--dataset", "ucf101"], "Invalid --dataset ucf101: needs --data"),
        (
            ["--dataset", "ucf101", "--data", "x", "--split", "train"],
            "Invalid --split 'train' of ucf101: choose one of 1, 2, 3",
        ),
        (
            ["--dataset", "vipriors", "--data", "x", "--split", "tests"],
            "Invalid --split 'tests' of vipriors: choose one of test, train, train.val",
        ),
        (
            ["--dataset", "hmdb51", "--data", "x", "--val-data", "y"],
            "Invalid --val-data y: cannot be combined with --dataset hmdb51",
        ),
        (["--mix", "mixip"], "Invalid --mix 'mixip': choose one of mixup, none, cutout, framecutout"),
        (
            ["--mix", "mixup", "--mix-labels", "seen_frames"],
            "Invalid --mix-labels seen_frames: cannot be combined with --mix mixup",
        ),
        (
            ["--mix", "cutmix,cutout", "--batch-size", "1"],
            "Invalid --batch-size 1: must be at least 2 with --mix cutmix,cutout",
        ),
        (["--mix", "mixup,none"], "Invalid mix 'none'"),
        (["--mix", "mixup", "--mix-prob", "1.5"], "Invalid --mix-prob 1.5: must be between 0 and 1"),
        (["--mix", "mixup", "--mix-alpha", "0"], "Invalid --mix-alpha 0.0: must be above 0"),
        (
            ["--mix", "cutout,cubecutout", "--mix-alpha", "2"],
            "Invalid --mix-alpha 2: is not used by cutout, cubecutout",
        ),
        (["--mix-alpha", "2"], "Invalid --mix-alpha 2.0: needs --mix with one of cutout"),
        (["--mix-labels", "seen_frames"], "Invalid --mix-labels seen_frames: needs --mix"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--model", "resnet"], "--model: invalid choice: 'resnet'"),
        (
            ["--model", "mvit_v2_s", "--num-frames", "20"],
            "Invalid --num-frames 20: must be a multiple of 8 for --model mvit_v2_s",
        ),
        (
            ["--model", "s3d", "--lateral", "norm_relu"],
            "Invalid --lateral norm_relu: needs --model slowfast50, because s3d has no",
        ),
        (
            ["--model", "s3d", "--width", "32"],
            "Invalid --width 32: needs --model slowfast50, because s3d has one width",
        ),
        (["--width", "20"], "Invalid --width 20: must be a multiple of 8 above 0"),
        (["--label-smoothing", "1"], "Invalid --label-smoothing 1.0: must be between 0 and 0.99"),
        (["--ema", "1"], "Invalid --ema 1.0: must be between 0 and 0.99999"),
        (["--accumulate", "0"], "Invalid --accumulate 0"),
        (["--precision", "fp8"], "--precision: invalid choice: 'fp8'"),
        (["--compile", "fast"], "argument --compile/--no-compile: invalid choice: 'fast'"),
        (["--no-compile", "reduce-overhead"], "Invalid --no-compile 'reduce-overhead': takes no value"),
        (
            ["--compile", "reduce-overhead", "--accumulate", "2"],
            "Invalid --accumulate 2: cannot be combined with --compile reduce-overhead, because PyTorch cannot "
            "accumulate",
        ),
        (["--eval-crops", "2"], "--eval-crops: invalid choice: 2"),
        (["--time-limit-s", "0"], "Invalid --time-limit-s 0: must be above 0 and at most 1e.06"),
        (["--time-limit-s", "nan"], "Invalid --time-limit-s nan: must be above 0"),
        (["--predict"], "Invalid --predict: needs a network"),
        (["--resume", "--eval-only", "x.pt"], "Invalid --resume: cannot be combined with --eval-only"),
        (
            ["--ensemble", "a.pt", "b.pt", "--ensemble-weights", "1"],
            "Invalid --ensemble-weights 1: must be one number for each of the 2 checkpoints",
        ),
    ],
)
def test_wrong_options(arguments, message):
    with pytest.raises(InputError, match=message):
        config_of(arguments, has_gpu=False)


def test_one_time_limit_for_the_check_and_the_loaders(monkeypatch, class_folders):
    config, _ = config_of(
        ["--time-limit-s", "300", "--data", str(class_folders), "--device", "cpu", "--workers", "0"], False
    )
    checked, scan_videos = [], data.scan_videos
    monkeypatch.setattr(
        data, "scan_videos", lambda items, **how: checked.append(how["time_limit_s"]) or scan_videos(items, **how)
    )
    train, val, _ = data.load_manifests(config)
    assert checked == [300] and data.load_named([train.videos[0].path], train.classes, config) and checked == [300, 300]
    data.load_for_evaluation(config, train.classes, predict=False)
    assert checked == [300, 300, 300]
    assert [loader.time_limit_s for loader in make_loaders(config, train, val, Processes())] == [300, 300]


def test_the_time_limit_may_change_and_older_checkpoints_have_none():
    older = {name: value for name, value in asdict(Config()).items() if name != "time_limit_s"}
    saved = saved_config({"config": older}, "last.pt")
    assert saved.time_limit_s == 120
    assert resumed_config({"time_limit_s": 300.0}, saved, "run/last.pt").time_limit_s == 300
    assert evaluation_config({"time_limit_s": 300.0}, saved).time_limit_s == 300


def test_learning_rate_warms_up_and_falls_to_zero():
    config = Config(lr=1.0, warmup=0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(1.0) and rates[55] == pytest.approx(0.5) and rates[99] < 0.001
    assert learning_rate(Config(lr=1.0, warmup=0), 0, 1) == pytest.approx(1.0)


def test_mixes():
    config, _ = config_of(
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
        config = Config(mix="framecutmix", mix_prob=1.0, num_frames=16, **options)
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


def test_a_resumed_run_keeps_its_settings():
    saved = replace(small(), data="videos", lr=0.5, device="cuda:3", decoder="gpu", precision="bf16", out="there")
    config = resumed_config({"workers": 3, "data": "moved"}, saved, "last.pt")
    assert config == replace(saved, data="moved", workers=3, device="auto", decoder="auto", out=".")
    assert resumed_config({"reader": "stream"}, saved, "last.pt").reader == "stream"
    assert evaluation_config({}, replace(saved, reader="stream")).reader == "clips"
    assert resumed_config({"lr": 0.5}, saved, "last.pt").lr == 0.5
    with pytest.raises(
        InputError, match="last.pt: was trained with --lr 0.5, not 0.1, --aug randaug_t, not none; to resume, leave"
    ):
        resumed_config({"lr": 0.1, "aug": "none"}, saved, "last.pt")


def test_an_evaluation_keeps_the_networks_settings():
    saved = replace(small(), data="videos", dataset="folder", val_data="others", model="r3d_18", precision="bf16")
    config = evaluation_config({"eval_clips": 5, "eval_crops": 3}, saved)
    assert config == replace(saved, eval_clips=5, eval_crops=3, precision="auto", device="auto", workers=config.workers)
    moved = evaluation_config({"data": "new"}, saved)
    assert (moved.data, moved.dataset, moved.val_data, moved.model) == ("new", "auto", "", "r3d_18")
    with pytest.raises(InputError, match="Invalid --lr, --aug: cannot be given for an evaluation"):
        evaluation_config({"lr": 1.0, "aug": "none", "out": "x"}, saved)


def test_switches_and_lists():
    overrides, job = parse("--no-tf32 --compile --ensemble a.pt b.pt --ensemble-weights 1 2 --predict".split())
    assert overrides == {"tf32": False, "compile": True} and job.checkpoints == ["a.pt", "b.pt"]
    assert parse(["--resume"])[1].resume == "last" and parse(["--resume", "auto"])[1].resume == "auto"


@pytest.mark.parametrize(
    "words, value",
    [("--compile", True), ("--no-compile", False), ("--compile reduce-overhead", "reduce-overhead")],
)
def test_a_switch_with_a_choice(words, value):
    overrides, _ = parse([*words.split(), "--epochs", "2"])
    assert overrides == {"compile": value, "epochs": 2} and Config(**overrides).compile == value


def test_steps_of_an_earlier_version_are_even():
    assert from_saved({"epochs": 2}).even_steps and not Config().even_steps
    assert not from_saved({"even_steps": False}).even_steps


def test_the_processes_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert config_of(["--data", "x"], False)[0].workers == paper().workers  # not torchrun's
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert config_of(["--data", "x"], False)[0].workers == max(1, paper().workers // 2)
    assert config_of(["--data", "x", "--workers", "6"], False)[0].workers == 6


def test_the_switches_of_randaugment_reach_its_policy():
    config = Config(
        randaug_m=3.0,
        randaug_scale=10.0,
        randaug_ranges="monotonic",
        randaug_interpolation="linear",
        randaug_invert=True,
    )
    policy = _augmentation(config)
    assert (policy.m, policy.ranges, policy.interpolation) == (9.0, "monotonic", "linear")
    assert policy.ops == (*PAPER_OPS, "invert")
    assert tuple(OPS) == PAPER_OPS  # nothing is registered for it
    plain = _augmentation(Config())
    assert (plain.m, plain.ranges, plain.interpolation, plain.ops) == (10.0, "paper", "nearest", PAPER_OPS)


@pytest.mark.parametrize("aug", [*POLICIES, "rand-m9-n2-mstd0.5", "rand_t-m5"])
def test_each_policy_is_a_value_of_aug(aug):
    config, note = config_of(["--aug", aug, "--data", "x"], False)
    assert _augmentation(config) == make_policy(aug, crop_px=160)
    assert ("RandAugment N=2 M=10" if "n" in policy_row(aug).free else f"--aug {aug},") in note
    assert from_saved(asdict(config)) == config
    small_config, _ = config_of(["--aug", aug], False)
    policy = _augmentation(small_config)
    assert policy.translate_max_px == make_policy(aug, crop_px=56).translate_max_px
    assert policy == make_policy(aug, crop_px=56) or "n" in policy_row(aug).free  # the preset has its own N and M


def test_options_and_settings_of_earlier_versions_keep_their_meaning(capsys):
    old = [word for name, value in OLD.items() for word in (flag(name), str(value))]
    overrides, _ = parse(old)
    assert overrides == {RENAMED_OPTIONS[name]: value for name, value in OLD.items()}
    assert capsys.readouterr().err.count("the old name will be removed") == len(OLD)
    assert from_saved(OLD | {"lr": 0.5}) == Config(**overrides, lr=0.5, even_steps=True)
