#include "interrupt.hpp"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>

#include "mp/detail/os.hpp"
#include "workers_impl.hpp"

namespace mp::detail {

namespace {

ForkSafeMutex mutex;
int watchers = 0;
bool installed = false;
std::atomic<int> event{-1};
std::atomic<int> count{0};

// From so many on, whoever asks so urgently gets it at once, and in no order:
// workers end with their parent anyhow.
std::atomic<int> impatient{3};

void on_interrupt(int) {
  const int error = errno;
  if (count.fetch_add(1) + 1 >= impatient) ::_exit(exit_code_of_interrupt);
  const std::uint64_t one = 1;
  (void)!::write(event, &one, sizeof one);
  errno = error;
}

bool is_left_alone() {
  struct sigaction now {};
  return ::sigaction(SIGINT, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
         now.sa_handler == SIG_DFL;
}

bool is_ours() {
  struct sigaction now {};
  return ::sigaction(SIGINT, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
         now.sa_handler == on_interrupt;
}

}  // namespace

void watch_interrupts() {
  const std::lock_guard guard(mutex);
  if (event < 0) event = opened(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd").release();
  if (++watchers != 1 || !is_left_alone()) return;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  installed = ::sigaction(SIGINT, &action, nullptr) == 0;
}

void unwatch_interrupts() noexcept {
  const std::lock_guard guard(mutex);
  if (--watchers != 0) return;
  if (std::exchange(installed, false) && is_ours()) ::signal(SIGINT, SIG_DFL);
  ::close(event.exchange(-1));
  // One that came too late for whoever would have answered it.
  if (count.exchange(0) != 0) ::kill(::getpid(), SIGINT);
}

void forget_interrupts() noexcept {
  if (installed && is_ours()) ::signal(SIGINT, SIG_DFL);
  installed = false;
  watchers = 0;
  count = 0;
  if (event >= 0) ::close(event.exchange(-1));
}

int interrupt_fd() noexcept { return event; }
int interrupts() noexcept { return count; }
void hurry_interrupts() noexcept { impatient = count + 1; }

}  // namespace mp::detail
