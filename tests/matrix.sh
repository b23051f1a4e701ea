#!/usr/bin/env bash
# The README's two commands in fresh environments, one for each cell of the table below: the first steps of a training on the demo
# videos, then tests. Each cell downloads gigabytes and takes minutes to most of an hour; its environment is deleted after it.
#   tests/matrix.sh [CELL ...]
# Without arguments all cells but files-*, which are for .ci/run. Ends with a Markdown table, whose rows are also written to
# runs/matrix-<time>.md as they come. Exit code: 0 all well, 1 something failed, 2 unknown cell, 3 a Python is missing.
set -uo pipefail
cd "$(dirname "$0")/.."

# cell | Python | extra | what pip is held to; floors: the lowest version of everything that setup.cfg names | the tests, if not all
files="tests/pipes/{decode,dataset,system/test_{files,dali_internals}.py} tests/pipes/loader/test_{decoders,stream,video_loader,bad_videos}.py"
table="
oldest      | 3.10 | cuda110 | floors                                                    |
middle      | 3.11 | cuda120 | nvidia-dali-cuda120==1.53.0 torch==2.7.1 av==17.*         | tests/pipes
numpy-1     | 3.12 | cuda130 | numpy==1.26.4 opencv-python-headless==4.11.0.86 av==18.*  | tests/pipes
readme-3.10 | 3.10 | cuda130 |                                                           |
readme-3.11 | 3.11 | cuda130 |                                                           |
readme-3.12 | 3.12 | cuda130 |                                                           |
readme-3.13 | 3.13 | cuda130 |                                                           |
files-3.12  | 3.12 | cuda130 |                                                           | $files
files-3.13  | 3.13 | cuda130 |                                                           | $files
"

# row NAME: sets the columns of that cell, or fails
row() {
  IFS='|' read -r cell python extra pins tests < <(grep -E "^$1 *\|" <<<"$table") || return 1
  read -r cell <<<"$cell" && read -r python <<<"$python" && read -r extra <<<"$extra"
  read -r pins <<<"$pins" && read -r tests <<<"$tests"
}

# find_python VERSION: one that runs; the commands of pyenv are also there for versions that are not active, and then do not
find_python() {
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/"python$1"; do
    if [[ $("$candidate" -c 'import ensurepip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) == "$1" ]]; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# held_to: the constraints of the cell, one a line
held_to() {
  if [[ $pins != floors ]]; then
    tr ' ' '\n' <<<"$pins"
    return
  fi
  "$interpreter" - "$extra" <<'PY'
import configparser, sys
config = configparser.ConfigParser()
config.read("setup.cfg")
extras = config["options.extras_require"]
print("\n".join([config["options"]["install_requires"], extras["train"], extras["test"], extras[sys.argv[1]]]).strip().replace(">=", "=="))
PY
}

# versions: what was installed
versions() {
  python - "nvidia-dali-$extra" <<'PY'
import platform, sys
from importlib.metadata import PackageNotFoundError, version
names = {"DALI": sys.argv[1], "PyAV": "av", "OpenCV": "opencv-python-headless", "numpy": "numpy", "torch": "torch",
         "torchvision": "torchvision", "captum": "captum", "lightning": "lightning"}
shown = [f"Python {platform.python_version()}"]
for label, name in names.items():
    try:
        shown.append(f"{label} {version(name)}")
    except PackageNotFoundError:
        shown.append(f"no {label}")
print(", ".join(shown))
PY
}

# run_cell: in an environment of its own; sets outcome_* and fails if anything did
run_cell() {
  local commands job status=0
  outcome_versions="" outcome_job="not reached" outcome_tests="not reached"
  mapfile -t commands < <(grep -E '^pip install -e "\.\[cuda130[^]]*\]" && ' README.md | sed "s/cuda130/$extra/")
  [[ ${#commands[@]} -eq 2 ]] || { echo "matrix: README.md: must hold exactly two commands to install and to train" >&2; return 1; }
  held_to >"$work/constraints.txt"
  "$interpreter" -m venv "$work/venv" || { outcome_job="no environment could be made"; return 1; }
  source "$work/venv/bin/activate"
  export PIP_CONSTRAINT=$work/constraints.txt DALI_PIPES_CACHE=$work/cache

  job="${commands[0]#* && } --max-steps 3 --out $(printf %q "$work/out")"
  if ! step "${commands[0]%% && *}"; then
    outcome_job="could not be installed"
    return 1
  fi
  if step "$job"; then outcome_job=passed; else outcome_job=FAILED status=1; fi

  if ! step "${commands[1]%% && *}"; then
    outcome_tests="could not be installed"
    return 1
  fi
  outcome_versions=$(versions)
  echo "$outcome_versions"
  step "${commands[1]#* && } $tests" || status=1
  outcome_tests=$(grep -aE '^[0-9]+ (passed|failed|skipped|error)|no tests ran' "$work/log" | tail -n 1 | sed -E 's/ in [0-9.]+s.*//; s/, [0-9]+ (warning|deselected)[a-z]*//g')
  [[ $outcome_tests ]] || { outcome_tests="ended early"; status=1; }
  return "$status"
}

# step COMMAND: runs and shows it; its output is also in $work/log
step() {
  echo "+ $1"
  eval "$1" 2>&1 | tee "$work/log"
}

mapfile -t known < <(awk 'NF {print $1}' <<<"$table")
cells=("$@")
[[ $# -gt 0 ]] || mapfile -t cells < <(printf '%s\n' "${known[@]}" | grep -v '^files-')
for name in "${cells[@]}"; do
  if ! grep -qFx -- "$name" <<<"$(printf '%s\n' "${known[@]}")"; then  # in a pipe, grep -q may end before it has read all: an error
    echo "matrix: Invalid cell '$name': choose one or more of ${known[*]}" >&2
    exit 2
  fi
done
for name in "${cells[@]}"; do
  row "$name"
  if ! find_python "$python" >/dev/null; then
    echo "matrix: Cannot run the cell '$name': Python $python is neither on PATH nor among pyenv's versions; install it" >&2
    exit 3
  fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export -n PYTHONPATH
export NO_COLOR=1 PY_COLORS=0
unset FORCE_COLOR PYTEST_ADDOPTS
rows=runs/matrix-$(date +%Y%m%d-%H%M%S).md failed=0
mkdir -p runs
printf '%s\n' "| cell | versions | training command | tests | minutes |" "|---|---|---|---|---|" >"$rows"
for name in "${cells[@]}"; do
  row "$name"
  interpreter=$(find_python "$python")
  echo "== $name: Python $python, $extra${pins:+, $pins}"
  SECONDS=0
  # in a process of its own, so that nothing of its environment is left for the next
  if ! (run_cell; status=$?; printf '%s\n' "| $name | $outcome_versions | $outcome_job | $outcome_tests |" >"$work/row"; exit "$status"); then
    failed=1
  fi
  echo "$(<"$work/row") $(((SECONDS + 59) / 60)) |" >>"$rows"
  rm -rf "${work:?}"/*
done
echo
cat "$rows"
exit "$failed"
