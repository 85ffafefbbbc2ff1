#!/usr/bin/env bash
# Proves that the crash suite would notice: builds the ledger four times with one safeguard taken out, and expects a
# history to fail each time. Only the workspace's own crates are built again.
#
# usage: crates/ledger/mutants.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/../.."

runs="${1:-20000}"
target="${CARGO_TARGET_DIR:-target}"
# A fixed place: cargo keeps what was built through a wrapper apart by the wrapper's path, and finds it again.
wrappers="$target/mutants"
mkdir -p "$wrappers"
wrappers="$(realpath "$wrappers")"
# Nobody may take a mutant for the real suite.
trap 'rm -f "$target/release/examples/crash"' EXIT
survived=0
for mutant in fdatasync sync_dir crc reread; do
    wrapper="$wrappers/$mutant"
    printf '#!/bin/sh\nrustc="$1"; shift\nexec "$rustc" "$@" --cfg '"'dihya_mutant=\"%s\"'"'\n' "$mutant" >"$wrapper"
    chmod +x "$wrapper"
    RUSTC_WORKSPACE_WRAPPER="$wrapper" cargo build --quiet --release -p ledger --example crash
    cp "$target/release/examples/crash" "$wrappers/crash-$mutant"
    if "$wrappers/crash-$mutant" --runs "$runs" --first; then
        echo "mutant $mutant survived $runs histories"
        survived=1
    else
        echo "mutant $mutant is caught"
    fi
done
exit "$survived"
