#!/usr/bin/env bash
# The library's tests with the oldest, a middle and the newest DALI, each in a fresh environment installed as the README says.
# Not part of .ci/run: it downloads several gigabytes for each row. Arguments choose rows, such as: tests/matrix.sh cuda110
set -uo pipefail
cd "$(dirname "$0")/.."
rows=("cuda110 1.34.0" "cuda120 1.53.0" "cuda130 2.4.0")
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
summary="" failed=0
for row in "${rows[@]}"; do
  read -r extra version <<<"$row"
  if [[ $# -gt 0 && " $* " != *" $extra "* ]]; then continue; fi
  echo "== DALI $version ($extra)"
  rm -rf "${venv:?}"/*
  if python3 -m venv "$venv" && "$venv/bin/pip" install -q -e ".[$extra,test]" "nvidia-dali-$extra==$version"; then
    outcome=$("$venv/bin/python" -m pytest tests/pipes -p no:cacheprovider 2>&1 | tee /dev/stderr | tail -n 400)
    status=$?
    versions=$("$venv/bin/python" -c 'import numpy, torch; print(f"numpy {numpy.__version__}, torch {torch.__version__}")')
    outcome=$(grep -E '[0-9]+ (passed|failed|error)' <<<"$outcome" | tail -n 1)
  else
    status=1 versions="" outcome="could not be installed"
  fi
  [[ $status -eq 0 ]] || failed=1
  summary+="DALI $version ($extra), $versions: $outcome"$'\n'
done
if [[ -z $summary ]]; then
  echo "matrix: unknown rows $*; choose from cuda110, cuda120, cuda130" >&2
  exit 2
fi
printf '\n%s' "$summary"
exit "$failed"
