// References to a server's objects, and values as they cross.

#include "mp/detail/remote.hpp"

#include <algorithm>
#include <exception>
#include <map>
#include <utility>

#include "manager_client.hpp"
#include "mp/process.hpp"
#include "mp/remote_error.hpp"
#include "process_state.hpp"

namespace mp::detail {

// --- RemoteCall --------------------------------------------------------------

RemoteCall::RemoteCall(std::shared_ptr<ProxyState> target, std::string_view method)
    : target_(std::move(target)) {
  if (!target_) return;
  target_->require_reference();
  request_.number(Request::call);
  request_.number(target_->facts().id);
  request_.text(method);
}

Decoder& RemoteCall::result() { return target_->server()->transact(*this); }

// --- ProxyState --------------------------------------------------------------

namespace {

// A request that is no call of a method.
class Direct {
 public:
  explicit Direct(Request request) : call_(nullptr, {}) { call_.args().number(request); }
  Encoder& args() { return call_.args(); }
  Decoder& at(ServerHandle& server) { return server.transact(call_); }

 private:
  RemoteCall call_;
};

enum class Token : std::uint8_t { counted, leased };

// Kept with the bytes that name a lease. Bytes that an exception takes away
// were not sent, and nobody will redeem it.
class LeaseInBytes {
 public:
  LeaseInBytes(std::shared_ptr<ServerHandle> server, std::uint64_t number)
      : server_(std::move(server)), number_(number) {}
  LeaseInBytes(const LeaseInBytes&) = delete;
  LeaseInBytes& operator=(const LeaseInBytes&) = delete;
  ~LeaseInBytes() {
    const bool thrown_away = std::uncaught_exceptions() > exceptions_;
    if (thrown_away && generation_ == fork_generation()) server_->cancel(number_);
  }

 private:
  std::shared_ptr<ServerHandle> server_;
  std::uint64_t number_;
  int exceptions_ = std::uncaught_exceptions();
  std::uint32_t generation_ = fork_generation();
};

}  // namespace

ProxyState::ProxyState(std::shared_ptr<ServerHandle> server, ObjectFacts facts)
    : server_(std::move(server)),
      facts_(std::move(facts)),
      generation_(fork_generation()),
      born_(last_start()) {}

ProxyState::ProxyState(ObjectFacts facts, std::shared_ptr<const void> object)
    : object_(std::move(object)), facts_(std::move(facts)) {}

ProxyState::~ProxyState() {
  if (server_ && generation_ == fork_generation()) server_->release(facts_.id, born_);
}

void ProxyState::require_reference() {
  if (!server_) {
    throw RuntimeError("a proxy cannot be called inside the server that has its object");
  }
  if (generation_ == fork_generation()) return;
  static ForkSafeMutex mutex;
  const std::lock_guard guard(mutex);
  if (generation_ == fork_generation()) return;
  Direct reference(Request::reference);
  reference.args().number(facts_.id);
  reference.at(*server_);
  born_ = last_start();
  generation_ = fork_generation();
}

void ProxyState::pickle(Encoder& out) const {
  encode_facts(out, facts_);
  const TokenScope* scope = TokenScope::current();
  if (scope != nullptr && scope->server() == server_.get()) {
    TokenScope::current()->ids().push_back(facts_.id);
    out.number(Token::counted);
    return;
  }
  if (!server_) throw PicklingError("a proxy leaves its server inside values only");
  const_cast<ProxyState*>(this)->require_reference();
  Direct lease(Request::lease);
  lease.args().number(facts_.id);
  const auto number = lease.at(*server_).number<std::uint64_t>();
  out.keep(std::make_shared<LeaseInBytes>(server_, number));
  out.number(Token::leased);
  encode(out, server_->address());
  out.number(number);
  // The key goes to children, and nowhere else.
  out.number(is_encoding_start_order());
  if (is_encoding_start_order()) encode(out, server_->key().bytes());
}

std::shared_ptr<ProxyState> ProxyState::unpickle(Decoder& in) {
  ObjectFacts facts = decode_facts(in);
  const auto token = in.number<Token>();
  const InsideServer& inside = inside_server();
  if (token == Token::counted) {
    const TokenScope* scope = TokenScope::current();
    if (inside.server != nullptr) {
      auto object = inside.find(inside.server, facts.id);
      if (!object) Decoder::malformed("a proxy for an object that is not there");
      return std::make_shared<ProxyState>(std::move(facts), std::move(object));
    }
    if (scope == nullptr || scope->server() == nullptr) {
      Decoder::malformed("a proxy outside of what its server has sent");
    }
    // The server has counted a reference for this session when it replied.
    auto server = const_cast<ServerHandle*>(scope->server())->shared_from_this();
    return std::make_shared<ProxyState>(std::move(server), std::move(facts));
  }
  if (token != Token::leased) Decoder::malformed("a proxy of another kind");
  const auto address = decode<Address>(in);
  const auto lease = in.number<std::uint64_t>();
  std::optional<AuthenticationString> key;
  if (in.number<bool>()) key.emplace(decode<std::vector<std::byte>>(in));
  if (inside.server != nullptr && *inside.address == address) {
    auto object = inside.find(inside.server, facts.id);
    if (!object) Decoder::malformed("a proxy for an object that is not there");
    return std::make_shared<ProxyState>(std::move(facts), std::move(object));
  }
  auto server = key ? ServerHandle::at(address, *key) : ServerHandle::at(address);
  Direct redeem(Request::redeem);
  redeem.args().number(lease);
  redeem.args().number(facts.id);
  redeem.at(*server);
  return std::make_shared<ProxyState>(std::move(server), std::move(facts));
}

// --- small things --------------------------------------------------------------

TokenScope*& TokenScope::current() noexcept {
  thread_local TokenScope* scope = nullptr;
  return scope;
}

InsideServer& inside_server() noexcept {
  thread_local InsideServer inside;
  // A forked child is another process, which has no objects.
  if (inside.server != nullptr && inside.generation != fork_generation()) inside = {};
  return inside;
}

void encode_facts(Encoder& out, const ObjectFacts& facts) {
  out.number(facts.id);
  out.number(facts.signature);
  out.text(facts.kind);
  out.text(facts.type_id);
}

ObjectFacts decode_facts(Decoder& in) {
  ObjectFacts facts;
  facts.id = in.number<std::uint64_t>();
  facts.signature = in.number<std::uint64_t>();
  facts.kind = in.text();
  facts.type_id = in.text();
  return facts;
}

void element_too_large() { throw ValueError("an element of a managed object has less than 2 GiB"); }

void put_encoded(Encoder& out, const Encoder& value, std::span<const std::uint64_t> ids) {
  const auto bytes = value.view();
  if (bytes.size() >= has_references) element_too_large();
  if (!value.descriptors().empty()) {
    throw PicklingError("what holds descriptors cannot be sent to a manager");
  }
  out.number(static_cast<std::uint32_t>(bytes.size()) | (ids.empty() ? 0U : has_references));
  out.bytes(bytes.data(), bytes.size());
  if (ids.empty()) return;
  out.number(static_cast<std::uint32_t>(ids.size()));
  for (const std::uint64_t id : ids) out.number(id);
}

namespace {
std::map<std::string, AppliedEntryFacts, std::less<>>& applied_functions() {
  static auto& table = *new std::map<std::string, AppliedEntryFacts, std::less<>>;
  return table;
}
}  // namespace

bool register_applied(const char* name, AppliedTo target, std::uint64_t signature,
                      AppliedFunction function) {
  // Before main(), so without a lock.
  AppliedEntryFacts& entry = applied_functions()[name];
  entry.ambiguous = entry.function != nullptr && entry.function != function;
  entry.function = function;
  entry.target = target;
  entry.signature = signature;
  return true;
}

const AppliedEntryFacts* find_applied(std::string_view name) {
  const auto found = applied_functions().find(name);
  return found == applied_functions().end() ? nullptr : &found->second;
}

std::uint64_t type_signature(const std::type_info& type) {
  SignatureHash hash;
  for (const char* at = type.name(); *at != '\0'; ++at) {
    hash = hash.add(static_cast<unsigned char>(*at));
  }
  return hash.value;
}

}  // namespace mp::detail
