#!/usr/bin/env bash
# Kept for old habits: every build is a safe build in Docker now.
set -euo pipefail

printf '%s\n' "safe-docker-build.sh is kept for old habits: this is ./scripts/synos build.iso" >&2
exec "$(dirname -- "${BASH_SOURCE[0]}")/synos" build.iso "$@"
