// How does a class put a pool to work for itself?
//
// Python:  class Spider: self._pool = mp.Pool(8); self._pool.apply_async(...)
// Watch:   twelve pages that are fetched side by side; each file is whole.
// Run:     ./learn spider

#include <unistd.h>
#include <mp/mp.hpp>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "web.hpp"

namespace fs = std::filesystem;

// [spider]
class Spider {
 public:
  // Creates a pool with 8 workers.
  explicit Spider(std::uint16_t port) : port_(port), pool_(8) {}

  // Adds a task that downloads the page and saves it under the name.
  void download(const std::string& target, const std::string& filename) {
    pool_.apply_async({.error_callback = complain}, do_download, port_, target,
                      filename);
  }

  // No more pages; waits until all are there.
  void close() {
    pool_.close();
    pool_.join();
  }

 private:
  // The task belongs to the class, not to an object: a worker has no Spider,
  // and needs none. All that it works with is in its arguments.
  static void do_download(std::uint16_t port, const std::string& target,
                          const std::string& filename) {
    const std::string page = web::get(port, target);
    std::ofstream file(filename);
    if (!(file << page).flush()) throw std::runtime_error(filename);
  }

  static void complain(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      mp::println("not saved: {}", e.what());
    }
  }

  std::uint16_t port_;
  mp::Pool pool_;
};
// [/spider]

int main() {
  auto [here, there] = mp::Pipe();
  mp::Process server({.daemon = true}, web::serve, there);
  server.start();
  const auto folder =
      fs::temp_directory_path() / fmt::format("spider-{}", ::getpid());
  fs::create_directory(folder);

  // [fetch]
  // download() returns at once; eight pages at a time are asked for. The last
  // one does not exist.
  Spider spider(here.recv<std::uint16_t>());
  for (int n = 1; n <= 12; ++n)
    spider.download(fmt::format("/page{}", n), folder / std::to_string(n));
  spider.download("/nowhere", folder / "nowhere");
  spider.close();
  // [/fetch]

  // [look]
  for (int n = 1; n <= 12; ++n) {
    std::ifstream file(folder / std::to_string(n));
    const std::string saved(std::istreambuf_iterator<char>(file), {});
    mp::println("page {}: {} characters, {}", n, saved.size(),
                saved == web::text_of(n) ? "complete" : "broken");
  }
  // [/look]
  fs::remove_all(folder);
}
