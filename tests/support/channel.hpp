#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <mp/detail/os.hpp>
#include <mp/pickle.hpp>

namespace mp::test {

/// How children report: lines through a pipe, a handle that crosses by every
/// start method. Its end-of-file says that no writer is left.
class Channel {
 public:
  Channel() : ends_(std::make_shared<Ends>()) {
    std::array<int, 2> fds{};
    detail::check(::pipe2(fds.data(), O_CLOEXEC), "pipe2");
    ends_->read = detail::UniqueFd(fds[0]);
    ends_->write = detail::UniqueFd(fds[1]);
  }

  void say(std::string_view line) const {
    if (!detail::write_all(ends_->write.get(), std::string(line) + '\n')) {
      detail::throw_errno("write");
    }
  }

  /// The next line; empty at end-of-file or when nothing came in time.
  std::optional<std::string> hear(Timeout timeout = std::chrono::seconds(20)) const {
    const detail::Deadline deadline(timeout);
    std::string line;
    char letter = 0;
    while (detail::wait_fd(ends_->read.get(), POLLIN, deadline)) {
      if (::read(ends_->read.get(), &letter, 1) != 1) return std::nullopt;
      if (letter == '\n') return line;
      line.push_back(letter);
    }
    return std::nullopt;
  }

  /// True when every writer has gone within the time; lines are dropped.
  bool ended(Timeout timeout = std::chrono::seconds(20)) const {
    const detail::Deadline deadline(timeout);
    std::array<char, 256> dropped{};
    while (detail::wait_fd(ends_->read.get(), POLLIN, deadline)) {
      if (::read(ends_->read.get(), dropped.data(), dropped.size()) <= 0) return true;
    }
    return false;
  }

  int reading_end() const { return ends_->read.get(); }
  int writing_end() const { return ends_->write.get(); }

  /// This process's end only; the readers hear end-of-file when all have.
  void stop_writing() const { ends_->write.reset(); }
  void stop_reading() const { ends_->read.reset(); }

  /// Sleeps until every other process has let go of the writing end.
  void wait_for_end() const {
    stop_writing();
    ended(std::nullopt);
  }

  void pickle(Encoder& out) const {
    out.descriptor(ends_->read.get());
    out.descriptor(ends_->write.get());
  }
  static Channel unpickle(Decoder& in) {
    auto ends = std::make_shared<Ends>();
    ends->read = in.descriptor();
    ends->write = in.descriptor();
    return Channel(std::move(ends));
  }

 private:
  struct Ends {
    detail::UniqueFd read;
    detail::UniqueFd write;
  };
  explicit Channel(std::shared_ptr<Ends> ends) : ends_(std::move(ends)) {}
  std::shared_ptr<Ends> ends_;
};

}  // namespace mp::test
