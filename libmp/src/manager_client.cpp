#include "manager_client.hpp"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <system_error>
#include <utility>

#include "mp/logging.hpp"
#include "mp/process.hpp"
#include "mp/remote_error.hpp"
#include "process_state.hpp"

namespace mp::detail {

namespace {

// Connections kept for threads to come.
constexpr std::size_t max_idle = 8;

// For a server that is busy with one long call.
constexpr auto patience = std::chrono::seconds(30);

// A server that is overrun may send a slow client away before it has answered.
constexpr int tries = 5;

bool is_broken_connection(const std::system_error& error) {
  return error.code() == std::errc::broken_pipe || error.code() == std::errc::connection_reset;
}

}  // namespace

// --- a thread's connections --------------------------------------------------

struct ThreadWires {
  struct Entry {
    std::uint64_t server;
    std::uint32_t generation;
    Wire* wire;
  };
  std::vector<Entry> entries;

  Wire* find(const ServerHandle& server) {
    for (const Entry& entry : entries) {
      if (entry.server == server.serial() && entry.generation == fork_generation()) {
        return entry.wire;
      }
    }
    return nullptr;
  }
  void set(const ServerHandle& server, Wire* wire) {
    forget(server);
    entries.push_back({server.serial(), fork_generation(), wire});
  }
  void forget(const ServerHandle& server) {
    std::erase_if(entries, [&](const Entry& entry) { return entry.server == server.serial(); });
  }
  ~ThreadWires();
};

namespace {

struct Servers {
  ForkSafeMutex mutex;
  std::map<std::uint64_t, std::weak_ptr<ServerHandle>> by_serial;
  std::uint64_t last_serial = 0;
};
Servers& servers() {
  static auto& instance = *new Servers;
  return instance;
}

// A pointer, so that it may be asked after the end of the thread's other
// objects: exit work of the main thread comes later than that.
thread_local ThreadWires* wires_of_thread = nullptr;

struct EndOfThread {
  EndOfThread() = default;
  EndOfThread(const EndOfThread&) = delete;
  EndOfThread& operator=(const EndOfThread&) = delete;
  ~EndOfThread() { delete std::exchange(wires_of_thread, nullptr); }
};

ThreadWires& thread_wires() {
  thread_local const EndOfThread end;
  (void)end;
  if (wires_of_thread == nullptr) wires_of_thread = new ThreadWires;
  return *wires_of_thread;
}

std::uint64_t next_serial() {
  const std::lock_guard guard(servers().mutex);
  return ++servers().last_serial;
}

std::shared_ptr<ServerHandle> find_server(const Address& address) {
  std::vector<std::weak_ptr<ServerHandle>> all;
  {
    const std::lock_guard guard(servers().mutex);
    for (const auto& [serial, server] : servers().by_serial) all.push_back(server);
  }
  // The newest: an older one's server had the same address before. Without the
  // lock, as this may be somebody's last reference.
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    auto server = it->lock();
    if (server && server->address() == address) return server;
  }
  return nullptr;
}

}  // namespace

ThreadWires::~ThreadWires() {
  for (const Entry& entry : entries) {
    if (entry.generation != fork_generation()) continue;
    std::shared_ptr<ServerHandle> server;
    {
      const std::lock_guard guard(servers().mutex);
      const auto found = servers().by_serial.find(entry.server);
      if (found != servers().by_serial.end()) server = found->second.lock();
    }
    if (server) server->give_back(entry.wire);
  }
}

// --- ServerHandle ------------------------------------------------------------

std::shared_ptr<ServerHandle> ServerHandle::at(const Address& address,
                                               const AuthenticationString& key) {
  auto known = find_server(address);
  return known && known->key() == key ? known : fresh(address, key);
}

std::shared_ptr<ServerHandle> ServerHandle::fresh(const Address& address,
                                                  const AuthenticationString& key) {
  auto server = std::make_shared<ServerHandle>(address, key);
  const std::lock_guard guard(servers().mutex);
  servers().by_serial.emplace(server->serial(), server);
  return server;
}

std::shared_ptr<ServerHandle> ServerHandle::at(const Address& address) {
  if (auto known = find_server(address)) return known;
  return at(address, current_process().authkey());
}

ServerHandle::ServerHandle(Address address, AuthenticationString key)
    : address_(std::move(address)), key_(std::move(key)), serial_(next_serial()) {}

ServerHandle::~ServerHandle() {
  const std::lock_guard guard(servers().mutex);
  servers().by_serial.erase(serial_);
}

void ServerHandle::begin_session_if_forked() {
  if (generation_ == fork_generation()) return;
  generation_ = fork_generation();
  wires_.clear();
  idle_.clear();
  unsent_.clear();
  has_unsent_ = false;
  limbo_.clear();
  check(::getrandom(&session_, sizeof session_, 0), "getrandom");
}

std::unique_ptr<Wire> ServerHandle::connect(std::uint64_t session, const Deadline& limit) {
  const Deadline deadline(limit.remaining_at_most(patience));
  std::optional<Connection> connection;
  for (int left = tries; !connection; --left) {
    try {
      connection.emplace(Client(address_, {.authkey = key_, .timeout = deadline.remaining()}));
    } catch (const EOFError&) {
      if (left == 1) throw;
    } catch (const std::system_error& error) {
      if (left == 1 || !is_broken_connection(error)) throw;
    }
  }
  // The socket goes on without the Connection, whose framing it shares.
  UniqueFd socket = UniqueFd::duplicate(connection->fileno());
  connection->close();
  auto wire = std::make_unique<Wire>(std::move(socket));
  RemoteCall hello(nullptr, {});
  hello.args().number(Request::hello);
  hello.args().number(manager_protocol);
  hello.args().number(session);
  wire->send(hello.args());
  wire->receive(hello, deadline);
  if (hello.reply_->number<Reply>() != Reply::result) throw_encoded_exception(*hello.reply_);
  wire->set_max_request(hello.reply_->number<std::uint64_t>());
  return wire;
}

Wire& ServerHandle::wire(const Deadline& deadline) {
  ThreadWires& mine = thread_wires();
  if (Wire* known = mine.find(*this)) return *known;
  std::unique_ptr<Wire> own;
  std::uint64_t session = 0;
  {
    const std::lock_guard guard(mutex_);
    begin_session_if_forked();
    session = session_;
    if (!idle_.empty()) {
      own = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!own) {
    // Without the lock: a server that is stuck holds up only who calls it.
    log(logging::debug, "making connection to manager at {}", to_string(address_));
    own = connect(session, deadline);
  }
  const std::lock_guard guard(mutex_);
  wires_.push_back(std::move(own));
  mine.set(*this, wires_.back().get());
  return *wires_.back();
}

void ServerHandle::drop(Wire* wire) noexcept {
  thread_wires().forget(*this);
  const std::lock_guard guard(mutex_);
  std::erase_if(wires_, [&](const auto& each) { return each.get() == wire; });
  idle_.clear();  // Most likely as dead.
}

void ServerHandle::close_connections() noexcept {
  const std::lock_guard guard(mutex_);
  idle_.clear();
  // Other threads may be using theirs: these see the server's end.
  if (Wire* mine = thread_wires().find(*this)) {
    std::erase_if(wires_, [&](const auto& each) { return each.get() == mine; });
    thread_wires().forget(*this);
  }
}

void ServerHandle::give_back(Wire* wire) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = std::find_if(wires_.begin(), wires_.end(),
                                  [&](const auto& each) { return each.get() == wire; });
  if (found == wires_.end()) return;
  std::unique_ptr<Wire> own = std::move(*found);
  wires_.erase(found);
  try {
    Encoder detach;
    detach.number(Request::detach);
    own->send(detach);
    if (idle_.size() < max_idle) idle_.push_back(std::move(own));
  } catch (const std::exception& error) {
    log(logging::debug, "a thread's connection to the manager ended: {}", error.what());
  }
}

Decoder& ServerHandle::transact(RemoteCall& call, const Deadline& deadline) {
  Wire& line = wire(deadline);
  line.require_allowed(call.args().view().size() + call.attached_.size());
  try {
    if (has_unsent_.load(std::memory_order_relaxed)) send_unsent(line);
    if (deadline.never()) {
      line.send(call.args(), call.attached_);
    } else if (!line.send_by(deadline, call.args())) {
      throw TimeoutError("the manager's server does not read");
    }
    line.receive(call, deadline);
  } catch (const PicklingError&) {
    throw;  // Before anything was sent.
  } catch (const std::bad_alloc&) {
    throw;  // The reply has been read, and the connection is as it was.
  } catch (...) {
    drop(&line);
    throw;
  }
  if (call.reply_->number<Reply>() == Reply::exception) throw_encoded_exception(*call.reply_);
  return *call.reply_;
}

// --- what is said without waiting ----------------------------------------------

namespace {

std::uint64_t newest_living_child() {
  std::uint64_t newest = 0;
  for (const auto& child : living_children()) newest = std::max(newest, child->serial);
  return newest;
}

}  // namespace

void ServerHandle::send_or_keep(Unsent message) {
  Encoder request;
  request.number(message.request == OneWay::release ? Request::release : Request::cancel);
  request.number(message.number);
  Wire* mine = thread_wires().find(*this);
  const Deadline now(Duration::zero());
  if (mine != nullptr && mine->send_by(now, request)) return;
  // Another thread's connection is that thread's; one that is idle will do.
  const std::lock_guard guard(mutex_);
  begin_session_if_forked();
  if (mine == nullptr && !idle_.empty() && idle_.back()->send_by(now, request)) return;
  if (wires_.empty() && idle_.empty()) return;  // No session, and so no references.
  unsent_.push_back(message);
  has_unsent_ = true;
}

void ServerHandle::send_unsent(Wire& line) {
  const std::lock_guard guard(mutex_);
  Encoder request;
  while (!unsent_.empty()) {
    const Unsent& next = unsent_.back();
    request.clear();
    request.number(next.request == OneWay::release ? Request::release : Request::cancel);
    request.number(next.number);
    if (!line.send_by(Deadline(Duration::zero()), request)) return;
    unsent_.pop_back();
  }
  has_unsent_ = false;
}

void ServerHandle::release(std::uint64_t object, std::uint64_t born) noexcept {
  try {
    sweep_limbo();
    // A child that was forked while this process had the object may not have
    // come to take a reference of its own: until it ends, this one stays.
    if (newest_living_child() > born) {
      const std::lock_guard guard(mutex_);
      limbo_.emplace(born, object);
      return;
    }
    log(logging::debug, "DECREF {:#x}", object);
    send_or_keep({OneWay::release, object});
  } catch (const std::exception& error) {
    log(logging::debug, "... decref failed {}", error.what());
  }
}

void ServerHandle::cancel(std::uint64_t lease) noexcept {
  try {
    send_or_keep({OneWay::cancel, lease});
  } catch (const std::exception& error) {
    log(logging::debug, "a lease could not be given back: {}", error.what());
  }
}

void ServerHandle::sweep_limbo() {
  const std::uint64_t newest = newest_living_child();
  std::vector<std::uint64_t> due;
  {
    const std::lock_guard guard(mutex_);
    begin_session_if_forked();
    const auto first = limbo_.lower_bound(newest);
    for (auto each = first; each != limbo_.end(); ++each) due.push_back(each->second);
    limbo_.erase(first, limbo_.end());
  }
  for (const std::uint64_t object : due) {
    log(logging::debug, "DECREF {:#x}", object);
    send_or_keep({OneWay::release, object});
  }
}

}  // namespace mp::detail
