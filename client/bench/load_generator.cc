#include "client/bench/load_generator.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/call_status.h"

namespace parrot {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(200);

absl::Duration CpuTime() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

int64_t CodePoints(const std::string& text) {
  return std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
}

bool IsWhole(v1::FinishReason reason) {
  return reason == v1::FINISH_REASON_STOP || reason == v1::FINISH_REASON_LENGTH;
}

// Of a request that did not complete.
std::string ReasonOf(const absl::Status& status, v1::FinishReason finish_reason) {
  if (!status.ok()) return GetErrorFacts(status).reason;
  return finish_reason == v1::FINISH_REASON_UNSPECIFIED ? "STREAM_INCOMPLETE"
                                                        : v1::FinishReason_Name(finish_reason);
}

}  // namespace

struct LoadGenerator::Call {
  enum class State { kStarting, kReading, kFinishing };

  RequestSample sample;
  size_t connection_idx = 0;
  State state = State::kStarting;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncReader<v1::GenerateResponse>> reader;
  v1::GenerateResponse event;
  grpc::Status status;
};

struct LoadGenerator::Current {
  Current(const LoadOptions& load_options, Cancellation& cancellation)
      : options(load_options),
        cancellation(cancellation),
        schedule(load_options.arrivals),
        is_closed_loop(std::isinf(load_options.arrivals.request_rate) &&
                       load_options.max_concurrency > 0),
        start(Clock::Real().Now()) {
    next_due = schedule.Next();
  }

  const LoadOptions options;
  Cancellation& cancellation;
  ArrivalSchedule schedule;
  const bool is_closed_loop;
  const absl::Time start;
  absl::Duration next_due;
  LoadProgress progress;
  LoadResult result;

  bool SendingIsOver(absl::Time now) const {
    return (options.num_requests > 0 && progress.num_sent >= options.num_requests) ||
           std::max(now - start, next_due) >= options.duration || cancellation.cancelled();
  }
  bool MaySend() const {
    return options.max_concurrency == 0 || progress.num_running < options.max_concurrency;
  }
};

LoadGenerator::LoadGenerator(ClientOptions client,
                             const Workload& workload,
                             int32_t streams_per_connection)
    : client_options_(std::move(client)),
      workload_(workload),
      streams_per_connection_(streams_per_connection) {
  PARROT_CHECK(streams_per_connection > 0);
}

LoadGenerator::~LoadGenerator() {
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

LoadResult LoadGenerator::Run(const LoadOptions& options,
                              Cancellation& cancellation,
                              const ProgressCallback& on_progress) {
  PARROT_CHECK(options.num_requests > 0 || options.duration < absl::InfiniteDuration());
  Current run(options, cancellation);
  const absl::Duration cpu_before = CpuTime();
  absl::Time now = run.start;
  absl::Time next_tick = run.start + kTick;
  while (true) {
    const bool sending = !run.SendingIsOver(now);
    if (!sending && calls_.empty()) break;
    const bool may_send = sending && run.MaySend();
    const absl::Time due = run.start + run.next_due;
    // One request, then one event: neither holds the other up.
    if (may_send && due <= now) SendOne(run, now);
    const absl::Time wake = may_send ? std::min(run.start + run.next_due, next_tick) : next_tick;
    void* tag = nullptr;
    bool ok = false;
    const auto got = queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(wake));
    now = Clock::Real().Now();
    if (got == grpc::CompletionQueue::GOT_EVENT) OnTag(run, *static_cast<Call*>(tag), ok, now);
    if (now < next_tick) continue;
    next_tick = now + kTick;
    run.progress.elapsed = now - run.start;
    if (on_progress) on_progress(run.progress);
  }
  run.progress.elapsed = now - run.start;
  if (on_progress) on_progress(run.progress);
  LoadResult result = std::move(run.result);
  std::sort(result.samples.begin(),
            result.samples.end(),
            [](const RequestSample& a, const RequestSample& b) { return a.ordinal < b.ordinal; });
  result.duration = run.progress.elapsed;
  result.client_cpu = CpuTime() - cpu_before;
  result.num_connections = static_cast<int64_t>(connections_.size());
  result.interrupted = cancellation.cancelled();
  return result;
}

void LoadGenerator::SendOne(Current& run, absl::Time now) {
  auto owned = std::make_unique<Call>();
  Call& call = *owned;
  calls_.emplace(&call, std::move(owned));
  BenchRequest made = workload_.Make(next_ordinal_);
  call.sample.ordinal = next_ordinal_++;
  call.sample.language = made.language;
  call.sample.num_images = made.num_images;
  call.sample.scheduled = run.is_closed_loop ? now - run.start : run.next_due;
  run.next_due = run.schedule.Next();
  ++run.progress.num_sent;
  ++run.progress.num_running;
  run.result.peak_running = std::max(run.result.peak_running, run.progress.num_running);
  call.sample.sent = Clock::Real().Now() - run.start;
  const absl::Status started = Start(call, made, run.cancellation);
  if (!started.ok()) End(run, call, started, Clock::Real().Now());
}

absl::Status LoadGenerator::Start(Call& call,
                                  const BenchRequest& made,
                                  Cancellation& cancellation) {
  ASSIGN_OR_RETURN(call.connection_idx, FreeConnection());
  Connection& connection = connections_[call.connection_idx];
  ASSIGN_OR_RETURN(ParrotClient::PreparedGenerate prepared,
                   connection.client->PrepareGenerate(made.request, queue_));
  call.context = std::move(prepared.context);
  call.reader = std::move(prepared.reader);
  ++connection.num_calls;
  cancellation.Attach(*call.context);
  call.reader->StartCall(&call);
  return absl::OkStatus();
}

absl::StatusOr<size_t> LoadGenerator::FreeConnection() {
  for (size_t i = 0; i < connections_.size(); ++i) {
    if (connections_[i].num_calls < streams_per_connection_) return i;
  }
  ASSIGN_OR_RETURN(std::unique_ptr<ParrotClient> client, ParrotClient::Create(client_options_));
  connections_.push_back({.client = std::move(client)});
  return connections_.size() - 1;
}

void LoadGenerator::OnTag(Current& run, Call& call, bool ok, absl::Time now) {
  if (call.state == Call::State::kFinishing) {
    run.cancellation.Detach(*call.context);
    End(run, call, CallStatus(call.status, *call.context), now);
    return;
  }
  if (!ok) {
    call.state = Call::State::kFinishing;
    call.reader->Finish(&call.status, &call);
    return;
  }
  if (call.state == Call::State::kReading) TakeEvent(run, call, now);
  call.state = Call::State::kReading;
  call.reader->Read(&call.event, &call);
}

void LoadGenerator::TakeEvent(Current& run, Call& call, absl::Time now) {
  RequestSample& sample = call.sample;
  if (call.event.has_accepted()) {
    sample.request_id = call.event.accepted().request_id();
    sample.usage = call.event.accepted().usage();
  } else if (call.event.has_delta()) {
    const v1::Delta& delta = call.event.delta();
    sample.num_characters += CodePoints(delta.text());
    if (delta.token_ids().empty()) return;
    sample.arrivals.push_back({.at = now - run.start, .num_tokens = delta.token_ids_size()});
    run.progress.num_output_tokens += delta.token_ids_size();
  } else if (call.event.has_finish()) {
    const v1::Finish& finish = call.event.finish();
    sample.finish_reason = finish.finish_reason();
    sample.usage = finish.usage();
    sample.timings = finish.timings();
    for (const v1::ImageRouting& routing : finish.routing()) {
      sample.cache_levels.push_back(routing.cache_level());
    }
  }
}

// Destroys `call`.
void LoadGenerator::End(Current& run, Call& call, const absl::Status& status, absl::Time now) {
  RequestSample& sample = call.sample;
  sample.end = now - run.start;
  if (status.ok() && IsWhole(sample.finish_reason)) {
    sample.outcome = RequestOutcome::kCompleted;
    ++run.progress.num_completed;
  } else {
    sample.outcome = absl::IsCancelled(status) && run.cancellation.cancelled()
                         ? RequestOutcome::kInterrupted
                         : RequestOutcome::kFailed;
    run.progress.num_failed += sample.outcome == RequestOutcome::kFailed ? 1 : 0;
    sample.error_code = absl::StatusCodeToString(status.code());
    sample.error_message = std::string(status.message().data(), status.message().size());
    sample.error_reason = ReasonOf(status, sample.finish_reason);
    if (sample.request_id.empty()) sample.request_id = GetRequestId(status);
  }
  --run.progress.num_running;
  if (call.context != nullptr) --connections_[call.connection_idx].num_calls;
  run.result.samples.push_back(std::move(sample));
  calls_.erase(&call);
}

}  // namespace parrot
