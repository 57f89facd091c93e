#include "mp/pool_proxies.hpp"

#include <fmt/format.h>

#include "manager_client.hpp"

namespace mp {

bool detail::ResultProxy::wait(Timeout timeout) const {
  const Deadline deadline(timeout);
  if (told_ && !told_->wait(deadline)) return false;
  auto call = request("wait", wire_timeout(deadline.remaining()));
  return call.result().number<bool>();
}
bool detail::ResultProxy::ready() const {
  if (told_ && !told_->done()) return false;
  auto call = request("ready");
  return call.result().number<bool>();
}
bool detail::ResultProxy::successful() const {
  if (told_ && !told_->done()) throw ValueError("the result is not ready");
  auto call = request("successful");
  return call.result().number<bool>();
}

Timeout detail::ResultProxy::after_callbacks(Timeout timeout) const {
  if (!told_) return timeout;
  const Deadline deadline(timeout);
  if (!told_->wait(deadline)) throw TimeoutError("the result is not ready");
  return deadline.remaining();
}

PoolProxy::PoolProxy(std::shared_ptr<detail::ProxyState> state)
    : BaseProxy(std::move(state), {"Pool"}, 0) {}
bool PoolProxy::join(Timeout timeout) const {
  const detail::Deadline deadline(timeout);
  const auto ended = [this](Timeout left) {
    auto call = request("join", detail::wire_timeout(left));
    return call.result().number<bool>();
  };
  if (const auto open = detail::RemoteStreamBase::all_of(*shared_state()); !open.empty()) {
    if (ended(Duration::zero())) return true;
    for (const auto& stream : open) stream->read_on(deadline);
  }
  return ended(deadline.remaining());
}
detail::RemoteCall PoolProxy::starting(const Start& start,
                                       const detail::CallbackTicket& ticket) const {
  return detail::RemoteCall(shared_state(), "start", [&](Encoder& out) {
    ticket.write(out);
    out.number(start.is_map);
    out.number(start.chunksize);
    out.number(detail::wire_timeout(start.limit));
    out.number(start.signature);
    out.text(start.name);
  });
}
std::shared_ptr<detail::ProxyState> PoolProxy::started(detail::RemoteCall& call) const {
  return std::make_shared<detail::ProxyState>(shared_state()->server(),
                                              detail::decode_facts(call.result()));
}
std::int64_t PoolProxy::checked_chunksize(std::optional<int> chunksize) {
  if (chunksize && *chunksize < 1) {
    throw ValueError(fmt::format("Chunksize must be 1+, not {}", *chunksize));
  }
  return chunksize.value_or(0);
}

PoolProxy::StartedImap PoolProxy::started_imap(bool ordered, const ImapOptions& options,
                                               std::uint64_t signature, const char* name) const {
  detail::require_valid(options);
  detail::RemoteCall call(shared_state(), "imap", [&](Encoder& out) {
    out.number(ordered);
    out.number<std::int64_t>(options.chunksize);
    out.number(detail::wire_timeout(options.timeout));
    out.number(signature);
    out.text(name);
  });
  Decoder& in = call.result();
  auto state =
      std::make_shared<detail::ProxyState>(shared_state()->server(), detail::decode_facts(in));
  return {std::move(state), in.number<std::uint64_t>()};
}

}  // namespace mp
