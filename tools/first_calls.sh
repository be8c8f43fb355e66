#!/bin/sh
# Call these tools of YoWASP once: each compiles itself at its first call, for up to a minute. Two processes that do so
# at the same time write the same file, and a third that has just opened it crashes.
set -eu
cd "$(dirname "$0")/.."
if [ -n "${MICROZONE_CACHE:-}" ]; then
    export YOWASP_CACHE_DIR="${YOWASP_CACHE_DIR:-$MICROZONE_CACHE/yowasp}"
fi
for tool in "$@"; do
    # icepack has no option that ends with status 0.
    ".venv/bin/yowasp-$tool" --version >/dev/null 2>&1 || [ "$tool" = icepack ] ||
        echo "warning: $tool cannot keep what it compiles; choose a folder for it with MICROZONE_CACHE" >&2
done
