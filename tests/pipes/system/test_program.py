"""How programs end: exit codes, one sentence, nothing of theirs left behind."""

import ast
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import dali_pipes
from dali_pipes import InputError
from dali_pipes.system.program import Terminated, run_program, with_flags, with_todays_options


def raising(error):
    def program():
        raise error

    return program


@pytest.mark.parametrize(
    "program, code, said",
    [
        (lambda: None, 0, ""),
        (lambda: 1, 1, ""),
        (raising(InputError("x is wrong")), 2, "try: x is wrong\n"),
        (raising(PermissionError(13, "Permission denied", "/x")), 2, "try: [Errno 13] Permission denied: '/x'\n"),
        (raising(KeyboardInterrupt()), 130, "interrupted\n"),
        (raising(KeyboardInterrupt("go on later")), 130, "interrupted; go on later\n"),
        (raising(Terminated("go on later")), 143, "stopped by SIGTERM; go on later\n"),
    ],
)
def test_exit_codes_and_sentences(program, code, said, capsys):
    assert run_program("try", program) == code
    assert capsys.readouterr() == ("", said)


def test_warnings_are_sentences_in_here_alone():
    before = warnings.formatwarning
    shown = []
    run_program("try", lambda: shown.append(warnings.formatwarning("mind", UserWarning, "file.py", 3)))
    assert shown == ["warning: mind\n"] and warnings.formatwarning is before


def test_a_reader_that_has_seen_enough():
    code = (
        "import sys; from dali_pipes.system.program import run_program; "
        "sys.exit(run_program('try', lambda: print('x' * 10**6, flush=True)))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writing,
        stderr=subprocess.PIPE,
        restore_signals=False,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN),
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, b"")


def test_sigterm_ends_with_a_sentence_and_what_is_open_is_closed(capsys):
    closed = []

    def program():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            closed.append(signal.getsignal(signal.SIGTERM))

    assert run_program("try", program) == 143 and capsys.readouterr().err == "stopped by SIGTERM\n"
    assert (
        closed == [signal.SIG_DFL] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )  # a second one ends it at once


FLAGS = {"crf": "--crf", "dataset": "--dataset", "time_limit_s": "--time-limit-s", "workers": "--workers"}


@pytest.mark.parametrize(
    "message, said",
    [
        ("Invalid crf 52: must be between 0 and 51", "Invalid --crf 52: must be between 0 and 51"),
        ("x.mp4: Invalid time_limit_s 0: must be above 0", "x.mp4: Invalid --time-limit-s 0: must be above 0"),
        ("choose dataset='ucf101', or workers=0", "choose --dataset ucf101, or --workers 0"),
        ("give dataset=... (workers=0)", "give --dataset (--workers 0)"),
        ("the workers need 5 MiB", "the workers need 5 MiB"),
        ("Invalid crop_px 4: give crop_px=8", "Invalid crop_px 4: give crop_px=8"),
        (
            "/data/workers=0/dataset=b.mp4 workers=1.mp4: is empty",
            "/data/workers=0/dataset=b.mp4 workers=1.mp4: is empty",
        ),
    ],
)
def test_a_program_says_its_options_for_python_parameters(message, said, capsys):
    assert with_flags(message, FLAGS) == said
    assert run_program("try", raising(InputError(message)), FLAGS) == 2 and capsys.readouterr().err == f"try: {said}\n"


def test_messages_of_the_library_name_no_options():
    docker = {"--gpus", "--shm-size"}
    folder = Path(dali_pipes.__file__).parent
    named = []
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        declares = re.compile(r"(.*\.)?(add_argument|ArgumentParser|run_program)")
        declared = [call for call in calls if declares.fullmatch(ast.unparse(call.func))]
        statements = [
            node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ]
        passed_over = {id(node) for tree in (*declared, *statements) for node in ast.walk(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed_over:
                flags = set(re.findall(r"--[a-z][a-z-]*", node.value)) - docker
                named += [f"{path.relative_to(folder)}:{node.lineno}: {flag}" for flag in flags]
    assert named == []


def test_options_of_earlier_versions_are_taken_by_their_names_of_today(capsys):
    arguments = "VIDEO --frames 8 --size=40 --seed 1 -o --crop.png".split()
    assert with_todays_options(arguments) == "VIDEO --num-frames 8 --crop-px=40 --seed 1 -o --crop.png".split()
    assert capsys.readouterr().err == (
        "warning: --frames is now called --num-frames; the old name will be removed\n"
        "warning: --size is now called --crop-px; the old name will be removed\n"
    )
