#!/usr/bin/env bash
# Environments of the peers, in build/peers/ (or the folder named): main, with the peers that live together; optax-0.2.6, the
# last optax with gradient estimators, a folder that is put on the path; genjax, where there is a Python 3.12 or later.
#   bash benchmarks/peers/setup.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${1:-build/peers}")
mkdir -p "$folder"

environment() { # its name, its Python, then its packages
  local name=$1 python=$2
  shift 2
  "$python" -m venv "$folder/$name"
  "$folder/$name/bin/python" -m pip install -q --upgrade pip
  "$folder/$name/bin/python" -m pip install -q -e . scikit-learn "$@"
  "$folder/$name/bin/python" -m pip list --format=freeze > "$folder/$name/versions.txt"
}

environment main python3 'numpyro==0.22.*' tfp-nightly distrax blackjax netket
"$folder/main/bin/python" -m pip install -q --no-deps --target "$folder/optax-0.2.6" 'optax==0.2.6'
for python in python3.14 python3.13 python3.12; do
  if "$python" -c "" 2> /dev/null; then
    environment genjax "$python" 'genjax==1.0.14'
    break
  fi
done
[ -d "$folder/genjax" ] || echo "genjax is left out: it needs Python 3.12 or later." >&2
