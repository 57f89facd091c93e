#pragma once

#include <optional>

#include <mp/synchronize.hpp>

namespace mp::test {

/// A worker's gate, brought to it by its pool's initializer: whatever task waits
/// there has begun, and does not end before the test has opened it.
inline std::optional<mp::Event> gate;
inline void bring_gate(const mp::Event& event) { gate = event; }
inline void wait_at_gate() { gate->wait(); }

}  // namespace mp::test
