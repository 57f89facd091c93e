#!/usr/bin/env bash
# subproject.sh SOURCE MESON...: a Meson project that has libmp as a subproject finds it by the line that
# README.md shows. Nothing is downloaded, and nothing built: what is built is the same as elsewhere.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$1
shift

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cd "$stage"
mkdir subprojects
ln -s "$source" subprojects/libmp
cp "$here/hello.cpp" .
line=$(grep -o "dependency('mp', [^)]*)" "$source/README.md")
cat >meson.build <<EOF
project('greeter', 'cpp', default_options: 'cpp_std=c++20')
executable('hello', 'hello.cpp', dependencies: $line)
EOF
# Without what is installed: that has been tested.
env -u PKG_CONFIG_PATH "$@" setup build --wrap-mode=nodownload -Dforce_fallback_for=libmp
"$@" introspect build --targets >targets.json
grep -q '"name": "hello"' targets.json
# The tests and the lessons are for those who work on libmp.
if grep -q '"name": "01_simple_spawn"' targets.json; then
  echo 'lessons are built, too' >&2
  exit 1
fi
