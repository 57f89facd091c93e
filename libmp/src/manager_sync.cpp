// Locks and signals of a manager. What holds is a client: one thread of one
// process. Its end hands on what it held, and the next one is told so.

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "manager_server.hpp"

namespace mp::detail {

namespace {

using Due = std::optional<Clock::time_point>;

Call::Attempt answer(Acquired what) {
  return [what](Encoder& out) {
    out.number(what);
    return true;
  };
}

bool due_now(const Due& deadline) { return deadline && *deadline <= Clock::now(); }

// What a lock and a semaphore do for acquire(): who is first in the line may take it at once.
template <class Object>
void take_or_park(Object& object, WaitQueue& waiters, Call& call, bool first) {
  const Due deadline = call.deadline();
  if (first) {
    if (const auto how = object.try_take(call.client())) return call.result().number(*how);
  }
  if (due_now(deadline)) return call.result().number(Acquired::timed_out);
  call.park(
      waiters, object.shared_from_this(), deadline,
      [&object, client = &call.client()](Encoder& out) {
        const auto how = object.try_take(*client);
        if (how) out.number(*how);
        return how.has_value();
      },
      answer(Acquired::timed_out));
}

// --- Lock and RLock ----------------------------------------------------------

class LockObject final : public ManagedObject {
 public:
  explicit LockObject(bool recursive)
      : ManagedObject(recursive ? "RLock" : "Lock"), recursive_(recursive) {}
  ~LockObject() override {
    if (owner_ != nullptr) owner_->holds.erase(weak_from_this());
  }

  void call(std::string_view method, Call& call) override {
    static const Methods<LockObject> methods{
        {"acquire", &LockObject::acquire},
        {"release", &LockObject::release},
        {"locked", &LockObject::is_locked},
    };
    call_method(*this, methods, method, call);
  }

  void holder_died(ServerClient&) override {
    owner_ = nullptr;
    depth_ = 0;
    orphan_ = true;
    waiters_.wake();
  }

  std::string text() const override { return locked() ? "locked" : "unlocked"; }

  [[nodiscard]] bool owned_by(const ServerClient& client) const { return owner_ == &client; }

  // Empty while somebody else has it.
  std::optional<Acquired> try_take(ServerClient& client, int depth = 1) {
    if (recursive_ && owner_ == &client) {
      depth_ += depth;
      return Acquired::taken;
    }
    if (locked() && !orphan_) return std::nullopt;
    const Acquired how =
        std::exchange(orphan_, false) ? Acquired::taken_from_dead : Acquired::taken;
    owner_ = &client;
    depth_ = depth;
    client.holds.insert(weak_from_this());
    return how;
  }

  // How deep it was held.
  int free() {
    if (owner_ != nullptr) owner_->holds.erase(weak_from_this());
    owner_ = nullptr;
    orphan_ = false;
    const int depth = std::exchange(depth_, 0);
    waiters_.wake();
    return depth;
  }

  WaitQueue& waiters() { return waiters_; }

 private:
  [[nodiscard]] bool locked() const { return owner_ != nullptr || orphan_; }

  void acquire(Call& call) {
    const bool first = waiters_.empty() || (recursive_ && owner_ == &call.client());
    take_or_park(*this, waiters_, call, first);
  }

  // A lock may be released by anybody, in the name of a dead holder, too.
  void release(Call& call) {
    if (recursive_ && owner_ != &call.client()) {
      throw RuntimeError("cannot release un-acquired lock");
    }
    if (!locked()) throw RuntimeError("release unlocked lock");
    if (--depth_ > 0) return;
    free();
  }

  void is_locked(Call& call) { call.result().number(locked()); }

  const bool recursive_;
  ServerClient* owner_ = nullptr;
  int depth_ = 0;
  bool orphan_ = false;  // Its holder is gone; nobody has been told.
  WaitQueue waiters_;
};

// --- Semaphore and BoundedSemaphore --------------------------------------------

// Units that a client held when it ended are handed on, one OwnerDied each,
// until somebody releases who had not acquired: then it is a signal, which
// works from one client to another, and nothing is handed on any more.
class SemaphoreObject final : public ManagedObject {
 public:
  SemaphoreObject(std::int64_t value, bool bounded)
      : ManagedObject(bounded ? "BoundedSemaphore" : "Semaphore"),
        value_(value),
        bound_(bounded ? value : INT32_MAX) {
    if (value < 0) throw ValueError("semaphore initial value must be >= 0");
  }
  ~SemaphoreObject() override {
    for (const auto& [client, count] : held_) client->holds.erase(weak_from_this());
  }

  void call(std::string_view method, Call& call) override {
    static const Methods<SemaphoreObject> methods{
        {"acquire", &SemaphoreObject::acquire},
        {"release", &SemaphoreObject::release},
        {"get_value", &SemaphoreObject::get_value},
    };
    call_method(*this, methods, method, call);
  }

  void holder_died(ServerClient& client) override {
    const auto found = held_.find(&client);
    if (found == held_.end()) return;
    if (!signal_) orphans_ += found->second;
    held_.erase(found);
    waiters_.wake();
  }

  std::string text() const override { return "value=" + std::to_string(value_); }

  // Empty while there is no unit.
  std::optional<Acquired> try_take(ServerClient& client) {
    if (value_ == 0 && orphans_ == 0) return std::nullopt;
    const Acquired how = value_ > 0 ? Acquired::taken : Acquired::taken_from_dead;
    --(value_ > 0 ? value_ : orphans_);
    ++held_[&client];
    client.holds.insert(weak_from_this());
    return how;
  }

 private:
  void acquire(Call& call) { take_or_park(*this, waiters_, call, waiters_.empty()); }

  void release(Call& call) {
    if (value_ >= bound_) throw ValueError("Semaphore released too many times");
    const auto found = held_.find(&call.client());
    if (found != held_.end()) {
      if (--found->second == 0) {
        held_.erase(found);
        call.client().holds.erase(weak_from_this());
      }
    } else if (orphans_ > 0) {
      --orphans_;  // In the name of the dead.
    } else {
      signal_ = true;
    }
    ++value_;
    waiters_.wake();
  }

  void get_value(Call& call) { call.result().number(value_); }

  std::int64_t value_;
  const std::int64_t bound_;
  std::int64_t orphans_ = 0;
  bool signal_ = false;
  std::map<ServerClient*, std::int64_t> held_;
  WaitQueue waiters_;
};

// --- Condition ---------------------------------------------------------------

class ConditionObject final : public ManagedObject {
 public:
  explicit ConditionObject(std::shared_ptr<LockObject> lock)
      : ManagedObject("Condition"), lock_(std::move(lock)) {}

  void call(std::string_view method, Call& call) override {
    static const Methods<ConditionObject> methods{
        {"wait", &ConditionObject::wait},
        {"notify", &ConditionObject::notify},
    };
    // acquire, release and locked are the lock's.
    if (methods.contains(method)) return call_method(*this, methods, method, call);
    lock_->call(method, call);
  }

  std::string text() const override { return "waiters=" + std::to_string(waiters_.size()); }

 private:
  void wait(Call& call) {
    const Due deadline = call.deadline();
    ServerClient& client = call.client();
    if (!lock_->owned_by(client)) throw RuntimeError("cannot wait on un-acquired lock");
    const int depth = lock_->free();
    call.park(
        waiters_, shared_from_this(), deadline, [](Encoder&) { return false; },
        [this, &client, depth](Encoder&) {
          take_lock_again(*client.waiter, depth, false);
          return false;
        });
    // Only notify() says when to take the lock again, and how deep.
    depths_[&client] = depth;
  }

  // The waiter goes over to those that wait for the lock, first come first.
  void take_lock_again(Waiter& waiter, int depth, bool notified) {
    waiters_.remove(waiter);
    depths_.erase(waiter.client);
    waiter.attempt = [lock = lock_, client = waiter.client, depth, notified](Encoder& out) {
      const auto how = lock->try_take(*client, depth);
      if (!how) return false;
      out.number(*how);
      out.number(notified);
      return true;
    };
    lock_->waiters().add(waiter);
    lock_->waiters().wake();
  }

  void notify(Call& call) {
    const auto count = call.args().number<std::uint64_t>();
    if (!lock_->owned_by(call.client())) throw RuntimeError("cannot notify on un-acquired lock");
    for (std::uint64_t i = 0; i < count && !waiters_.empty(); ++i) {
      Waiter& waiter = waiters_.front();
      call.cancel_timer(waiter);
      take_lock_again(waiter, depths_[waiter.client], true);
    }
  }

  std::shared_ptr<LockObject> lock_;
  WaitQueue waiters_;
  std::map<ServerClient*, int> depths_;
};

// --- Event -------------------------------------------------------------------

class EventObject final : public ManagedObject {
 public:
  EventObject() : ManagedObject("Event") {}

  void call(std::string_view method, Call& call) override {
    static const Methods<EventObject> methods{
        {"is_set", &EventObject::is_set},
        {"set", &EventObject::set},
        {"clear", &EventObject::clear},
        {"wait", &EventObject::wait},
    };
    call_method(*this, methods, method, call);
  }

  std::string text() const override { return set_ ? "set" : "unset"; }

 private:
  void is_set(Call& call) { call.result().number(set_); }
  // Those who wait are answered now: a clear() that follows takes nothing back.
  void set(Call&) {
    set_ = true;
    waiters_.wake();
  }
  void clear(Call&) { set_ = false; }
  void wait(Call& call) {
    const Due deadline = call.deadline();
    if (set_ || due_now(deadline)) return call.result().number(set_);
    const auto tell = [this](Encoder& out) {
      out.number(set_);
      return set_;
    };
    call.park(waiters_, shared_from_this(), deadline, tell, [](Encoder& out) {
      out.number(false);
      return true;
    });
  }

  bool set_ = false;
  WaitQueue waiters_;
};

// --- Barrier -----------------------------------------------------------------

class BarrierObject final : public ManagedObject {
 public:
  explicit BarrierObject(std::int64_t parties)
      : ManagedObject("Barrier"), parties_(static_cast<std::size_t>(parties)) {
    if (parties < 1) throw ValueError("parties must be > 0");
  }

  void call(std::string_view method, Call& call) override {
    static const Methods<BarrierObject> methods{
        {"wait", &BarrierObject::wait},           {"reset", &BarrierObject::reset},
        {"abort", &BarrierObject::abort},         {"parties", &BarrierObject::parties},
        {"n_waiting", &BarrierObject::n_waiting}, {"broken", &BarrierObject::is_broken},
    };
    call_method(*this, methods, method, call);
  }

  // A party that waits is gone: the others would wait in vain.
  void holder_died(ServerClient&) override { break_all(true); }

  std::string text() const override {
    return broken_ ? "broken" : "waiters=" + std::to_string(waiting_.size());
  }

 private:
  enum class Fate : std::uint8_t { waiting, passed, broken };

  void wait(Call& call) {
    const Due deadline = call.deadline();
    if (broken_) throw BrokenBarrierError("the barrier is broken");
    const std::size_t index = waiting_.size();
    if (index + 1 == parties_) {
      call.result().number<std::uint64_t>(index);
      fate_ = Fate::passed;
      release_all();
      return;
    }
    ServerClient& client = call.client();
    client.holds.insert(weak_from_this());
    call.park(
        waiting_, shared_from_this(), deadline,
        [this, &client, index](Encoder& out) {
          if (fate_ == Fate::waiting) return false;
          client.holds.erase(weak_from_this());
          if (fate_ == Fate::broken) throw BrokenBarrierError("the barrier is broken");
          out.number<std::uint64_t>(index);
          return true;
        },
        [this, &client](Encoder&) -> bool {
          client.holds.erase(weak_from_this());
          waiting_.remove(*client.waiter);
          break_all(true);
          throw BrokenBarrierError("the barrier is broken: a party ran out of time");
        });
  }

  void release_all() {
    waiting_.wake();
    fate_ = Fate::waiting;
  }
  void break_all(bool stays) {
    broken_ = stays;
    fate_ = Fate::broken;
    release_all();
  }
  void reset(Call&) { break_all(false); }
  void abort(Call&) { break_all(true); }
  void parties(Call& call) { call.result().number<std::uint64_t>(parties_); }
  void n_waiting(Call& call) { call.result().number<std::uint64_t>(waiting_.size()); }
  void is_broken(Call& call) { call.result().number(broken_); }

  const std::size_t parties_;
  bool broken_ = false;
  Fate fate_ = Fate::waiting;  // Of those who wait, while they are told.
  WaitQueue waiting_;
};

}  // namespace

ObjectPtr make_lock(bool recursive) { return ManagedObject::make<LockObject>(recursive); }
ObjectPtr make_semaphore(std::int64_t value, bool bounded) {
  return ManagedObject::make<SemaphoreObject>(value, bounded);
}
ObjectPtr make_condition(ObjectPtr lock) {
  auto known = std::dynamic_pointer_cast<LockObject>(lock);
  if (!known) throw TypeError("a condition stands on a lock of the same manager");
  return ManagedObject::make<ConditionObject>(std::move(known));
}
ObjectPtr make_event() { return ManagedObject::make<EventObject>(); }
ObjectPtr make_barrier(std::int64_t parties) { return ManagedObject::make<BarrierObject>(parties); }

}  // namespace mp::detail
