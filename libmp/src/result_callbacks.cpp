#include "mp/detail/result_callbacks.hpp"

#include <pthread.h>
#include <signal.h>

#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "manager_client.hpp"
#include "mp/detail/jobs.hpp"
#include "mp/logging.hpp"
#include "service_thread.hpp"

namespace mp::detail {

namespace {

// Of the process in which this thread runs callbacks: one that such a callback
// forks off does not.
thread_local std::optional<std::uint32_t> runs_callbacks;

}  // namespace

bool Told::wait(const Deadline& deadline) const {
  if (runs_callbacks == fork_generation() || creator_ != fork_generation()) return true;
  return signal_.value() != 0 || signal_.wait(0, deadline);
}

/// Asks one server which results are done, and runs what is to be run then.
///
/// Invariants, all under mutex_:
///   1. A number is in reserved_ from take() until the task is handed out, or
///      is not; from then on in tells_, until its turn has come.
///   2. While tells_ has any there is a thread, and it is in its loop; while
///      either has any there is the server's object, notices_.
class CallbackThread : public std::enable_shared_from_this<CallbackThread> {
 public:
  /// This process's for the server; each has its own after a fork.
  static std::shared_ptr<CallbackThread> of(const ServerHandle& server);

  std::pair<std::shared_ptr<ProxyState>, std::uint64_t> reserve(
      const std::shared_ptr<ProxyState>& pool);
  void give_back(std::uint64_t number) noexcept;
  void use(std::uint64_t number, std::function<void()> tell);

 private:
  using Tell = std::function<void()>;

  void run() noexcept;
  std::vector<std::uint64_t> ask();
  /// Waits while it is not known yet what becomes of the number.
  std::optional<Tell> take(std::uint64_t number);
  std::vector<Tell> take_all();
  bool is_over();
  std::shared_ptr<ProxyState> unneeded();

  ForkSafeMutex mutex_;
  std::shared_ptr<ProxyState> notices_;
  std::uint64_t last_ = 0;
  std::set<std::uint64_t> reserved_;
  std::map<std::uint64_t, Tell> tells_;
  bool running_ = false;
  Signal known_;  // A number has left reserved_.
};

std::shared_ptr<CallbackThread> CallbackThread::of(const ServerHandle& server) {
  struct All {
    std::uint32_t generation = fork_generation();
    std::map<std::uint64_t, std::weak_ptr<CallbackThread>> by_server = {};
  };
  static ForkSafeMutex mutex;
  static auto& all = *new std::unique_ptr<All>;
  const std::lock_guard guard(mutex);
  if (all == nullptr || all->generation != fork_generation()) {
    (void)all.release();  // The parent's, half changed perhaps.
    all = std::make_unique<All>();
  }
  std::erase_if(all->by_server, [](const auto& each) { return each.second.expired(); });
  auto& known = all->by_server[server.serial()];
  auto thread = known.lock();
  if (!thread) known = thread = std::make_shared<CallbackThread>();
  return thread;
}

std::pair<std::shared_ptr<ProxyState>, std::uint64_t> CallbackThread::reserve(
    const std::shared_ptr<ProxyState>& pool) {
  {
    const std::lock_guard guard(mutex_);
    if (notices_) return {notices_, *reserved_.insert(++last_).first};
  }
  RemoteCall call(pool, "notices");
  auto made = std::make_shared<ProxyState>(pool->server(), decode_facts(call.result()));
  made->stays_in_this_process();
  const std::lock_guard guard(mutex_);
  if (!notices_) notices_ = std::move(made);
  return {notices_, *reserved_.insert(++last_).first};
}

// To be let go without the mutex: that sends a message.
std::shared_ptr<ProxyState> CallbackThread::unneeded() {
  return reserved_.empty() && tells_.empty() && !running_ ? std::exchange(notices_, nullptr)
                                                          : nullptr;
}

void CallbackThread::give_back(std::uint64_t number) noexcept {
  std::shared_ptr<ProxyState> last;
  const std::lock_guard guard(mutex_);
  reserved_.erase(number);
  last = unneeded();
  known_.change();
}

void CallbackThread::use(std::uint64_t number, std::function<void()> tell) {
  const std::lock_guard guard(mutex_);
  tells_.emplace(number, std::move(tell));
  if (!running_) {
    ++service_threads();
    try {
      std::thread([self = shared_from_this()] { self->run(); }).detach();
    } catch (...) {
      --service_threads();
      tells_.erase(number);
      throw;
    }
    running_ = true;
  }
  reserved_.erase(number);
  known_.change();
}

// --- the thread ----------------------------------------------------------------

void CallbackThread::run() noexcept {
  // Signals are for the program's own threads.
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  ::pthread_setname_np(::pthread_self(), service_thread_name);
  runs_callbacks = fork_generation();
  do {
    try {
      for (const std::uint64_t number : ask()) {
        if (auto tell = take(number)) call_guarded(*tell);
      }
    } catch (const std::exception& error) {
      // They ask for their results themselves, and hear the same.
      log(logging::debug, "no more word of results in the manager: {}", error.what());
      for (auto& tell : take_all()) call_guarded(tell);
    }
  } while (!is_over());
  --service_threads();
}

std::vector<std::uint64_t> CallbackThread::ask() {
  std::shared_ptr<ProxyState> notices;
  {
    const std::lock_guard guard(mutex_);
    notices = notices_;
  }
  RemoteCall call(notices, "next");
  Decoder& in = call.result();
  std::vector<std::uint64_t> numbers(in.count(sizeof(std::uint64_t)));
  in.bytes(numbers.data(), numbers.size() * sizeof(std::uint64_t));
  return numbers;
}

std::optional<CallbackThread::Tell> CallbackThread::take(std::uint64_t number) {
  for (;;) {
    const std::uint32_t seen = known_.value();
    {
      const std::lock_guard guard(mutex_);
      if (auto tell = tells_.extract(number)) return std::move(tell.mapped());
      if (!reserved_.contains(number)) return std::nullopt;
    }
    // Whoever reserved it has its reply on the way.
    known_.wait(seen, {});
  }
}

std::vector<CallbackThread::Tell> CallbackThread::take_all() {
  std::vector<Tell> all;
  const std::lock_guard guard(mutex_);
  for (auto& [number, tell] : tells_) all.push_back(std::move(tell));
  tells_.clear();
  return all;
}

bool CallbackThread::is_over() {
  std::shared_ptr<ProxyState> last;
  const std::lock_guard guard(mutex_);
  if (!tells_.empty()) return false;
  running_ = false;
  last = unneeded();
  return true;
}

// --- tickets -------------------------------------------------------------------

CallbackTicket CallbackTicket::take(const std::shared_ptr<ProxyState>& pool) {
  pool->require_reference();
  CallbackTicket ticket;
  auto thread = CallbackThread::of(*pool->server());
  std::tie(ticket.notices_, ticket.number_) = thread->reserve(pool);
  ticket.thread_ = std::move(thread);
  return ticket;
}

CallbackTicket::~CallbackTicket() {
  if (thread_) thread_->give_back(number_);
}

void CallbackTicket::write(Encoder& out) const {
  out.number<std::uint64_t>(notices_ ? notices_->facts().id : 0);
  out.number(number_);
}

void CallbackTicket::use(std::function<void()> tell) {
  thread_->use(number_, std::move(tell));
  thread_ = nullptr;
}

}  // namespace mp::detail
