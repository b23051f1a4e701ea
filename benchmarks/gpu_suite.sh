#!/usr/bin/env bash
# Everything that needs a CUDA machine, in under 10 minutes: the GPU tests, then the speed of mixing, of training steps and of
# the loader. Each step has a time limit and runs whatever became of those before it; a summary comes last.
#   bash benchmarks/gpu_suite.sh [FOLDER OF VIDEOS]     exit code 0: all went well, 1: a step failed, 3: no CUDA device here
# DALI_PIPES_CLIPS names a folder with real clips (actions/<class>/*.avi) for the tests of NVDEC; else ../shared/clips, or they skip.
# GPU_SUITE_DEVICE=cpu tries this script without a GPU: the GPU tests skip, the benchmarks run on the CPU.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
device=${GPU_SUITE_DEVICE:-cuda}
if [[ $device == cuda ]]; then
    if ! python3 -c "import sys, torch; sys.exit(not torch.cuda.is_available())" 2>/dev/null; then
        echo "gpu_suite: PyTorch sees no CUDA device here, so there is nothing to run" >&2
        exit 3
    fi
    export FAIL_WITHOUT_GPU=1
fi
failed=0 summary=""

step() { # NAME LIMIT_S COMMAND...
    local name=$1 limit=$2 begin=$SECONDS status=0 outcome
    shift 2
    printf '\n== %s (at most %s s)\n' "$name" "$limit"
    timeout --kill-after=10 "$limit" "$@" || status=$?
    case $status in
        0) outcome="ok" ;;
        124 | 137) outcome="STOPPED at its limit of $limit s" ;;
        *) outcome="FAILED, exit code $status" ;;
    esac
    [[ $status -eq 0 ]] || failed=1
    summary+=$(printf '%-28s %4s s  %s' "$name" "$((SECONDS - begin))" "$outcome")$'\n'
}

machine='
import ctypes, nvidia.dali, torch
try:
    ctypes.CDLL("libnvcuvid.so.1"); nvdec = "loads"
except OSError as error:
    nvdec = f"cannot be loaded ({error})"
name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
print(f"{name}, torch {torch.__version__}, DALI {nvidia.dali.__version__}, libnvcuvid {nvdec}")'
slow="training or localisation or activation" # the tests are two steps, so that one that hangs does not take all with it
step "machine" 20 python3 -c "$machine"
step "tests: pixels and clips" 140 python3 -m pytest tests/gpu --tb=short -rs --durations=5 -k "not ($slow)"
step "tests: training and maps" 90 python3 -m pytest tests/gpu --tb=short -rs --durations=5 -k "$slow"
step "speed of mixing" 40 python3 benchmarks/bench_mixing.py --device "$device"
step "speed of training" 70 python3 benchmarks/bench_train.py --device "$device" --seconds 4 --repeats 2 ${1:+--videos "$1"}
step "speed of the loader" 230 python3 benchmarks/bench_loader.py --device "$device" ${1:+--data "$1"} \
    --seconds 3 --repeats 2 --epochs 0 --row-limit-s 30 --limit-s 190
printf '\n== summary, %s s in all\n%s' "$SECONDS" "$summary"
exit "$failed"
