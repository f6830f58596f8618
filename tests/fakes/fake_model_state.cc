#include "tests/fakes/fake_model_state.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace parrot {
namespace {

constexpr uint64_t kNeverWritten = 0;

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

template <typename... Args>
absl::Status Broken(const Args&... args) {
  return absl::InternalError(absl::StrCat("step contract: ", args...));
}

}  // namespace

uint64_t FoldContent(uint64_t hash, uint64_t content) {
  return Mix(hash * 0x9e3779b97f4a7c15ULL + content + 1);
}

uint64_t TokenContent(int32_t position, TokenId token) {
  return FoldContent(FoldContent(1, static_cast<uint64_t>(position)), static_cast<uint64_t>(token));
}

uint64_t VisualContent(int32_t position, int32_t row, uint64_t visual) {
  const uint64_t place =
      FoldContent(FoldContent(2, static_cast<uint64_t>(position)), static_cast<uint64_t>(row));
  return FoldContent(place, visual);
}

uint64_t VisualFingerprint(const ImageHash& image,
                           RoutingSource source,
                           const std::vector<TokenId>& text_ids,
                           const std::vector<float>& weights) {
  uint64_t hash = FoldContent(3, static_cast<uint64_t>(source));
  if (source == RoutingSource::kZeros) return hash;
  for (const uint8_t byte : image.bytes) hash = FoldContent(hash, byte);
  if (source == RoutingSource::kText) {
    for (const TokenId id : text_ids) hash = FoldContent(hash, static_cast<uint64_t>(id));
  } else {
    for (const float w : weights) hash = FoldContent(hash, static_cast<uint64_t>(w * 1e6f));
  }
  return hash;
}

TokenId TokenOfHash(uint64_t hash, int32_t vocab_size) {
  return static_cast<TokenId>(hash % static_cast<uint64_t>(vocab_size));
}

float LogprobOfHash(uint64_t hash) { return -static_cast<float>(hash % 10'000) / 1'000; }

FakeModelState::FakeModelState(FakeModelOptions options)
    : options_(std::move(options)),
      num_tables_(options_.capacity.num_blocks, 0),
      cache_(static_cast<size_t>(options_.capacity.num_blocks) * options_.capacity.block_size,
             kNeverWritten) {
  PARROT_CHECK(options_.vocab_size > 0 && options_.capacity.block_size > 0);
}

absl::Status FakeModelState::Begin(const StepInput& input) {
  if (absl::Status status = ApplyBookkeeping(input); !status.ok()) return status;
  if (absl::Status status = CheckJobs(input); !status.ok()) return status;
  if (absl::Status status = CheckSpans(input); !status.ok()) return status;
  if (absl::Status status = CheckVisualSpans(input); !status.ok()) return status;
  return CheckRows(input);
}

absl::Status FakeModelState::ApplyBookkeeping(const StepInput& input) {
  for (const SlotId id : input.retired_slots) {
    const auto it = slots_.find(id);
    if (it == slots_.end()) return Broken("retired slot ", id, " is unknown");
    for (const BlockId block : it->second.blocks) --num_tables_[block];
    slots_.erase(it);
    std::erase_if(pending_routes_, [id](const PendingRoute& r) { return r.slot == id; });
  }
  for (const auto& [id, image_idx] : input.released_visuals) {
    const auto it = slots_.find(id);
    if (it == slots_.end()) return Broken("visuals released in unknown slot ", id);
    const auto visual = it->second.visuals.find(image_idx);
    if (visual == it->second.visuals.end() || visual->second.state != VisualState::kReady) {
      return Broken("slot ", id, " image ", image_idx, " released but not there");
    }
    visual->second.state = VisualState::kReleased;
  }
  for (const ImageHash& image : input.evicted_images) {
    features_.erase(image);
    partials_.erase(image);
    lost_towers_.erase(image);
    std::erase(pending_encodes_, image);
  }
  for (const BlockCopy& copy : input.block_copies) {
    const int32_t size = options_.capacity.block_size;
    if (copy.source == copy.destination) return Broken("a block is copied onto itself");
    std::copy_n(cache_.begin() + int64_t{copy.source} * size,
                size,
                cache_.begin() + int64_t{copy.destination} * size);
  }
  for (const SlotStart& start : input.new_slots) {
    if (absl::Status status = StartSlot(start); !status.ok()) return status;
  }
  for (const BlockAppend& append : input.block_appends) {
    const auto it = slots_.find(append.slot);
    if (it == slots_.end()) return Broken("block appended to unknown slot ", append.slot);
    if (absl::Status s = TakeBlock(append.slot, append.block); !s.ok()) return s;
    it->second.blocks.push_back(append.block);
  }
  for (const SamplingChange& change : input.sampling_changes) {
    const auto it = slots_.find(change.slot);
    if (it == slots_.end()) return Broken("sampling change of unknown slot ", change.slot);
    it->second.sampling = change.sampling;
  }
  return absl::OkStatus();
}

absl::Status FakeModelState::StartSlot(const SlotStart& start) {
  if (start.slot < 0 || start.slot >= options_.capacity.max_slots) {
    return Broken("slot ", start.slot, " is out of range");
  }
  if (slots_.contains(start.slot)) return Broken("slot ", start.slot, " is taken");
  if (start.num_prompt_tokens < 1 ||
      start.num_prompt_tokens > static_cast<int32_t>(start.token_ids.size())) {
    return Broken("slot ", start.slot, " has ", start.num_prompt_tokens, " prompt tokens");
  }
  for (const BlockId block : start.block_ids) {
    if (absl::Status s = TakeBlock(start.slot, block); !s.ok()) return s;
  }
  Slot& slot = slots_[start.slot];
  slot.sampling = start.sampling;
  slot.blocks = start.block_ids;
  slot.token_ids = start.token_ids;
  slot.num_prompt_tokens = start.num_prompt_tokens;
  return absl::OkStatus();
}

absl::Status FakeModelState::TakeBlock(SlotId slot, BlockId block) {
  if (block < 0 || block >= options_.capacity.num_blocks) {
    return Broken("block ", block, " is out of range");
  }
  const auto it = slots_.find(slot);
  if (it != slots_.end() && std::count(it->second.blocks.begin(), it->second.blocks.end(), block)) {
    return Broken("block ", block, " is twice in the table of slot ", slot);
  }
  ++num_tables_[block];
  return absl::OkStatus();
}

absl::Status FakeModelState::CheckJobs(const StepInput& input) {
  if (static_cast<int32_t>(input.encode_jobs.size()) > options_.capacity.max_step_images) {
    return Broken(input.encode_jobs.size(), " images in a step");
  }
  std::set<ImageHash> seen;
  std::set<ImageHash> arriving;  // with this step
  for (const EncodeJob& job : input.encode_jobs) {
    if (features_.contains(job.image.hash) || !seen.insert(job.image.hash).second) {
      return Broken("an image is encoded twice");
    }
    if (lost_towers_.contains(job.image.hash) && job.first_layer > 0) continue;
    const auto partial = partials_.find(job.image.hash);
    const int32_t num_done = partial == partials_.end() ? 0 : partial->second;
    if (job.first_layer != num_done || job.num_layers < 1 ||
        num_done + job.num_layers > options_.capacity.num_vision_layers) {
      return Broken(
          "encode job of layers ", job.first_layer, " + ", job.num_layers, " after ", num_done);
    }
    if (num_done == 0 && job.image.pixels == nullptr) return Broken("encode job without pixels");
    if (num_done + job.num_layers == options_.capacity.num_vision_layers) {
      arriving.insert(job.image.hash);
    }
  }
  std::set<std::pair<SlotId, int32_t>> routed;
  for (const RouteJob& job : input.route_jobs) {
    const auto it = slots_.find(job.slot);
    if (it == slots_.end()) return Broken("route job of unknown slot ", job.slot);
    if ((it->second.visuals.contains(job.image_idx) && !job.bound_only) ||
        !routed.emplace(job.slot, job.image_idx).second) {
      return Broken("slot ", job.slot, " image ", job.image_idx, " is routed twice");
    }
    if (job.source != RoutingSource::kZeros && !features_.contains(job.image) &&
        !arriving.contains(job.image) && !lost_towers_.contains(job.image)) {
      return Broken("route job of slot ", job.slot, " without features");
    }
    if (job.source == RoutingSource::kWeights &&
        static_cast<int32_t>(job.weights.size()) != options_.capacity.num_experts) {
      return Broken("route job with ", job.weights.size(), " weights");
    }
  }
  return absl::OkStatus();
}

absl::Status FakeModelState::CheckSpans(const StepInput& input) {
  int64_t num_tokens = 0;
  std::set<SlotId> seen;
  for (const Span& span : input.spans) {
    num_tokens += span.num_tokens;
    if (!seen.insert(span.slot).second) return Broken("two spans of slot ", span.slot);
    if (absl::Status status = CheckSpan(input, span); !status.ok()) return status;
  }
  if (num_tokens > options_.capacity.max_step_tokens) return Broken(num_tokens, " step tokens");
  return absl::OkStatus();
}

absl::Status FakeModelState::CheckSpan(const StepInput& input, const Span& span) {
  const auto it = slots_.find(span.slot);
  if (it == slots_.end()) return Broken("span of unknown slot ", span.slot);
  const Slot& slot = it->second;
  if (span.num_tokens < 1) return Broken("empty span of slot ", span.slot);
  const int64_t end = int64_t{span.start_position} + span.num_tokens;
  if (end > static_cast<int64_t>(slot.blocks.size()) * options_.capacity.block_size) {
    return Broken("slot ", span.slot, " has no block for position ", end - 1);
  }
  for (int64_t p = span.start_position; p < end; p += 1) {
    const BlockId block = slot.blocks[p / options_.capacity.block_size];
    if (num_tables_[block] != 1) return Broken("block ", block, " is shared and written");
  }
  if (slot.spoiled) return absl::OkStatus();  // its positions mean nothing any more
  if (slot.num_computed >= 0 && span.start_position != slot.num_computed) {
    return Broken(
        "slot ", span.slot, " starts at ", span.start_position, ", not ", slot.num_computed);
  }
  for (int32_t p = 0; slot.num_computed < 0 && p < span.start_position; ++p) {
    if (Cell(slot, p) == kNeverWritten) return Broken("position ", p, " was never computed");
  }
  if (end > static_cast<int64_t>(slot.token_ids.size())) {
    return Broken("slot ", span.slot, " knows ", slot.token_ids.size(), " tokens, not ", end);
  }
  if (span.source == TokenSource::kSampledOnDevice) {
    if (span.num_tokens != 1 || end <= slot.num_prompt_tokens || slot.last_sample != now_ - 1) {
      return Broken("slot ", span.slot, " did not sample in the step before");
    }
    return absl::OkStatus();
  }
  if (span.token_offset < 0 ||
      span.token_offset + int64_t{span.num_tokens} > static_cast<int64_t>(input.token_ids.size())) {
    return Broken("slot ", span.slot, " has no host tokens");
  }
  for (int32_t i = 0; i < span.num_tokens; ++i) {
    if (input.token_ids[span.token_offset + i] != slot.token_ids[span.start_position + i]) {
      return Broken("slot ", span.slot, " has another token at ", span.start_position + i);
    }
  }
  return absl::OkStatus();
}

absl::Status FakeModelState::CheckVisualSpans(const StepInput& input) {
  std::map<SlotId, std::set<int32_t>> covered;
  for (const VisualSpan& visual : input.visual_spans) {
    const auto it = slots_.find(visual.slot);
    if (it == slots_.end()) return Broken("visual span of unknown slot ", visual.slot);
    const Slot& slot = it->second;
    if (visual.first_row < 0 || visual.num_tokens < 1 ||
        visual.first_row + visual.num_tokens > options_.capacity.image_tokens) {
      return Broken("visual span of rows ", visual.first_row, " + ", visual.num_tokens);
    }
    const auto v = slot.visuals.find(visual.image_idx);
    if (!slot.spoiled && (v == slot.visuals.end() || v->second.state != VisualState::kReady)) {
      return Broken("slot ", visual.slot, " image ", visual.image_idx, " is not routed");
    }
    for (int32_t i = 0; i < visual.num_tokens; ++i) {
      if (!covered[visual.slot].insert(visual.start_position + i).second) {
        return Broken("slot ", visual.slot, " position ", visual.start_position + i, " twice");
      }
    }
  }
  int64_t num_visual = 0;
  for (const Span& span : input.spans) {
    const std::vector<TokenId>& ids = slots_.at(span.slot).token_ids;
    const int32_t end =
        std::min<int32_t>(span.start_position + span.num_tokens, static_cast<int32_t>(ids.size()));
    for (int32_t p = span.start_position; p < end; ++p) {
      if (ids[p] != kVisualToken) continue;
      ++num_visual;
      if (!covered[span.slot].contains(p)) {
        return Broken("slot ", span.slot, " position ", p, " has no visual token");
      }
    }
  }
  int64_t num_covered = 0;
  for (const auto& [slot, positions] : covered)
    num_covered += static_cast<int64_t>(positions.size());
  if (num_covered != num_visual) return Broken("visual spans outside of the spans");
  return absl::OkStatus();
}

absl::Status FakeModelState::CheckRows(const StepInput& input) {
  for (const LogitsRow& row : input.logits_rows) {
    if (row.span_idx < 0 || row.span_idx >= static_cast<int32_t>(input.spans.size())) {
      return Broken("logits row of span ", row.span_idx);
    }
    const Span& span = input.spans[row.span_idx];
    if (row.row < 0 || row.row >= span.num_tokens) return Broken("logits row ", row.row);
    const Slot& slot = slots_.at(span.slot);
    const int32_t end = span.start_position + row.row + 1;
    if (row.use == LogitsUse::kSample && !slot.spoiled &&
        end != static_cast<int32_t>(slot.token_ids.size())) {
      return Broken("slot ", span.slot, " samples at a position that is not its last");
    }
  }
  return absl::OkStatus();
}

void FakeModelState::Compute(const StepInput& input, StepOutput* output) {
  StartJobs(input, output);
  for (const Span& span : input.spans) RunSpan(input, span);
  for (const VisualSpan& visual : input.visual_spans) {
    Slot& slot = slots_.at(visual.slot);
    const auto v = slot.visuals.find(visual.image_idx);
    const uint64_t fingerprint = v == slot.visuals.end() ? 0 : v->second.fingerprint;
    for (int32_t i = 0; i < visual.num_tokens; ++i) {
      const int32_t position = visual.start_position + i;
      Cell(slot, position) = VisualContent(position, visual.first_row + i, fingerprint);
    }
  }
  for (const LogitsRow& row : input.logits_rows) {
    const Span& span = input.spans[row.span_idx];
    Slot& slot = slots_.at(span.slot);
    RowResult result = Sample(slot, span.slot, row, span.start_position + row.row);
    if (row.use == LogitsUse::kSample) {
      slot.token_ids.push_back(result.token);
      slot.last_sample = now_;
    }
    output->rows.push_back(std::move(result));
  }
  FinishJobs(input, output);
  ++now_;
}

void FakeModelState::Abandon(const StepInput& input) {
  for (const Span& span : input.spans) SpoilSlot(span.slot);
  for (const RouteJob& job : input.route_jobs) SpoilSlot(job.slot);
  for (const EncodeJob& job : input.encode_jobs) {
    partials_.erase(job.image.hash);
    lost_towers_.insert(job.image.hash);
  }
  ++now_;
}

void FakeModelState::SpoilSlot(SlotId slot) {
  const auto it = slots_.find(slot);
  if (it != slots_.end()) it->second.spoiled = true;
}

void FakeModelState::StartJobs(const StepInput& input, StepOutput* output) {
  for (const EncodeJob& job : input.encode_jobs) {
    if (lost_towers_.contains(job.image.hash)) {
      output->encodes_done.push_back({job.image.hash, absl::InternalError("a part is lost")});
      continue;
    }
    const int32_t num_done = job.first_layer + job.num_layers;
    partials_[job.image.hash] = num_done;
    if (num_done < options_.capacity.num_vision_layers) continue;
    partials_.erase(job.image.hash);
    features_[job.image.hash] = now_ + options_.job_delay_steps;
    pending_encodes_.push_back(job.image.hash);
  }
  for (const RouteJob& job : input.route_jobs) {
    if (job.source != RoutingSource::kZeros && lost_towers_.contains(job.image)) {
      output->routes_done.push_back({.slot = job.slot,
                                     .image_idx = job.image_idx,
                                     .status = absl::InternalError("a part is lost")});
      continue;
    }
    if (!job.bound_only) {
      Visual& visual = slots_.at(job.slot).visuals[job.image_idx];
      visual.fingerprint = VisualFingerprint(job.image, job.source, job.text_ids, job.weights);
    }
    PendingRoute route;
    route.slot = job.slot;
    route.image_idx = job.image_idx;
    route.image = job.image;
    route.needs_features = job.source != RoutingSource::kZeros;
    route.bound_only = job.bound_only;
    if (!job.exact_text_ids.empty())
      route.error_bound = job.exact_text_ids == job.text_ids ? 0.0f : 0.5f;
    route.due = now_ + options_.job_delay_steps;
    if (job.source == RoutingSource::kWeights) route.weights = job.weights;
    if (job.source == RoutingSource::kText) {
      route.weights = options_.routing_weights;
      if (route.weights.empty()) {
        route.weights.assign(options_.capacity.num_experts,
                             1.0f / static_cast<float>(options_.capacity.num_experts));
      }
    }
    pending_routes_.push_back(std::move(route));
  }
}

void FakeModelState::FinishJobs(const StepInput& input, StepOutput* output) {
  if (input.spans.empty()) {
    // Nothing else to compute: the step waits for the next job.
    int64_t next = std::numeric_limits<int64_t>::max();
    for (const ImageHash& image : pending_encodes_) next = std::min(next, features_.at(image));
    for (const PendingRoute& route : pending_routes_) next = std::min(next, route.due);
    if (next != std::numeric_limits<int64_t>::max()) now_ = std::max(now_, next);
  }
  std::erase_if(pending_encodes_, [&](const ImageHash& image) {
    if (features_.at(image) > now_) return false;
    output->encodes_done.push_back({image, absl::OkStatus()});
    return true;
  });
  std::erase_if(pending_routes_, [&](PendingRoute& route) {
    if (route.due > now_) return false;
    if (route.needs_features && features_.at(route.image) > now_) return false;
    if (!route.bound_only) {
      slots_.at(route.slot).visuals.at(route.image_idx).state = VisualState::kReady;
    }
    output->routes_done.push_back({route.slot,
                                   route.image_idx,
                                   std::move(route.weights),
                                   route.error_bound,
                                   absl::OkStatus()});
    return true;
  });
}

void FakeModelState::RunSpan(const StepInput& input, const Span& span) {
  Slot& slot = slots_.at(span.slot);
  for (int32_t i = 0; i < span.num_tokens; ++i) {
    const int32_t position = span.start_position + i;
    const TokenId id = span.source == TokenSource::kHost ? input.token_ids[span.token_offset + i]
                                                         : slot.token_ids.back();
    Cell(slot, position) = TokenContent(position, id);
  }
  slot.num_computed = span.start_position + span.num_tokens;
}

RowResult FakeModelState::Sample(const Slot& slot,
                                 SlotId id,
                                 const LogitsRow& row,
                                 int32_t position) const {
  RowResult result;
  result.slot = id;
  result.use = row.use;
  if (row.use == LogitsUse::kScore) {
    // A function of everything up to the position, as the token is.
    uint64_t hash = static_cast<uint64_t>(row.target);
    for (int32_t p = 0; p <= position; ++p) hash = FoldContent(hash, Cell(slot, p));
    result.token = row.target;
    result.logprob = LogprobOfHash(hash);
    for (int32_t i = 0; i < slot.sampling.num_prompt_logprobs; ++i) {
      result.top.push_back({TokenOfHash(hash + static_cast<uint64_t>(i), options_.vocab_size),
                            -static_cast<float>(i)});
    }
    return result;
  }
  if (options_.next_token != nullptr) {
    result.token = options_.next_token(slot.token_ids);
  } else {
    uint64_t hash = slot.sampling.seed;
    for (int32_t p = 0; p <= position; ++p) hash = FoldContent(hash, Cell(slot, p));
    result.token = TokenOfHash(hash, options_.vocab_size);
  }
  const std::vector<TokenId>& late = slot.sampling.late_token_ids;
  if (position + 1 < slot.num_prompt_tokens + slot.sampling.min_tokens) {
    while (std::find(late.begin(), late.end(), result.token) != late.end()) {
      result.token = (result.token + 1) % options_.vocab_size;
    }
  }
  const std::vector<TokenId>& forced = slot.sampling.forced_token_ids;
  const int32_t answer_idx = position + 1 - slot.num_prompt_tokens;
  if (answer_idx >= 0 && answer_idx < static_cast<int32_t>(forced.size()))
    result.token = forced[answer_idx];
  if (slot.sampling.language_lock.has_value()) result.is_blocked = result.token % 2 == 1;
  if (slot.sampling.num_logprobs >= 0) result.logprob = -1.0f;
  for (int32_t i = 0; i < slot.sampling.num_logprobs; ++i) {
    result.top.push_back({(result.token + i) % options_.vocab_size, -1.0f - static_cast<float>(i)});
  }
  return result;
}

uint64_t& FakeModelState::Cell(const Slot& slot, int32_t position) {
  const int32_t size = options_.capacity.block_size;
  return cache_[int64_t{slot.blocks[position / size]} * size + position % size];
}

uint64_t FakeModelState::Cell(const Slot& slot, int32_t position) const {
  const int32_t size = options_.capacity.block_size;
  return cache_[int64_t{slot.blocks[position / size]} * size + position % size];
}

}  // namespace parrot
