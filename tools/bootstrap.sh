#!/usr/bin/env bash
# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Make a virtual environment with what runs the sessions of noxfile.py: `bootstrap.sh FOLDER [PYTHON]`.
set -euo pipefail

folder=$1
python=${2:-python3}
requirements=$(cd "$(dirname "$0")/.." && pwd)/tests/requirements

if ! "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
    echo "Python 3.10 or newer with venv is needed, and '$python' is not that. Name another: make ... PYTHON=python3.12" >&2
    exit 1
fi

rm -rf "$folder"
"$python" -m venv "$folder"
pip=("$folder/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install -r "$requirements/runner.txt" -c "$requirements/constraints.txt"

# nox takes uv when it finds it, and virtualenv when it does not. uv does not read pip's configuration: it stays only
# where it has proved to reach the package registry on its own.
if "${pip[@]}" install -r "$requirements/uv.txt" -c "$requirements/constraints.txt" >/dev/null 2>&1 &&
    ! "$folder/bin/uv" pip install --quiet --dry-run --refresh --reinstall --python "$folder/bin/python" \
        nox -c "$requirements/constraints.txt" >/dev/null 2>&1; then
    "${pip[@]}" uninstall --yes uv
fi
touch "$folder/ready"
