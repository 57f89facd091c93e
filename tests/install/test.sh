#!/usr/bin/env bash
# test.sh BUILD COMPILER...: installs libmp into an empty folder, and there builds and runs a program
# that knows of nothing but pkg-config.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1
shift

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage meson install -C "$build" --no-rebuild --quiet

file=$(find "$stage" -name mp.pc)
# What a package manager does when it moves a package to its place: the prefix is another one.
prefix=$(sed -n 's/^prefix=//p' "$file")
sed -i "s|^prefix=.*|prefix=$stage$prefix|" "$file"
flags=$(PKG_CONFIG_PATH=$(dirname "$file") pkg-config --cflags --libs mp)

cd "$stage"
cp "$here/hello.cpp" .
# shellcheck disable=SC2086 # lists of words
"$@" -std=c++20 -Wall -Wextra -Wpedantic -Werror hello.cpp -o hello $flags
output=$(./hello)
expected='hello bob, from Process-1'
[ "$output" = "$expected" ] || { echo "printed '$output', not '$expected'" >&2; exit 1; }
