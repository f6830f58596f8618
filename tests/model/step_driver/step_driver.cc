#include "tests/model/step_driver/step_driver.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/synchronization/notification.h"
#include "base/check.h"

namespace parrot {

struct StepDriver::Sequence {
  SlotId slot = -1;
  const DriverRequest* request = nullptr;
  std::vector<TokenId> ids;              // spliced prompt, then generated
  std::vector<int32_t> image_positions;  // start of each spliced image
  int32_t num_prompt_tokens = 0;
  int32_t num_computed = 0;
  bool sampling_step = false;  // the step in flight ends in a draw
  bool finished = false;
  DriverResult result;
};

StepResult StepDriver::RunStep(std::unique_ptr<StepInput> input) {
  input->step_id = next_step_id_++;
  StepResult buffers = {.input = std::move(input), .output = std::make_unique<StepOutput>()};
  StepResult result;
  absl::Notification done;
  executor_.Submit(std::move(buffers), [&](StepResult step) {
    result = std::move(step);
    done.Notify();
  });
  done.WaitForNotification();
  PARROT_CHECK(result.output->step_id == result.input->step_id);
  times_.Add(result.output->times);
  return result;
}

void StepDriver::Begin(std::vector<Sequence>& sequences, const DriverOptions& options) {
  const ExecutorCapacity& capacity = executor_.capacity();
  auto input = std::make_unique<StepInput>();
  // Every second block from the end, so that no table is contiguous.
  std::vector<BlockId> free_blocks;
  for (BlockId b = capacity.num_blocks - 1; b >= 0; b -= 2) free_blocks.push_back(b);
  for (BlockId b = capacity.num_blocks - 2; b >= 0; b -= 2) free_blocks.push_back(b);
  size_t next_block = 0;
  for (Sequence& sequence : sequences) {
    const DriverRequest& request = *sequence.request;
    const size_t limit = request.max_spliced_tokens > 0
                             ? static_cast<size_t>(request.max_spliced_tokens)
                             : std::numeric_limits<size_t>::max();
    for (const TokenId id : request.ids) {
      const bool is_image = id == kVisualToken;
      if (is_image) sequence.image_positions.push_back(static_cast<int32_t>(sequence.ids.size()));
      sequence.ids.insert(sequence.ids.end(), is_image ? capacity.image_tokens : 1, id);
    }
    if (sequence.ids.size() > limit) sequence.ids.resize(limit);
    sequence.num_prompt_tokens = static_cast<int32_t>(sequence.ids.size());
    const int32_t most = sequence.num_prompt_tokens + request.max_new_tokens;
    const size_t blocks = (most + capacity.block_size - 1) / capacity.block_size;
    PARROT_CHECK(next_block + blocks <= free_blocks.size()) << "the test's cache is too small";
    SlotStart start = {.slot = sequence.slot,
                       .sampling = request.sampling,
                       .token_ids = sequence.ids,
                       .num_prompt_tokens = sequence.num_prompt_tokens};
    start.block_ids.assign(free_blocks.begin() + next_block,
                           free_blocks.begin() + next_block + blocks);
    next_block += blocks;
    input->new_slots.push_back(std::move(start));
    std::vector<TokenId> text;
    std::copy_if(request.ids.begin(), request.ids.end(), std::back_inserter(text), [](TokenId id) {
      return id != kVisualToken;
    });
    for (size_t i = 0; i < sequence.image_positions.size(); ++i) {
      RouteJob route = {.slot = sequence.slot,
                        .image_idx = static_cast<int32_t>(i),
                        .image = request.images[i].hash,
                        .text_ids = text};
      if (i > 0 && request.zero_later_images) route.source = RoutingSource::kZeros;
      if (!request.expert_weights.empty()) {
        route.source = RoutingSource::kWeights;
        route.weights = request.expert_weights;
      }
      input->route_jobs.push_back(std::move(route));
    }
    sequence.result.routing.resize(sequence.image_positions.size());
  }
  EncodeAll(sequences, options);
  const StepResult result = RunStep(std::move(input));
  PARROT_CHECK(result.output->status.ok()) << result.output->status;
  for (const RouteDone& done : result.output->routes_done) {
    Sequence& sequence = sequences[done.slot];
    if (!done.status.ok()) {
      sequence.result.status = done.status;
      sequence.finished = true;
    }
    sequence.result.routing[done.image_idx] = done.weights;
  }
}

void StepDriver::EncodeAll(const std::vector<Sequence>& sequences, const DriverOptions& options) {
  const ExecutorCapacity& capacity = executor_.capacity();
  std::set<ImageHash> seen;
  std::vector<ImageInput> images;
  for (const Sequence& sequence : sequences) {
    for (size_t i = 0; i < sequence.image_positions.size(); ++i) {
      const ImageInput& image = sequence.request->images[i];
      if (seen.insert(image.hash).second) images.push_back(image);
    }
  }
  const int32_t step_layers = options.layers_per_encode > 0
                                  ? std::min(options.layers_per_encode, capacity.num_vision_layers)
                                  : capacity.num_vision_layers;
  for (size_t first = 0; first < images.size(); first += capacity.max_step_images) {
    const size_t end = std::min(images.size(), first + capacity.max_step_images);
    size_t num_done = 0;
    for (int32_t layer = 0; layer < capacity.num_vision_layers; layer += step_layers) {
      auto input = std::make_unique<StepInput>();
      for (size_t i = first; i < end; ++i) {
        input->encode_jobs.push_back(
            {.image = images[i],
             .first_layer = layer,
             .num_layers = std::min(step_layers, capacity.num_vision_layers - layer)});
      }
      const StepResult result = RunStep(std::move(input));
      PARROT_CHECK(result.output->status.ok()) << result.output->status;
      num_done += result.output->encodes_done.size();
    }
    PARROT_CHECK(num_done == end - first) << num_done << " of " << end - first << " encoded";
  }
}

std::unique_ptr<StepInput> StepDriver::NextStep(std::vector<Sequence>& sequences,
                                                const DriverOptions& options) const {
  auto input = std::make_unique<StepInput>();
  const int32_t image_tokens = executor_.capacity().image_tokens;
  for (Sequence& sequence : sequences) {
    if (sequence.finished) continue;
    const int32_t begin = sequence.num_computed;
    int32_t count = static_cast<int32_t>(sequence.ids.size()) - begin;
    if (options.chunk_tokens > 0) count = std::min(count, options.chunk_tokens);
    const bool on_device = options.chain_on_device && begin >= sequence.num_prompt_tokens;
    const int32_t span_idx = static_cast<int32_t>(input->spans.size());
    input->spans.push_back(
        {.slot = sequence.slot,
         .start_position = begin,
         .num_tokens = count,
         .source = on_device ? TokenSource::kSampledOnDevice : TokenSource::kHost,
         .token_offset = static_cast<int32_t>(input->token_ids.size())});
    if (!on_device) {
      input->token_ids.insert(input->token_ids.end(),
                              sequence.ids.begin() + begin,
                              sequence.ids.begin() + begin + count);
    }
    for (size_t i = 0; i < sequence.image_positions.size(); ++i) {
      const int32_t start = sequence.image_positions[i];
      const int32_t from = std::max(start, begin);
      const int32_t to = std::min(start + image_tokens, begin + count);
      if (from >= to) continue;
      input->visual_spans.push_back({.slot = sequence.slot,
                                     .image_idx = static_cast<int32_t>(i),
                                     .start_position = from,
                                     .first_row = from - start,
                                     .num_tokens = to - from});
    }
    sequence.num_computed += count;
    sequence.sampling_step = sequence.num_computed == static_cast<int32_t>(sequence.ids.size());
    if (sequence.sampling_step) {
      input->logits_rows.push_back({.span_idx = span_idx, .row = count - 1});
    }
  }
  return input;
}

void StepDriver::Take(const StepOutput& output, std::vector<Sequence>& sequences) {
  for (const SlotFailure& failure : output.failed_slots) {
    sequences[failure.slot].result.status = failure.status;
    sequences[failure.slot].finished = true;
  }
  for (const RowResult& row : output.rows) {
    Sequence& sequence = sequences[row.slot];
    if (sequence.finished) continue;
    sequence.ids.push_back(row.token);
    sequence.result.tokens.push_back(row.token);
    sequence.result.rows.push_back(row);
    const auto& stops = sequence.request->stop_ids;
    sequence.finished =
        std::find(stops.begin(), stops.end(), row.token) != stops.end() ||
        static_cast<int32_t>(sequence.result.tokens.size()) == sequence.request->max_new_tokens;
  }
}

std::vector<DriverResult> StepDriver::Run(const std::vector<DriverRequest>& requests,
                                          const DriverOptions& options) {
  std::vector<Sequence> sequences(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    sequences[i].slot = static_cast<SlotId>(i);
    sequences[i].request = &requests[i];
  }
  Begin(sequences, options);
  while (true) {
    std::unique_ptr<StepInput> input = NextStep(sequences, options);
    if (input->spans.empty()) break;
    const StepResult result = RunStep(std::move(input));
    PARROT_CHECK(result.output->status.ok()) << result.output->status;
    Take(*result.output, sequences);
  }
  auto last = std::make_unique<StepInput>();
  std::vector<DriverResult> results;
  for (Sequence& sequence : sequences) {
    last->retired_slots.push_back(sequence.slot);
    for (const ImageInput& image : sequence.request->images) {
      last->evicted_images.push_back(image.hash);
    }
    results.push_back(std::move(sequence.result));
  }
  RunStep(std::move(last));
  return results;
}

}  // namespace parrot
