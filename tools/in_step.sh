#!/usr/bin/env bash
# Are the notebooks clean, and are the package and README.md what the notebooks make? Works on a copy, changes nothing here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/before"
cp -R nbs attiqa tools settings.ini README.md CONTRIBUTING.md CLAIMS.md "$copy/before"
find "$copy/before" \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
cp -R "$copy/before" "$copy/after"

check() { # what is checked, then the command that would change it
  local what=$1; shift
  (cd "$copy/after" && "$@")
  find "$copy/after" -name __pycache__ -prune -exec rm -rf {} +
  diff -r --brief "$copy/before" "$copy/after" > /dev/null && { echo "in step: $what"; return; }
  (cd "$copy" && diff -ru before after | cut -c -200 | head -60) || true
  echo "out of step: $what; run: make prepare" >&2
  exit 1
}
check "notebooks are clean" "$root/.venv/bin/nbdev_clean"
check "attiqa/ is what the notebooks export" "$root/.venv/bin/nbdev_export"
check "README.md, CLAIMS.md and the map in CONTRIBUTING.md are what the notebooks make" "$root/.venv/bin/python" tools/readme.py
