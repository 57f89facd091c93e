#include "mp/managers.hpp"

#include <signal.h>

#include <mutex>
#include <system_error>
#include <utility>

#include "manager_client.hpp"
#include "manager_server.hpp"
#include "mp/connection.hpp"
#include "mp/detail/exit_work.hpp"
#include "mp/logging.hpp"
#include "mp/process.hpp"
#include "process_state.hpp"

namespace mp {

namespace {

// What a server process is told when it is started.
struct ServerOrder {
  Address address;
  AuthenticationString authkey;
  detail::Registry registry;
  ServerLimits limits;
  std::unique_ptr<detail::Task> initializer;

  void pickle(Encoder& out) const {
    encode(out, address);
    // A start order goes to the child and nowhere else; so may the key.
    encode(out, authkey.bytes());
    encode(out, registry);
    encode(out, limits);
    encode(out, initializer != nullptr);
    if (initializer) initializer->pickle(out);
  }
  static ServerOrder unpickle(Decoder& in) {
    ServerOrder order;
    order.address = decode<Address>(in);
    order.authkey = AuthenticationString(decode<std::vector<std::byte>>(in));
    order.registry = decode<detail::Registry>(in);
    order.limits = decode<ServerLimits>(in);
    if (decode<bool>(in)) order.initializer = detail::Task::unpickle(in);
    return order;
  }
};

// What it answers.
struct ServerReport {
  Address address;
  int error = 0;  // errno, if the address could not be had.
  std::string text;
};

void run_server(ServerOrder order, Connection report) {
  // Ctrl-C goes to the whole terminal group: the program that started the
  // server ends it when its own end comes.
  ::signal(SIGINT, SIG_IGN);
  // A daemon, so that it ends with its parent; but its callables may start
  // processes, and a pool's workers may be clients of it.
  detail::current_state()->may_have_children = true;
  current_process().set_authkey(order.authkey);
  if (order.initializer) order.initializer->run();
  std::optional<detail::ObjectServer> server;
  try {
    server.emplace(order.address, std::move(order.authkey), std::move(order.registry),
                   order.limits);
  } catch (const std::system_error& error) {
    report.send(ServerReport{order.address, error.code().value(), error.what()});
    return;
  }
  report.send(ServerReport{server->address(), 0, {}});
  report.close();
  server->serve();
}

}  // namespace

// --- a server in this process --------------------------------------------------

struct ManagerServer::State {
  detail::ObjectServer server;
};

void ManagerServer::serve_forever() { state_->server.serve(); }
void ManagerServer::stop() noexcept { state_->server.stop(); }
const Address& ManagerServer::address() const noexcept { return state_->server.address(); }

Referent detail::managed_list(std::uint64_t signature) {
  return Referent(make_list(ListUse::list, signature, {}));
}
Referent detail::managed_dict(std::uint64_t signature, std::uint64_t value_signature) {
  return Referent(make_dict("dict", signature, value_signature));
}
Referent detail::managed_queue(std::uint64_t signature, std::size_t maxsize) {
  return Referent(make_queue("Queue", signature, static_cast<std::int64_t>(maxsize)));
}

Referent managed::Lock() { return Referent(detail::make_lock(false)); }
Referent managed::Event() { return Referent(detail::make_event()); }
Referent managed::Namespace() {
  const auto signature = detail::signature<std::string>;
  return Referent(detail::make_dict("Namespace", signature, signature));
}

// --- BaseManager -------------------------------------------------------------

struct BaseManager::Impl {
  enum class Phase : unsigned char { initial, started, shut_down };

  const char* class_name;
  ManagerOptions options;
  detail::Registry registry = {};
  Phase phase = Phase::initial;
  pid_t creator = detail::this_pid();
  std::optional<Process> process = {};
  std::shared_ptr<detail::ServerHandle> server = {};
  std::uint64_t exit_work = 0;

  [[nodiscard]] AuthenticationString authkey() const {
    return options.authkey ? *options.authkey : current_process().authkey();
  }
  void require_initial() const {
    if (phase == Phase::started) throw ProcessError("Already started server");
    if (phase == Phase::shut_down) throw ProcessError("Manager has shut down");
  }
  detail::ServerHandle& require_started() const {
    if (phase != Phase::started) throw AssertionError("server not yet started");
    return *server;
  }
  void shutdown();
  bool takes_shutdown_message();
  bool ended_within(Duration timeout) {
    process->join(timeout);
    return !process->is_alive();
  }
};

BaseManager::BaseManager(ManagerOptions options) : BaseManager("BaseManager", std::move(options)) {}
BaseManager::BaseManager(const char* class_name, ManagerOptions options)
    : impl_(std::make_shared<Impl>(Impl{class_name, std::move(options)})) {}
BaseManager::BaseManager(BaseManager&&) noexcept = default;

BaseManager& BaseManager::operator=(BaseManager&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

BaseManager::~BaseManager() {
  if (!impl_) return;
  try {
    shutdown();
  } catch (const std::exception& error) {
    detail::log(logging::error, "a manager's end failed: {}", error.what());
  }
}

void BaseManager::add(std::string name, detail::TypeEntry entry) {
  impl_->require_initial();
  impl_->registry.insert_or_assign(std::move(name), std::move(entry));
}

void BaseManager::register_callable(std::string name, std::function<Referent()> callable) {
  detail::TypeEntry entry;
  entry.kind = detail::TypeEntry::Kind::callable;
  entry.callable = [callable = std::move(callable)] { return callable().object(); };
  add(std::move(name), std::move(entry));
}

void BaseManager::add_builtin_types(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    detail::TypeEntry entry;
    entry.kind = detail::TypeEntry::Kind::builtin;
    add(name, std::move(entry));
  }
}

void BaseManager::start_server(std::unique_ptr<detail::Task> initializer) {
  Impl& impl = *impl_;
  impl.require_initial();
  auto [here, there] = Pipe(false);
  ServerOrder order{impl.options.address.value_or(detail::unique_address()), impl.authkey(),
                    impl.registry, impl.options.limits, std::move(initializer)};
  Process process({.daemon = true, .start_method = impl.options.start_method}, run_server,
                  std::move(order), there);
  std::string number;
  for (const int part : detail::ProcessAccess::state(process)->identity) {
    number += (number.empty() ? "" : ":") + std::to_string(part);
  }
  process.set_name(std::string(impl.class_name) + '-' + number);
  process.start();
  there.close();
  ServerReport report;
  try {
    report = here.recv<ServerReport>();
  } catch (const EOFError&) {
    process.join();
    throw EOFError("the manager's server ended before it served");
  }
  if (report.error != 0) {
    process.join();
    detail::throw_errno(report.text.c_str(), report.error);
  }
  impl.options.address = report.address;
  impl.server = detail::ServerHandle::fresh(report.address, impl.authkey());
  impl.process.emplace(std::move(process));
  impl.phase = Impl::Phase::started;
  // Before the daemons are ended at the program's end: it may have work to do.
  impl.exit_work = detail::add_exit_work(0, [weak = std::weak_ptr(impl_)] {
    if (const auto alive = weak.lock()) alive->shutdown();
  });
}

void BaseManager::connect() {
  Impl& impl = *impl_;
  impl.require_initial();
  if (!impl.options.address) throw ValueError("connect() needs an address");
  auto server = detail::ServerHandle::at(*impl.options.address, impl.authkey());
  detail::RemoteCall ping(nullptr, {});
  ping.args().number(detail::Request::ping);
  server->transact(ping);
  impl.server = std::move(server);
  impl.phase = Impl::Phase::started;
}

ManagerServer BaseManager::get_server() {
  Impl& impl = *impl_;
  impl.require_initial();
  auto state = std::shared_ptr<ManagerServer::State>(
      new ManagerServer::State{{impl.options.address.value_or(detail::unique_address()),
                                impl.authkey(), impl.registry, impl.options.limits}});
  return ManagerServer(std::move(state));
}

void BaseManager::shutdown() { impl_->shutdown(); }

void BaseManager::Impl::shutdown() {
  // A forked child's copy is nobody's manager.
  if (creator != detail::this_pid() || phase != Phase::started || !process) return;
  phase = Phase::shut_down;
  detail::remove_exit_work(exit_work);
  if (takes_shutdown_message() && ended_within(options.shutdown_timeout)) return;
  detail::log(logging::info, "manager still alive");
  detail::log(logging::info, "trying to `terminate()` manager process");
  process->terminate();
  if (ended_within(options.shutdown_timeout)) return;
  detail::log(logging::info, "manager still alive after terminate");
  process->kill();
  process->join();
}

// False if it is busy with something else, or stopped.
bool BaseManager::Impl::takes_shutdown_message() {
  detail::log(logging::info, "sending shutdown message to manager");
  bool taken = true;
  try {
    detail::RemoteCall request(nullptr, {});
    request.args().number(detail::Request::shutdown);
    server->transact(request, detail::Deadline(options.shutdown_timeout));
  } catch (const TimeoutError&) {
    taken = false;
  } catch (const std::exception& error) {
    detail::log(logging::debug, "the manager did not take the message: {}", error.what());
  }
  server->close_connections();
  return taken;
}

bool BaseManager::join(Timeout timeout) {
  if (!impl_->process) return true;
  impl_->process->join(timeout);
  return !impl_->process->is_alive();
}

std::optional<int> BaseManager::exitcode() const {
  return impl_->process ? impl_->process->exitcode() : std::nullopt;
}
std::optional<pid_t> BaseManager::pid() const {
  return impl_->process ? impl_->process->pid() : std::nullopt;
}

Address BaseManager::address() const {
  if (!impl_->options.address) throw AssertionError("server not yet started");
  return *impl_->options.address;
}

const detail::ServerHandle* BaseManager::server() const { return &impl_->require_started(); }

std::size_t BaseManager::number_of_objects() const {
  auto& server = impl_->require_started();
  server.sweep_limbo();
  detail::RemoteCall call(nullptr, {});
  call.args().number(detail::Request::number_of_objects);
  return server.transact(call).number<std::uint64_t>();
}

std::string BaseManager::debug_info() const {
  auto& server = impl_->require_started();
  server.sweep_limbo();
  detail::RemoteCall call(nullptr, {});
  call.args().number(detail::Request::debug_info);
  return server.transact(call).text();
}

std::unique_ptr<detail::RemoteCall> BaseManager::creation(std::string_view type_id) const {
  impl_->require_started();
  auto call = std::make_unique<detail::RemoteCall>(nullptr, std::string_view());
  call->args().number(detail::Request::create);
  call->args().text(type_id);
  return call;
}

std::shared_ptr<detail::ProxyState> BaseManager::finish_creation(detail::RemoteCall& call) const {
  auto& server = impl_->require_started();
  return std::make_shared<detail::ProxyState>(impl_->server,
                                              detail::decode_facts(server.transact(call)));
}

// --- SyncManager -------------------------------------------------------------

namespace {
const auto nothing = [](Encoder&) {};
}

SyncManager::SyncManager(ManagerOptions options) : BaseManager("SyncManager", std::move(options)) {
  add_builtin_types({"list", "dict", "set", "Namespace", "Value", "Array", "Queue", "JoinableQueue",
                     "Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event",
                     "Barrier", "Pool"});
}

NamespaceProxy SyncManager::Namespace() const {
  return make<NamespaceProxy>("Namespace", [](Encoder& out) {
    out.number(detail::signature<std::string>);
    out.number(detail::signature<std::string>);
  });
}
LockProxy SyncManager::Lock() const { return make<LockProxy>("Lock", nothing); }
RLockProxy SyncManager::RLock() const { return make<RLockProxy>("RLock", nothing); }
SemaphoreProxy SyncManager::Semaphore(std::int64_t value) const {
  return make<SemaphoreProxy>("Semaphore", [&](Encoder& out) { out.number(value); });
}
SemaphoreProxy SyncManager::BoundedSemaphore(std::int64_t value) const {
  return make<SemaphoreProxy>("BoundedSemaphore", [&](Encoder& out) { out.number(value); });
}
ConditionProxy SyncManager::condition_on(const BaseProxy& lock) const {
  return make<ConditionProxy>("Condition", [&](Encoder& out) { out.number(lock.id()); });
}
ConditionProxy SyncManager::Condition() const { return condition_on(RLock()); }
ConditionProxy SyncManager::Condition(const LockProxy& lock) const { return condition_on(lock); }
ConditionProxy SyncManager::Condition(const RLockProxy& lock) const { return condition_on(lock); }
EventProxy SyncManager::Event() const { return make<EventProxy>("Event", nothing); }
BarrierProxy SyncManager::Barrier(std::int64_t parties) const {
  return make<BarrierProxy>("Barrier", [&](Encoder& out) { out.number(parties); });
}

PoolProxy SyncManager::Pool(const ManagerPoolOptions& options) const {
  return make<PoolProxy>("Pool", [&](Encoder& out) {
    encode(out, options);
    out.text({});
  });
}

SyncManager Manager(ManagerOptions options) {
  SyncManager manager(std::move(options));
  manager.start();
  return manager;
}

}  // namespace mp
