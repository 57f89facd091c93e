#include <iterator>
#include <utility>

#include "row.hpp"

namespace bench {

std::vector<Row> all_rows() {
  std::vector<Row> all;
  for (auto* rows : {process_rows, queue_rows, pipe_rows, lock_rows, pool_rows, manager_rows}) {
    auto more = rows();
    std::move(more.begin(), more.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace bench
