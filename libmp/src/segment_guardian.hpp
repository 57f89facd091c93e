#pragma once

#include <functional>
#include <string>

namespace mp::detail {

/// A process that unlinks what this one has made and not unlinked when it
/// ended, by SIGKILL too. There is one as long as something is guarded.
///
/// `give_name` links the file: it is guarded before, and no more if that throws.
/// The segment is named by its file, too: what took its name later is another's.
/// Throws std::system_error, or RuntimeError when too many are guarded.
void guard_segment(int fd, const std::string& name, const std::function<void()>& give_name);
/// Forgets it; what is not guarded (by this process) is ignored.
void unguard_segment(const std::string& name) noexcept;

}  // namespace mp::detail
