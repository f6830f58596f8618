// StepInput and StepOutput: what the scheduler asks of a worker in one step, and what comes back.
// Plain vectors, no torch. Read this first; it is the contract between `scheduler` and
// `model/runtime`.
//
// A *sequence* holds a *slot* from its first step to its last. A new slot arrives in full
// (SlotStart); later steps carry only deltas. A step computes *spans*: runs of consecutive
// positions of one slot. There is no prefill and no decode: a span of 577 positions and a span of
// one differ in length only. Keys and values go to the paged cache: position p of a slot lives in
// block block_table[p / block_size], offset p % block_size.
//
// Images. An EncodeJob runs the vision tower and the projector (features F of an image); a RouteJob
// turns F and the prompt's text into the visual tokens V of one slot and image. Either may finish
// in a later step than the one that brought it: a job is done when a StepOutput names it. The
// scheduler puts visual positions into a span only when their RouteJob is done. V stays with the
// runtime until `released_visuals` names it or the slot is retired; F until `evicted_images` names
// it. Retiring a slot drops its unfinished RouteJobs, evicting an image its unfinished EncodeJob;
// from that step on no StepOutput names them. Evicting what is not there does nothing. A step that
// computes nothing while jobs are unfinished waits until one of them is done. The runtime decides
// nothing.
//
// Failure. The bookkeeping lists of a failed step (StepOutput::status) count as applied; its jobs
// and spans are lost, those of other steps are not. Its slots are only ever retired afterwards,
// although a step that was already in flight may still name them; what they yield is ignored.
//
// Example, two sequences, block_size 32. Slot 0 decodes its token at position 640 (its id is what
// the slot sampled in the step before, still on the device); slot 1 begins: 40 text tokens.
//   new_slots     = {{.slot = 1, .sampling = ..., .block_ids = {7, 9}}}
//   spans         = {{.slot = 0, .start_position = 640, .num_tokens = 1,
//                     .source = TokenSource::kSampledOnDevice},
//                    {.slot = 1, .start_position = 0, .num_tokens = 40,
//                     .source = TokenSource::kHost, .token_offset = 0}}
//   token_ids     = {t0, ..., t39}
//   logits_rows   = {{.span_idx = 0, .row = 0}, {.span_idx = 1, .row = 39}}
// The output brings one sampled id for slot 0 and one for slot 1.
#ifndef PARROT_MODEL_API_STEP_H_
#define PARROT_MODEL_API_STEP_H_

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/api/image_input.h"
#include "model/api/sampling_params.h"
#include "model/api/token.h"

namespace parrot {

// A sequence takes a slot.
struct SlotStart {
  SlotId slot = -1;
  SamplingParams sampling;
  std::vector<BlockId> block_ids;  // its block table so far, in order of position
  // Every text token known at the start (prompt, and what was generated before a preemption):
  // penalties read it. Visual positions hold kVisualToken.
  std::vector<TokenId> token_ids;
  int32_t num_prompt_tokens = 0;
  int32_t adapter_id = 0;  // 0: none
};

// Blocks appended to the table of a slot that is already known.
struct BlockAppend {
  SlotId slot = -1;
  BlockId block = -1;
};

// Copy a block's keys and values (copy-on-write); runs before the step's spans.
struct BlockCopy {
  BlockId source = -1;
  BlockId destination = -1;
};

// New sampling rules for a known slot, from this step on.
struct SamplingChange {
  SlotId slot = -1;
  SamplingParams sampling;
};

enum class TokenSource {
  kHost,             // ids are StepInput::token_ids[token_offset, +num_tokens)
  kSampledOnDevice,  // the id that this slot sampled in the step before; num_tokens is 1
};

struct Span {
  SlotId slot = -1;
  int32_t start_position = 0;  // == num_computed_tokens of the sequence
  int32_t num_tokens = 0;
  TokenSource source = TokenSource::kHost;
  int32_t token_offset = 0;
};

// Visual tokens inside a span: positions [start_position, +num_tokens) of the slot take the rows
// [first_row, +num_tokens) of V of the slot's image `image_idx`. Those positions hold kVisualToken.
struct VisualSpan {
  SlotId slot = -1;
  int32_t image_idx = 0;
  int32_t start_position = 0;
  int32_t first_row = 0;
  int32_t num_tokens = 0;
};

enum class LogitsUse {
  kSample,  // draw the next token with the slot's SamplingParams
  kScore,   // log-probability of `target`, and the num_prompt_logprobs largest
};

// One position whose logits are wanted; 0..n per slot.
struct LogitsRow {
  int32_t span_idx = 0;  // into StepInput::spans
  int32_t row = 0;       // within the span
  LogitsUse use = LogitsUse::kSample;
  TokenId target = -1;  // kScore only
};

// Layers [first_layer, first_layer + num_layers) of the vision tower for one image; the job that
// ends the tower also runs the projector. A whole pass is first_layer 0, num_layers = all used.
struct EncodeJob {
  ImageInput image;
  int32_t first_layer = 0;
  int32_t num_layers = 0;
};

enum class RoutingSource {
  kText,     // the router reads text_ids
  kWeights,  // the caller's weights, [num_experts]
  kZeros,    // V is all zeros (what the reference does to the second and later images)
};

// Makes V of one image for one slot. REQUIRES (except kZeros, which reads no features and comes
// without an EncodeJob): the image's features are there or its EncodeJob is in this step or in
// flight.
struct RouteJob {
  SlotId slot = -1;
  int32_t image_idx = 0;  // among the slot's images
  ImageHash image;
  RoutingSource source = RoutingSource::kText;
  std::vector<TokenId> text_ids;  // all text tokens of the prompt, in order
  std::vector<float> weights;     // [num_experts]
  // Not empty: the text that the trained model would route by, and RouteDone::error_bound is
  // wanted.
  std::vector<TokenId> exact_text_ids;
  // V is not made (its keys and values are cached): only weights and error_bound are wanted.
  bool bound_only = false;
};

struct StepInput {
  uint64_t step_id = 0;
  // Applied in this order, before anything is computed.
  std::vector<SlotId> retired_slots;
  std::vector<std::pair<SlotId, int32_t>> released_visuals;  // (slot, image_idx)
  std::vector<ImageHash> evicted_images;
  std::vector<BlockCopy> block_copies;
  std::vector<SlotStart> new_slots;
  std::vector<BlockAppend> block_appends;
  std::vector<SamplingChange> sampling_changes;
  // Computed, in this order.
  std::vector<EncodeJob> encode_jobs;
  std::vector<RouteJob> route_jobs;
  std::vector<Span> spans;
  std::vector<VisualSpan> visual_spans;
  std::vector<TokenId> token_ids;  // ids of all kHost spans
  std::vector<LogitsRow> logits_rows;

  // Empties every vector and keeps its memory.
  void Clear();
  bool empty() const {
    return retired_slots.empty() && released_visuals.empty() && evicted_images.empty() &&
           block_copies.empty() && new_slots.empty() && encode_jobs.empty() && route_jobs.empty() &&
           spans.empty();
  }
};

// Seconds of one step by stage; zero where the stage did not run.
enum class Stage { kClip, kProjector, kRouter, kExperts, kPrefill, kDecode, kSample };
inline constexpr int kNumStages = 7;
const char* StageName(Stage stage);  // "clip", "projector", ...

struct StageTimes {
  std::array<absl::Duration, kNumStages> elapsed{};
  absl::Duration& operator[](Stage stage) { return elapsed[static_cast<int>(stage)]; }
  absl::Duration operator[](Stage stage) const { return elapsed[static_cast<int>(stage)]; }
  void Add(const StageTimes& other);
};

struct TokenLogprob {
  TokenId token = -1;
  float logprob = 0.0f;
};

// Result of one LogitsRow, in the order of StepInput::logits_rows.
struct RowResult {
  SlotId slot = -1;
  LogitsUse use = LogitsUse::kSample;
  TokenId token = -1;             // kSample: drawn; kScore: the target
  float logprob = 0.0f;           // valid when asked for (num_logprobs >= 0, or kScore)
  std::vector<TokenLogprob> top;  // the num_logprobs (kScore: num_prompt_logprobs) largest
  // kSample: but for the language lock, the most likely token was one that it does not allow.
  bool is_blocked = false;
};

struct EncodeDone {
  ImageHash image;
  absl::Status status;
};

struct RouteDone {
  SlotId slot = -1;
  int32_t image_idx = 0;
  std::vector<float> weights;  // [num_experts], sum 1; empty when the model has no MoE or kZeros
  // Upper bound of ||V - V_exact||_F: sum_e |w_e - w_exact_e| ||E_e||_F. Absent when nobody asked,
  // or when the norms of the experts' outputs are not known and bound_only.
  std::optional<float> error_bound;
  absl::Status status;
};

// Reason (base/error_status.h) of a failure whose cause is the device, not the request. Steps in
// which nothing else happens mean a dead executor.
inline constexpr char kDeviceErrorReason[] = "DEVICE_ERROR";

struct SlotFailure {
  SlotId slot = -1;
  absl::Status status;
};

struct StepOutput {
  uint64_t step_id = 0;
  // Not OK: nothing of the step may be trusted; each request in it failed.
  absl::Status status;
  std::vector<RowResult> rows;
  std::vector<EncodeDone> encodes_done;
  std::vector<RouteDone> routes_done;
  std::vector<SlotFailure> failed_slots;  // these alone failed (e.g. logits not finite)
  StageTimes times;

  void Clear();
};

}  // namespace parrot

#endif  // PARROT_MODEL_API_STEP_H_
