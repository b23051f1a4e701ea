"""Train a network with RandAugment-T: ``python train/run.py --aug randaug_t``. Options: ``--help``.

Kept light to import: the loader's worker processes import this file again.
"""

import sys
import time


def main(arguments: list[str]) -> int:
    """Parse, build, fit (or evaluate). Returns the exit code: 0, 2 if what was given is wrong, 128 + a signal."""
    try:
        from dali_pipes.system import run_program
        from train import check_needs

        check_needs()
        from train.config.options import FLAGS
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # imports take seconds
        print("interrupted", file=sys.stderr)
        return 130
    return run_program("error", lambda: run_until_stopped(arguments), FLAGS)


def run_until_stopped(arguments: list[str]) -> int:
    """Run a command line and return the exit code; a run that was asked to stop has a code of its own."""
    from train.runtime.stop import Stopped

    try:
        run(arguments)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    return 0


def run(arguments: list[str]) -> None:
    """Carry out a command line: train, resume, evaluate or predict."""
    from train.config.command_line import parse
    from train.runtime.processes import join_processes

    start = time.perf_counter()
    overrides, action = parse(arguments)
    with join_processes() as processes:
        if action.checkpoints:
            from train.engine.evaluation import evaluate_checkpoints

            evaluate_checkpoints(overrides, action, processes)
            return
        from train.engine.loop import fit
        from train.engine.start import start_training
        from train.runtime.stop import StopRequest

        with start_training(overrides, action, processes) as training, StopRequest() as stop:
            rows = fit(training, stop)
    if processes.is_main_process:
        best = max(rows, key=lambda row: row.get("val_top1", -1))
        print(
            f"best validation top-1 {best['val_top1']:.1f} %, top-5 {best['val_top5']:.1f} % in epoch {best['epoch']}; "
            f"{time.perf_counter() - start:.0f} s in total"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
