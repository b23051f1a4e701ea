"""Compiled operators: kept on disk, made anew where that fails, and refused where DALI calls functions otherwise."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import carray
from nvidia.dali import fn, pipeline_def, types

from dali_pipes.system import dali_internals, numba_operator
from dali_pipes.system.dali_internals import DaliChanged
from dali_pipes.system.numba_operator import data_at, make_operator, shape_at

ROOT = Path(__file__).resolve().parents[3]


def twice_setup(out_shapes, out_ndims, num_outs, in_shapes, in_ndims, num_ins, samples):
    for sample in range(samples):
        shape_at(out_shapes, sample, 1)[0] = shape_at(in_shapes, sample, 1)[0]


def twice_run(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):
    size = shape_at(in_shapes, 0, 1)[0]
    numbers, out = carray(data_at(ins, 0), (size,), np.int32), carray(data_at(outs, 0), (size,), np.int32)
    for i in range(size):
        out[i] = 2 * numbers[i]


def make_twice():
    numbers = [(types.INT32, 1)]
    return make_operator(twice_run, twice_setup, outputs=numbers, inputs=numbers, sources=[Path(__file__)])


def doubled(operator) -> list[list[int]]:
    """The result of a batch of two arrays of different sizes."""
    samples = [np.array([1, 2, 3], np.int32), np.array([40], np.int32)]

    @pipeline_def(batch_size=2, num_threads=2, device_id=None)
    def pipeline():
        return operator(operator(fn.external_source(lambda: samples)))

    built = pipeline()
    built.build()
    (output,) = built.run()
    return [np.array(output[i]).tolist() for i in range(2)]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


def test_what_is_compiled_is_kept(cache):
    first = make_twice()
    assert doubled(first) == [[4, 8, 12], [160]] and numba.config.CACHE_DIR == str(cache)
    second = make_twice()
    assert doubled(second) == [[4, 8, 12], [160]]
    assert [[function.cache_hits for function in operator.compiled] for operator in (first, second)] == [[0, 0], [1, 1]]


def test_a_change_of_the_sources_is_compiled_anew(cache, tmp_path):
    source = tmp_path / "source.py"
    hits = []
    for text in ("one", "two", "two"):
        source.write_text(text)
        numbers = [(types.INT32, 1)]
        operator = make_operator(twice_run, twice_setup, outputs=numbers, inputs=numbers, sources=[source])
        hits.append([function.cache_hits for function in operator.compiled])
    assert hits == [[0, 0], [0, 0], [1, 1]]


def test_a_damaged_cache_is_a_warning(cache, caplog):
    make_twice()
    indices = list(cache.rglob("*.nbi"))
    for path in indices:
        path.write_bytes(b"damaged")
    assert len(indices) == 2 and doubled(make_twice()) == [[4, 8, 12], [160]]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2 and all(message.startswith(f"{cache}") for message in messages)
    assert all("so they were compiled anew; make it writable, or delete it" in message for message in messages)


def test_a_cache_that_cannot_be_made_is_a_warning(monkeypatch, caplog):
    def without_cache(signature, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'twice': no locator available")
        return numba.cfunc(signature, **options)

    monkeypatch.setattr(numba_operator, "cfunc", without_cache)
    assert doubled(make_twice()) == [[4, 8, 12], [160]]
    assert "no locator available" in caplog.records[0].getMessage()


def test_a_cache_below_a_file_is_a_warning(monkeypatch, tmp_path, caplog):
    """Then numba must not take another folder, where it would not see that the sources changed."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "kernels"))
    operator = make_twice()
    assert doubled(operator) == [[4, 8, 12], [160]]
    assert [function.cache_hits for function in operator.compiled] == [0, 0]
    assert len(caplog.records) == 2 and "cannot keep compiled functions" in caplog.records[0].getMessage()


def test_a_cache_that_others_may_write_to_is_not_used(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("DALI_PIPES_CACHE", str(tmp_path))
    make_twice()
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"kernels-{os.getuid()}" and folder.stat().st_mode & 0o077 == 0 and not caplog.records
    folder.chmod(0o777)
    operator = make_twice()
    assert [function.cache_hits for function in operator.compiled] == [0, 0]
    assert f"others own {folder} or may write to it" in caplog.records[0].getMessage()


def test_slow_compiling_is_told(cache, caplog, monkeypatch):
    monkeypatch.setattr(numba_operator, "TELL_AFTER_S", 0.0)
    make_twice()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"it is then kept in {cache}" in caplog.records[0].getMessage()
    caplog.clear()
    monkeypatch.setattr(numba_operator, "TELL_AFTER_S", 3600.0)
    make_twice()
    assert not caplog.records


def test_processes_that_compile_at_once(tmp_path):
    """Each finds nothing, and none disturbs another."""
    program = "from tests.pipes.system.test_numba_operator import doubled, make_twice; print(doubled(make_twice()))"
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=200)[0] for process in processes] == ["[[4, 8, 12], [160]]\n"] * 3


@pytest.mark.parametrize("name", ["OPERATOR", "RUN_ADDRESS", "SETUP_ADDRESS", "RUN_SIGNATURE", "SETUP_SIGNATURE"])
def test_a_plugin_without_a_name_is_a_sentence(name, monkeypatch, cache):
    monkeypatch.setattr(dali_internals, name, "_gone")
    with pytest.raises(DaliChanged, match=r"^DALI [\d.]+: .* has no _gone, which dali_pipes/system/dali_internals.py"):
        make_twice()


@pytest.mark.parametrize("name", ["RUN_ARGUMENTS", "SETUP_ARGUMENTS"])
def test_a_plugin_that_calls_otherwise_is_a_sentence(name, monkeypatch):
    monkeypatch.setattr(dali_internals, name, ("int32",))
    with pytest.raises(DaliChanged, match=r"^DALI [\d.]+: NumbaFunction calls a function with .*uint64"):
        dali_internals.operator_of_addresses(0, 0, [(types.INT32, 1)], [(types.INT32, 1)])
