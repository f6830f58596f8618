#include "bench/server_overhead/measurements.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>

#include "absl/time/clock.h"
#include "base/check.h"
#include "bench/server_overhead/child_process.h"
#include "bench/server_overhead/fake_server.h"
#include "bench/server_overhead/load_client.h"

namespace parrot {
namespace {

constexpr int32_t kMaxModelLen = 4096;
constexpr int32_t kMaxTokens = 4000;
constexpr int32_t kNumRunning = 8;  // while others are refused
constexpr int kNumRenders = 1000;
constexpr double kKib = 1024.0;

// The server process at one moment.
struct Moment {
  absl::Time at;
  absl::Duration cpu;
  absl::Duration executor_cpu;
  int64_t num_tokens = 0;
};

Moment MomentOf(FakeServer& server) {
  rusage self{};
  getrusage(RUSAGE_SELF, &self);
  return {
      .at = absl::Now(),
      .cpu = absl::DurationFromTimeval(self.ru_utime) + absl::DurationFromTimeval(self.ru_stime),
      .executor_cpu = server.executor_cpu(),
      .num_tokens = server.frontend().load().num_generated_tokens};
}

double ResidentKib() {
  int64_t total = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return static_cast<double>(resident * sysconf(_SC_PAGE_SIZE)) / kKib;
}

double HeapKib() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd) / kKib;
}

template <typename T>
double Quantile(std::vector<T> values, double q) {
  PARROT_CHECK(!values.empty()) << "nothing was measured";
  const auto rank = static_cast<size_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(
      values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank), values.end());
  return static_cast<double>(values[rank]);
}

// The clients' side: told the port, says when all streams run, is told when to stop.
void RunClients(const StreamsPlan& plan, Peer& server) {
  const int32_t port = server.Receive();
  std::optional<StalledReader> stalled;
  if (plan.stalled_reader) stalled.emplace(port, kMaxTokens);
  StreamLoad load(port, plan.num_streams, kMaxTokens);
  load.Open();
  server.Send("running");
  server.Receive();
  load.BeginWindow();
  server.Receive();
  const StreamLoad::Window window = load.EndWindow();
  server.Send(
      {{"itl_p50_ms", Quantile(window.gaps_ms, 0.5)},
       {"itl_p99_ms", Quantile(window.gaps_ms, 0.99)},
       {"tokens_per_message",
        static_cast<double>(window.num_tokens) / static_cast<double>(window.num_messages)}});
}

}  // namespace

Figures MeasureStreams(const StreamsPlan& plan) {
  Child clients([&plan](Peer& server) { RunClients(plan, server); });
  FakeServer server({.max_num_seqs = plan.num_streams + (plan.stalled_reader ? 1 : 0),
                     .max_model_len = kMaxModelLen,
                     .step_time = plan.step_time});
  const double resident = ResidentKib();
  const double heap = HeapKib();
  clients.peer().Send(server.port());
  clients.peer().Receive();

  clients.peer().Send("begin");
  const Moment before = MomentOf(server);
  std::this_thread::sleep_for(absl::ToChronoNanoseconds(plan.window));
  const Moment after = MomentOf(server);
  const double streams = plan.num_streams;
  const double resident_per_stream = (ResidentKib() - resident) / streams;
  const double heap_per_stream = (HeapKib() - heap) / streams;
  clients.peer().Send("end");

  const auto num_tokens = static_cast<double>(after.num_tokens - before.num_tokens);
  const absl::Duration elapsed = after.at - before.at;
  const absl::Duration cpu = after.cpu - before.cpu;
  const absl::Duration executor = after.executor_cpu - before.executor_cpu;
  Figures figures = {
      {"tokens_per_second", num_tokens / absl::ToDoubleSeconds(elapsed)},
      {"cpu_per_token_us", absl::ToDoubleMicroseconds(cpu) / num_tokens},
      {"executor_cpu_per_token_us", absl::ToDoubleMicroseconds(executor) / num_tokens},
      {"resident_per_stream_kib", resident_per_stream},
      {"heap_per_stream_kib", heap_per_stream}};
  const nlohmann::ordered_json seen = clients.peer().Receive();
  for (const auto& [name, value] : seen.items()) figures.emplace_back(name, value);
  return figures;
}

Figures MeasureRefusals(const RefusalsPlan& plan) {
  Child clients([&plan](Peer& server) {
    const int32_t port = server.Receive();
    StreamLoad running(port, kNumRunning, kMaxTokens);
    running.Open();
    StreamLoad waiting(port, kNumRunning, kMaxTokens);
    std::thread opener([&waiting] { waiting.Open(); });
    server.Send("open");
    server.Receive();
    const std::vector<float> elapsed_ms = RefusedCalls(port, plan.num_calls, plan.interval);
    server.Send({{"client_p50_ms", Quantile(elapsed_ms, 0.5)},
                 {"client_p99_ms", Quantile(elapsed_ms, 0.99)}});
    server.Receive();
    running.EndWindow();
    opener.join();
    waiting.EndWindow();
  });
  FakeServer server({.max_num_seqs = kNumRunning,
                     .max_queue_size = kNumRunning,
                     .max_model_len = kMaxModelLen,
                     .step_time = absl::Milliseconds(2),
                     .step_work = absl::Milliseconds(8),
                     .log_requests = true});
  clients.peer().Send(server.port());
  clients.peer().Receive();
  while (server.frontend().load().num_waiting < kNumRunning) std::this_thread::yield();

  const Moment before = MomentOf(server);
  clients.peer().Send("begin");
  const nlohmann::ordered_json seen = clients.peer().Receive();
  const Moment after = MomentOf(server);
  const absl::Duration elapsed = after.at - before.at;
  const double cores = std::thread::hardware_concurrency();
  const absl::Duration executor = after.executor_cpu - before.executor_cpu;
  const absl::Duration others = after.cpu - before.cpu - executor;
  const std::vector<double> seconds = server.refusal_seconds();
  PARROT_CHECK(static_cast<int32_t>(seconds.size()) == plan.num_calls);
  clients.peer().Send("end");
  Figures figures = {{"refusals_per_second", plan.num_calls / absl::ToDoubleSeconds(elapsed)},
                     {"executor_share_of_cpu", absl::FDivDuration(executor, elapsed) / cores},
                     {"cpu_per_refusal_us", absl::ToDoubleMicroseconds(others) / plan.num_calls},
                     {"server_p50_ms", Quantile(seconds, 0.5) * 1e3},
                     {"server_p99_ms", Quantile(seconds, 0.99) * 1e3},
                     {"server_max_ms", Quantile(seconds, 1.0) * 1e3}};
  for (const auto& [name, value] : seen.items()) figures.emplace_back(name, value);
  return figures;
}

Figures MeasureMetrics() {
  Child clients([](Peer& server) {
    const int32_t port = server.Receive();
    StreamLoad load(port, kNumRunning, 100);
    load.Open();
    server.Send("running");
    server.Receive();
    load.EndWindow();
    server.Send("ended");
  });
  FakeServer server({.max_num_seqs = kNumRunning, .max_model_len = kMaxModelLen});
  clients.peer().Send(server.port());
  clients.peer().Receive();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  clients.peer().Send("end");
  clients.peer().Receive();
  std::vector<double> elapsed_us;
  size_t num_bytes = 0;
  for (int i = 0; i < kNumRenders; ++i) {
    const absl::Time start = absl::Now();
    num_bytes = server.frontend().metrics().Render().size();
    elapsed_us.push_back(absl::ToDoubleMicroseconds(absl::Now() - start));
  }
  return {{"page_bytes", static_cast<double>(num_bytes)},
          {"render_p50_us", Quantile(elapsed_us, 0.5)},
          {"render_p99_us", Quantile(elapsed_us, 0.99)}};
}

}  // namespace parrot
