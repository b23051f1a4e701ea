"""Start of a training from a command line, at its first step or where its checkpoint was."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import torch

from dali_pipes import VideoLoader
from dali_pipes.errors import InputError
from dali_pipes.loader import choose_device
from dali_pipes.system import exclusive_use, make_folder, remove_drafts

from ..config.command_line import RESUME_WORDS, ActionOptions, new_config, resumed_config
from ..config.options import Config, paths_read
from ..data.loaders import make_loaders, notes_on_devices
from ..data.videos import load_manifests
from ..runtime.processes import Processes
from ..runtime.run_files import CONFIG, ENVIRONMENT, RUN_FILES, TRAIN_VIDEOS, VAL_VIDEOS
from ..runtime.run_folder import OTHER_OUT, check_inputs_stay, check_written_by_a_run, move_earlier_run
from ..weights.checkpoint import check_same_videos, copy_best, find_checkpoint, load_resumable, saved_config
from ..weights.pretrained import load_pretrained
from .logbook import Logbook, record_start
from .network import make_network
from .precision import choose_precision
from .training import Training, check_complete


@contextmanager
def start_training(overrides: dict, action: ActionOptions, processes: Processes) -> Iterator[Training]:
    """Check everything, make the run's folder, keep other runs out of it, build what is trained, and end it afterwards.

    Raises:
        InputError: a setting, the data or the checkpoint is wrong, or another run is at work there; nothing was
            changed.
    """
    out = _out(overrides, action)
    is_new = not out.exists()
    make_folder(out)
    try:
        # first of all: what another run has in there must not be changed, nor read, as its checkpoint may be replaced
        with exclusive_use(out, OTHER_OUT) if processes.is_main_process else nullcontext():
            training = _build(overrides, action, processes, out)
            try:
                yield training
            finally:
                training.close()
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty
                out.rmdir()


def _out(overrides: dict, action: ActionOptions) -> Path:
    """The folder of a new run, or that of the checkpoint that it goes on from."""
    if "out" in overrides or action.resume in ("", *RESUME_WORDS):
        return Path(overrides.get("out", Config.out))
    if not Path(action.resume).exists():
        load_resumable(action.resume)  # says so
    return Path(action.resume).parent


def _build(overrides: dict, action: ActionOptions, processes: Processes, out: Path) -> Training:
    path = find_checkpoint(action.resume, str(out)) if action.resume else None
    state = load_resumable(path) if path else None
    if path and state:
        check_complete(state, path)
        config = resumed_config(overrides, saved_config(state, path), path)
        lines = [f"Resuming from {path}: {state['epoch']} epochs and {state['step']} steps are done."]
    else:
        config, preset = new_config(overrides, has_gpu=torch.cuda.is_available())
        lines = [preset]
    if not processes.all_equal(state["epoch"] * 10**6 + state["step"] if state else -1):
        raise InputError(
            f"{config.out}: not all processes find the same checkpoint in this folder; choose an --out on a "
            "disk that all processes share"
        )
    device = choose_device(processes.device(config.device))  # what can be wrong here is said before videos are checked
    processes.share(config.batch_size)  # also refuses what cannot be shared
    moved = state and device.type != torch.device(state["config"]["device"]).type and "precision" not in overrides
    precision = choose_precision("auto" if moved else config.precision, device)
    goes_on_here = path is not None and path.parent.resolve() == out.resolve()
    check_inputs_stay(out, RUN_FILES, paths_read(config))
    if processes.is_main_process and not goes_on_here:
        check_written_by_a_run(out)
    with processes.local_main_process_first():
        train_videos, val_videos, notes = load_manifests(config)
    if path and state:
        for what, videos in (("videos", train_videos), ("val_videos", val_videos)):
            check_same_videos(state[what], videos, path, "trained on" if what == "videos" else "evaluated on")
    train_loader, val_loader = make_loaders(config, train_videos, val_videos, processes)
    notes += notes_on_devices(config, {"the training videos": train_loader, "the validation videos": val_loader})
    config = replace(config, device=str(device), decoder=train_loader.decoder, precision=precision)
    torch.manual_seed(config.seed)
    model = make_network(config, len(train_videos.classes)).to(device)
    if config.init and not state:
        notes.append(load_pretrained(model, config.init, train_videos.classes))
    if processes.is_main_process:
        remove_drafts(out)
        if not goes_on_here:
            earlier = move_earlier_run(out, (video.path for video in train_videos.videos + val_videos.videos))
            if earlier:
                notes.append(f"Moved the earlier run in {out} to {earlier}.")
        config.save(out / CONFIG)  # the first of a run's files: it says that the others are a run's
        if path and not goes_on_here:
            copy_best(path.parent, out)
    logbook = Logbook(
        out if config.tensorboard and processes.is_main_process else None, _steps_done(state, train_loader)
    )
    try:
        training = Training(config, processes, model, train_loader, val_loader, logbook)
        if state:
            training.load_state_dict(state)
    except BaseException:
        logbook.close()
        raise
    if state and training.epoch >= training.epochs:
        notes.append("The training is already complete.")
    if processes.is_main_process:
        train_videos.save(out / TRAIN_VIDEOS)
        val_videos.save(out / VAL_VIDEOS)
        environment = record_start(out / ENVIRONMENT, device, processes.world_size)
        logbook.text("settings", (out / CONFIG).read_text())
        logbook.text("environment", str(environment))
        print("\n".join([*lines, *notes, _summary(training)]), flush=True)
    return training


def _steps_done(state: dict | None, loader: VideoLoader) -> int:
    return state["epoch"] * len(loader) + state["step"] if state else 0


def _summary(training: Training) -> str:
    config, processes = training.config, training.processes
    train, val = (loader.manifest for loader in (training.train_loader, training.val_loader))
    val_decoder = training.val_loader.decoder
    unlike = f" (validation on {val_decoder})" if val_decoder != config.decoder else ""
    together = f" in {processes.world_size} processes" if processes.world_size > 1 else ""
    return (
        f"{len(train)} training and {len(val)} validation videos of {len(train.classes)} classes; {config.model}, "
        f"augmentation {config.aug}, mix {config.mix}; training on {config.device} in {config.precision}{together}, "
        f"decoding on {config.decoder}{unlike}; results in {config.out}"
    )
