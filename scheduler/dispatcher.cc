#include "scheduler/dispatcher.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/hash.h"

namespace parrot {
namespace {

// Of the mean load: what an engine may have, beside the request itself, to be chosen for an image.
constexpr double kLoadBound = 1.25;
// Of a prompt without images, what tells one dialogue from another.
constexpr size_t kNumHashedTokens = 64;

// What the requests that should meet have in common.
uint64_t AffinityKey(const Request& request) {
  Sha256Digest digest;
  if (!request.images.empty()) {
    digest = request.images.front().image.hash;
  } else {
    Sha256 hash;
    hash.UpdateSized(request.tenant);
    const size_t num_tokens = std::min(request.token_ids.size(), kNumHashedTokens);
    hash.Update(request.token_ids.data(), num_tokens * sizeof(TokenId));
    digest = hash.Finish();
  }
  uint64_t key = 0;
  std::memcpy(&key, digest.bytes.data(), sizeof(key));
  return key;
}

// Rendezvous hashing: the engines of a key in descending order of this. The mixing is the end of
// splitmix64.
uint64_t RendezvousWeight(uint64_t key, int engine_idx) {
  uint64_t word = key + (static_cast<uint64_t>(engine_idx) + 1) * 0x9e3779b97f4a7c15;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
  word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
  return word ^ (word >> 31);
}

// What an engine may have and still be chosen by hash.
double LoadBound(const std::vector<EngineLoad>& loads, const Request& request) {
  int64_t num_tokens = 0;
  int64_t least = std::numeric_limits<int64_t>::max();
  int num_alive = 0;
  for (const EngineLoad& load : loads) {
    if (!load.health.ok()) continue;
    ++num_alive;
    num_tokens += load.num_outstanding_tokens;
    least = std::min(least, load.num_outstanding_tokens);
  }
  if (num_alive == 0 || request.images.empty()) return static_cast<double>(least);
  return kLoadBound * static_cast<double>(num_tokens) / num_alive +
         static_cast<double>(request.num_outstanding_tokens());
}

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
  const int64_t num_generated = total->num_generated_tokens + load.num_generated_tokens;
  if (num_generated > 0) {
    total->mean_completion_tokens =
        (total->mean_completion_tokens * static_cast<double>(total->num_generated_tokens) +
         load.mean_completion_tokens * static_cast<double>(load.num_generated_tokens)) /
        static_cast<double>(num_generated);
  }
  total->num_generated_tokens = num_generated;
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
  if (load.health.ok()) {
    if (!total->health.ok() || load.predictor.num_observed() > total->predictor.num_observed()) {
      total->predictor = load.predictor;
    }
    total->health = absl::OkStatus();
  }
}

}  // namespace

Dispatcher::Dispatcher(std::vector<Engine*> engines) : engines_(std::move(engines)) {
  PARROT_CHECK(!engines_.empty());
  for (const Engine* engine : engines_) PARROT_CHECK(engine != nullptr);
}

absl::Status Dispatcher::Add(const std::shared_ptr<const Request>& request) {
  const int only = only_engine_.load();
  if (only != kAnyEngine) return engines_[only]->Add(request);
  absl::Status first_refusal;
  for (const int engine_idx : Rank(*request)) {
    absl::Status status = engines_[engine_idx]->Add(request);
    if (status.ok()) return status;
    if (first_refusal.ok()) first_refusal = status;
    // A request that breaks a limit breaks it everywhere.
    if (!absl::IsResourceExhausted(status) && !absl::IsUnavailable(status) &&
        !absl::IsDeadlineExceeded(status)) {
      break;
    }
  }
  return first_refusal;
}

void Dispatcher::SendAllTo(std::optional<int> engine_idx) {
  PARROT_CHECK(!engine_idx.has_value() || (*engine_idx >= 0 && *engine_idx < num_engines()));
  only_engine_.store(engine_idx.value_or(kAnyEngine));
}

std::vector<int> Dispatcher::Rank(const Request& request) const {
  const std::vector<EngineLoad> all = loads();
  const double bound = LoadBound(all, request);
  const uint64_t key = AffinityKey(request);
  // Ascending: alive, within the bound and then by load, by falling weight.
  std::vector<std::tuple<bool, int64_t, uint64_t, int>> order;
  order.reserve(all.size());
  for (int i = 0; i < num_engines(); ++i) {
    const int64_t num_tokens = all[i].num_outstanding_tokens;
    const bool is_within = static_cast<double>(num_tokens) <= bound;
    order.emplace_back(
        !all[i].health.ok(), is_within ? 0 : num_tokens, ~RendezvousWeight(key, i), i);
  }
  std::sort(order.begin(), order.end());
  std::vector<int> ranked;
  ranked.reserve(order.size());
  for (const auto& candidate : order) ranked.push_back(std::get<int>(candidate));
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

std::vector<EngineLoad> Dispatcher::loads() const {
  std::vector<EngineLoad> loads;
  loads.reserve(engines_.size());
  for (const Engine* engine : engines_) loads.push_back(engine->load());
  return loads;
}

EngineLoad Dispatcher::TotalLoad() const {
  std::vector<EngineLoad> all = loads();
  for (EngineLoad& load : all) {
    if (!load.health.ok()) load.num_blocks_total = load.num_blocks_cached = 0;
  }
  EngineLoad total = all.front();
  for (size_t i = 1; i < all.size(); ++i) AddLoad(all[i], &total);
  return total;
}

}  // namespace parrot
