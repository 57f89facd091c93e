#pragma once

#include <cstddef>
#include <vector>

#include "mp/managers.hpp"
#include "mp/shared_memory.hpp"

namespace mp {

/// A manager of named shared memory. Python: managers.SharedMemoryManager.
///
/// The server makes the segments and unlinks them all when it ends: by
/// shutdown(), by the end of the program that started it, or by a kill of
/// either. Who uses them maps them like any others; the bytes do not pass
/// through the server. Clients are on the server's machine.
class SharedMemoryManager : public BaseManager {
 public:
  explicit SharedMemoryManager(ManagerOptions options = {});

  /// A new segment, zeroed. Whoever needs it no more may unlink() it early.
  /// Throws as the constructor does, and AssertionError before start().
  [[nodiscard]] mp::SharedMemory SharedMemory(std::ptrdiff_t size) const;
  /// A new list.
  [[nodiscard]] mp::ShareableList ShareableList(const std::vector<ShareableItem>& items) const;
};

}  // namespace mp
