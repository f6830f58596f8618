// Sequence: the mutable half of a Request, one generation. It holds what the scheduler knows of it:
// tokens, progress, blocks, slot, images, times. It decides nothing.
//
// Progress. There is no prefill and no decode. Of num_tokens() known tokens (prompt and generated)
// num_computed_tokens() have their keys and values committed and num_inflight_tokens() more are in
// submitted steps; next_position() follows them. A sequence whose next token is being sampled by a
// step in flight may run one position beyond the tokens known here: the worker has the id.
//
//   num_tokens                 5   p p p p p          (prompt of 5)
//   after Submit of [0, 5)         next_position 5, one sample in flight
//   second step in flight          position 5 with TokenSource::kSampledOnDevice
//   after Commit of the first      num_computed 5, num_tokens 6
//
// States: kWaiting -> kRunning -> kRetiring -> kReleased, kWaiting -> kReleased, and kRunning ->
// kWaiting for one that is preempted: it keeps its tokens and computes their keys and values again.
// Retiring: its FinishEvent is out and it is never scheduled again, but a step in flight may still
// use its blocks. MoveTo CHECKs that a transition is one of these.
//
// Confined to the engine thread. Steady decode steps allocate nothing: generated tokens are
// reserved at the start.
#ifndef PARROT_SCHEDULER_SEQUENCE_H_
#define PARROT_SCHEDULER_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/hash.h"
#include "base/live_count.h"
#include "model/api/step.h"
#include "model/api/token.h"
#include "scheduler/block_table.h"
#include "scheduler/event.h"
#include "scheduler/request.h"

namespace parrot {

enum class SequenceState { kWaiting, kRunning, kRetiring, kReleased };
const char* SequenceStateName(SequenceState state);

// Where the visual tokens of one placed image are.
enum class VisualState {
  kAbsent,    // nothing was asked for
  kEncoding,  // its image's EncodeJob was submitted for this sequence; the RouteJob follows
  kRouting,   // RouteJob submitted
  kReady,     // the worker holds them
  kConsumed,  // every position is computed; the worker may drop them
};

struct VisualProgress {
  VisualState state = VisualState::kAbsent;
  uint64_t route_step = 0;  // step that brought the RouteJob
  CacheLevel cache_level = CacheLevel::kNone;
  bool reported = false;       // its RoutingEvent is out
  std::vector<float> weights;  // of the experts, once known
};

// What names a sequence: the request and which of its num_sequences answers.
using SequenceKey = std::pair<RequestKey, int32_t>;
inline constexpr int32_t kAllSequences = -1;

class Sequence {
 public:
  // `now`: when the engine took it; counts towards the queue time limit.
  Sequence(std::shared_ptr<const Request> request, int32_t sequence_idx, absl::Time now);
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  const Request& request() const { return *request_; }
  RequestKey key() const { return request_->key; }
  int32_t sequence_idx() const { return sequence_idx_; }
  SequenceKey sequence_key() const { return {key(), sequence_idx_}; }
  absl::Time queued_at() const { return queued_at_; }

  SequenceState state() const { return state_; }
  static bool CanMove(SequenceState from, SequenceState to);
  void MoveTo(SequenceState state);

  // Tokens. Positions count prompt and generated tokens alike.
  int32_t num_prompt_tokens() const { return num_prompt_tokens_; }
  int32_t num_tokens() const { return num_prompt_tokens_ + num_generated_tokens(); }
  int32_t num_generated_tokens() const { return static_cast<int32_t>(generated_.size()); }
  int32_t num_computed_tokens() const { return num_computed_tokens_; }
  int32_t num_inflight_tokens() const { return num_inflight_tokens_; }
  int32_t next_position() const { return num_computed_tokens_ + num_inflight_tokens_; }
  // Positions the worker has a token for, the one that a step in flight samples included.
  int32_t num_device_tokens() const { return num_tokens() + num_inflight_samples_; }
  // Positions that its whole life can compute: the last sampled token is never computed.
  int64_t max_positions() const;
  bool in_decode() const { return next_position() >= num_prompt_tokens_; }
  // REQUIRES: position < num_tokens().
  TokenId token(int32_t position) const {
    return position < num_prompt_tokens_ ? request_->token_ids[position]
                                         : generated_[position - num_prompt_tokens_];
  }
  // Appends tokens [begin, begin + count) to `ids`.
  void CopyTokens(int32_t begin, int32_t count, std::vector<TokenId>* ids) const;

  // `count` positions from next_position() on are in step `step_id`; `samples`: it also draws the
  // next token.
  void SubmitTokens(int32_t count, bool samples);
  // The oldest submitted `count` positions are done.
  void CommitTokens(int32_t count);
  // The oldest sample in flight came back as `token` and becomes part of the sequence.
  void AppendSample(TokenId token);
  // The first `count` positions were found in the prefix cache. REQUIRES: nothing is computed yet.
  void TakeCachedTokens(int32_t count);
  // Of the prompt, when it was first admitted.
  int32_t num_cached_tokens() const { return num_cached_tokens_; }
  // kRunning -> kWaiting: no position is computed any more, the slot is another's. REQUIRES: no
  // step in flight names it; its blocks are given back.
  void Preempt();
  // A step that named it was lost: it leaves, what its slot still yields is ignored, and it is
  // suspect until it has come through a step alone.
  void Spoil() { is_spoiled_ = is_suspect_ = true; }
  bool is_spoiled() const { return is_spoiled_; }
  bool is_suspect() const { return is_suspect_; }
  void Absolve() { is_suspect_ = false; }
  // It ran before: the limit on waiting for the first place is not for it.
  bool was_admitted() const { return was_admitted_; }
  // Preempted as soon as no step in flight names it; until then it is not scheduled.
  bool is_leaving() const { return is_leaving_; }
  void set_leaving() { is_leaving_ = true; }

  // Device resources.
  SlotId slot() const { return slot_; }
  void set_slot(SlotId slot) { slot_ = slot; }
  // True once a SlotStart is out: the worker knows the slot.
  bool started() const { return started_; }
  void set_started() { started_ = true; }
  BlockTable& blocks() { return blocks_; }
  const BlockTable& blocks() const { return blocks_; }
  // The youngest step that names the slot; its blocks are not free before that step is done.
  uint64_t last_step() const { return last_step_; }
  void set_last_step(uint64_t step_id) { last_step_ = step_id; }

  // Keys of its full blocks (prefix_cache.h), as far as anybody asked.
  std::vector<Sha256Digest>& block_keys() { return block_keys_; }
  const std::vector<Sha256Digest>& block_keys() const { return block_keys_; }

  std::vector<VisualProgress>& visuals() { return visuals_; }
  const std::vector<VisualProgress>& visuals() const { return visuals_; }
  // The first position at or after next_position() whose visual tokens are not there yet, or
  // num_prompt_tokens().
  int32_t visual_limit() const;
  bool all_visuals_routed() const;
  // An EncodeJob of the image was submitted for it.
  bool IsEncoding(const ImageHash& image) const;
  // One of its images has yet to be routed from these features.
  bool NeedsFeatures(const ImageHash& image) const;

  // Times. Set once each; the first call counts.
  void MarkFirstStep(absl::Time now);
  void MarkToken(absl::Time now);
  StageTimes& stages() { return stages_; }
  RequestTimes Times(absl::Time now) const;

 private:
  const std::shared_ptr<const Request> request_;  // shared with the call that made it
  const int32_t sequence_idx_;
  const absl::Time queued_at_;
  const int32_t num_prompt_tokens_;

  SequenceState state_ = SequenceState::kWaiting;
  std::vector<TokenId> generated_;
  int32_t num_computed_tokens_ = 0;
  int32_t num_inflight_tokens_ = 0;
  int32_t num_inflight_samples_ = 0;

  int32_t num_cached_tokens_ = 0;
  bool was_admitted_ = false;
  bool is_leaving_ = false;
  bool is_spoiled_ = false;
  bool is_suspect_ = false;

  SlotId slot_ = -1;
  bool started_ = false;
  BlockTable blocks_;
  uint64_t last_step_ = 0;
  std::vector<Sha256Digest> block_keys_;
  std::vector<VisualProgress> visuals_;  // by image_idx

  absl::Time first_step_at_ = absl::InfiniteFuture();
  absl::Time first_token_at_ = absl::InfiniteFuture();
  absl::Time last_token_at_ = absl::InfinitePast();
  StageTimes stages_;
  LiveCount<LiveKind::kSequence> live_count_;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_SEQUENCE_H_
