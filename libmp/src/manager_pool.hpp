#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "manager_errands.hpp"
#include "manager_objects.hpp"
#include "mp/pool.hpp"

/// What the objects of a manager's pool share: the pool, as long as one of
/// them has a use for it.
namespace mp::detail {

/// A pool whose jobs are made by hand.
class WorkersOfServer : public Pool {
 public:
  using Pool::Pool;
  [[nodiscard]] Engine& engine() const { return own(); }
  [[nodiscard]] std::shared_ptr<Engine> shared_engine() const { return engine_; }
  /// How long a task may run that was asked for with this limit.
  [[nodiscard]] Timeout limit(Timeout asked) const { return asked ? asked : timeout_; }
};

/// The pool itself, which its results keep alive. Its end may take as long as
/// a worker takes to obey, so that is an errand.
class ServedPool {
 public:
  ServedPool(std::shared_ptr<WorkersOfServer> pool, std::shared_ptr<Errands> errands);
  ServedPool(const ServedPool&) = delete;
  ServedPool& operator=(const ServedPool&) = delete;
  ~ServedPool();

  [[nodiscard]] const std::shared_ptr<WorkersOfServer>& pool() const noexcept { return pool_; }
  [[nodiscard]] Errands& errands() const noexcept { return *errands_; }

 private:
  std::shared_ptr<WorkersOfServer> pool_;
  std::shared_ptr<Errands> errands_;
};

/// How an imap is to be.
struct ImapRequest {
  bool ordered = true;
  std::size_t chunk = 1;
  Timeout limit = {};
  std::string name = {};
  AppliedFunction function = nullptr;
};
/// Takes the items of one imap as they come, and gives its results as they
/// become ready.
ObjectPtr make_imap(std::uint64_t signature, ImapRequest request, std::shared_ptr<ServedPool> pool);

}  // namespace mp::detail
