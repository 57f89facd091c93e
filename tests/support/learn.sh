#!/usr/bin/env bash
# learn.sh SOURCE: what ./learn answers, beside a build folder and tools that only look like it.
set -euo pipefail

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp "$1/learn" "$stage"
cd "$stage"

# All of the PATH: what a plain system has, and not one of the tools that a build needs.
mkdir tools
for tool in bash cat dirname env grep id paste sed sort; do
  ln -s "$(command -v $tool)" tools/
done
run() {
  local code=0
  output=$(PATH=$stage/tools CXX='' ./learn "$@" 2>&1) || code=$?
  return $code
}
fail() {
  printf '%s\n--- it printed:\n%s\n' "$1" "$output" >&2
  exit 1
}
succeeds() { run "$@" || fail "./learn $* does not succeed"; }
refuses() { ! run "$@" || fail "./learn $* succeeds"; }
prints() { [[ $output = *"$1"* ]] || fail "it does not print '$1'"; }
keeps_silent_about() { [[ $output != *"$1"* ]] || fail "it prints '$1'"; }

# --- where nothing is installed, and the distribution is none that learn knows ---

refuses doctor
prints 'MISSING   meson 1.0 or later       package meson'
prints 'MISSING   a C++20 compiler         package g++'
refuses
prints 'MISSING   ninja                    package ninja-build'
prints 'install what is missing first'
prints 'MISSING   Sphinx                   package python3-sphinx (without it: no book)'
[ ! -e build ] || fail 'a build folder was made'

# --- where what cannot be done without is there ---

for tool in c++ pkg-config python3; do
  printf '#!/usr/bin/env bash\n[[ $* != *gtest* && $* != *boost* ]]\n' >tools/$tool
done
printf '#!/usr/bin/env bash\necho 1.0\n[ $1 = --version ] || mkdir -p build/lessons\n' >tools/meson
printf '#!/usr/bin/env bash\n[ $1 = --version ] || echo "ninja: no work to do."\n' >tools/ninja
chmod +x tools/{c++,pkg-config,python3,meson,ninja}  # The others are links into the system.
ln -s "$(command -v mkdir)" tools/
refuses list  # There are no lessons.
prints 'MISSING   GoogleTest 1.12          package libgtest-dev (without it: fetched)'
keeps_silent_about 'install what is missing first'
[ -e build ] || fail 'no build folder was made'
rm -r build

# --- where all is built ---

printf '#!/usr/bin/env bash\necho "ninja: no work to do."\n' >tools/ninja
mkdir -p build/lessons
touch build/build.ninja
printf '01_first A beginning\n08_second_part More\n10_second_thoughts Again\n' >build/lessons/lessons.txt
for lesson in 01_first 08_second_part 10_second_thoughts; do
  printf '#!/usr/bin/env bash\necho "this is %s"\n' $lesson >build/lessons/$lesson
done
chmod +x tools/ninja build/lessons/*

begun=$EPOCHREALTIME
succeeds
prints 'this is 01_first'
prints '10_second_thoughts           Again'
echo "$((${EPOCHREALTIME/./} - ${begun/./})) microseconds where there is nothing to build"

succeeds list
prints '08_second_part               More'
keeps_silent_about 'this is'
for name in 8 08 08_second_part second_part part 08_second_part/; do
  succeeds "$name"
  prints 'this is 08_second_part'
done
succeeds 10
prints 'this is 10_second_thoughts'
refuses second
prints "which lesson is 'second'?"
refuses 3
prints "which lesson is '3'?"
prints '01_first'
keeps_silent_about 'this is'
refuses --quick
prints 'no such option'

succeeds all
prints 'this is 08_second_part'
prints 'this is 10_second_thoughts'
