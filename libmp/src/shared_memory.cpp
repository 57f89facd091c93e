#include "mp/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include "mp/detail/os.hpp"
#include "segment_guardian.hpp"

namespace mp {

struct SharedMemory::Segment {
  Segment() = default;
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment() { close(); }

  void map(const detail::UniqueFd& fd) {
    struct stat info {};
    detail::check(::fstat(fd.get(), &info), "fstat");
    size = static_cast<std::size_t>(info.st_size);
    void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (address == MAP_FAILED) detail::throw_errno("mmap");
    data = static_cast<std::byte*>(address);
  }
  void close() noexcept {
    if (data != nullptr) ::munmap(std::exchange(data, nullptr), size);
  }

  std::string name;
  std::byte* data = nullptr;
  std::size_t size = 0;
};

namespace {

std::string random_name() {
  std::uint32_t number = 0;
  detail::check(::getrandom(&number, sizeof number, 0), "getrandom");
  return fmt::format("psm_{:08x}", number);
}

std::atomic<std::string (*)()> name_source{random_name};

std::string checked_name(const std::string& name) {
  if (name.find('\0') != std::string::npos) throw ValueError("embedded null character");
  return name.starts_with('/') ? name.substr(1) : name;
}

std::string call(const char* function, const std::string& name) {
  return fmt::format("{}('{}')", function, name);
}

detail::UniqueFd open_segment(const std::string& name) {
  const int fd = ::shm_open(('/' + name).c_str(), O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) detail::throw_errno(call("shm_open", name).c_str());
  return detail::above_stdio(fd);
}

// The file gets its name last, when it has its size and somebody who unlinks
// it: a process killed on the way leaves nothing, and nobody sees it half made.
detail::UniqueFd create_segment(const std::string& name, std::ptrdiff_t size, bool track) {
  if (name.empty() || name.find('/') != std::string::npos || name.size() > 250) {
    detail::throw_errno(call("shm_open", name).c_str(), EINVAL);
  }
  detail::require_file_size(static_cast<std::uint64_t>(size), "ftruncate");
  detail::UniqueFd fd =
      detail::opened(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), "open(/dev/shm)");
  detail::check(::ftruncate(fd.get(), size), "ftruncate");
  const std::string from = fmt::format("/proc/self/fd/{}", fd.get());
  const std::string to = "/dev/shm/" + name;
  const auto give_name = [&] {
    if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      detail::throw_errno(call("shm_open", name).c_str());
    }
  };
  if (track) {
    detail::guard_segment(fd.get(), name, give_name);
  } else {
    give_name();
  }
  return fd;
}

bool is(const std::system_error& error, std::errc code) { return error.code() == code; }

detail::UniqueFd create_unnamed(std::string& name, const SharedMemoryOptions& options) {
  for (;;) {
    name = checked_name(name_source.load()());
    try {
      return create_segment(name, options.size, options.track);
    } catch (const std::system_error& error) {
      if (!is(error, std::errc::file_exists)) throw;
    }
  }
}

detail::UniqueFd open_or_create(const std::string& name, const SharedMemoryOptions& options) {
  for (;;) {
    try {
      return open_segment(name);
    } catch (const std::system_error& error) {
      if (!is(error, std::errc::no_such_file_or_directory)) throw;
    }
    try {
      return create_segment(name, options.size, options.track);
    } catch (const std::system_error& error) {
      // Somebody was faster, and may have been faster again to unlink it.
      if (!is(error, std::errc::file_exists)) throw;
    }
  }
}

}  // namespace

namespace detail {
void set_segment_name_source(std::string (*source)()) {
  name_source = source == nullptr ? random_name : source;
}
}  // namespace detail

SharedMemory::SharedMemory(const SharedMemoryOptions& options)
    : segment_(std::make_shared<Segment>()) {
  const bool may_create = options.create || options.open_or_create;
  if (options.size < 0) throw ValueError("'size' must be a positive integer");
  if (may_create && options.size == 0) {
    throw ValueError("'size' must be a positive number different from zero");
  }
  std::string& name = segment_->name;
  name = checked_name(options.name);
  if (name.empty() && !may_create) throw ValueError("'name' can only be None if create=True");
  if (name.empty()) {
    segment_->map(create_unnamed(name, options));
  } else if (options.open_or_create) {
    segment_->map(open_or_create(name, options));
  } else if (options.create) {
    segment_->map(create_segment(name, options.size, options.track));
  } else {
    segment_->map(open_segment(name));
  }
}

std::span<std::byte> SharedMemory::buf() const noexcept {
  return {segment_->data, segment_->data == nullptr ? 0 : segment_->size};
}

std::size_t SharedMemory::size() const noexcept { return segment_->size; }

const std::string& SharedMemory::name() const noexcept { return segment_->name; }

void SharedMemory::close() const noexcept { segment_->close(); }

void SharedMemory::unlink() const {
  const std::string& name = segment_->name;
  const int result = ::shm_unlink(('/' + name).c_str());
  const int error = errno;
  detail::unguard_segment(name);
  if (result != 0) detail::throw_errno(call("shm_unlink", name).c_str(), error);
}

std::string SharedMemory::repr() const {
  return fmt::format("SharedMemory('{}', size={})", name(), size());
}

void SharedMemory::pickle(Encoder& out) const { out.text(name()); }

SharedMemory SharedMemory::unpickle(Decoder& in) {
  const std::string name = in.text();
  if (name.empty()) Decoder::malformed("shared memory without a name");
  return SharedMemory(SharedMemoryOptions{.name = name});
}

}  // namespace mp
