"""How programs end: exit codes, one sentence, nothing of theirs left behind."""

import os
import signal
import subprocess
import sys
import warnings

import pytest

from dali_pipes import InputError
from dali_pipes.system.program import Terminated, end_of


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
    assert end_of("try", program) == code
    assert capsys.readouterr() == ("", said)


def test_warnings_are_sentences_in_here_alone():
    before = warnings.formatwarning
    shown = []
    end_of("try", lambda: shown.append(warnings.formatwarning("mind", UserWarning, "file.py", 3)))
    assert shown == ["warning: mind\n"] and warnings.formatwarning is before


def test_a_reader_that_has_seen_enough():
    code = (
        "import sys; from dali_pipes.system.program import end_of; "
        "sys.exit(end_of('try', lambda: print('x' * 10**6, flush=True)))"
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

    assert end_of("try", program) == 143 and capsys.readouterr().err == "stopped by SIGTERM\n"
    assert (
        closed == [signal.SIG_DFL] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )  # a second one ends it at once
