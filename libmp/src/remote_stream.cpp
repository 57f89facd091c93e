#include "mp/detail/remote_stream.hpp"

#include <algorithm>

#include "mp/errors.hpp"
#include "mp/remote_error.hpp"

namespace mp::detail {

RemoteStreamBase::RemoteStreamBase(std::shared_ptr<ProxyState> state, StreamRules rules,
                                   std::size_t workers, Pull pull)
    : state_(std::move(state)), rules_(rules), window_(rules, workers), pull_(std::move(pull)) {
  state_->stays_in_this_process();
  refill();
}

void RemoteStreamBase::abandon() noexcept {
  pull_ = nullptr;
  state_ = nullptr;
  ready_.clear();
  failed_input_ = nullptr;
  cut_off_ = nullptr;
  window_.take_all();
}

void RemoteStreamBase::refill() {
  while (pull_ && !failed_input_ && !cut_off_) {
    const std::size_t room = window_.room();
    if (room == 0) return;
    ItemBatch batch(std::max(room / rules_.chunk, std::size_t{1}) * rules_.chunk, rules_.chunk);
    try {
      pull_(batch);
    } catch (...) {
      failed_input_ = std::current_exception();
    }
    if (batch.count() == 0) {
      pull_ = nullptr;
      return;
    }
    window_.submit(batch.count(), batch.bytes().size());
    exchange(&batch, Deadline(Duration::zero()));
  }
}

void RemoteStreamBase::exchange(const ItemBatch* batch, const Deadline& deadline) {
  try {
    RemoteCall call(state_, "exchange", wire_timeout(deadline.remaining()));
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
    refill();
    if (!ready_.empty()) {
      raw = std::move(ready_.front());
      ready_.pop_front();
      window_.take();
      refill();
      return true;
    }
    if (cut_off_) std::rethrow_exception(cut_off_);
    if (window_.empty()) break;
    window_.widen();
    refill();
    if (!ready_.empty() || cut_off_) continue;
    exchange(nullptr, deadline);
    if (ready_.empty() && !cut_off_ && deadline.passed()) {
      throw TimeoutError("the next result was not there in time");
    }
  }
  // The server has no more to do with it.
  pull_ = nullptr;
  state_ = nullptr;
  raw.error = std::exchange(failed_input_, nullptr);
  return raw.error != nullptr;
}

}  // namespace mp::detail
