#pragma once

#include <gtest/gtest.h>

#include "run.hpp"

namespace mp::test {

/// For a lesson's check.cpp: what the lesson did in this run. It has ended, its expected.txt has
/// been compared; what remains to be said is what its output cannot prove.
const Outcome& lesson();

}  // namespace mp::test
