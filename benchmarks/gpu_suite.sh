#!/usr/bin/env bash
# Everything that needs a CUDA machine, in under 10 minutes: the GPU tests, then the speed of mixing, of training steps and of the loader.
#   bash benchmarks/gpu_suite.sh [FOLDER OF VIDEOS]     exit code 3: no CUDA device here
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if ! python3 -c "import sys, torch; sys.exit(not torch.cuda.is_available())" 2>/dev/null; then
    echo "gpu_suite: PyTorch sees no CUDA device here, so there is nothing to run" >&2
    exit 3
fi
python3 - <<'PY'
import ctypes, nvidia.dali, torch
try:
    ctypes.CDLL("libnvcuvid.so.1"); nvdec = "loads"
except OSError as error:
    nvdec = f"cannot be loaded ({error})"
print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, DALI {nvidia.dali.__version__}, libnvcuvid {nvdec}")
PY
status=0
FAIL_WITHOUT_GPU=1 timeout 240 python3 -m pytest tests/gpu --tb=short || status=$?
timeout 60 python3 benchmarks/bench_mixing.py --device cuda || status=$?
timeout 120 python3 benchmarks/bench_train.py --seconds 5 --repeats 2 ${1:+--videos "$1"} || status=$?
timeout 170 python3 benchmarks/bench_loader.py --device cuda ${1:+--data "$1"} --seconds 4 --repeats 2 || status=$?
exit $status
