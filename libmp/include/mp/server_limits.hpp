#pragma once

#include <chrono>
#include <cstddef>

#include "mp/timeout.hpp"

namespace mp {

/// What a manager's server allows its clients.
struct ServerLimits {
  std::size_t max_request = std::size_t{1} << 30;  ///< Bytes; a longer one is a ValueError.
  /// Bytes after which a reply takes no further element: a ValueError, too.
  std::size_t max_reply = std::size_t{1} << 32;
  int max_workers = 1024;  ///< Of one Pool; more are a ValueError.
  /// Clients at one time that have not yet proved that they have the key. When
  /// there are as many, those who come wait, until one has been here for a
  /// second and is sent away for them.
  std::size_t max_strangers = 512;
  Duration handshake_timeout = std::chrono::seconds(5);  ///< For the proof.
  /// How long an object lives for a proxy in a message that nobody has read
  /// yet, once the sender has ended.
  Duration lease_time = std::chrono::minutes(10);
};

}  // namespace mp
