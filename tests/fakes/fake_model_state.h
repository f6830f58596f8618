// FakeModelState: a strict runtime without a model. It keeps what a real worker keeps (slots, block
// tables, a paged cache, image features, visual tokens), refuses every StepInput that breaks the
// contract of model/api/step.h, and computes tokens that depend on everything a real model would
// read: each position's content goes into a fake cache through the block table, and the sampled
// token is a hash of all contents read back through that table. A block shared by mistake, a stale
// block or visual tokens of the wrong image therefore change the answer. Blocks may be in several
// tables, and a slot may begin after positions whose contents are there; only a block that is in
// one table may be written. Odd tokens count as blocked by a language lock.
//
// Confined to one thread. Used by FakeModelExecutor; tests that want the expected answer of a
// prompt fold TokenContent and VisualContent themselves.
#ifndef PARROT_TESTS_FAKES_FAKE_MODEL_STATE_H_
#define PARROT_TESTS_FAKES_FAKE_MODEL_STATE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "model/api/image_input.h"
#include "model/api/model_executor.h"
#include "model/api/sampling_params.h"
#include "model/api/step.h"
#include "model/api/token.h"

namespace parrot {

struct FakeModelOptions {
  ExecutorCapacity capacity;
  int32_t vocab_size = 1000;
  // EncodeJobs and RouteJobs are named done this many steps after the one that brought them.
  int32_t job_delay_steps = 0;
  // What RouteDone reports for kText, [num_experts]; empty: 1 / num_experts each.
  std::vector<float> routing_weights;
  // Scripted answers: the next token after `token_ids` (prompt with kVisualToken, then what was
  // generated). Empty: a hash of the cache contents.
  std::function<TokenId(const std::vector<TokenId>& token_ids)> next_token;
};

// What position `position` leaves in the fake cache.
uint64_t TokenContent(int32_t position, TokenId token);
// `visual` is the fingerprint of one image's visual tokens.
uint64_t VisualContent(int32_t position, int32_t row, uint64_t visual);
// Everything the visual tokens of an image depend on.
uint64_t VisualFingerprint(const ImageHash& image,
                           RoutingSource source,
                           const std::vector<TokenId>& text_ids,
                           const std::vector<float>& weights);
uint64_t FoldContent(uint64_t hash, uint64_t content);
// The default next token. Start the fold with the sampling seed.
TokenId TokenOfHash(uint64_t hash, int32_t vocab_size);
// The log-probability of a scored token. Start the fold with the token.
float LogprobOfHash(uint64_t hash);

class FakeModelState {
 public:
  explicit FakeModelState(FakeModelOptions options);

  // Applies the bookkeeping part of `input` and checks all of it against the contract. The status
  // names the first rule that was broken.
  [[nodiscard]] absl::Status Begin(const StepInput& input);
  // Computes a step that Begin accepted.
  void Compute(const StepInput& input, StepOutput* output);
  // In place of Compute: the step's jobs are lost and its slots spoiled until they are retired.
  void Abandon(const StepInput& input);
  // The slot's result of the step cannot be trusted; it is spoiled until retired.
  void SpoilSlot(SlotId slot);

  int num_live_slots() const { return static_cast<int>(slots_.size()); }
  // Towers that were cut included.
  int num_features() const { return static_cast<int>(features_.size() + partials_.size()); }
  const FakeModelOptions& options() const { return options_; }

 private:
  enum class VisualState { kRouting, kReady, kReleased };
  struct Visual {
    VisualState state = VisualState::kRouting;
    uint64_t fingerprint = 0;
  };
  struct Slot {
    SamplingParams sampling;
    std::vector<BlockId> blocks;
    std::vector<TokenId> token_ids;  // known to the device: the prompt and what was sampled
    int32_t num_prompt_tokens = 0;
    int32_t num_computed = -1;  // unknown before its first span
    int64_t last_sample = -1;   // value of now_ in the step that sampled last
    bool spoiled = false;
    std::map<int32_t, Visual> visuals;  // by image_idx
  };
  struct PendingRoute {
    SlotId slot = -1;
    int32_t image_idx = 0;
    ImageHash image;
    bool needs_features = true;
    std::vector<float> weights;
    std::optional<float> error_bound;
    bool bound_only = false;
    int64_t due = 0;
  };

  absl::Status ApplyBookkeeping(const StepInput& input);
  absl::Status StartSlot(const SlotStart& start);
  absl::Status TakeBlock(SlotId slot, BlockId block);
  absl::Status CheckJobs(const StepInput& input);
  absl::Status CheckSpans(const StepInput& input);
  absl::Status CheckSpan(const StepInput& input, const Span& span);
  absl::Status CheckVisualSpans(const StepInput& input);
  absl::Status CheckRows(const StepInput& input);

  void StartJobs(const StepInput& input, StepOutput* output);
  void FinishJobs(const StepInput& input, StepOutput* output);
  void RunSpan(const StepInput& input, const Span& span);
  RowResult Sample(const Slot& slot, SlotId id, const LogitsRow& row, int32_t position) const;
  uint64_t& Cell(const Slot& slot, int32_t position);
  uint64_t Cell(const Slot& slot, int32_t position) const;

  const FakeModelOptions options_;
  std::map<SlotId, Slot> slots_;
  std::vector<int32_t> num_tables_;  // by block: how many slots have it
  std::vector<uint64_t> cache_;      // [num_blocks * block_size]
  // Images whose features are there (due <= now_) or on their way.
  std::map<ImageHash, int64_t> features_;
  std::map<ImageHash, int32_t> partials_;  // layers done of towers that were cut
  // Towers of which an abandoned step had a part: jobs that go on with them fail.
  std::set<ImageHash> lost_towers_;
  std::vector<ImageHash> pending_encodes_;
  std::vector<PendingRoute> pending_routes_;
  int64_t now_ = 0;  // steps computed
};

}  // namespace parrot

#endif  // PARROT_TESTS_FAKES_FAKE_MODEL_STATE_H_
