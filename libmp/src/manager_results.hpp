#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "manager_objects.hpp"
#include "manager_pool.hpp"

/// Results of a manager's pool, and the word that they are there.
namespace mp::detail {

/// Tells one client which of its results are done, by numbers that it chose.
class NoticesObject final : public ManagedObject {
 public:
  NoticesObject() : ManagedObject("Notices") {}
  void call(std::string_view method, Call& call) override;
  [[nodiscard]] std::string text() const override;
  void add(std::uint64_t number);

 private:
  void next(Call& call);
  bool write(Encoder& out);

  std::vector<std::uint64_t> numbers_;
  WaitQueue waiters_;
};

/// Who is to be told; nobody, if that is gone or was never there.
struct Notice {
  std::weak_ptr<NoticesObject> to = {};
  std::uint64_t number = 0;
};
Notice take_notice(Call& call);

/// What one call, or one map, comes to.
class ResultObject final : public ManagedObject {
 public:
  ResultObject(bool is_map, std::uint64_t signature, std::shared_ptr<ServedPool> pool,
               Notice notice);
  void call(std::string_view method, Call& call) override;
  [[nodiscard]] std::string text() const override;
  void settle(std::vector<std::string> values, std::exception_ptr error);

 private:
  bool write(Encoder& out) const;
  void get(Call& call);
  void wait(Call& call);
  void ready(Call& call);
  void successful(Call& call);

  const bool is_map_;
  std::shared_ptr<ServedPool> pool_;  // Until the result is there.
  const Notice notice_;
  bool ready_ = false;
  std::vector<std::string> values_;
  std::exception_ptr error_;
  WaitQueue waiters_;
};

}  // namespace mp::detail
