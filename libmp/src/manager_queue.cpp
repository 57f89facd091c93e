// A manager's queue. Who has to wait is parked, and woken first come first.

#include <cstdint>
#include <deque>
#include <utility>

#include "manager_objects.hpp"

namespace mp::detail {

namespace {

class QueueObject final : public ManagedObject {
 public:
  QueueObject(std::string kind, std::uint64_t signature, std::int64_t maxsize)
      : ManagedObject(std::move(kind), signature),
        maxsize_(maxsize > 0 ? static_cast<std::size_t>(maxsize) : 0) {}

  void call(std::string_view method, Call& call) override {
    static const Methods<QueueObject> methods{
        {"put", &QueueObject::put},
        {"get", &QueueObject::get},
        {"put_many", &QueueObject::put_many},
        {"get_many", &QueueObject::get_many},
        {"qsize", &QueueObject::qsize},
        {"full", &QueueObject::full},
        {"task_done", &QueueObject::task_done},
        {"join", &QueueObject::join},
        {"shutdown", &QueueObject::shutdown},
    };
    call_method(*this, methods, method, call);
  }

  std::string text() const override { return "qsize=" + std::to_string(items_.size()); }

 private:
  [[nodiscard]] bool has_room() const { return maxsize_ == 0 || items_.size() < maxsize_; }
  void require_open() const {
    if (shut_down_) throw ShutDown();
  }
  void add(Element item) {
    items_.push_back(std::move(item));
    ++unfinished_;
    getters_.wake();
  }
  Element take() {
    Element item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

  void put(Call& call) {
    const auto deadline = call.deadline();
    auto item = std::make_shared<Element>(call.element());
    require_open();
    if (has_room() && putters_.empty()) return add(std::move(*item));
    call.park(
        putters_, shared_from_this(), deadline,
        [this, item](Encoder&) {
          require_open();
          if (!has_room()) return false;
          add(std::move(*item));
          return true;
        },
        [](Encoder&) -> bool { throw Full(); });
  }

  // All of them, or none while they do not fit.
  void put_many(Call& call) {
    auto items = call.elements();
    require_open();
    if (maxsize_ != 0 && items_.size() + items.size() > maxsize_) throw Full();
    for (Element& item : items) add(std::move(item));
  }

  void get(Call& call) {
    const auto deadline = call.deadline();
    if (!items_.empty() && getters_.empty()) {
      call.give(take());
      putters_.wake();
      return;
    }
    if (items_.empty()) require_open();
    call.park(
        getters_, shared_from_this(), deadline,
        [this, give = call.giver()](Encoder& out) {
          if (items_.empty()) {
            require_open();
            return false;
          }
          give(take(), out);
          putters_.wake();
          return true;
        },
        [](Encoder&) -> bool { throw Empty(); });
  }

  // What there is and fits into a reply, `count` at most; none is no error.
  void get_many(Call& call) {
    const auto count = call.args().number<std::uint64_t>();
    if (items_.empty()) require_open();
    Encoder& out = call.result();
    const std::size_t at = out.view().size();
    std::uint64_t taken = 0;
    out.number(taken);
    while (!items_.empty() && taken < count && out.view().size() <= call.limits().max_reply) {
      call.give(take());
      ++taken;
    }
    out.patch(at, taken);
    putters_.wake();
  }

  void qsize(Call& call) { call.result().number<std::uint64_t>(items_.size()); }
  void full(Call& call) { call.result().number(maxsize_ != 0 && items_.size() >= maxsize_); }

  void task_done(Call&) {
    if (unfinished_ == 0) throw ValueError("task_done() called too many times");
    if (--unfinished_ == 0) joiners_.wake();
  }

  void join(Call& call) {
    const auto deadline = call.deadline();
    if (unfinished_ == 0) return call.result().number(true);
    const auto answer = [this](Encoder& out) {
      if (unfinished_ != 0) return false;
      out.number(true);
      return true;
    };
    call.park(joiners_, shared_from_this(), deadline, answer, [](Encoder& out) {
      out.number(false);
      return true;
    });
  }

  void shutdown(Call& call) {
    const bool immediate = call.args().number<bool>();
    shut_down_ = true;
    if (immediate) {
      unfinished_ -= std::min(unfinished_, items_.size());
      items_.clear();
    }
    putters_.wake();
    getters_.wake();
    if (unfinished_ == 0) joiners_.wake();
  }

  std::size_t maxsize_;
  std::deque<Element> items_;
  std::size_t unfinished_ = 0;
  bool shut_down_ = false;
  WaitQueue putters_;
  WaitQueue getters_;
  WaitQueue joiners_;
};

}  // namespace

ObjectPtr make_queue(std::string kind, std::uint64_t signature, std::int64_t maxsize) {
  return ManagedObject::make<QueueObject>(std::move(kind), signature, maxsize);
}

}  // namespace mp::detail
