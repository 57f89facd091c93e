// Orders to a child that was executed or forked by the server: frames on a
// unix socket that only parent and child hold.

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <system_error>

#include "mp/logging.hpp"
#include "process_state.hpp"

namespace mp::detail {

namespace {

// The system's bound on descriptors in one message (SCM_MAX_FD).
constexpr std::size_t max_descriptors = 253;

// Returns what came, 0 at end-of-file; descriptors are appended to `fds`.
std::size_t receive_some(int socket, std::span<std::byte> into, std::vector<UniqueFd>& fds) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(max_descriptors * sizeof(int))> control;
  iovec part{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t size = 0;
  do {
    size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && errno == ECONNRESET) return 0;
  check(size, "recvmsg");
  for (cmsghdr* part_of = CMSG_FIRSTHDR(&message); part_of != nullptr;
       part_of = CMSG_NXTHDR(&message, part_of)) {
    if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part_of->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part_of) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  for (UniqueFd& fd : fds) fd = above_stdio(fd.release());
  return static_cast<std::size_t>(size);
}

}  // namespace

std::pair<PrivateFd, PrivateFd> control_sockets() {
  std::array<int, 2> ends{};
  check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), "socketpair");
  auto [first, second] = above_stdio(ends);
  return {PrivateFd(std::move(first)), PrivateFd(std::move(second))};
}

void send_frame(int socket, const Encoder& frame) {
  std::vector<int> fds;
  for (const auto& fd : frame.descriptors()) fds.push_back(fd.get());
  const auto size = static_cast<std::uint64_t>(frame.view().size());
  send_with_fds(socket, std::as_bytes(std::span(&size, 1)), fds);
  send_with_fds(socket, frame.view(), {});
}

bool is_gone(const std::system_error& error) noexcept {
  return error.code().value() == EPIPE || error.code().value() == ECONNRESET;
}

void send_order(int socket, const Encoder& order) {
  try {
    send_frame(socket, order);
  } catch (const std::system_error& error) {
    if (!is_gone(error)) throw;
  }
}

std::optional<ControlFrame> receive_frame(int socket) {
  ControlFrame frame;
  std::uint64_t size = 0;
  const auto header = std::as_writable_bytes(std::span(&size, 1));
  for (std::size_t got = 0; got < header.size();) {
    const std::size_t more = receive_some(socket, header.subspan(got), frame.fds);
    if (more == 0) return std::nullopt;
    got += more;
  }
  frame.bytes.resize(size);
  for (std::size_t got = 0; got < size;) {
    const std::size_t more = receive_some(socket, std::span(frame.bytes).subspan(got), frame.fds);
    if (more == 0) return std::nullopt;
    got += more;
  }
  return frame;
}

namespace {

// Empty where there is none, as in a directory that was removed.
std::string working_directory() {
  std::array<char, PATH_MAX> path{};
  return ::getcwd(path.data(), path.size()) != nullptr ? path.data() : "";
}

thread_local bool encoding_start_order = false;

struct EncodingStartOrder {
  EncodingStartOrder() { encoding_start_order = true; }
  EncodingStartOrder(const EncodingStartOrder&) = delete;
  EncodingStartOrder& operator=(const EncodingStartOrder&) = delete;
  ~EncodingStartOrder() { encoding_start_order = false; }
};

}  // namespace

bool is_encoding_start_order() noexcept { return encoding_start_order; }

void encode_child(Encoder& out, const Process& process, const ProcessState& state,
                  StartMethod method) {
  const EncodingStartOrder scope;
  const auto self = current_process();
  encode(out, process.name());
  encode(out, state.class_name);
  encode(out, state.identity);
  encode(out, state.daemon.load());
  encode(out, state.authkey.bytes());
  encode(out, method);
  encode(out, this_pid());
  encode(out, self.name());
  encode(out, logs_to_stderr());
  encode(out, get_logger().level());
  encode(out, log_files().size());
  for (const UniqueFd& file : log_files()) out.descriptor(file.get());
  encode(out, working_directory());
  out.descriptor(lifeline());

  // Not typeid(Process): a class of one's own is rebuilt by its own rules.
  const bool own_class = typeid(process) != typeid(Process);
  const ProcessClass* known = own_class ? find_process_class(typeid(process)) : nullptr;
  if (own_class && known == nullptr) {
    throw PicklingError("cannot pickle an object of class " + type_name(typeid(process)) +
                        ": make it known by mp::register_process<" + type_name(typeid(process)) +
                        ">()");
  }
  encode(out, own_class);
  if (own_class) {
    out.code(reinterpret_cast<const void*>(known->revive));
    known->save(out, process);
  }
  encode(out, state.task != nullptr);
  if (state.task) state.task->pickle(out);
  if (out.descriptors().size() > max_descriptors) {
    throw PicklingError("the arguments of a process hold more than " +
                        std::to_string(max_descriptors - 1) + " descriptors");
  }
}

namespace {

// The mirror image of encode_child().
struct Order {
  std::shared_ptr<ProcessState> state = std::make_shared<ProcessState>();
  std::unique_ptr<Process> process;
  pid_t parent = 0;
  std::string parent_name;
  StartMethod method{};
  UniqueFd lifeline;
};

Order read_order(Decoder& in) {
  Order order;
  ProcessState& state = *order.state;
  state.name = decode<std::string>(in);
  state.class_name = decode<std::string>(in);
  state.identity = decode<std::vector<int>>(in);
  state.daemon = decode<bool>(in);
  state.authkey = AuthenticationString(decode<std::vector<std::byte>>(in));
  order.method = decode<StartMethod>(in);
  order.parent = decode<pid_t>(in);
  order.parent_name = decode<std::string>(in);
  state.creator = order.parent;
  const bool to_stderr = decode<bool>(in);
  const auto level = decode<logging::Level>(in);
  if (to_stderr) log_to_stderr();
  get_logger().set_level(level);
  for (auto files = decode<std::size_t>(in); files > 0; --files) add_log_file(in.descriptor());
  const auto directory = decode<std::string>(in);
  // A directory that is gone leaves the child where it is.
  if (!directory.empty() && ::chdir(directory.c_str()) < 0) {
    log(logging::info, "cannot enter {}", directory);
  }
  order.lifeline = in.descriptor();
  return order;
}

// Runs after become(): an object made here belongs to this process, as do
// the locks and queues among its members.
std::unique_ptr<Process> revive_process(Decoder& in, const Order& order) {
  std::unique_ptr<Process> process;
  if (decode<bool>(in)) {
    using Reviver = std::unique_ptr<Process> (*)(Decoder&);
    process = reinterpret_cast<Reviver>(const_cast<void*>(in.code()))(in);
    ProcessAccess::adopt(*process, order.state);
  } else {
    process = std::make_unique<Process>(ProcessAccess::handle(order.state));
  }
  if (decode<bool>(in)) order.state->task = Task::unpickle(in);
  return process;
}

}  // namespace

void run_ordered_child(UniqueFd control) {
  std::optional<ControlFrame> frame = receive_frame(control.get());
  // No order: the parent has ended, or gave up on this child.
  if (!frame) ::_exit(1);
  control.reset();
  run_child([&] {
    Decoder in(frame->bytes, frame->fds);
    Order order = read_order(in);
    const auto parent = describe_parent(order.parent_name, order.parent);
    become(order.state, parent);
    hold_parent(*parent);
    if (order.state->daemon) die_with_parent(order.lifeline.get(), order.parent);
    order.lifeline.reset();
    force_start_method(order.method);
    order.process = revive_process(in, order);
    // Reviving a class of one's own constructs a Process, which is not one of
    // this child's children: start counting afresh.
    become(order.state, parent_state());
    frame.reset();
    log(logging::info, "child process calling self.run()");
    order.process->run();
  });
}

}  // namespace mp::detail
