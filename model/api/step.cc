#include "model/api/step.h"

namespace parrot {

void StepInput::Clear() {
  step_id = 0;
  retired_slots.clear();
  released_visuals.clear();
  evicted_images.clear();
  block_copies.clear();
  new_slots.clear();
  block_appends.clear();
  sampling_changes.clear();
  encode_jobs.clear();
  route_jobs.clear();
  spans.clear();
  visual_spans.clear();
  token_ids.clear();
  logits_rows.clear();
}

const char* StageName(Stage stage) {
  switch (stage) {
    case Stage::kClip:
      return "clip";
    case Stage::kProjector:
      return "projector";
    case Stage::kRouter:
      return "router";
    case Stage::kExperts:
      return "experts";
    case Stage::kPrefill:
      return "prefill";
    case Stage::kDecode:
      return "decode";
    case Stage::kSample:
      return "sample";
  }
  return "unknown";
}

void StageTimes::Add(const StageTimes& other) {
  for (int i = 0; i < kNumStages; ++i) elapsed[i] += other.elapsed[i];
}

void StepOutput::Clear() {
  step_id = 0;
  status = absl::OkStatus();
  rows.clear();
  encodes_done.clear();
  routes_done.clear();
  failed_slots.clear();
  times = StageTimes();
}

}  // namespace parrot
