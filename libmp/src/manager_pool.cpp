// A manager's pool: worker processes of the server's, and results that wait
// there for who asked for them. Tasks are functions that the server's program
// knows by name; their arguments and results are bytes to the server.

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "manager_client.hpp"
#include "manager_pool.hpp"
#include "manager_results.hpp"
#include "manager_tasks.hpp"
#include "mp/logging.hpp"
#include "mp/pool_proxies.hpp"

namespace mp::detail {

ServedPool::ServedPool(std::shared_ptr<WorkersOfServer> pool, std::shared_ptr<Errands> errands)
    : pool_(std::move(pool)), errands_(std::move(errands)) {}

ServedPool::~ServedPool() {
  const std::size_t dropped = pool_->engine().unfinished();
  if (dropped != 0 && pool_->engine().phase() == Engine::Phase::running) {
    log(logging::warning, "unclosed running multiprocessing pool {}: {} unfinished tasks dropped",
        pool_->repr(), dropped);
  }
  pool_->terminate();
  const auto last = std::make_shared<std::shared_ptr<Pool>>(std::move(pool_));
  try {
    errands_->run([last] { last->reset(); });
  } catch (const std::system_error& error) {
    log(logging::error, "no thread for the end of a pool: {}", error.what());
  }
}

namespace {

// --- Pool ----------------------------------------------------------------------

class PoolObject final : public ManagedObject {
 public:
  explicit PoolObject(std::shared_ptr<ServedPool> pool)
      : ManagedObject("Pool"), served_(std::move(pool)) {}

  void call(std::string_view method, Call& call) override {
    static const Methods<PoolObject> methods{
        {"start", &PoolObject::start},         {"notices", &PoolObject::notices},
        {"imap", &PoolObject::imap},           {"close", &PoolObject::close},
        {"terminate", &PoolObject::terminate}, {"join", &PoolObject::join}};
    call_method(*this, methods, method, call);
  }

  [[nodiscard]] std::string text() const override { return pool().repr(); }

 private:
  [[nodiscard]] WorkersOfServer& pool() const { return *served_->pool(); }

  void notices(Call& call) {
    const auto notices = ManagedObject::make<NoticesObject>();
    call.give_object(notices, notices->kind());
  }

  // Hands out one function on any number of arguments.
  void start(Call& call) {
    Notice notice = take_notice(call);
    const auto is_map = call.args().number<bool>();
    const auto chunksize = call.args().number<std::int64_t>();
    const Timeout limit = task_limit(call);
    const auto signature = call.args().number<std::uint64_t>();
    const std::string name = call.args().text();
    const AppliedFunction function = Call::require_applied(name, AppliedTo::task).function;
    std::vector<std::string> items;
    for (const Element& item : call.elements()) items.emplace_back(item.bytes.view());
    const auto result =
        ManagedObject::make<ResultObject>(is_map, signature, served_, std::move(notice));
    MapOptions<std::vector<std::string>> options;
    if (chunksize != 0) options.chunksize = static_cast<int>(chunksize);
    options.timeout = limit;
    // In the pool's thread: only the server's own may touch objects.
    const auto settle = [errands = &served_->errands(), weak = std::weak_ptr(result)](
                            std::vector<std::string> values, std::exception_ptr error) {
      errands->post([weak, values = std::move(values), error = std::move(error)]() mutable {
        if (const auto alive = weak.lock()) alive->settle(std::move(values), std::move(error));
      });
    };
    options.callback = [settle](const std::vector<std::string>& values) { settle(values, {}); };
    options.error_callback = [settle, function](const std::exception_ptr& error) {
      settle({}, with_function(error, function));
    };
    pool().map_async(std::move(options), partial(run_named, name), items);
    call.give_object(result, result->kind());
  }

  // The items come later; how many workers there are says how many.
  void imap(Call& call) {
    ImapRequest request;
    request.ordered = call.args().number<bool>();
    const auto chunksize = call.args().number<std::int64_t>();
    if (chunksize < 1) throw ValueError(fmt::format("Chunksize must be 1+, not {}", chunksize));
    request.chunk = static_cast<std::size_t>(chunksize);
    request.limit = task_limit(call);
    const auto signature = call.args().number<std::uint64_t>();
    request.name = call.args().text();
    request.function = Call::require_applied(request.name, AppliedTo::task).function;
    const auto stream = make_imap(signature, std::move(request), served_);
    call.give_object(stream, stream->kind());
    call.result().number<std::uint64_t>(pool().engine().size());
  }

  // As call.deadline(), but from when it begins.
  static Timeout task_limit(Call& call) {
    const auto nanoseconds = call.args().number<std::int64_t>();
    return nanoseconds < 0 ? Timeout() : Timeout(Duration(nanoseconds));
  }

  void close(Call&) { pool().close(); }
  void terminate(Call&) { pool().terminate(); }

  void join(Call& call) {
    const auto deadline = call.deadline();
    if (pool().join(Duration::zero())) return call.result().number(true);
    if (joiners_.empty()) wait_for_the_end();
    const auto tell = [this](Encoder& out) {
      if (!ended_) return false;
      out.number(true);
      return true;
    };
    call.park(joiners_, shared_from_this(), deadline, tell, [](Encoder& out) {
      out.number(false);
      return true;
    });
  }

  void wait_for_the_end() {
    if (std::exchange(is_awaited_, true)) return;
    served_->errands().run(
        [this, weak = weak_from_this(), pool = served_->pool(), errands = &served_->errands()] {
          pool->join();
          errands->post([this, weak] {
            const auto alive = weak.lock();
            if (!alive) return;
            ended_ = true;
            joiners_.wake();
          });
        });
  }

  std::shared_ptr<ServedPool> served_;
  bool is_awaited_ = false;
  bool ended_ = false;
  WaitQueue joiners_;
};

}  // namespace

namespace {

PoolOptions pool_options(const ManagerPoolOptions& asked, int most) {
  if (asked.processes.value_or(0) > most) {
    throw ValueError(fmt::format("a pool of this manager has {} workers at most", most));
  }
  if (asked.on_worker_death.policy > OnWorkerDeath::Policy::break_pool) {
    throw ValueError("no such policy for workers that die");
  }
  return {.processes = asked.processes,
          .maxtasksperchild = asked.maxtasksperchild,
          .on_worker_death = asked.on_worker_death,
          .max_rss = asked.max_rss,
          .timeout = asked.timeout,
          .grace = asked.grace};
}

}  // namespace

ObjectPtr make_pool(Call& call) {
  PoolOptions options =
      pool_options(decode<ManagerPoolOptions>(call.args()), call.limits().max_workers);
  const std::string initializer = call.args().text();
  std::shared_ptr<WorkersOfServer> pool;
  if (initializer.empty()) {
    pool = std::make_shared<WorkersOfServer>(std::move(options));
  } else {
    (void)Call::require_applied(initializer, AppliedTo::task);
    const Element args = call.element();
    pool = std::make_shared<WorkersOfServer>(std::move(options), &initialize_named, initializer,
                                             std::string(args.bytes.view()));
  }
  return ManagedObject::make<PoolObject>(
      std::make_shared<ServedPool>(std::move(pool), call.errands()));
}

}  // namespace mp::detail
