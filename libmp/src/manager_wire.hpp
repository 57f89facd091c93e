#pragma once

#include <cstdint>

/// What a manager's server and its clients say to each other.
///
/// A connection belongs to one thread at a time. After the handshake it
/// carries frames as every Connection does, requests one way and, one for
/// each but the one-way requests, replies the other. A request is its Request
/// and what that needs; a reply is its Reply and a result or an exception.
namespace mp::detail {

inline constexpr std::uint32_t manager_protocol = 1;

enum class Request : std::uint8_t {
  hello,      ///< protocol, session: the longest request allowed. First of all.
  create,     ///< typeid, arguments: facts of an object, one reference of it.
  call,       ///< object, method, arguments: result.
  reference,  ///< object: one more reference.
  release,    ///< object: one less. One-way.
  lease,      ///< object: kept alive under the number in the reply until redeemed.
  redeem,     ///< lease, object: a reference instead of it.
  detach,     ///< The thread has ended: what it held is given back. One-way.
  number_of_objects,
  debug_info,
  ping,
  shutdown,
  cancel,  ///< lease: it was not sent after all. One-way.
};

enum class Reply : std::uint8_t { result, exception };

/// What taking a lock came to.
enum class Acquired : std::uint8_t { timed_out, taken, taken_from_dead };

}  // namespace mp::detail
