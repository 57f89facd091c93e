// What clients ask of the server, and who has references to what.

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "manager_client.hpp"
#include "manager_server.hpp"
#include "mp/logging.hpp"

namespace mp::detail {

void ObjectServer::dispatch(ServerClient& client, Request request, Decoder& in, bool& parked) {
  if (client.session == nullptr && request != Request::hello) {
    throw RuntimeError("a client begins with hello");
  }
  switch (request) {
    case Request::hello:
      return hello(client, in);
    case Request::create:
      return create(client, in);
    case Request::call: {
      const ObjectPtr object = require(in.number<std::uint64_t>());
      const std::string method = in.text();
      Call call(*this, client, in, *result_);
      object->call(method, call);
      parked = call.parked();
      return;
    }
    case Request::reference:
      return refer(client, require(in.number<std::uint64_t>()));
    case Request::release:
      return release(client, in.number<std::uint64_t>());
    case Request::lease: {
      const ObjectPtr object = require(in.number<std::uint64_t>());
      leases_[++last_lease_] = {object, client.session->id};
      return result_->number(last_lease_);
    }
    case Request::redeem:
      return redeem(client, in);
    case Request::detach:
      return give_back(client);
    case Request::number_of_objects:
      return result_->number<std::uint64_t>(objects_->by_id.size());
    case Request::debug_info:
      return result_->text(debug_info());
    case Request::ping:
      return;
    case Request::cancel:
      leases_.erase(in.number<std::uint64_t>());
      return;
    case Request::shutdown:
      log(logging::debug, "manager received shutdown message");
      stopping_ = true;
      return;
  }
  throw RuntimeError("no such request");
}

void ObjectServer::hello(ServerClient& client, Decoder& in) {
  if (in.number<std::uint32_t>() != manager_protocol) {
    throw RuntimeError("client and server speak different versions of the protocol");
  }
  if (client.session != nullptr) throw RuntimeError("hello twice");
  const auto id = in.number<std::uint64_t>();
  Session& session = sessions_[id];
  session.id = id;
  ++session.connections;
  client.session = &session;
  result_->number<std::uint64_t>(limits_.max_request);
}

void ObjectServer::create(ServerClient& client, Decoder& in) {
  const std::string type_id = in.text();
  const auto found = registry_.find(type_id);
  if (found == registry_.end()) {
    throw AttributeError("the manager has nothing registered as '" + type_id + "'");
  }
  const TypeEntry& type = found->second;
  ObjectPtr object;
  switch (type.kind) {
    case TypeEntry::Kind::builtin: {
      Call call(*this, client, in, *result_);
      object = make_builtin(type_id, call);
      break;
    }
    case TypeEntry::Kind::callable:
      object = type.callable();
      break;
    case TypeEntry::Kind::user:
      object = make_user_object(type_id, type.signature, type.methods, type.create(in));
      break;
  }
  if (!object) throw RuntimeError("what is registered as '" + type_id + "' gave no object");
  give_object(client, object, type_id, *result_);
  log(logging::debug, "'{}' callable returned object with id {:#x}", type_id, object->id());
}

void ObjectServer::give_object(ServerClient& client, const ObjectPtr& object,
                               const std::string& type_id, Encoder& out) {
  object->enter(objects_);
  if (object->lives_as_long_as_the_server()) kept_.push_back(object);
  refer(client, object);
  encode_facts(out, {object->id(), object->signature(), object->kind(), type_id});
}

// --- references --------------------------------------------------------------

ObjectPtr ObjectServer::find(std::uint64_t id) const {
  const auto found = objects_->by_id.find(id);
  return found == objects_->by_id.end() ? nullptr : found->second.lock();
}

ObjectPtr ObjectServer::require(std::uint64_t id) const {
  ObjectPtr object = find(id);
  if (!object) throw RuntimeError("the manager has no object of that number any more");
  return object;
}

void ObjectServer::refer(ServerClient& client, const ObjectPtr& object) {
  Session::Held& held = client.session->references[object->id()];
  held.object = object;
  ++held.count;
}

void ObjectServer::release(ServerClient& client, std::uint64_t id) {
  auto& references = client.session->references;
  const auto found = references.find(id);
  if (found == references.end() || --found->second.count > 0) return;
  // Out of the table first: the object's end may reach back into it.
  const ObjectPtr last = std::move(found->second.object);
  references.erase(found);
}

void ObjectServer::redeem(ServerClient& client, Decoder& in) {
  const auto number = in.number<std::uint64_t>();
  const auto id = in.number<std::uint64_t>();
  // What was sent once may be read more often: then the object is there only
  // if somebody else has it still.
  refer(client, require(id));
  const auto lease = leases_.find(number);
  if (lease != leases_.end() && lease->second.object->id() == id) leases_.erase(lease);
}

void ObjectServer::end_session(Session& session) {
  const std::uint64_t id = session.id;
  const auto until = Clock::now() + limits_.lease_time;
  for (const auto& [number, lease] : leases_) {
    if (lease.session == id) lease_ends_.emplace(until, number);
  }
  const auto references = std::move(session.references);
  sessions_.erase(id);
}

// A thread or its connection has ended: what it held is others' now.
void ObjectServer::give_back(ServerClient& client) {
  while (!client.holds.empty()) {
    const ObjectPtr held = client.holds.begin()->lock();
    client.holds.erase(client.holds.begin());
    if (held) held->holder_died(client);
  }
}

std::string ObjectServer::debug_info() const {
  std::map<std::uint64_t, std::uint64_t> counts;
  for (const auto& [id, session] : sessions_) {
    for (const auto& [object, held] : session.references) counts[object] += held.count;
  }
  std::map<std::uint64_t, ObjectPtr> sorted;
  for (const auto& [id, weak] : objects_->by_id) {
    if (auto object = weak.lock()) sorted.emplace(id, std::move(object));
  }
  std::string text;
  for (const auto& [id, object] : sorted) {
    text +=
        fmt::format("  {:#x}: refcount={} {} {}\n", id, counts[id], object->kind(), object->text());
  }
  return text + fmt::format("  requests={}\n", requests_);
}

// --- calls -------------------------------------------------------------------

Element Call::element(Decoder& in) {
  const auto head = in.number<std::uint32_t>();
  Element element;
  element.bytes = Blob::read(in, head & ~has_references);
  if ((head & has_references) != 0) {
    element.references = std::make_unique<std::vector<ObjectPtr>>();
    for (auto count = in.number<std::uint32_t>(); count > 0; --count) {
      auto object = server_.find(in.number<std::uint64_t>());
      if (!object) Decoder::malformed("an element that refers to no object");
      element.references->push_back(std::move(object));
    }
  }
  return element;
}

std::vector<Element> Call::elements(Decoder& in) {
  const std::size_t count = in.count(sizeof(std::uint32_t));
  std::vector<Element> all;
  all.reserve(count);
  for (std::size_t i = 0; i < count; ++i) all.push_back(element(in));
  return all;
}

Bytes* Call::memory_of(std::span<const std::byte> bytes) {
  const std::span<const std::byte> all = client_.input.bytes();
  const bool is_its_end = !all.empty() && bytes.data() + bytes.size() == all.data() + all.size();
  return is_its_end ? &client_.input : nullptr;
}

std::size_t Call::index(std::size_t size, const char* what) {
  auto at = args_.number<std::int64_t>();
  if (at < 0) at += static_cast<std::int64_t>(size);
  if (at < 0 || at >= static_cast<std::int64_t>(size)) {
    throw IndexError(std::string(what) + " index out of range");
  }
  return static_cast<std::size_t>(at);
}

ObjectPtr Call::object(std::uint64_t id) {
  auto object = server_.find(id);
  if (!object) throw RuntimeError("the manager has no object of that number any more");
  return object;
}

std::optional<Clock::time_point> Call::deadline() {
  const auto nanoseconds = args_.number<std::int64_t>();
  if (nanoseconds < 0) return std::nullopt;
  const auto now = Clock::now();
  const Duration wait(nanoseconds);
  if (wait >= Clock::time_point::max() - now) return std::nullopt;
  return now + wait;
}

void put(Encoder& out, const Element& element) {
  const auto bytes = element.bytes.view();
  const bool refers = element.references != nullptr;
  out.number(static_cast<std::uint32_t>(bytes.size()) | (refers ? has_references : 0U));
  out.bytes(bytes.data(), bytes.size());
  if (!refers) return;
  out.number(static_cast<std::uint32_t>(element.references->size()));
  for (const ObjectPtr& object : *element.references) out.number(object->id());
}

void Call::give(const Element& element, Encoder& out) {
  if (out.view().size() > server_.limits().max_reply) {
    throw ValueError("the reply is longer than the manager's server allows");
  }
  put(out, element);
  if (!element.references) return;
  for (const ObjectPtr& object : *element.references) server_.refer(client_, object);
}

void Call::give(const std::vector<Element>& elements) {
  result_.number<std::uint64_t>(elements.size());
  for (const Element& element : elements) give(element);
}

Encoder& Call::apply(AppliedTo target, std::uint64_t signature, void* object,
                     const Encoder& value) {
  const std::string name = args_.text();
  const AppliedEntryFacts& entry = require_applied(name, target);
  if (entry.signature != signature) {
    throw TypeError("the function '" + name + "' is for objects of another type");
  }
  Decoder in(value.view());
  in.forbid_code();
  Encoder result;
  changed_.clear();
  entry.function(object, in, changed_, args_, result);
  if (!result.view().empty()) {
    Decoder out(result.view());
    give(element(out));
  }
  return changed_;
}

const AppliedEntryFacts& Call::require_applied(const std::string& name, AppliedTo target) {
  const AppliedEntryFacts* entry = find_applied(name);
  if (entry == nullptr) {
    throw AttributeError("the manager's program does not have the function '" + name + "'");
  }
  if (entry->ambiguous) {
    throw RuntimeError("the manager's program has two functions of the name '" + name + "'");
  }
  if (entry->target != target) {
    throw TypeError("the function '" + name + "' is for something else");
  }
  return *entry;
}

void Call::give_object(const ObjectPtr& object, const std::string& type_id) {
  server_.give_object(client_, object, type_id, result_);
}

const std::shared_ptr<Errands>& Call::errands() const noexcept { return server_.errands(); }
const ServerLimits& Call::limits() const noexcept { return server_.limits(); }

std::function<void(const Element&, Encoder&)> Call::giver() {
  return [server = &server_, client = &client_](const Element& element, Encoder& out) {
    Decoder nothing({});
    Call(*server, *client, nothing, out).give(element, out);
  };
}

void Call::cancel_timer(Waiter& waiter) { server_.cancel_timer(waiter); }

void Call::park(WaitQueue& queue, ObjectPtr object, std::optional<Clock::time_point> deadline,
                Attempt attempt, Attempt expire) {
  auto waiter = std::make_unique<Waiter>();
  waiter->client = &client_;
  waiter->server = &server_;
  waiter->object = std::move(object);
  waiter->attempt = std::move(attempt);
  waiter->expire = std::move(expire);
  waiter->deadline = deadline;
  queue.add(*waiter);
  server_.park(client_, std::move(waiter));
  parked_ = true;
}

void WaitQueue::add(Waiter& waiter) {
  waiter.queue = this;
  waiter.place = waiters_.insert(waiters_.end(), &waiter);
}

void WaitQueue::remove(Waiter& waiter) {
  waiters_.erase(waiter.place);
  waiter.queue = nullptr;
}

void WaitQueue::wake() {
  // A waiter's end may free what the next one of the same queue waits for.
  again_ = true;
  if (waking_) return;
  waking_ = true;
  while (std::exchange(again_, false)) {
    while (!waiters_.empty()) {
      Waiter& first = *waiters_.front();
      const ObjectPtr object = first.object;
      if (!first.server->finish(first, first.attempt)) break;
    }
  }
  waking_ = false;
}

}  // namespace mp::detail
