// imap and imap_unordered of a manager's pool: items come in messages of some,
// and results go in messages of those that are ready.

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "manager_pool.hpp"
#include "manager_tasks.hpp"
#include "mp/detail/jobs.hpp"
#include "mp/process.hpp"
#include "mp/remote_error.hpp"

namespace mp::detail {

namespace {

// A message takes no further result beyond so many bytes.
constexpr std::size_t most_reply_bytes = 256U << 10U;

struct Outcome {
  std::string bytes = {};
  std::exception_ptr error = {};
};
using Outcomes = std::vector<Outcome>;

// Each with its length, so that one that cannot be decoded hides no other.
void put_outcome(Encoder& out, const Outcome& outcome) {
  out.number(outcome.error == nullptr);
  if (outcome.error == nullptr) return out.text(outcome.bytes);
  Encoder error;
  try {
    std::rethrow_exception(outcome.error);
  } catch (...) {
    encode_current_exception(error, current_process().name());
  }
  const auto view = error.view();
  out.text({reinterpret_cast<const char*>(view.data()), view.size()});
}

class ImapObject;

// The items of one message. Settled in the pool's threads, which post the
// outcomes: only the server's own may touch objects.
class ImapJob final : public Job {
 public:
  ImapJob(std::weak_ptr<ImapObject> stream, Errands& errands, AppliedFunction function,
          std::size_t base)
      : stream_(std::move(stream)), errands_(errands), function_(function), base_(base) {}

  std::size_t deliver(std::size_t first, std::size_t n, Decoder& in) override {
    Outcomes outcomes(n);
    std::size_t failures = 0;
    for (Outcome& each : outcomes) {
      try {
        each.bytes = decode_result<std::string>(in);
      } catch (...) {
        ++failures;
        each.error = std::current_exception();
      }
    }
    post(first, std::move(outcomes));
    return failures;
  }
  void fail(std::size_t first, std::size_t n, const std::exception_ptr& error) override {
    post(first, Outcomes(n, Outcome{{}, with_function(error, function_)}));
  }
  std::size_t run(std::size_t first, std::size_t n) override {
    fail(first, n, std::make_exception_ptr(RuntimeError("the server itself runs no tasks")));
    return n;
  }

 private:
  void post(std::size_t first, Outcomes outcomes);

  const std::weak_ptr<ImapObject> stream_;
  Errands& errands_;  // Which wait, at their end, for that of the pool.
  const AppliedFunction function_;
  const std::size_t base_;  // The first item's place in the stream.
};

// Invariant: an outcome is in early_, while one before it is missing, or in
// ready_, in the order in which they go; or it was sent.
class ImapObject final : public ManagedObject {
 public:
  ImapObject(std::uint64_t signature, ImapRequest request, std::shared_ptr<ServedPool> pool)
      : ManagedObject("IMapIterator", signature),
        request_(std::move(request)),
        served_(std::move(pool)) {
    engine().keep_open({});
  }
  // What no worker has begun never will be.
  ~ImapObject() override {
    for (const auto& one : jobs_) {
      if (const auto job = one.lock()) engine().take_back(*job);
    }
    end_input();
  }

  void call(std::string_view method, Call& call) override {
    static const Methods<ImapObject> methods{{"exchange", &ImapObject::exchange}};
    call_method(*this, methods, method, call);
  }

  [[nodiscard]] std::string text() const override {
    return fmt::format("{} of {} results taken", taken_, submitted_);
  }

  void arrive(std::size_t first, Outcomes outcomes) {
    if (!request_.ordered) {
      std::move(outcomes.begin(), outcomes.end(), std::back_inserter(ready_));
    } else {
      const std::size_t at = first - first_missing_;
      if (early_.size() < at + outcomes.size()) early_.resize(at + outcomes.size());
      std::move(outcomes.begin(), outcomes.end(), early_.begin() + static_cast<std::ptrdiff_t>(at));
      for (; !early_.empty() && early_.front(); ++first_missing_) {
        ready_.push_back(*std::move(early_.front()));
        early_.pop_front();
      }
    }
    waiters_.wake();
  }

 private:
  [[nodiscard]] WorkersOfServer& pool() const { return *served_->pool(); }
  [[nodiscard]] Engine& engine() const { return pool().engine(); }

  void end_input() noexcept {
    if (std::exchange(keeps_open_, false)) engine().input_ended();
  }

  // Takes items, any number, and gives what is ready: something, or nothing at
  // the deadline.
  void exchange(Call& call) {
    const auto deadline = call.deadline();
    const auto is_last = call.args().number<bool>();
    submit(call.elements());
    if (is_last) end_input();
    if (give(call.result())) return;
    const auto give_nothing = [](Encoder& out) {
      out.number<std::uint64_t>(0);
      return true;
    };
    if (deadline && *deadline <= std::chrono::steady_clock::now()) {
      give_nothing(call.result());
      return;
    }
    call.park(
        waiters_, shared_from_this(), deadline, [this](Encoder& out) { return give(out); },
        give_nothing);
  }

  bool give(Encoder& out) {
    if (ready_.empty()) return false;
    const std::size_t at = out.view().size();
    std::uint64_t count = 0;
    out.number(count);
    for (const Outcome& each : ready_) {
      if (count != 0 && out.view().size() - at >= most_reply_bytes) break;
      put_outcome(out, each);
      ++count;
    }
    out.patch(at, count);
    ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(count));
    taken_ += count;
    return true;
  }

  void submit(const std::vector<Element>& items) {
    if (items.empty()) return;
    auto job = std::make_shared<ImapJob>(std::static_pointer_cast<ImapObject>(shared_from_this()),
                                         served_->errands(), request_.function, submitted_);
    encode_head<NamedTask, std::string, std::string, false>(*job,
                                                            partial(run_named, request_.name));
    for (std::size_t i = 0; i < items.size(); ++i) {
      encode_item<std::string>(*job, i, std::string(items[i].bytes.view()));
    }
    job->count = items.size();
    job->chunk = request_.chunk;
    job->limit = pool().limit(request_.limit);
    job->engine = pool().shared_engine();
    job->of_open_input = keeps_open_;
    const std::size_t first = std::exchange(submitted_, submitted_ + items.size());
    remember(job);
    std::exception_ptr refusal;
    try {
      if (engine().submit(job) == Engine::Answer::accepted) return;
      refusal = engine().broken();
    } catch (...) {
      refusal = std::current_exception();
    }
    if (!refusal) refusal = std::make_exception_ptr(PoolTerminated("Pool not running"));
    arrive(first, Outcomes(items.size(), Outcome{{}, refusal}));
  }

  // A job whose items are all settled is held by nobody any more.
  void remember(const std::shared_ptr<ImapJob>& job) {
    std::erase_if(jobs_, [](const auto& one) { return one.expired(); });
    jobs_.push_back(job);
  }

  const ImapRequest request_;
  const std::shared_ptr<ServedPool> served_;
  bool keeps_open_ = true;
  std::size_t submitted_ = 0;
  std::size_t taken_ = 0;
  std::vector<std::weak_ptr<Job>> jobs_;
  std::deque<std::optional<Outcome>> early_;
  std::size_t first_missing_ = 0;  // The place of early_.front().
  std::deque<Outcome> ready_;
  WaitQueue waiters_;
};

void ImapJob::post(std::size_t first, Outcomes outcomes) {
  errands_.post([stream = stream_, at = base_ + first, outcomes = std::move(outcomes)]() mutable {
    if (const auto alive = stream.lock()) alive->arrive(at, std::move(outcomes));
  });
}

}  // namespace

ObjectPtr make_imap(std::uint64_t signature, ImapRequest request,
                    std::shared_ptr<ServedPool> pool) {
  return ManagedObject::make<ImapObject>(signature, std::move(request), std::move(pool));
}

}  // namespace mp::detail
