#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "mp/connection.hpp"
#include "mp/detail/os.hpp"
#include "spin.hpp"

namespace mp::detail {

/// What precedes every message on the wire; numbers as they lie in memory.
struct Frame {
  static constexpr std::uint32_t bytes_kind = 0x4d504201;
  static constexpr std::uint32_t object_kind = 0x4d504f01;
  static constexpr std::uint64_t max_size = std::uint64_t{1} << 47;  // More than an address space.
  static constexpr std::uint32_t max_descriptors = 253;              // The kernel's SCM_MAX_FD.

  std::uint64_t size = 0;
  std::uint64_t signature = 0;  // Of an object's type; 0 for bytes.
  std::uint32_t kind = 0;
  std::uint32_t descriptors = 0;

  [[nodiscard]] bool valid() const noexcept;
};
static_assert(sizeof(Frame) == 24);

/// Takes the first `bytes` out of a message that was sent in part.
void advance(msghdr& message, std::size_t bytes) noexcept;

/// Counts the calls in progress on a descriptor, so that close() in one
/// thread does not pull it from under another. The calls of a process that
/// forked do not exist in the child: the count names its fork generation.
class FdUsers {
 public:
  /// False after close().
  bool enter() noexcept;
  /// True if the caller, the last one after close(), is to close the descriptor.
  bool leave() noexcept;
  /// True as leave(); false the second time.
  bool close() noexcept;
  [[nodiscard]] bool closed() const noexcept;

 private:
  // fork generation << 32 | closed << 31 | count
  std::atomic<std::uint64_t> word_{0};
};

/// The stream socket behind a Connection and all of its copies.
///
/// 1. incoming_ is touched under read_mutex_ only; bytes are written to the
///    socket under write_mutex_ only. So threads never mix messages.
/// 2. fd_ changes once, to empty, after the last call that uses it has left.
/// 3. readable_ and writable_ only ever turn false.
class Channel {
 public:
  using Pieces = std::span<const std::span<const std::byte>>;

  Channel(UniqueFd fd, bool readable, bool writable);

  void send(std::uint32_t kind, std::uint64_t signature, Pieces pieces,
            std::span<const UniqueFd> fds, const Deadline& deadline);
  void receive_object(Message& out, std::uint64_t signature, const Deadline& deadline);
  std::vector<std::byte> receive_bytes(std::optional<std::size_t> maxlength,
                                       const Deadline& deadline);
  std::size_t receive_into(std::span<std::byte> buffer, const Deadline& deadline);
  bool poll(const Deadline& deadline);

  void close() noexcept;
  [[nodiscard]] int fileno() const;
  [[nodiscard]] bool closed() const noexcept { return users_.closed(); }
  [[nodiscard]] bool readable() const noexcept { return readable_; }
  [[nodiscard]] bool writable() const noexcept { return writable_; }

  /// Keeps the descriptor open for its lifetime; throws EBADF after close().
  class Use {
   public:
    explicit Use(Channel& channel);
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();

   private:
    Channel& channel_;
  };

 private:
  // The message that is being received; survives a time-out.
  struct Incoming {
    Frame frame = {};
    std::size_t frame_got = 0;
    std::vector<std::byte> payload = {};
    std::size_t got = 0;
    std::vector<UniqueFd> fds = {};
  };

  void require_readable() const;
  void require_writable() const;
  void receive_frame(const Deadline& deadline);
  void receive_payload(const Deadline& deadline);
  void receive_payload_into(std::span<std::byte> target, const Deadline& deadline);
  void read_exactly(std::span<std::byte> target, std::size_t& got, const Deadline& deadline);
  std::size_t read_some(std::span<std::byte> target, bool with_fds, const Deadline& deadline);
  [[noreturn]] void break_reading(int error, const char* why);
  void write_message(msghdr& message, std::uint64_t size, const Deadline& deadline);
  void break_writing() noexcept;

  UniqueFd fd_;
  FdUsers users_;
  std::atomic<bool> readable_;
  std::atomic<bool> writable_;
  bool carries_descriptors_ = false;
  ForkSafeMutex read_mutex_;
  ForkSafeMutex write_mutex_;
  Incoming incoming_;
  AdaptiveSpin spin_;
};

}  // namespace mp::detail
