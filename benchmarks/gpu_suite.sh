#!/usr/bin/env bash
# Everything that needs a CUDA machine, in order of value and in a given time: what NVDEC does, the GPU tests, the speed of the
# loader, of each operation and of peers, of training steps and of mixing. Each step has a limit and runs whatever became of those
# before it; a summary comes last.
#   bash benchmarks/gpu_suite.sh [FOLDER OF VIDEOS]     exit code 0: all went well, 1: a step failed or had no time, 2: a setting
#                                                       is wrong, 3: no CUDA device here
# On an H100 with 16 cores they took: probe 54 s, tests 78 s, ops 11 s. Expected, at most its limit: training_tests 60 s, loader 110 s,
# peers 40 s, training 100 s (two programs), compiled 330 s (six programs, the first with --compile is slowest), mixing 20 s.
# SECONDS_IN_ALL=420: steps are cut to what is left of it (one that does not stop is killed 10 s later)
# STEPS="probe tests loader ops peers training training_tests compiled mixing": which ones, in this order
# OUT: folder for each step's log and tables (default: a temporary one, named at the end); JOBS=8: tests at once
# DALI_PIPES_CLIPS names a folder with real clips (actions/<class>/*.avi) for NVDEC; else ../shared/clips, or tests with them skip.
# GPU_SUITE_DEVICE=cpu tries this script without a GPU: the GPU tests skip, the benchmarks run on the CPU.
set -uo pipefail
SECONDS=0
videos=${1:+$(realpath -m -- "$1")} out=${OUT:+$(realpath -m -- "$OUT")}
cd "$(dirname "$0")/.." || exit 1
known="probe tests loader ops peers training training_tests compiled mixing"
all=${SECONDS_IN_ALL:-420} device=${GPU_SUITE_DEVICE:-cuda}
read -r -d '' -a steps <<<"${STEPS:-$known}" || true
[[ ${#steps[@]} -gt 0 ]] || read -r -a steps <<<"$known"
for name in "${steps[@]}"; do
    if [[ " $known " != *" $name "* ]]; then
        echo "gpu_suite: Invalid STEPS '$name': choose one or more of $known" >&2
        exit 2
    fi
done
if [[ ! $all =~ ^[1-9][0-9]*$ ]]; then
    echo "gpu_suite: Invalid SECONDS_IN_ALL '$all': must be a whole number of seconds, such as 420" >&2
    exit 2
fi
if [[ $device != cuda && $device != cpu ]]; then
    echo "gpu_suite: Invalid GPU_SUITE_DEVICE '$device': choose cuda or cpu" >&2
    exit 2
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if [[ $device == cuda ]]; then
    if ! python3 -c "import sys, torch; sys.exit(not torch.cuda.is_available())" 2>/dev/null; then
        echo "gpu_suite: Cannot measure: PyTorch finds no CUDA device; run it on a machine with a GPU, or set GPU_SUITE_DEVICE=cpu" >&2
        exit 3
    fi
    export FAIL_WITHOUT_GPU=1
    if ! python3 -c 'import ctypes; ctypes.CDLL("libnvcuvid.so.1")' 2>/dev/null; then # the driver's folder may be unknown
        found=$(find /usr -name libnvcuvid.so.1 -print -quit 2>/dev/null)
        if [[ -n $found ]]; then
            LD_LIBRARY_PATH=$(dirname "$found")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
            export LD_LIBRARY_PATH
        fi
    fi
fi
out=${out:-$(mktemp -d -t gpu_suite.XXXXXX)}
mkdir -p "$out" || exit 1
failed=0 summary="" making=""

note() { # NAME SECONDS OUTCOME: a line of the summary
    summary+=$(printf '%-20s %4s s  %s' "$@")$'\n'
}

at_the_end="" # that many last lines of a step are shown when it is over, instead of all while it runs
step() {      # NAME LIMIT_S COMMAND...: LEFT_S in the command is its limit, less what a program needs to end by itself
    local name=$1 limit=$2 left=$((all - SECONDS)) begin=$SECONDS status=0 outcome shown
    shift 2
    [[ $limit -le $left ]] || limit=$left
    if [[ $limit -lt 10 ]]; then
        note "$name" 0 "NOT RUN, $((left > 0 ? left : 0)) s were left"
        failed=1
        return
    fi
    printf '\n== %s (at most %s s; %s s so far)\n' "$name" "$limit" "$SECONDS"
    : >"$out/$name.log"
    if [[ -z $at_the_end ]]; then
        # not a pipe, which a process that is left over would keep open; looks again and again, as not every system tells of changes
        tail ---disable-inotify -n +1 -s 0.2 --pid=$$ -f "$out/$name.log" &
        shown=$!
    fi
    # Ctrl-C, so that pytest and the loader's benchmark still tell what they know
    timeout -s INT -k 10 "$limit" "${@//LEFT_S/$((limit - 5))}" >"$out/$name.log" 2>&1 || status=$?
    if [[ -z $at_the_end ]]; then
        sleep 0.5
        kill "$shown" 2>/dev/null
        wait "$shown" 2>/dev/null
    else # FFmpeg says the same of each open group of a file
        grep -av 'non-existing PPS' "$out/$name.log" | tail -n "$at_the_end"
    fi
    case $status in
        0) outcome="ok" ;;
        124 | 137) outcome="STOPPED at its limit of $limit s" ;;
        *) outcome="FAILED, exit code $status" ;;
    esac
    [[ $status -eq 0 ]] || failed=1
    note "$name" "$((SECONDS - begin))" "$outcome"
}

make_videos() { # the demo's, which the loader and training steps read, while something runs that measures nothing
    [[ -z $videos && -z $making ]] || return 0
    timeout 90 python3 -c 'from train.data.demo_data import demo_folder; demo_folder(8)' >"$out/videos.log" 2>&1 &
    making=$!
}

have_videos() {
    make_videos
    [[ -z $making ]] || wait "$making" || echo "gpu_suite: Cannot make the demo's videos: see $out/videos.log" >&2
    making=done
}

pytest_gpu() { # NAME LIMIT_S JOBS EXPRESSION
    local at_the_end=60
    step "$1" "$2" python3 -m pytest tests/gpu tests/pipes/augment/test_ops.py -m gpu -n "$3" --dist worksteal \
        -p no:cacheprovider -p no:benchmark --tb=short -rfEs --durations=8 -k "$4"
}

run_probe() { step probe 75 python3 benchmarks/gpu_probe.py --json "$out/probe.json"; }

slow="training or localisation or activation" # the tests are two steps, so that one that hangs does not take all with it
run_tests() {
    [[ ! " ${steps[*]} " =~ \ (loader|peers|training|compiled)\  ]] || make_videos
    pytest_gpu tests 130 "${JOBS:-8}" "not ($slow)"
}
run_training_tests() { pytest_gpu training_tests 110 4 "$slow"; }

run_loader() {
    local rows=ours_cpu_decoding,ours_gpu_decoding,torchvision_gpu,noise_alone,augment_alone,graph_draws_alone,dali_auto_aug_alone
    rows+=,decode_only_cpu,decode_only_gpu,dali_auto_aug_cpu_decoding,dali_auto_aug_gpu_decoding
    rows+=,ours_no_aug_cpu_decoding,ours_no_aug_gpu_decoding,ours_stream
    [[ $device == cuda ]] || rows=ours,torchvision_gpu,noise_alone,augment_alone,dali_auto_aug_alone,decode_only,ours_no_aug
    bench_loader loader 130 "$device" "$rows"
}
run_ops() { step ops 40 python3 benchmarks/bench_ops.py --device "$device" --json "$out/ops.json"; }
run_peers() { bench_loader peers 45 cpu straightforward,torchvision; }
bench_loader() { # NAME LIMIT_S DEVICE ROWS
    have_videos
    step "$1" "$2" python3 benchmarks/bench_loader.py --device "$3" --rows "$4" ${videos:+--data "$videos"} --seconds 3 --repeats 1 \
        --epochs 0 --row-limit-s 40 --limit-s LEFT_S --json "$out/$1.json"
}

bench_train() { # NAME LIMIT_S OPTIONS...
    have_videos
    step "$1" "$2" python3 benchmarks/bench_train.py --device "$device" ${videos:+--videos "$videos"} --seconds 3 --repeats 2 "${@:3}"
}
run_training() { # real clips against noise, and what cuDNN's search for the fastest kernels costs and brings
    bench_train training 90 --decoder cpu --workers "$(nproc)"
    bench_train training_unsearched 60 --decoder cpu --workers "$(nproc)" --no-cudnn-search
}
run_compiled() { # the sizes of the paper, then those of the small preset, whose steps are short
    local small=(--num-frames 32 --crop-px 56 --batch-size 8)
    bench_compiled eager 60
    bench_compiled compiled 120 --compile
    bench_compiled graphs 90 --compile reduce-overhead
    bench_compiled small_eager 45 "${small[@]}"
    bench_compiled small_compiled 90 "${small[@]}" --compile
    bench_compiled small_graphs 75 "${small[@]}" --compile reduce-overhead
}
bench_compiled() { bench_train "$1" "$2" --data synthetic --workers 0 --decoder cpu "${@:3}"; }

run_mixing() {
    step mixing 40 python3 benchmarks/bench_mixing.py --device "$device" --layout channels_last --repeats 7 --json "$out/mixing.json"
}

machine='
import ctypes, nvidia.dali, torch
try:
    ctypes.CDLL("libnvcuvid.so.1"); nvdec = "loads"
except OSError as error:
    nvdec = f"cannot be loaded ({error})"
name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
print(f"{name}, torch {torch.__version__}, DALI {nvidia.dali.__version__}, libnvcuvid {nvdec}")'
{
    python3 -c "$machine"
    nvidia-smi --query-gpu=driver_version,memory.total,clocks.sm --format=csv,noheader 2>/dev/null
    echo "$(nproc) cores, memory $(free -g | awk '/^Mem/ {print $2}') GiB, shared memory $(df -h /dev/shm | awk 'END {print $2}')"
} 2>&1 | tee "$out/machine.log"
for name in "${steps[@]}"; do
    "run_$name"
done
printf '\n== summary, %s s in all; logs and tables are in %s\n%s' "$SECONDS" "$out" "$summary" | tee "$out/summary.log"
exit "$failed"
