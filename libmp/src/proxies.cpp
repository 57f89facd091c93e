#include "mp/proxies.hpp"

#include <algorithm>

#include "manager_client.hpp"

namespace mp {

// --- BaseProxy ---------------------------------------------------------------

BaseProxy::BaseProxy(std::shared_ptr<detail::ProxyState> state,
                     std::initializer_list<std::string_view> kinds, std::uint64_t signature)
    : state_(std::move(state)) {
  const auto& facts = state_->facts();
  if (std::find(kinds.begin(), kinds.end(), facts.kind) == kinds.end()) {
    throw TypeError("'" + facts.type_id + "' is a " + facts.kind + ", not a " +
                    std::string(*kinds.begin()));
  }
  if (facts.signature != signature) {
    throw TypeError("the elements of this " + facts.kind + " are of another type");
  }
}

bool operator==(const BaseProxy& a, const BaseProxy& b) noexcept {
  const auto& first = *a.state_;
  const auto& second = *b.state_;
  if (first.facts().id != second.facts().id) return false;
  if (!first.server() || !second.server()) return first.server() == second.server();
  return first.server()->address() == second.server()->address();
}

std::string BaseProxy::describe(const char* class_name) const {
  return fmt::format("<{} object, typeid '{}' at {:#x}>", class_name, type_id(), id());
}

// --- NamespaceProxy ----------------------------------------------------------

detail::RemoteCall NamespaceProxy::about(const char* method, const std::string& name) const {
  return detail::RemoteCall(shared_state(), method,
                            [&](Encoder& out) { detail::put_element(out, name, server()); });
}

bool NamespaceProxy::contains(const std::string& name) const {
  auto call = about("contains", name);
  return call.result().number<bool>();
}

void NamespaceProxy::erase(const std::string& name) const {
  auto call = about("pop", name);
  if (!call.result().number<bool>()) throw AttributeError(no_attribute(name));
}

std::string NamespaceProxy::str() const {
  auto call = request("items");
  Decoder& in = call.result();
  std::vector<std::string> parts;
  for (auto count = in.count(2 * sizeof(std::uint32_t)); count > 0; --count) {
    const auto name = detail::take_element<std::string>(in, server());
    const auto head = in.number<std::uint32_t>();
    const std::size_t end = in.left() - (head & ~detail::has_references);
    in.number<std::uint64_t>();
    parts.push_back(name + '=' + in.text());
    std::vector<std::byte> value(in.left() - end);
    in.bytes(value.data(), value.size());
    if ((head & detail::has_references) == 0) continue;
    for (auto ids = in.number<std::uint32_t>(); ids > 0; --ids) in.number<std::uint64_t>();
  }
  std::sort(parts.begin(), parts.end());
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : ", ") + part;
  return "Namespace(" + text + ")";
}

std::string NamespaceProxy::no_attribute(const std::string& name) {
  return "'Namespace' object has no attribute '" + name + "'";
}

std::string NamespaceProxy::wrong_type(const std::string& name) {
  return "the attribute '" + name + "' was set as another type";
}

// --- locks -------------------------------------------------------------------

namespace {

bool told(detail::Acquired how) {
  if (how == detail::Acquired::taken_from_dead) {
    throw OwnerDied("the client that held the lock has ended without releasing it");
  }
  return how == detail::Acquired::taken;
}

}  // namespace

bool detail::AcquirerProxy::acquire(Timeout timeout) const {
  auto call = request("acquire", wire_timeout(timeout));
  return told(call.result().number<Acquired>());
}

void detail::AcquirerProxy::release() const { request("release").finish(); }

LockProxy::LockProxy(std::shared_ptr<detail::ProxyState> state)
    : AcquirerProxy(std::move(state), {"Lock"}, 0) {}
bool LockProxy::locked() const {
  auto call = request("locked");
  return call.result().number<bool>();
}

RLockProxy::RLockProxy(std::shared_ptr<detail::ProxyState> state)
    : AcquirerProxy(std::move(state), {"RLock"}, 0) {}
bool RLockProxy::locked() const {
  auto call = request("locked");
  return call.result().number<bool>();
}

SemaphoreProxy::SemaphoreProxy(std::shared_ptr<detail::ProxyState> state)
    : AcquirerProxy(std::move(state), {"Semaphore", "BoundedSemaphore"}, 0) {}
std::int64_t SemaphoreProxy::get_value() const {
  auto call = request("get_value");
  return call.result().number<std::int64_t>();
}

ConditionProxy::ConditionProxy(std::shared_ptr<detail::ProxyState> state)
    : AcquirerProxy(std::move(state), {"Condition"}, 0) {}
bool ConditionProxy::wait(Timeout timeout) const {
  auto call = request("wait", detail::wire_timeout(timeout));
  Decoder& in = call.result();
  told(in.number<detail::Acquired>());
  return in.number<bool>();
}
void ConditionProxy::notify(std::size_t n) const {
  request("notify", static_cast<std::uint64_t>(n)).finish();
}

// --- Event -------------------------------------------------------------------

EventProxy::EventProxy(std::shared_ptr<detail::ProxyState> state)
    : BaseProxy(std::move(state), {"Event"}, 0) {}
bool EventProxy::is_set() const {
  auto call = request("is_set");
  return call.result().number<bool>();
}
void EventProxy::set() const { request("set").finish(); }
void EventProxy::clear() const { request("clear").finish(); }
bool EventProxy::wait(Timeout timeout) const {
  auto call = request("wait", detail::wire_timeout(timeout));
  return call.result().number<bool>();
}

// --- Barrier -----------------------------------------------------------------

BarrierProxy::BarrierProxy(std::shared_ptr<detail::ProxyState> state)
    : BaseProxy(std::move(state), {"Barrier"}, 0) {}
std::size_t BarrierProxy::wait(Timeout timeout) const {
  auto call = request("wait", detail::wire_timeout(timeout));
  return call.result().number<std::uint64_t>();
}
void BarrierProxy::reset() const { request("reset").finish(); }
void BarrierProxy::abort() const { request("abort").finish(); }
std::size_t BarrierProxy::parties() const {
  auto call = request("parties");
  return call.result().number<std::uint64_t>();
}
std::size_t BarrierProxy::n_waiting() const {
  auto call = request("n_waiting");
  return call.result().number<std::uint64_t>();
}
bool BarrierProxy::broken() const {
  auto call = request("broken");
  return call.result().number<bool>();
}

}  // namespace mp
