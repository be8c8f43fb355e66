#!/bin/sh
# Make .venv with microzone and everything it needs. Works as root or not, with or without python3-venv.
# What is installed is what the lock files say: another file than theirs, of whatever origin, is refused.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: microzone needs Python 3.11 or later; choose one with PYTHON=..." >&2
    exit 1
}
if [ ! -x .venv/bin/python ]; then
    rm -rf .venv
    # Debian splits venv off; virtualenv needs nothing but pip.
    "$python" -m venv .venv >/dev/null 2>&1 || {
        rm -rf .venv
        bootstrap=$(mktemp -d)
        "$python" -m pip install --quiet --target "$bootstrap" --require-hashes -r requirements/virtualenv.txt
        PYTHONPATH=$bootstrap "$python" -m virtualenv --quiet .venv
        rm -rf "$bootstrap"
    }
fi
echo "setting up .venv (a minute or two, once)"
export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/python -m pip install -qq --require-hashes --no-deps -r requirements/build.txt
.venv/bin/python -m pip install -qq --require-hashes --no-deps --no-build-isolation --use-pep517 -r requirements/dev.txt
.venv/bin/python -m pip uninstall -qq --yes setuptools-scm vcs-versioning # they would put every file of git into our wheel
.venv/bin/python -m pip install -qq --no-deps --no-build-isolation --editable .
# cocotb loads Python as a shared library, which Debian splits off too; it can be had without being root.
library=libpython$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! .venv/bin/python -c 'import find_libpython, sys; sys.exit(find_libpython.find_libpython() is None)'; then
    if [ -z "$(find .venv/lib -maxdepth 1 -name "$library.so*")" ]; then
        unpacked=$(mktemp -d)
        if (cd "$unpacked" && apt-get download --quiet "$library" && dpkg -x "$library"_*.deb .) >/dev/null 2>&1
        then
            find "$unpacked" -name "$library.so*" -type f -exec cp {} .venv/lib/ \;
        else
            echo "warning: $library.so is missing and the gateware cannot be simulated without it;" \
                "get it with: apt-get install $library" >&2
        fi
        rm -rf "$unpacked"
    fi
fi
tools/first_calls.sh yosys
touch .venv/.installed
