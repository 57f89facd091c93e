#include "mp/detail/remote_stream.hpp"

#include <algorithm>
#include <mutex>

#include "mp/errors.hpp"
#include "mp/remote_error.hpp"

namespace mp::detail {

namespace {

// Streams of this process whose input may not be at its end.
struct OpenStreams {
  ForkSafeMutex mutex;
  std::vector<std::weak_ptr<RemoteStreamBase>> all;
};
OpenStreams& open_streams() {
  static auto& streams = *new OpenStreams;
  return streams;
}

}  // namespace

RemoteStreamBase::RemoteStreamBase(std::shared_ptr<ProxyState> state, const ProxyState& pool,
                                   StreamRules rules, std::size_t workers, Pull pull)
    : server_(pool.server()),
      pool_(pool.facts().id),
      state_(std::move(state)),
      rules_(rules),
      window_(rules, workers),
      pull_(std::move(pull)) {
  state_->stays_in_this_process();
}

void RemoteStreamBase::open() {
  {
    const std::lock_guard guard(open_streams().mutex);
    std::erase_if(open_streams().all, [](const auto& one) { return one.expired(); });
    open_streams().all.push_back(weak_from_this());
  }
  const std::lock_guard guard(input_lock_);
  refill();
}

std::vector<std::shared_ptr<RemoteStreamBase>> RemoteStreamBase::all_of(const ProxyState& pool) {
  std::vector<std::shared_ptr<RemoteStreamBase>> found;
  const std::lock_guard guard(open_streams().mutex);
  for (const auto& one : open_streams().all) {
    const auto stream = one.lock();
    if (stream && stream->server_ == pool.server() && stream->pool_ == pool.facts().id &&
        stream->creator_ == fork_generation()) {
      found.push_back(stream);
    }
  }
  return found;
}

void RemoteStreamBase::abandon() noexcept {
  if (creator_ != fork_generation()) return;
  if (input_lock_.is_inside()) {
    abandoned_inside_ = true;
    return;
  }
  const std::lock_guard guard(input_lock_);
  drop();
}

void RemoteStreamBase::drop() noexcept {
  pull_ = nullptr;
  state_ = nullptr;
  ready_.clear();
  failed_input_ = nullptr;
  cut_off_ = nullptr;
  window_.take_all();
}

void RemoteStreamBase::read_on(const Deadline& deadline) {
  input_lock_.read_on(deadline, [this] {
    if (pull_ && !cut_off_) send_some(InputLock::read_on_items);
    return pull_ && !cut_off_;
  });
}

void RemoteStreamBase::refill() {
  while (pull_ && !cut_off_) {
    const std::size_t room = window_.room();
    if (room == 0) return;
    send_some(room);
  }
}

void RemoteStreamBase::send_some(std::size_t most) {
  ItemBatch batch(std::max(most / rules_.chunk, std::size_t{1}) * rules_.chunk, rules_.chunk);
  try {
    input_lock_.inside([&] { pull_(batch); });
  } catch (...) {
    failed_input_ = std::current_exception();
    batch.make_last();
  }
  if (abandoned_inside_) return drop();
  if (batch.is_last()) pull_ = nullptr;
  if (batch.count() != 0) window_.submit(batch.count(), batch.bytes().size());
  exchange(&batch, Deadline(Duration::zero()));
}

void RemoteStreamBase::exchange(const ItemBatch* batch, const Deadline& deadline) {
  try {
    const bool is_last = batch != nullptr && batch->is_last();
    RemoteCall call(state_, "exchange", wire_timeout(deadline.remaining()), is_last);
    call.args().number<std::uint64_t>(batch == nullptr ? 0 : batch->count());
    if (batch != nullptr) call.attach(batch->bytes());
    Decoder& in = call.result();
    for (auto count = in.count(sizeof(std::uint64_t)); count > 0; --count) {
      const bool is_value = in.number<bool>();
      Raw raw{in.text(), {}};
      if (!is_value) {
        Decoder error(std::as_bytes(std::span(raw.bytes)));
        raw.error = decode_exception(error);
      }
      ready_.push_back(std::move(raw));
    }
  } catch (...) {
    cut_off_ = std::current_exception();
  }
}

bool RemoteStreamBase::next_raw(Raw& raw, const Deadline& deadline) {
  if (creator_ != fork_generation()) {
    throw AssertionError("results that come one by one belong to the process that asked for them");
  }
  for (;;) {
    const std::lock_guard guard(input_lock_);
    refill();
    if (!ready_.empty()) {
      raw = std::move(ready_.front());
      ready_.pop_front();
      window_.take();
      refill();
      return true;
    }
    if (cut_off_) std::rethrow_exception(cut_off_);
    if (window_.empty()) {
      // The server has no more to do with it.
      state_ = nullptr;
      raw.error = std::exchange(failed_input_, nullptr);
      return raw.error != nullptr;
    }
    window_.widen();
    refill();
    if (!ready_.empty() || cut_off_) continue;
    exchange(nullptr, deadline);
    if (ready_.empty() && !cut_off_ && deadline.passed()) {
      throw TimeoutError("the next result was not there in time");
    }
  }
}

}  // namespace mp::detail
