// What single calls of libmp cost, in one process, by Google Benchmark:
// `meson test -C build --benchmark`, or tests/bench/micro with its options.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "mp/mp.hpp"
#include "mp/queues.hpp"
#include "mp/sharedctypes.hpp"

namespace {

struct Plain {
  int number = 1;
  double measure = 2;
  std::string name = "a name of twenty char";
};

template <class T>
void round_trip(benchmark::State& state, const T& value) {
  for (auto _ : state) {
    const auto bytes = mp::dumps(value);
    benchmark::DoNotOptimize(mp::loads<T>(bytes));
  }
}

void pickle_int(benchmark::State& state) { round_trip(state, 42); }
void pickle_struct(benchmark::State& state) { round_trip(state, Plain()); }
void pickle_vector(benchmark::State& state) {
  round_trip(state, std::vector<int>(static_cast<std::size_t>(state.range(0)), 1));
  state.SetBytesProcessed(state.iterations() * state.range(0) *
                          static_cast<std::int64_t>(sizeof(int)));
}
void pickle_map(benchmark::State& state) {
  std::map<std::string, int> map;
  for (int i = 0; i < 1000; ++i) map.emplace("key " + std::to_string(i), i);
  round_trip(state, map);
}
BENCHMARK(pickle_int);
BENCHMARK(pickle_struct);
BENCHMARK(pickle_vector)->Arg(10)->Arg(1'000'000);
BENCHMARK(pickle_map);

// A queue that holds some items all the time, as between two that keep pace.
template <class T>
class QueueFixture : public benchmark::Fixture {
 public:
  void put_and_get(benchmark::State& state, const T& item) {
    mp::Queue<T> queue;
    for (int i = 0; i < 10; ++i) queue.put(item);
    for (auto _ : state) {
      queue.put(item);
      benchmark::DoNotOptimize(queue.get());
    }
  }
};
BENCHMARK_TEMPLATE_F(QueueFixture, queue_int, int)(benchmark::State& state) {
  put_and_get(state, 1);
}
BENCHMARK_TEMPLATE_F(QueueFixture, queue_4KiB, std::vector<std::byte>)(benchmark::State& state) {
  put_and_get(state, std::vector<std::byte>(4096));
}

template <class Lock>
void acquire_release(benchmark::State& state) {
  const Lock lock;
  for (auto _ : state) {
    lock.acquire();
    lock.release();
  }
}
BENCHMARK(acquire_release<mp::Lock>);
BENCHMARK(acquire_release<mp::RLock>);
BENCHMARK(acquire_release<mp::Semaphore>);
BENCHMARK(acquire_release<mp::BoundedSemaphore>);

void event_set_wait(benchmark::State& state) {
  const mp::Event event;
  for (auto _ : state) {
    event.set();
    event.wait();
    event.clear();
  }
}
BENCHMARK(event_set_wait);

void value_add(benchmark::State& state) {
  mp::Value<int> value(0);
  for (auto _ : state) value.value += 1;
}
void value_locked_add(benchmark::State& state) {
  mp::Value<int> value(0);
  for (auto _ : state) {
    const std::scoped_lock guard(value.get_lock());
    value.value += 1;
  }
}
void value_fetch_add(benchmark::State& state) {
  const mp::RawValue<int> value(0);
  for (auto _ : state) value.fetch_add(1);
}
BENCHMARK(value_add);
BENCHMARK(value_locked_add);
BENCHMARK(value_fetch_add);

template <class Object>
void make_and_drop(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Object());
}
BENCHMARK(make_and_drop<mp::Lock>);
BENCHMARK(make_and_drop<mp::Queue<int>>);

}  // namespace

int main(int argc, char** argv) {
  mp::freeze_support();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
