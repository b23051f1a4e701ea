#!/usr/bin/env bash
# Builds the image and runs what docker/README.md promises, without a Docker engine: buildah follows the Dockerfile, on a
# Debian of debootstrap's in place of the base image; chroot in namespaces of its own takes the place of docker run.
#   bash docker/check.sh [cuda110|cuda120|cuda130]
# Needs root, buildah, debootstrap, and 20 GB in $TMPDIR; everything there is deleted at the end. Takes a quarter of an hour or more.
# Two variables help where that is too much, or an index cannot be reached:
#   STAND_IN="torch==... nvidia-dali-...": what is installed instead of docker/VARIANT.txt
#   BASE_TAR=FILE: the base image's files, made by debootstrap before
# shellcheck disable=SC2013,SC2016,SC2329  # words are meant; the container's shell expands; functions are called through expect and trap
set -euo pipefail
variant=${1:-cuda110}
cd "$(dirname "$0")/.."
for tool in buildah debootstrap unshare; do
    command -v "$tool" > /dev/null || { echo "check: Cannot build the image: $tool is not installed; install it" >&2; exit 2; }
done
[[ $EUID -eq 0 ]] || { echo "check: Cannot build the image: debootstrap and chroot need root; run this as root" >&2; exit 2; }
[[ -f docker/$variant.txt ]] || { echo "check: Invalid variant '$variant': there is no docker/$variant.txt; choose cuda110, cuda120 or cuda130" >&2; exit 2; }

work=$(mktemp -d)
export TMPDIR=$work CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
printf '[storage]\ndriver = "%s"\nrunroot = "%s"\ngraphroot = "%s"\n' \
    "${STORAGE_DRIVER:-overlay}" "$work/run" "$work/store" > "$CONTAINERS_STORAGE_CONF"
cleanup() {
    buildah rm --all > /dev/null || true
    buildah rmi --all --force > /dev/null || true
    for place in "$work"/store/*; do umount "$place" 2> /dev/null || true; done
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

echo "== base image, by debootstrap"
if [[ ! -f ${BASE_TAR:=$work/debian.tar} ]]; then
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/debian" > "$work/log" 2>&1 ||
        { tail "$work/log"; exit 1; }
    tar -C "$work/debian" -cf "$BASE_TAR" .
fi
container=$(buildah from scratch)
buildah add --quiet "$container" "$BASE_TAR" / > /dev/null
buildah commit --quiet --rm "$container" localhost/base > /dev/null
rm -rf --one-file-system "$work"/debian*

echo "== image, by the Dockerfile ($variant)"
mkdir "$work/context"
git ls-files --cached --others --exclude-standard -z | tar -c --null -T - | tar -x -C "$work/context"
if [[ ${STAND_IN:-} ]]; then
    echo "NOT docker/$variant.txt, but: $STAND_IN"
    tr ' ' '\n' <<< "$STAND_IN" > "$work/context/docker/$variant.txt"
fi
# how this machine reaches its package index is lent to the build, and no part of the image
{ echo "[global]"; python3 -m pip config list 2> /dev/null |
    sed -nE "s/^[^.]*\.\.?(cert|find-links|index-url|proxy|timeout|default-timeout|trusted-host)='(.*)'$/\1 = \2/p" | awk '!seen[$1]++'; } > "$work/pip.conf"
lent=(--volume "$work/pip.conf:/etc/pip.conf:ro")
for path in $(sed -nE 's/^(cert|find-links) = //p' "$work/pip.conf"); do
    [[ ! -e $path ]] || lent+=(--volume "$path:$path:ro")
done
buildah bud --quiet "${lent[@]}" --build-arg BASE=localhost/base --build-arg VARIANT="$variant" \
    --file docker/Dockerfile --tag localhost/image "$work/context" > "$work/log" 2>&1 || { tail -n 40 "$work/log"; exit 1; }
buildah images localhost/image

root=$(buildah mount "$(buildah from --pull-never localhost/image)")
config() { buildah inspect --type image --format "{{range .OCIv1.Config.$1}}{{println .}}{{end}}" localhost/image | sed '/^$/d'; }
mapfile -t environment < <(config Env)
mapfile -t entrypoint < <(config Entrypoint)
mapfile -t default_command < <(config Cmd)
user=$(buildah inspect --type image --format "{{.OCIv1.Config.User}}" localhost/image)
folder=$(buildah inspect --type image --format "{{.OCIv1.Config.WorkingDir}}" localhost/image)

# run SHM_SIZE USER [COMMAND...]: as docker run --shm-size=SHM_SIZE --user=USER IMAGE [COMMAND...], in one container for all
run() {
    local shm=$1 as=$2
    shift 2
    [[ $# -gt 0 ]] || set -- "${default_command[@]}"
    unshare --mount --pid --ipc --fork --kill-child bash -c '
        root=$1 shm=$2 as=$3 folder=$4; shift 4
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
        mount -t tmpfs -o "size=$shm,mode=1777" tmpfs "$root/dev/shm" || exit 125
        exec chroot --userspec="$as" "$root" env -i --chdir="$folder" ${OMP_NUM_THREADS:+"OMP_NUM_THREADS=$OMP_NUM_THREADS"} "$@"
    ' - "$root" "$shm" "$as" "$folder" "${environment[@]}" "${entrypoint[@]}" "$@"
}

failed=0
# expect CODE TEXT WHAT: run ...; the log of the last run must hold TEXT (a regular expression), its exit code be CODE
expect() {
    local code=$1 text=$2 what=$3 got=0
    shift 3
    "$@" > "$work/log" 2>&1 || got=$?
    cp "$work/log" "$work/last"
    if [[ $got -eq $code ]] && grep -qE -- "$text" "$work/log"; then
        echo "ok: $what"
        grep -E -m 1 -- "$text" "$work/log" | cut -c 1-300 | sed 's/^/    /'
    else
        echo "FAILED: $what (exit code $got, expected $code and '$text')"
        tail -n 15 "$work/log" | sed 's/^/    /'
        failed=1
    fi
}

# also TEXT WHAT: the log of the last run holds TEXT too
also() { expect 0 "$1" "$2" cat "$work/last"; }

train=(python train/run.py --aug randaug_t)
echo "== what is in it"
expect 0 'torch [0-9]' "packages" run 8g "$user" python -c "import sys; from importlib.metadata import version
print('Python', sys.version.split()[0], *(f'{name} {version(name)}' for name in sys.argv[1:]))" torch torchvision "nvidia-dali-$variant" numpy av
expect 0 '^1000 1000$' "not root" run 8g "$user" bash -c 'echo $(id -u) $(id -g)'
expect 1 '^$' "no compiler" run 8g "$user" bash -c 'echo; command -v cc gcc g++ c++ clang nvcc'
expect 0 '^LICENSE README.md dali_pipes dali_pipes.egg-info docker examples runs setup.cfg setup.py train$' "only what is needed" \
    run 8g "$user" bash -c 'LC_ALL=C; echo *'
expect 0 'empty' "nothing of this machine's settings" run 8g "$user" bash -c '! [ -s /etc/pip.conf ] && echo empty'

echo "== what docker/README.md says"
expect 0 '--max-steps' "without a command: help" run 8g "$user"
expect 0 'best validation top-1' "three steps on the demo videos" run 8g "$user" "${train[@]}" --max-steps 3
also '^Running on the CPU, because PyTorch cannot use a GPU: (.*--gpus all|Torch not compiled with CUDA)' "no --gpus: says why it trains on the CPU"
mv "$root/cache/demo-1" "$root/data" && rm -rf "${root:?}"/app/runs/* "${root:?}"/cache/*
tiny=(--data /data/demo-1 --num-frames 16 --crop-px 48 --batch-size 4 --eval-clips 1)
expect 0 'best validation top-1' "videos in /data, a user that the image does not know" run 8g 12345:12345 "${train[@]}" "${tiny[@]}" --max-steps 3
expect 2 '^error: /dev/shm: has .* --shm-size=8g' "Docker's 64 MB of shared memory" \
    run 64m "$user" "${train[@]}" --data /data/demo-1 --out /tmp/out
expect 2 "^error: Invalid --device 'cuda': needs an NVIDIA GPU.*(--gpus all|not compiled with CUDA)" "no --gpus" run 8g "$user" "${train[@]}" "${tiny[@]}" --device cuda --out /tmp/out
expect 2 "^error: Invalid --decoder 'gpu': cannot be used, because the device is cpu" "no --gpus, --decoder gpu" \
    run 8g "$user" "${train[@]}" "${tiny[@]}" --decoder gpu --out /tmp/out
expect 2 '^error: .*/root/mine.*Permission denied' "results where this user may not write" run 8g "$user" "${train[@]}" "${tiny[@]}" --out /root/mine
expect 2 '^error: .*/etc/cache.*Permission denied' "a cache where this user may not write" \
    run 8g "$user" env DALI_PIPES_CACHE=/etc/cache "${train[@]}"
stop_while_training() {
    run 8g "$user" "${train[@]}" "${tiny[@]}" --out /tmp/stop &
    local waited=0 process=$!
    until [[ -e $root/tmp/stop/samples.png || $((waited++)) -eq 600 ]]; do sleep 1; done
    while [[ $process && $(< "/proc/$process/comm") != tini ]]; do process=$(pgrep --parent "$process" | head -n 1); done
    kill -TERM "$process"
    wait $!
}
expect 143 'stopped' "docker stop while it trains" stop_while_training

[[ $failed -eq 0 ]] && echo "all as promised" || echo "NOT all as promised"
exit "$failed"
