#!/bin/sh
# Write the lock files in requirements/: every distribution that a set-up installs, at one version for each
# Python and platform, with the hashes of its files. `make lock` keeps the versions that pyproject.toml still
# allows; `make lock UPGRADE=1` takes the newest.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m pip install -qq --disable-pip-version-check --target "$work/uv" uv==0.13.9
compile() { # OUTPUT ARGUMENTS...
    output=$1
    shift
    PYTHONPATH=$work/uv .venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-annotate --custom-compile-command 'make lock' ${UPGRADE:+--upgrade} --output-file "$output" "$@"
}
# All extras together first, so that the files agree with each other.
all=$work/all.txt
cat requirements/dev.txt requirements/inference.txt >"$all"
compile "$all" --constraint requirements/torch.txt --all-extras pyproject.toml
# PyTorch and what its builds for CUDA bring along are not locked: see requirements/torch.txt.
unlocked=$(sed -nE 's/^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==.*/--no-emit-package \1/p' "$all")
compile requirements/microzone.txt --constraint "$all" pyproject.toml
compile requirements/dev.txt --constraint "$all" --extra dev pyproject.toml
# shellcheck disable=SC2086 # a list of arguments
compile requirements/inference.txt --constraint "$all" --extra inference $unlocked pyproject.toml
for name in build release virtualenv; do
    compile "requirements/$name.txt" --constraint "$all" "requirements/$name.in"
done
