#include "tests/scheduler/simulation.h"

#include <algorithm>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "scheduler/engine.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/fakes/fake_model_state.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

constexpr int32_t kVocabSize = 50;

// What the simulation knows of one admitted request.
struct Tracked {
  std::shared_ptr<const Request> request;
  std::vector<TokenId> expected;  // of each sequence
  struct Sequence {
    std::vector<TokenId> tokens;
    bool cancelled = false;
    bool finished = false;
  };
  std::vector<Sequence> sequences;
  int num_routings = 0;
  std::map<int32_t, float> expected_prompt_logprobs;  // by position; not yet reported

  bool finished() const {
    return std::all_of(
        sequences.begin(), sequences.end(), [](const Sequence& s) { return s.finished; });
  }
};

class Simulation final : public EventSink {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options), random_(options.seed * 2 + 1) {
    Configure();
  }

  SimulationResult Run() {
    for (int32_t i = 0; i < options_.num_events && result_.status.ok(); ++i) {
      OneEvent();
      CheckInvariants();
    }
    if (result_.status.ok()) End();
    // Whatever went wrong, the engine stops with no step in flight and its sink alive.
    while (executor_->RunStep()) {
    }
    engine_->Stop();
    result_.num_mutations = mutant_->num_mutations();
    return std::move(result_);
  }

  void OnEvents(std::vector<EngineEvent>& events) override {
    mutant_->Mutate(&events);
    for (const EngineEvent& event : events) {
      std::visit([this](const auto& e) { Take(e); }, event);
    }
  }

 private:
  // [low, high], from the raw generator: distributions differ between libraries.
  int32_t Pick(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool Chance(int32_t percent) { return Pick(1, 100) <= percent; }
  void Count(const std::string& what) { ++result_.counts[what]; }
  template <typename... Args>
  void Trace(const Args&... args) {
    if (options_.trace) std::cerr << absl::StrCat(args...) << "\n";
  }
  template <typename... Args>
  void Fail(const Args&... args) {
    if (!result_.status.ok()) return;
    result_.status = absl::InternalError(absl::StrCat("seed ", options_.seed, ": ", args...));
    Trace(std::string(result_.status.message()));
  }
  void Mix(uint64_t value) { result_.fingerprint = FoldContent(result_.fingerprint, value); }

  void Configure();
  void OneEvent();
  void Arrive();
  std::shared_ptr<const Request> MakeRequest();
  // An earlier request anew, or one that differs from it in its last token or its first image.
  std::shared_ptr<const Request> Repeat();
  void Cancel();
  void InjectFailure();
  void Turn();
  void CheckInvariants();
  void CheckProgress(bool did_something);
  void End();
  void CheckEnd();

  void Take(const RoutingEvent& event);
  void Take(const PromptLogprobEvent& event);
  void Take(const TokenEvent& event);
  void Take(const FinishEvent& event);
  void CheckFinish(const Tracked& tracked, const FinishEvent& event);

  const SimulationOptions options_;
  std::mt19937_64 random_;
  SimulationResult result_;

  FakeClock clock_;
  EngineOptions engine_options_;
  std::unique_ptr<FakeModelExecutor> executor_;
  std::unique_ptr<MutantExecutor> mutant_;  // between the engine and the executor
  std::unique_ptr<Engine> engine_;
  std::map<RequestKey, Tracked> requests_;  // admitted
  RequestKey next_key_ = 1;
  int32_t slot_failure_percent_ = 0;
  bool failed_something_ = false;
  bool stopped_ = false;
  int num_drains_asked_ = 0;
  int num_drains_done_ = 0;
  int num_live_ = 0;  // sequences
};

void Simulation::Configure() {
  ExecutorCapacity capacity = SmallCapacity();
  capacity.block_size = 1 << Pick(0, 4);
  capacity.num_blocks = Pick(4, 24);
  capacity.max_slots = Pick(1, 6);
  capacity.max_step_tokens = Pick(1, 48);
  capacity.max_step_images = Pick(1, 3);
  capacity.max_steps_in_flight = Pick(1, 2);
  capacity.image_bytes = 100;
  capacity.caches_experts = Chance(50);
  engine_options_.max_num_seqs = Pick(1, 8);
  engine_options_.max_num_batched_tokens = Pick(1, 64);
  engine_options_.max_images_per_step = Pick(1, 3);
  engine_options_.max_model_len = Pick(16, 80);
  engine_options_.max_queue_size = Pick(1, 8);
  engine_options_.enable_prefix_caching = !Chance(20);
  if (Chance(60)) engine_options_.vision_cache_memory_bytes = Pick(0, 4) * capacity.image_bytes;
  engine_options_.priority_aging_interval = absl::Seconds(Pick(1, 10));
  engine_options_.queue_timeout = absl::Seconds(Pick(5, 60));
  if (Chance(40)) engine_options_.max_step_time = absl::Milliseconds(Pick(1, 300));
  if (Chance(10)) slot_failure_percent_ = Pick(1, 5);

  FakeExecutorOptions executor_options;
  executor_options.model = {.capacity = capacity,
                            .vocab_size = kVocabSize,
                            .job_delay_steps = Chance(40) ? Pick(1, 3) : 0};
  executor_options.fail_slot = [this](const StepInput&, SlotId) {
    if (slot_failure_percent_ == 0 || !Chance(slot_failure_percent_)) return absl::OkStatus();
    failed_something_ = true;
    Count("slot failed");
    return absl::InternalError("logits are not finite");
  };
  executor_ = std::make_unique<FakeModelExecutor>(executor_options);
  mutant_ = std::make_unique<MutantExecutor>(options_.mutant, options_.seed, executor_.get());
  engine_ =
      std::make_unique<Engine>(mutant_->Mutate(engine_options_), mutant_.get(), this, &clock_);
}

void Simulation::OneEvent() {
  const int32_t choice = Pick(1, 100);
  if (choice <= 22) {
    Arrive();
  } else if (choice <= 52) {
    Turn();
  } else if (choice <= 84) {
    if (executor_->RunStep()) Trace("step");
  } else if (choice <= 92) {
    const int32_t milliseconds = Chance(10) ? Pick(1'000, 20'000) : Pick(0, 300);
    Trace("advance ", milliseconds, " ms");
    clock_.Advance(absl::Milliseconds(milliseconds));
  } else if (choice <= 98) {
    Cancel();
  } else if (Chance(15)) {
    InjectFailure();
  } else if (Chance(20)) {
    Trace("flush");
    Count("flush");
    engine_->FlushCache();
  } else if (Chance(20)) {
    Trace(engine_->load().paused ? "resume" : "pause");
    Count("pause or resume");
    engine_->load().paused ? engine_->Resume() : engine_->Pause();
  } else if (Chance(4)) {
    Trace("drain");
    Count("drain");
    ++num_drains_asked_;
    engine_->Drain([this] {
      ++num_drains_done_;
      if (num_live_ != 0) Fail("drained with ", num_live_, " live requests");
    });
  }
}

std::shared_ptr<const Request> Simulation::Repeat() {
  auto again = std::make_shared<Request>(
      *std::next(requests_.begin(), Pick(0, static_cast<int32_t>(requests_.size()) - 1))
           ->second.request);
  again->key = next_key_;
  again->arrival = clock_.Now();
  again->deadline = absl::InfiniteFuture();
  again->sampling.seed = next_key_;
  if (!again->images.empty() && Chance(50)) {
    // What a cache that is keyed by the image alone gets wrong.
    again->token_ids.push_back(Pick(0, kVocabSize - 1));
    again->text_ids.push_back(again->token_ids.back());
    Count("another question about an image");
  } else if (!again->images.empty() && Chance(50)) {
    again->images[0].image = TestImage(Pick(0, 4));
    Count("the same question about another image");
  } else {
    Count("repeated prompt");
    if (!again->images.empty() && Chance(80)) again->exact_text_ids = again->text_ids;
  }
  return again;
}

std::shared_ptr<const Request> Simulation::MakeRequest() {
  if (!requests_.empty() && Chance(25)) return Repeat();
  RequestBuilder builder(next_key_);
  builder.Arrival(clock_.Now()).MaxTokens(Pick(1, 12));
  if (Chance(70)) builder.Content(Pick(0, 2));
  builder.Tenant(Chance(70) ? "a" : "b").UsePrefixCache(!Chance(10));
  if (Chance(30)) builder.Priority(Pick(0, 9));
  if (Chance(90)) builder.Text(Pick(1, Chance(10) ? 60 : 12));
  const int32_t num_images = Chance(40) ? Pick(1, 2) : 0;
  for (int32_t i = 0; i < num_images; ++i) {
    RoutingSource routing = RoutingSource::kText;
    if (Chance(20)) routing = Chance(50) ? RoutingSource::kZeros : RoutingSource::kWeights;
    builder.Image(Pick(0, 4), routing).Text(Pick(0, 4));
  }
  if (num_images > 0 && Chance(30)) builder.Approximate();
  if (num_images > 0 && Chance(20)) {
    builder.Route();
  } else if (Chance(10)) {
    builder.NumSequences(Pick(2, 3));
  }
  if (Chance(30)) builder.StopToken(Pick(0, kVocabSize - 1)).StopToken(Pick(0, kVocabSize - 1));
  if (Chance(10)) builder.MinTokens(Pick(1, 4));
  if (Chance(10)) builder.PromptLogprobs(Pick(0, 2));
  if (Chance(25)) {
    builder.Deadline(clock_.Now() + absl::Milliseconds(Chance(15) ? 0 : Pick(1, 8'000)));
  }
  return builder.Build();
}

void Simulation::Arrive() {
  std::shared_ptr<const Request> request = MakeRequest();
  const RequestKey key = next_key_++;
  const absl::Status status = engine_->Add(mutant_->Mutate(request));
  const ErrorFacts facts = GetErrorFacts(status);
  Trace("arrive ",
        key,
        " prompt ",
        request->num_prompt_tokens(),
        " max ",
        request->max_tokens,
        " images ",
        request->images.size(),
        " ",
        facts.reason);
  Mix(static_cast<uint64_t>(status.code()));
  if (!status.ok()) {
    Count(absl::StrCat("refused ", facts.reason));
    if (facts.reason.empty()) Fail("a refusal without a reason: ", status.ToString());
    return;
  }
  Count(request->kind == RequestKind::kRoute ? "admitted route" : "admitted");
  Tracked& tracked = requests_[key];
  tracked.expected = request->kind == RequestKind::kRoute ? std::vector<TokenId>()
                                                          : ExpectedTokens(*request, kVocabSize);
  if (request->kind == RequestKind::kGenerate) {
    tracked.expected_prompt_logprobs = ExpectedPromptLogprobs(*request);
  }
  tracked.sequences.resize(request->num_sequences);
  num_live_ += request->num_sequences;
  if (request->num_sequences > 1) Count("several sequences");
  tracked.request = std::move(request);
}

void Simulation::Cancel() {
  const RequestKey key = static_cast<RequestKey>(Pick(1, static_cast<int32_t>(next_key_)));
  const auto it = requests_.find(key);
  const bool live = it != requests_.end() && !it->second.finished();
  if (live && Chance(30)) {
    std::vector<Tracked::Sequence>& sequences = it->second.sequences;
    const int32_t idx = Pick(0, static_cast<int32_t>(sequences.size()) - 1);
    Trace("cancel ", key, " sequence ", idx);
    Count("cancel of one sequence");
    sequences[idx].cancelled = true;
    engine_->CancelSequence(key, idx);
    return;
  }
  Trace("cancel ", key);
  Count(live ? "cancel" : "cancel of nobody");
  if (live) {
    for (Tracked::Sequence& sequence : it->second.sequences) sequence.cancelled = true;
  }
  engine_->Cancel(key);
}

void Simulation::InjectFailure() {
  failed_something_ = true;
  const bool dies = Chance(10);
  const int32_t count = Pick(1, Chance(20) ? 4 : 1);
  Trace("fail ", count, dies ? " unavailable" : "");
  Count(dies ? "executor died" : "step failed");
  executor_->FailNextSteps(count,
                           dies ? absl::UnavailableError("gone") : absl::InternalError("failed"));
}

void Simulation::Turn() {
  const bool did_something = engine_->RunOnce();
  Trace("turn", did_something ? "" : " (nothing)");
  for (const auto& [key, tracked] : requests_) {
    if (!tracked.finished() && tracked.request->deadline <= clock_.Now()) {
      Fail("request ", key, " lives on after its deadline");
    }
  }
  CheckProgress(did_something);
}

void Simulation::CheckProgress(bool did_something) {
  const EngineLoad load = engine_->load();
  if (did_something || load.step_in_flight || load.paused) return;
  if (load.num_running > 0 || load.num_waiting > 0) {
    Fail("stuck with ", load.num_running, " running and ", load.num_waiting, " waiting");
  }
}

void Simulation::CheckInvariants() {
  if (const absl::Status s = engine_->CheckIntegrityForTest(); !s.ok()) Fail(s.ToString());
  if (const absl::Status s = executor_->violation(); !s.ok()) Fail(s.ToString());
  const EngineLoad load = engine_->load();
  const FakeModelExecutor::Counts counts = executor_->counts();
  if (load.num_running > engine_options_.max_num_seqs) Fail("too many sequences");
  if (counts.max_step_tokens > engine_options_.max_num_batched_tokens) Fail("tokens budget");
  if (counts.max_step_images > engine_options_.max_images_per_step) Fail("images budget");
  if (load.num_waiting > 0 && load.num_running > 0) Count("queued behind others");
}

void Simulation::Take(const RoutingEvent& event) {
  Mix(event.key);
  Tracked& tracked = requests_.at(event.key);
  ++tracked.num_routings;
  if (event.cache_level != CacheLevel::kNone) {
    static const char* const kNames[] = {"", "features", "experts", "keys and values"};
    Count(absl::StrCat("reused ", kNames[static_cast<int>(event.cache_level)]));
  }
  if (tracked.sequences[0].finished) Fail("routing after the end of ", event.key);
  if (!tracked.sequences[0].tokens.empty()) Fail("routing after a token of ", event.key);
  const bool is_approximate = !tracked.request->exact_text_ids.empty();
  if (event.error_bound.has_value() && !is_approximate) Fail("a bound of what is exact");
  if (is_approximate && event.cache_level != CacheLevel::kKv && !event.error_bound.has_value()) {
    Fail("request ", event.key, " lacks its bound");
  }
  if (event.error_bound.has_value() && event.cache_level == CacheLevel::kKv) {
    Count("bound of what is cached");
  }
}

void Simulation::Take(const PromptLogprobEvent& event) {
  Mix(event.key);
  Count("prompt log-probability");
  Tracked& tracked = requests_.at(event.key);
  std::map<int32_t, float>& expected = tracked.expected_prompt_logprobs;
  if (expected.empty() || expected.begin()->first != event.position ||
      expected.begin()->second != event.logprob ||
      event.token != tracked.request->token_ids[event.position] ||
      static_cast<int32_t>(event.top.size()) != tracked.request->sampling.num_prompt_logprobs) {
    return Fail("request ", event.key, " got another log-probability at ", event.position);
  }
  expected.erase(expected.begin());
}

void Simulation::Take(const TokenEvent& event) {
  Mix(event.key);
  Mix(static_cast<uint64_t>(event.token));
  Tracked& tracked = requests_.at(event.key);
  Tracked::Sequence& sequence = tracked.sequences.at(event.sequence_idx);
  if (sequence.finished) Fail("token after the end of ", event.key);
  if (event.sequence_idx == 0 && !tracked.expected_prompt_logprobs.empty()) {
    Fail("request ", event.key, " lacks log-probabilities of its prompt");
  }
  const size_t i = sequence.tokens.size();
  if (i >= tracked.expected.size() || tracked.expected[i] != event.token) {
    Fail("request ", event.key, " got another token at ", i);
  }
  sequence.tokens.push_back(event.token);
}

void Simulation::Take(const FinishEvent& event) {
  Mix(event.key);
  Mix(static_cast<uint64_t>(event.reason));
  Tracked& tracked = requests_.at(event.key);
  const std::string why = GetErrorFacts(event.status).reason;
  Trace("  finish ", event.key, " ", FinishReasonName(event.reason), " ", why);
  Count(absl::StrCat("finished ", FinishReasonName(event.reason), why.empty() ? "" : " ", why));
  Tracked::Sequence& sequence = tracked.sequences.at(event.sequence_idx);
  if (sequence.finished) Fail("two ends of ", event.key);
  sequence.finished = true;
  if (event.num_cached_tokens > 0) Count("prefix hit");
  --num_live_;
  CheckFinish(tracked, event);
}

void Simulation::CheckFinish(const Tracked& tracked, const FinishEvent& event) {
  const Request& request = *tracked.request;
  const Tracked::Sequence& sequence = tracked.sequences[event.sequence_idx];
  if (event.num_completion_tokens != static_cast<int32_t>(sequence.tokens.size())) {
    Fail("request ", event.key, " counts ", event.num_completion_tokens, " tokens");
  }
  switch (event.reason) {
    case FinishReason::kLength:
    case FinishReason::kStop: {
      if (sequence.tokens != tracked.expected) Fail("request ", event.key, " ended early");
      const bool full = static_cast<int32_t>(tracked.expected.size()) == request.max_tokens;
      const bool stopped = event.reason == FinishReason::kStop;
      if (request.kind == RequestKind::kGenerate && full == stopped) {
        Fail("request ", event.key, " has the wrong reason");
      }
      const auto num_routed =
          std::count_if(request.images.begin(), request.images.end(), [](const PlacedImage& image) {
            return image.routing != RoutingSource::kZeros;
          });
      if (event.sequence_idx == 0 && tracked.num_routings != num_routed)
        Fail("request ", event.key, " lacks its routing");
      return;
    }
    case FinishReason::kCancelled:
      if (!sequence.cancelled) Fail("request ", event.key, " was not cancelled");
      return;
    case FinishReason::kDeadline:
      if (request.deadline > clock_.Now())
        Fail("request ", event.key, " ended before its deadline");
      return;
    case FinishReason::kError:
      if (event.status.ok()) Fail("request ", event.key, " failed without a reason");
      if (GetErrorFacts(event.status).reason == "QUEUE_TIMEOUT") return;
      if (GetErrorFacts(event.status).reason == "DEADLINE_UNREACHABLE") {
        if (!sequence.tokens.empty() || request.deadline == absl::InfiniteFuture()) {
          Fail("request ", event.key, " was refused too late");
        }
        return;
      }
      if (!failed_something_ && !stopped_) Fail("request ", event.key, " failed by itself");
      return;
  }
}

void Simulation::End() {
  slot_failure_percent_ = 0;
  engine_->Resume();
  if (Chance(10)) {
    // Stops in the middle of things; the steps in flight come first, by the engine's contract.
    while (executor_->RunStep()) {
    }
    Trace("stop");
    Count("stop");
    stopped_ = true;
    engine_->Stop();
  } else {
    for (int i = 0; i < 100'000 && result_.status.ok(); ++i) {
      Turn();
      CheckInvariants();
      if (!executor_->RunStep() && !engine_->load().step_in_flight && num_live_ == 0) break;
    }
    Turn();
  }
  CheckInvariants();
  CheckEnd();
}

void Simulation::CheckEnd() {
  if (num_live_ != 0) Fail(num_live_, " requests never ended");
  for (const auto& [key, tracked] : requests_) {
    if (!tracked.finished()) Fail("request ", key, " never ended");
  }
  if (num_drains_done_ != num_drains_asked_) Fail("a drain never ended");
  const EngineLoad load = engine_->load();
  if (load.num_blocks_used != 0) Fail(load.num_blocks_used, " blocks leaked");
  if (load.num_outstanding_tokens != 0) Fail("outstanding tokens leaked");
  if (load.num_waiting != 0 || load.num_running != 0) Fail("the load shows ghosts");
  if (load.health.ok() && !stopped_) {
    if (executor_->num_live_slots() != 0) Fail(executor_->num_live_slots(), " slots leaked");
    if (executor_->num_features() != load.num_vision_entries) {
      Fail(executor_->num_features(), " images there, ", load.num_vision_entries, " known");
    }
  }
  if (!load.health.ok()) Count("dead at the end");
  if (executor_->counts().max_in_flight == 2) Count("two steps in flight");
  if (executor_->counts().num_block_copies > 0) Count("copied a block");
  if (executor_->counts().num_cut_encodes > 0) Count("cut a tower");
  if (load.num_preemptions > 0) Count("preemption");
  if (load.num_retries > 0) Count("ran again");
}

}  // namespace

SimulationResult RunSimulation(const SimulationOptions& options) {
  return Simulation(options).Run();
}

}  // namespace parrot
