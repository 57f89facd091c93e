#include "process_state.hpp"

namespace mp::detail {

Newborn popen_spawn(Process& process, ProcessState& state) {
  Encoder order;
  order.keep_until_receiver_ends();
  encode_child(order, process, state, StartMethod::spawn);
  flush_streams();
  auto [here, there] = control_sockets();
  Newborn child = launch("spawn", there.get());
  there.reset();
  send_order(here.get(), order);
  state.kept = order.take_kept();
  return child;
}

}  // namespace mp::detail
