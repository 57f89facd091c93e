// What CPython's own suite checks of SharedMemory and ShareableList, one test
// an id.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <mp/shared_memory.hpp>
#include <mp/shared_memory_manager.hpp>
#include <mp/synchronize.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "calls.hpp"
#include "children.hpp"
#include "processes.hpp"

namespace {

using mp::ShareableItem;
using mp::ShareableList;
using mp::SharedMemory;
using mp::test::bytes_of;
using mp::test::crash;
using mp::test::ended;
using mp::test::error_of;
using mp::test::patience;

class ShmConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ShmConformance);

bool exists(const std::string& name) { return std::filesystem::exists("/dev/shm/" + name); }

// Unlinked at the end of a test at the latest.
class Named {
 public:
  explicit Named(SharedMemory memory) : memory_(std::move(memory)) {}
  explicit Named(std::ptrdiff_t size) : memory_({.create = true, .size = size}) {}
  Named(const Named&) = delete;
  Named& operator=(const Named&) = delete;
  ~Named() {
    if (exists(memory_.name())) memory_.unlink();
  }
  const SharedMemory* operator->() const { return &memory_; }
  const SharedMemory& operator*() const { return memory_; }

 private:
  SharedMemory memory_;
};

TEST(ShmConformanceOnce, shm__embedded_nul_name) {
  const std::string name("a\0b", 3);
  EXPECT_THROW(SharedMemory({.name = name, .create = true, .size = 8}), mp::ValueError);
  EXPECT_THROW(SharedMemory({.name = name}), mp::ValueError);
}

TEST(ShmConformanceOnce, shm__attach_by_name) {
  const Named memory(512);
  EXPECT_EQ(memory->size(), 512U);
  EXPECT_EQ(memory->buf().size(), 512U);
  EXPECT_EQ(memory->repr(), fmt::format("SharedMemory('{}', size=512)", memory->name()));
  memory->buf()[0] = std::byte{42};
  const SharedMemory same({.name = memory->name(), .size = 9999});
  EXPECT_EQ(same.size(), 512U);
  EXPECT_EQ(same.buf()[0], std::byte{42});
  same.buf()[1] = std::byte{7};
  EXPECT_EQ(memory->buf()[1], std::byte{7});
}

TEST(ShmConformanceOnce, shm__bad_arguments) {
  EXPECT_THROW(SharedMemory({.create = true, .size = -2}), mp::ValueError);
  EXPECT_THROW(SharedMemory({.create = true}), mp::ValueError);
  EXPECT_THROW(SharedMemory(mp::SharedMemoryOptions{}), mp::ValueError);
}

TEST(ShmConformanceOnce, shm__create_existing) {
  const Named memory(16);
  const auto again = mp::SharedMemoryOptions{.name = memory->name(), .create = true, .size = 16};
  EXPECT_EQ(error_of([&] { SharedMemory{again}; }), EEXIST);
  const SharedMemory opened({.name = memory->name(), .size = 16, .open_or_create = true});
  opened.buf()[3] = std::byte{9};
  EXPECT_EQ(memory->buf()[3], std::byte{9});
}

TEST(ShmConformanceOnce, shm__attach_missing) {
  EXPECT_EQ(error_of([] { SharedMemory({.name = "mp_no_such_segment"}); }), ENOENT);
  const Named memory(16);
  memory->unlink();
  EXPECT_EQ(error_of([&] { memory->unlink(); }), ENOENT);
}

std::vector<std::string> names_to_give;

TEST(ShmConformanceOnce, shm__random_name_collision_retried) {
  const Named first(16);
  const std::string fresh = first->name() + "x";
  names_to_give = {fresh, first->name(), first->name()};
  mp::detail::set_segment_name_source([] {
    std::string name = names_to_give.back();
    names_to_give.pop_back();
    return name;
  });
  const Named second(16);
  mp::detail::set_segment_name_source(nullptr);
  EXPECT_EQ(second->name(), fresh);
  EXPECT_TRUE(names_to_give.empty());
}

TEST(ShmConformanceOnce, shm__serialise_reattaches) {
  const Named memory(16);
  const auto bytes = mp::dumps(*memory);
  const auto copy = mp::loads<SharedMemory>(bytes);
  copy.buf()[0] = std::byte{1};
  memory->buf()[1] = std::byte{2};
  EXPECT_EQ(memory->buf()[0], std::byte{1});
  EXPECT_EQ(copy.buf()[1], std::byte{2});
  memory->unlink();
  EXPECT_EQ(error_of([&] { (void)mp::loads<SharedMemory>(bytes); }), ENOENT);
}

void write_through(std::string name, SharedMemory passed) {
  const SharedMemory attached({.name = name});
  attached.buf()[0] = std::byte{11};
  passed.buf()[1] = std::byte{12};
}

TEST_P(ShmConformance, shm__across_processes) {
  const Named memory(16);
  auto child = start(write_through, memory->name(), *memory);
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(memory->buf()[0], std::byte{11});
  EXPECT_EQ(memory->buf()[1], std::byte{12});
}

void create_and_wait(SharedMemory board, mp::Event ready) {
  const SharedMemory mine({.create = true, .size = 10});
  mine.name().copy(reinterpret_cast<char*>(board.buf().data()), 60);
  ready.set();
  for (;;) ::pause();
}

TEST_P(ShmConformance, shm__cleaned_after_kill) {
  const Named board(64);
  const mp::Event ready;
  auto child = start(create_and_wait, *board, ready);
  ASSERT_TRUE(ready.wait(patience));
  const std::string name(reinterpret_cast<const char*>(board->buf().data()));
  EXPECT_TRUE(exists(name));
  crash(child);
  const mp::detail::Deadline deadline(patience);
  while (exists(name) && !deadline.passed()) std::this_thread::yield();
  EXPECT_FALSE(exists(name));
}

void attach_only(std::string name) { const SharedMemory attached({.name = name}); }

TEST_P(ShmConformance, shm__untracked_attach) {
  const Named memory(16);
  auto child = start(attach_only, memory->name());
  EXPECT_EQ(ended(child), 0);
  EXPECT_TRUE(exists(memory->name()));
  EXPECT_NO_THROW(SharedMemory({.name = memory->name()}));
}

// --- the guardian of segments --------------------------------------------------

// What a program has mapped until it ends: a test that runs beside this one
// would take memory that nobody has open for left over.
std::vector<SharedMemory> kept;

// A program of its own, which has come so far when `begun` has run there; what
// it, and whatever outlives it, writes to stderr is kept.
class Program {
 public:
  explicit Program(const std::function<void()>& begun)
      : forked_([&] {
          ::dup2(there_.get(), STDERR_FILENO);
          there_.reset();
          begun();
          ready_->open();
          for (;;) ::pause();
          return 0;
        }) {
    there_.reset();
    EXPECT_TRUE(ready_->wait());
  }
  [[nodiscard]] pid_t pid() const { return forked_.pid(); }
  /// Killed, and all that it leaves behind is done with.
  std::string end() {
    forked_.kill();
    std::string text;
    std::array<char, 512> buffer{};
    const mp::detail::Deadline deadline(patience);
    while (mp::detail::wait_fd(here_.get(), POLLIN, deadline)) {
      const ssize_t n = ::read(here_.get(), buffer.data(), buffer.size());
      if (n <= 0) return text;
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    ADD_FAILURE() << "what the program left behind is still there";
    return text;
  }

 private:
  static mp::detail::UniqueFd make_pipe(mp::detail::UniqueFd& there) {
    std::array<int, 2> ends{};
    mp::detail::check(::pipe2(ends.data(), O_CLOEXEC), "pipe2");
    there.reset(ends[1]);
    return mp::detail::UniqueFd(ends[0]);
  }

  mp::detail::UniqueFd there_;
  mp::detail::UniqueFd here_ = make_pipe(there_);
  mp::test::Shared<mp::test::Gate> ready_;
  mp::test::Forked forked_;
};

// The child of a process that guards its segments, as /proc has it; 0 if there is none.
pid_t guardian_of(pid_t parent) {
  for (const auto& [pid, row] : mp::test::process_table()) {
    if (row.parent == parent && row.name == "mp-shm-guardian" && !row.has_ended()) return pid;
  }
  return 0;
}
// The same, when it has given itself its name.
pid_t awaited_guardian_of(pid_t parent) {
  const mp::detail::Deadline deadline(patience);
  pid_t found = 0;
  while ((found = guardian_of(parent)) == 0 && !deadline.passed()) std::this_thread::yield();
  return found;
}

std::size_t times(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::string unique_name(const char* which) { return fmt::format("mp_{}_{}", ::getpid(), which); }

TEST(GuardianConformance, tracker__cleans_after_kill) {
  const auto first = unique_name("first");
  const auto second = unique_name("second");
  Program program([&] {
    for (const auto& name : {first, second}) {
      kept.push_back(SharedMemory({.name = name, .create = true, .size = 16}));
    }
  });
  SharedMemory({.name = first}).unlink();
  const auto said = program.end();
  EXPECT_FALSE(exists(second));
  EXPECT_EQ(times(said, "was left over"), 1U) << said;
  EXPECT_NE(said.find(second), std::string::npos);
}

TEST(GuardianConformance, tracker__survives_sigterm) {
  const auto name = unique_name("kept");
  Program program(
      [&] { kept.push_back(SharedMemory({.name = name, .create = true, .size = 16})); });
  const pid_t guardian = awaited_guardian_of(program.pid());
  ASSERT_NE(guardian, 0);
  for (const int signal : {SIGTERM, SIGINT}) ::kill(guardian, signal);
  EXPECT_TRUE(exists(name));
  EXPECT_EQ(times(program.end(), "was left over"), 1U);
  EXPECT_FALSE(exists(name));
}

TEST(GuardianConformance, tracker__restarts_after_sigkill) {
  const auto first = unique_name("first");
  const auto second = unique_name("second");
  Program program([&] {
    kept.push_back(SharedMemory({.name = first, .create = true, .size = 16}));
    const pid_t guardian = awaited_guardian_of(::getpid());
    if (guardian == 0) ::_exit(1);
    ::kill(guardian, SIGKILL);
    while (guardian_of(::getpid()) != 0) std::this_thread::yield();
    kept.push_back(SharedMemory({.name = second, .create = true, .size = 16}));
  });
  const auto said = program.end();
  EXPECT_EQ(times(said, "died"), 1U) << said;
  EXPECT_EQ(times(said, "was left over"), 2U) << said;
  EXPECT_FALSE(exists(first));
  EXPECT_FALSE(exists(second));
}

TEST(GuardianConformance, tracker__signal_mask_kept) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    sigset_t blocked;
    sigset_t before;
    sigset_t after;
    sigemptyset(&blocked);
    sigaddset(&blocked, signal);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    const Named memory(16);
    ::pthread_sigmask(SIG_SETMASK, &before, &after);
    for (const int each : {SIGTERM, SIGINT, SIGUSR1}) {
      EXPECT_EQ(sigismember(&after, each), each == signal || sigismember(&before, each));
    }
  }
}

// --- SharedMemoryManager -------------------------------------------------------

class ShmManagerConformance : public mp::test::EachMethod {
 protected:
  mp::ManagerOptions options{.start_method = GetParam()};
};
MP_TEST_EACH_METHOD(ShmManagerConformance);

TEST_P(ShmManagerConformance, shm__manager_ignores_sigint) {
  struct sigaction before {};
  struct sigaction after {};
  ::sigaction(SIGINT, nullptr, &before);
  mp::SharedMemoryManager manager(options);
  manager.start();
  ::sigaction(SIGINT, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
  ::kill(*manager.pid(), SIGINT);
  const auto list = manager.ShareableList({1, 2});
  EXPECT_EQ(list.size(), 2U);
}

TEST_P(ShmManagerConformance, shm__manager_shares_tracker) {
  Program program([&] {
    mp::SharedMemoryManager manager(options);
    manager.start();
    const auto list = manager.ShareableList({1, "two"});
    const auto memory = manager.SharedMemory(100);
    memory.unlink();
    manager.shutdown();
  });
  EXPECT_EQ(program.end(), "");
}

TEST_P(ShmManagerConformance, shm__manager_basics) {
  std::vector<SharedMemory> used;
  {
    mp::SharedMemoryManager manager(options);
    EXPECT_THROW((void)manager.SharedMemory(10), mp::AssertionError);
    manager.start();
    for (int i = 0; i < 5; ++i) {
      const auto list = manager.ShareableList({i, "text", std::monostate()});
      EXPECT_EQ(ShareableList::attach(list.shm().name())[0], ShareableItem(i));
      used.push_back(list.shm());
    }
    for (int i = 0; i < 6; ++i) {
      const auto memory = manager.SharedMemory(i + 1);
      memory.buf()[0] = std::byte{42};
      EXPECT_EQ(SharedMemory({.name = memory.name()}).buf()[0], std::byte{42});
      used.push_back(memory);
    }
    EXPECT_THROW((void)manager.SharedMemory(0), mp::ValueError);
    if (GetParam() == mp::StartMethod::fork) manager.shutdown();
  }
  for (const auto& memory : used) {
    EXPECT_EQ(error_of([&] { SharedMemory({.name = memory.name()}); }), ENOENT) << memory;
  }
}

TEST_P(ShmManagerConformance, WhatAKilledProgramsManagerHasMadeIsUnlinked) {
  const Named board(64);
  Program program([&] {
    static mp::SharedMemoryManager manager(options);
    manager.start();
    const auto memory = kept.emplace_back(manager.SharedMemory(100));
    memory.name().copy(reinterpret_cast<char*>(board->buf().data()), 60);
  });
  const std::string name(reinterpret_cast<const char*>(board->buf().data()));
  EXPECT_TRUE(exists(name));
  EXPECT_EQ(times(program.end(), "was left over"), 1U);
  EXPECT_FALSE(exists(name));
}

// --- ShareableList -----------------------------------------------------------

TEST(ShmConformanceOnce, shareable_list__basics) {
  const std::vector<ShareableItem> items{
      "howdy", bytes_of("HoWdY"), -273.154, 100, std::monostate(), true, 42};
  const ShareableList list(items);
  const Named owner(list.shm());
  EXPECT_EQ(list.size(), 7U);
  EXPECT_EQ(list.to_vector(), items);
  EXPECT_EQ(list.repr(),
            fmt::format("ShareableList(['howdy', b'HoWdY', -273.154, 100, None, True, 42], "
                        "name='{}')",
                        owner->name()));
  EXPECT_EQ(list.index(100), 3U);
  EXPECT_THROW((void)list.index(101), mp::ValueError);
  EXPECT_EQ(list[-1], ShareableItem(42));
  EXPECT_EQ(list[-7], ShareableItem("howdy"));
  EXPECT_EQ(list.count(42), 1U);
  EXPECT_EQ(list.count("nothing"), 0U);

  list[4] = "some";
  EXPECT_EQ(list[4], ShareableItem("some"));
  list[2] = 8;
  EXPECT_EQ(list[2], ShareableItem(8));
  list[0] = "12345678";
  EXPECT_THROW(list[0] = "123456789", mp::ValueError);
  EXPECT_EQ(list[0], ShareableItem("12345678"));
  EXPECT_EQ(list[1], ShareableItem(bytes_of("HoWdY")));

  const ShareableList copy(list.to_vector());
  const Named copy_owner(copy.shm());
  EXPECT_NE(copy_owner->name(), owner->name());
  copy[6] = 0;
  EXPECT_EQ(list[6], ShareableItem(42));
  const auto same = ShareableList::attach(owner->name());
  same[6] = 7;
  EXPECT_EQ(list[6], ShareableItem(7));

  const ShareableList empty(std::vector<ShareableItem>{});
  const Named empty_owner(empty.shm());
  EXPECT_EQ(empty.size(), 0U);
  EXPECT_THROW((void)empty.get(0), mp::IndexError);
}

TEST(ShmConformanceOnce, shareable_list__index_errors) {
  const ShareableList list({1, 2});
  const Named owner(list.shm());
  EXPECT_THROW((void)list.get(2), mp::IndexError);
  EXPECT_THROW(list[2] = 1, mp::IndexError);
  EXPECT_THROW((void)list.get(-3), mp::IndexError);
}

TEST(ShmConformanceOnce, shareable_list__serialise) {
  const ShareableList list({1, 2});
  const Named owner(list.shm());
  const ShareableList longer(std::vector<ShareableItem>(100, "text"));
  const Named longer_owner(longer.shm());
  const auto bytes = mp::dumps(list);
  EXPECT_EQ(bytes.size(), mp::dumps(longer).size());
  const auto copy = mp::loads<ShareableList>(bytes);
  copy[0] = 5;
  list[1] = 6;
  EXPECT_EQ(list[0], ShareableItem(5));
  EXPECT_EQ(copy[1], ShareableItem(6));
}

TEST(ShmConformanceOnce, shareable_list__serialise_dead) {
  const ShareableList list({1});
  const auto bytes = mp::dumps(list);
  list.shm().unlink();
  EXPECT_EQ(error_of([&] { (void)mp::loads<ShareableList>(bytes); }), ENOENT);
}

}  // namespace
