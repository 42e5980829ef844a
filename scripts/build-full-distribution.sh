#!/usr/bin/env bash
# Keeps its old name only to refuse: it used to build on the host itself.
set -euo pipefail

cat >&2 <<'END'
error: builds do not run directly on the host
why: an interrupted build once left its entries in the host's /dev
hint: ./scripts/synos build.iso builds the same in an unprivileged container
END
exit 22
