"""Programs under a real pseudo-terminal."""

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = 60


def run_in_terminal(code: str, term: str = "xterm", ctrl_c_after: bytes = b"", columns: int = COLUMNS) -> str:
    """What a Python program writes into a terminal, in which Ctrl-C is typed once so much was written."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=side,
        stdout=side,
        stderr=side,
        cwd=ROOT,
        env=os.environ | {"TERM": term},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(side)
    written = b""
    try:
        while True:
            try:
                written += os.read(terminal, 65536)
            except OSError as error:  # so does the end of a terminal's last program look
                assert error.errno == errno.EIO
                break
            if ctrl_c_after and ctrl_c_after in written:
                os.write(terminal, b"\x03")
                ctrl_c_after = b""
        assert process.wait(30) == 0, written.decode()
    finally:
        process.kill()
        os.close(terminal)
    return written.decode()


def rows(written: str) -> list[str]:
    """What stands in the terminal at the end, a row each; only carriage returns move its cursor back."""
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f]", written)
    shown = []
    for line in written.replace("\r\n", "\n").split("\n"):
        row = ""
        for part in line.split("\r"):
            assert len(part) <= COLUMNS or "\r" not in line, part  # or it would go on in the next row
            row = part + row[len(part) :]
        shown.append(row.rstrip())
    return shown[:-1] if not shown[-1] else shown
