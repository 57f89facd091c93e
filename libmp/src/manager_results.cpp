#include "manager_results.hpp"

#include <utility>

#include "mp/errors.hpp"

namespace mp::detail {

// --- Notices -------------------------------------------------------------------

void NoticesObject::call(std::string_view method, Call& call) {
  static const Methods<NoticesObject> methods{{"next", &NoticesObject::next}};
  call_method(*this, methods, method, call);
}

std::string NoticesObject::text() const { return fmt::format("{} to tell", numbers_.size()); }

void NoticesObject::add(std::uint64_t number) {
  numbers_.push_back(number);
  waiters_.wake();
}

void NoticesObject::next(Call& call) {
  if (write(call.result())) return;
  call.park(waiters_, shared_from_this(), std::nullopt, [this](Encoder& out) { return write(out); },
            {});
}

bool NoticesObject::write(Encoder& out) {
  if (numbers_.empty()) return false;
  out.number<std::uint64_t>(numbers_.size());
  out.bytes(numbers_.data(), numbers_.size() * sizeof(std::uint64_t));
  numbers_.clear();
  return true;
}

Notice take_notice(Call& call) {
  const auto object = call.args().number<std::uint64_t>();
  Notice notice{{}, call.args().number<std::uint64_t>()};
  if (object == 0) return notice;
  const auto notices = std::dynamic_pointer_cast<NoticesObject>(call.object(object));
  if (!notices) throw TypeError("results are told to Notices");
  notice.to = notices;
  return notice;
}

// --- AsyncResult, MapResult ------------------------------------------------------

ResultObject::ResultObject(bool is_map, std::uint64_t signature, std::shared_ptr<ServedPool> pool,
                           Notice notice)
    : ManagedObject(is_map ? "MapResult" : "AsyncResult", signature),
      is_map_(is_map),
      pool_(std::move(pool)),
      notice_(std::move(notice)) {}

void ResultObject::call(std::string_view method, Call& call) {
  static const Methods<ResultObject> methods{{"get", &ResultObject::get},
                                             {"wait", &ResultObject::wait},
                                             {"ready", &ResultObject::ready},
                                             {"successful", &ResultObject::successful}};
  call_method(*this, methods, method, call);
}

std::string ResultObject::text() const { return !ready_ ? "pending" : error_ ? "failed" : "ready"; }

void ResultObject::settle(std::vector<std::string> values, std::exception_ptr error) {
  values_ = std::move(values);
  error_ = std::move(error);
  ready_ = true;
  pool_.reset();
  waiters_.wake();
  if (const auto notices = notice_.to.lock()) notices->add(notice_.number);
}

bool ResultObject::write(Encoder& out) const {
  if (!ready_) return false;
  if (error_) std::rethrow_exception(error_);
  if (is_map_) out.number<std::uint64_t>(values_.size());
  for (const std::string& value : values_) out.bytes(value.data(), value.size());
  return true;
}

void ResultObject::get(Call& call) {
  const auto deadline = call.deadline();
  if (write(call.result())) return;
  call.park(
      waiters_, shared_from_this(), deadline, [this](Encoder& out) { return write(out); },
      [](Encoder&) -> bool { throw TimeoutError("the result is not ready"); });
}

void ResultObject::wait(Call& call) {
  const auto deadline = call.deadline();
  if (ready_) return call.result().number(true);
  const auto tell = [this](Encoder& out) {
    if (ready_) out.number(true);
    return ready_;
  };
  call.park(waiters_, shared_from_this(), deadline, tell, [](Encoder& out) {
    out.number(false);
    return true;
  });
}

void ResultObject::ready(Call& call) { call.result().number(ready_); }

void ResultObject::successful(Call& call) {
  if (!ready_) throw ValueError("the result is not ready");
  call.result().number(error_ == nullptr);
}

}  // namespace mp::detail
