#include "scheduler/dispatcher.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace parrot {
namespace {

void AddLoad(const EngineLoad& load, EngineLoad* total) {
  total->num_waiting += load.num_waiting;
  total->num_running += load.num_running;
  total->num_waiting_tokens += load.num_waiting_tokens;
  total->num_outstanding_tokens += load.num_outstanding_tokens;
  total->num_blocks_total += load.num_blocks_total;
  total->num_blocks_used += load.num_blocks_used;
  total->num_blocks_cached += load.num_blocks_cached;
  total->num_prefix_query_tokens += load.num_prefix_query_tokens;
  total->num_prefix_hit_tokens += load.num_prefix_hit_tokens;
  total->num_vision_queries += load.num_vision_queries;
  total->num_vision_hits += load.num_vision_hits;
  total->num_prefix_evictions += load.num_prefix_evictions;
  total->num_vision_evictions += load.num_vision_evictions;
  total->num_vision_entries += load.num_vision_entries;
  total->paused = total->paused && load.paused;
  total->num_steps += load.num_steps;
  total->num_failed_steps += load.num_failed_steps;
  total->num_preemptions += load.num_preemptions;
  total->num_retries += load.num_retries;
  total->num_prompt_tokens += load.num_prompt_tokens;
  total->num_generated_tokens += load.num_generated_tokens;
  if (load.last_step_end >= total->last_step_end) {
    total->last_step_end = load.last_step_end;
    total->last_step_tokens = load.last_step_tokens;
  }
  if (load.step_in_flight) {
    total->oldest_step_start = total->step_in_flight
                                   ? std::min(total->oldest_step_start, load.oldest_step_start)
                                   : load.oldest_step_start;
    total->step_in_flight = true;
  }
  if (!load.last_failure.ok()) total->last_failure = load.last_failure;
  if (load.health.ok()) total->health = absl::OkStatus();
}

}  // namespace

Dispatcher::Dispatcher(std::vector<Engine*> engines) : engines_(std::move(engines)) {
  PARROT_CHECK(!engines_.empty());
  for (const Engine* engine : engines_) PARROT_CHECK(engine != nullptr);
}

absl::Status Dispatcher::Add(const std::shared_ptr<const Request>& request) {
  absl::Status first_refusal;
  for (const int engine_idx : Rank(*request)) {
    absl::Status status = engines_[engine_idx]->Add(request);
    if (status.ok()) return status;
    if (first_refusal.ok()) first_refusal = status;
    // Full or dead engines have neighbours; a request that breaks a limit breaks it everywhere.
    if (!absl::IsResourceExhausted(status) && !absl::IsUnavailable(status) &&
        !absl::IsDeadlineExceeded(status)) {
      break;
    }
  }
  return first_refusal;
}

std::vector<int> Dispatcher::Rank(const Request& /*request*/) const {
  std::vector<std::pair<int64_t, int>> loads;
  loads.reserve(engines_.size());
  for (int i = 0; i < num_engines(); ++i) {
    loads.emplace_back(engines_[i]->load().num_outstanding_tokens, i);
  }
  std::sort(loads.begin(), loads.end());
  std::vector<int> ranked;
  ranked.reserve(loads.size());
  for (const auto& [num_tokens, engine_idx] : loads) ranked.push_back(engine_idx);
  return ranked;
}

void Dispatcher::Cancel(RequestKey key) {
  // Keys are unique in the process, and an engine ignores those it does not know.
  for (Engine* engine : engines_) engine->Cancel(key);
}

void Dispatcher::CancelSequence(RequestKey key, int32_t sequence_idx) {
  for (Engine* engine : engines_) engine->CancelSequence(key, sequence_idx);
}

void Dispatcher::Pause() {
  for (Engine* engine : engines_) engine->Pause();
}

void Dispatcher::Resume() {
  for (Engine* engine : engines_) engine->Resume();
}

void Dispatcher::FlushCache() {
  for (Engine* engine : engines_) engine->FlushCache();
}

void Dispatcher::Drain(const std::function<void()>& done) {
  // Shared by the callbacks of all engines.
  auto num_left = std::make_shared<std::atomic<int>>(num_engines());
  for (Engine* engine : engines_) {
    engine->Drain([num_left, done] {
      if (num_left->fetch_sub(1) == 1) done();
    });
  }
}

EngineLoad Dispatcher::TotalLoad() const {
  EngineLoad total = engines_.front()->load();
  for (size_t i = 1; i < engines_.size(); ++i) AddLoad(engines_[i]->load(), &total);
  return total;
}

}  // namespace parrot
