#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mp {

/// What one worker of a pool is at.
struct WorkerProgress {
  std::string name = {};
  int pid = 0;             ///< 0 for a thread.
  std::uint64_t task = 0;  ///< The task it runs; 0 when it has none.
  std::size_t done = 0;    ///< Items it has finished, failed ones included.
  double fraction = 0;     ///< What the running task said by report_progress().
  std::string text = {};   ///< Likewise.
};

/// How far a pool, or one map, has come. Items are counted one by one,
/// whatever chunks they travel in: total = done + failed + running + queued.
struct Progress {
  std::size_t total = 0;
  std::size_t done = 0;  ///< Finished with a value.
  std::size_t failed = 0;
  std::size_t running = 0;                   ///< Begun by a worker; zero for a single map,
  std::size_t queued = 0;                    ///< which counts them here.
  std::vector<WorkerProgress> workers = {};  ///< Empty for a single map.
};

/// Called by a task: how much of it is done, 0 to 1, and what it does just
/// now (about 100 bytes are kept). The pool shows it while the task runs.
/// Does nothing outside a pool's worker.
void report_progress(double fraction, std::string_view text = {});

/// A line on stderr that shows a Progress: drawn over and over on a terminal;
/// elsewhere, in a log or a pipe, a plain line at each tenth. Writes nothing
/// but that; never moves back. For one thread at a time.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label = {}, int fd = 2);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  /// Ends the line.
  ~ProgressBar();

  void update(const Progress& progress) { update(progress.done + progress.failed, progress.total); }
  void update(std::size_t finished, std::size_t total);
  void finish();

 private:
  void draw(std::size_t finished, std::size_t total);

  std::string label_;
  int fd_;
  bool terminal_;
  bool open_ = false;      // A line is begun and not ended.
  std::size_t shown_ = 0;  // Finished items when last drawn.
  std::size_t steps_ = 0;  // What was drawn of it: per mille, or tenths.
};

}  // namespace mp
