#include "manager_errands.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <exception>
#include <utility>

#include "mp/logging.hpp"

namespace mp::detail {

Errands::Errands() : bell_(opened(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {}

Errands::~Errands() {
  for (Errand& each : errands_) each.thread.join();
}

void Errands::post(std::function<void()> letter) {
  const std::lock_guard guard(mutex_);
  letters_.push_back(std::move(letter));
  const std::uint64_t one = 1;
  // All eight bytes or, if the eventfd is full and so readable, none.
  [[maybe_unused]] const ssize_t written = ::write(bell_.get(), &one, sizeof one);
}

void Errands::deliver() {
  std::vector<std::function<void()>> letters;
  {
    const std::lock_guard guard(mutex_);
    std::uint64_t count = 0;
    // Nothing to read means nothing was posted.
    [[maybe_unused]] const ssize_t read = ::read(bell_.get(), &count, sizeof count);
    letters.swap(letters_);
  }
  for (const auto& letter : letters) {
    try {
      letter();
    } catch (const std::exception& error) {
      log(logging::error, "a letter to the manager's server failed: {}", error.what());
    }
  }
}

void Errands::run(std::function<void()> errand) {
  join_those_that_are_over();
  const std::lock_guard guard(mutex_);
  Errand& mine = errands_.emplace_back();
  ++service_threads();
  try {
    mine.thread = std::thread([this, &mine, errand = std::move(errand)] {
      try {
        errand();
      } catch (const std::exception& error) {
        log(logging::error, "a thread of the manager's server failed: {}", error.what());
      }
      --service_threads();
      const std::lock_guard ending(mutex_);
      mine.over = true;
    });
  } catch (...) {
    --service_threads();
    errands_.pop_back();
    throw;
  }
}

void Errands::join_those_that_are_over() {
  std::list<Errand> over;
  {
    const std::lock_guard guard(mutex_);
    for (auto it = errands_.begin(); it != errands_.end();) {
      const auto next = std::next(it);
      if (it->over) over.splice(over.end(), errands_, it);
      it = next;
    }
  }
  for (Errand& each : over) each.thread.join();
}

}  // namespace mp::detail
