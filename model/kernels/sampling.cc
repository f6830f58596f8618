#include "model/kernels/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "model/kernels/row_functions.h"

namespace parrot::kernels {
namespace {

bool RanksBefore(const ScoredToken& a, const ScoredToken& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

// What top_k, top_p and min_p leave of a row. Tokens are grouped by how far their logit (divided by
// the temperature) is below the largest, which takes one pass; ranks matter only in the group in
// which a rule cuts, and only that one is sorted. What is past the last group is negligible.
class Truncation {
 public:
  // scratch.probabilities: of all tokens. `top`: the largest logit, divided.
  Truncation(std::span<const float> logits,
             const DrawRule& rule,
             float top,
             SamplingScratch& scratch)
      : logits_(logits), rule_(rule), top_(top), scratch_(scratch) {
    for (size_t i = 0; i < logits.size(); ++i) {
      const int group = GroupOf(Scaled(i));
      ++sizes_[group];
      masses_[group] += scratch.probabilities[i];
    }
  }

  // Keeps the top_k highest ranks, whose probabilities sum to 1 from then on.
  void CutByRank() {
    int64_t before = 0;
    total_ = 0.0;
    last_group_ = 0;
    while (last_group_ < kNumGroups && before + sizes_[last_group_] < rule_.top_k) {
      before += sizes_[last_group_];
      total_ += masses_[last_group_++];
    }
    if (last_group_ == kNumGroups) return;
    SortGroup(last_group_);
    std::vector<ScoredToken>& members = scratch_.candidates;
    members.resize(rule_.top_k - before);
    masses_[last_group_] = 0.0;
    for (const ScoredToken& member : members) masses_[last_group_] += Probability(member);
    total_ += masses_[last_group_];
    end_ = After(members.back());
  }

  // Keeps each token before which there is less than top_p.
  void CutByMass() {
    double before = 0.0;
    int group = 0;
    while (group < last_group_ && before + masses_[group] / total_ < rule_.top_p) {
      before += masses_[group++] / total_;
    }
    if (group == kNumGroups) return;
    SortGroup(group);
    for (const ScoredToken& member : scratch_.candidates) {
      if (!RanksBefore(member, end_)) return;
      const double p = Probability(member) / total_;
      before += p;
      if (before - p >= rule_.top_p) {
        end_ = member;
        return;
      }
    }
    end_ = After(scratch_.candidates.back());
  }

  // scratch.candidates and scratch.probabilities become what is kept, by id.
  void Apply(double largest_probability) {
    const double least = largest_probability / total_ * rule_.min_p;
    scratch_.candidates.clear();
    for (size_t i = 0; i < logits_.size(); ++i) {
      const ScoredToken candidate = {.logit = Scaled(i), .token = static_cast<int32_t>(i)};
      if (!RanksBefore(candidate, end_)) continue;
      const double p = Probability(candidate) / total_;
      if (p < least) continue;
      scratch_.probabilities[scratch_.candidates.size()] = p;
      scratch_.candidates.push_back(candidate);
    }
    scratch_.probabilities.resize(scratch_.candidates.size());
  }

 private:
  static constexpr int kGroupsPerUnit = 8;
  static constexpr int kNumGroups = static_cast<int>(kNegligible) * kGroupsPerUnit;

  static ScoredToken After(const ScoredToken& a) {
    return {.logit = a.logit, .token = a.token + 1};
  }
  float Scaled(size_t i) const { return logits_[i] / rule_.temperature; }
  int GroupOf(float scaled) const {
    return static_cast<int>(std::min((top_ - scaled) * kGroupsPerUnit, float{kNumGroups}));
  }
  double Probability(const ScoredToken& a) const { return scratch_.probabilities[a.token]; }

  void SortGroup(int group) {
    scratch_.candidates.clear();
    for (size_t i = 0; i < logits_.size(); ++i) {
      const float scaled = Scaled(i);
      if (GroupOf(scaled) != group) continue;
      scratch_.candidates.push_back({.logit = scaled, .token = static_cast<int32_t>(i)});
    }
    std::sort(scratch_.candidates.begin(), scratch_.candidates.end(), RanksBefore);
  }

  const std::span<const float> logits_;
  const DrawRule& rule_;
  const float top_;
  SamplingScratch& scratch_;
  std::array<int32_t, kNumGroups + 1> sizes_ = {};
  std::array<double, kNumGroups + 1> masses_ = {};
  double total_ = 1.0;
  int last_group_ = kNumGroups;
  // The first rank that is not kept.
  ScoredToken end_ = {.logit = -std::numeric_limits<float>::infinity(),
                      .token = std::numeric_limits<int32_t>::max()};
};

int64_t FirstAbove(std::span<const double> probabilities, double uniform) {
  double total = 0.0;
  for (const double p : probabilities) total += p;
  const double wanted = total * uniform;
  double cumulative = 0.0;
  int64_t i = -1;
  do {
    cumulative += probabilities[++i];
  } while (cumulative <= wanted && cumulative < total);
  return i;
}

}  // namespace

Largest FindLargest(Isa isa, std::span<const float> logits) {
  const RowExtremes extremes =
      RowFunctionsOf(isa).find_extremes(logits.data(), static_cast<int64_t>(logits.size()));
  if (!extremes.bounded_above) return {};
  return {.index = static_cast<int32_t>(extremes.index),
          .value = extremes.largest,
          .finite = extremes.finite};
}

double LogSumExp(Isa isa, std::span<const float> logits, float largest) {
  constexpr size_t kChunk = 512;
  std::array<double, kChunk> terms;
  double sum = 0.0;
  for (size_t begin = 0; begin < logits.size(); begin += kChunk) {
    const std::span<const float> chunk =
        logits.subspan(begin, std::min(kChunk, logits.size() - begin));
    sum += RowFunctionsOf(isa).exp_terms(
        chunk.data(), static_cast<int64_t>(chunk.size()), 1.0f, largest, terms.data());
  }
  return largest + std::log(sum);
}

int32_t Draw(Isa isa,
             std::span<const float> logits,
             const DrawRule& rule,
             SamplingScratch& scratch) {
  const RowFunctions& functions = RowFunctionsOf(isa);
  const int64_t size = static_cast<int64_t>(logits.size());
  const RowExtremes extremes = functions.find_extremes(logits.data(), size);
  const float top = extremes.largest / rule.temperature;
  scratch.probabilities.resize(size);
  const double total =
      functions.exp_terms(logits.data(), size, rule.temperature, top, scratch.probabilities.data());
  for (double& p : scratch.probabilities) p /= total;

  const bool cuts_rank = rule.top_k > 0 && rule.top_k < size;
  const bool cuts_mass = rule.top_p < 1.0f;
  if (!cuts_rank && !cuts_mass && rule.min_p <= 0.0f) {
    return static_cast<int32_t>(FirstAbove(scratch.probabilities, rule.uniform));
  }
  const double largest_probability = scratch.probabilities[extremes.index];
  Truncation truncation(logits, rule, top, scratch);
  if (cuts_rank) truncation.CutByRank();
  if (cuts_mass) truncation.CutByMass();
  truncation.Apply(largest_probability);
  return scratch.candidates[FirstAbove(scratch.probabilities, rule.uniform)].token;
}

void FindTop(std::span<const float> logits, int32_t k, std::vector<ScoredToken>& top) {
  // A heap whose front is the lowest rank so far.
  top.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const ScoredToken candidate = {.logit = logits[i], .token = static_cast<int32_t>(i)};
    if (static_cast<int64_t>(top.size()) < k) {
      top.push_back(candidate);
      std::push_heap(top.begin(), top.end(), RanksBefore);
    } else if (k > 0 && candidate.logit > top.front().logit) {
      std::pop_heap(top.begin(), top.end(), RanksBefore);
      top.back() = candidate;
      std::push_heap(top.begin(), top.end(), RanksBefore);
    }
  }
  std::sort_heap(top.begin(), top.end(), RanksBefore);
}

}  // namespace parrot::kernels
