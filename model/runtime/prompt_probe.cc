#include "model/runtime/prompt_probe.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/ops/argmax.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/index.h"
#include "ATen/ops/zeros_like.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "c10/core/InferenceMode.h"
#include "model/backend/backend.h"
#include "model/kernels/worker_pool.h"
#include "model/runtime/backend_factory.h"
#include "model/runtime/device.h"
#include "model/runtime/model_weights.h"

namespace parrot {
namespace {

constexpr int32_t kBlockSize = 32;

FloatTensor ToHost(const at::Tensor& tensor) {
  const at::Tensor host = tensor.to(at::kCPU, at::kFloat).contiguous();
  const float* data = host.const_data_ptr<float>();
  return {.shape = host.sizes().vec(), .values = std::vector<float>(data, data + host.numel())};
}

absl::Status InvalidPrompt(const std::string& message) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument, message, {.reason = "INVALID_PROMPT"});
}

class BackendProbe : public PromptProbe {
 public:
  BackendProbe(std::unique_ptr<ModelWeights> weights, int32_t num_threads)
      : weights_(std::move(weights)),
        backend_(weights_->backend()),
        model_(weights_->model()),
        workspace_(backend_.MakeWorkspace({.num_threads = num_threads})),
        dense_(backend_.MakeDenseContext()) {}

  absl::StatusOr<PromptTrace> Run(const PromptRequest& request) override {
    RETURN_IF_ERROR(Check(request));
    PromptTrace trace;
    RETURN_IF_ERROR(CatchTorchErrors("the prompt failed", [&] {
      const c10::InferenceMode inference_mode;
      const std::vector<at::Tensor> visuals = MakeVisuals(request, &trace);
      Splice(request, visuals);
      Prefill(request, &trace);
      Decode(request, &trace);
      return absl::OkStatus();
    }));
    return trace;
  }

 private:
  absl::Status Check(const PromptRequest& request) const {
    const int32_t vocab_rows = model_.config().language.vocab_rows;
    const int64_t size = model_.config().vision.image_size;
    const auto placeholders =
        static_cast<size_t>(std::count(request.ids.begin(), request.ids.end(), kVisualToken));
    if (placeholders > request.images.size()) {
      return InvalidPrompt("more image placeholders than images");
    }
    if (placeholders == request.ids.size()) return InvalidPrompt("the prompt has no text");
    for (const TokenId id : request.ids) {
      if (id != kVisualToken && (id < 0 || id >= vocab_rows)) {
        return InvalidPrompt("token id " + std::to_string(id) + " is outside the vocabulary of " +
                             std::to_string(vocab_rows) + " rows");
      }
    }
    for (const auto& pixels : request.images) {
      if (static_cast<int64_t>(pixels->size()) != 3 * size * size) {
        return InvalidPrompt("an image is not " + std::to_string(size) + " pixels square");
      }
    }
    return absl::OkStatus();
  }

  // V of every image that has a placeholder; the first image is traced.
  std::vector<at::Tensor> MakeVisuals(const PromptRequest& request, PromptTrace* trace) {
    std::vector<TokenId> text;
    std::copy_if(request.ids.begin(), request.ids.end(), std::back_inserter(text), [](TokenId id) {
      return id != kVisualToken;
    });
    const at::Tensor text_rows =
        model_.language().Embed(backend_.UploadIds(text, *workspace_), *workspace_);
    const size_t placeholders = request.ids.size() - text.size();
    const size_t num_images = std::min(request.images.size(), std::max<size_t>(placeholders, 1));
    std::vector<at::Tensor> visuals;
    for (size_t i = 0; i < num_images; ++i) {
      if (i > 0 && request.zero_later_images) {
        visuals.push_back(at::zeros_like(visuals.front()));
        trace->routing.emplace_back();
        continue;
      }
      visuals.push_back(OneVisual(*request.images[i], text_rows, i == 0, trace));
    }
    visuals.resize(placeholders);
    return visuals;
  }

  at::Tensor OneVisual(const ImagePixels& pixels,
                       const at::Tensor& text_rows,
                       bool is_first,
                       PromptTrace* trace) {
    const uint8_t* const images[] = {pixels.data()};
    const int64_t size = model_.config().vision.image_size;
    at::Tensor hidden =
        model_.vision().Begin(backend_.UploadPixels(images, size, *workspace_), *workspace_);
    hidden =
        model_.vision().RunLayers(hidden, 1, 0, model_.vision().num_layers(), *dense_, *workspace_);
    at::Tensor features = model_.projector().Forward(hidden, *workspace_);
    if (is_first) {
      trace->vision = ToHost(hidden);
      trace->projector = ToHost(features);
    }
    if (model_.moe() == nullptr) {
      trace->routing.emplace_back();
      return features;
    }
    const int32_t cu_text[] = {0, static_cast<int32_t>(text_rows.size(0))};
    const Routing routing =
        model_.moe()->RouterWeights(features.narrow(0, 0, 1), text_rows, cu_text, *workspace_);
    at::Tensor visual = model_.moe()->VisualTokens(features, routing.weights, *workspace_);
    trace->routing.push_back(ToHost(routing.weights).values);
    if (is_first) {
      trace->attention = ToHost(routing.attention);
      trace->attended = ToHost(routing.attended.view({-1}));
      trace->router_logits = ToHost(routing.logits.view({-1}));
      trace->router = ToHost(routing.weights.view({-1}));
      trace->moe = ToHost(visual);
    }
    return visual;
  }

  // Fills ids_ and visual_rows_: every placeholder becomes its image's rows.
  void Splice(const PromptRequest& request, const std::vector<at::Tensor>& visuals) {
    ids_.clear();
    visual_rows_.clear();
    size_t image_idx = 0;
    const size_t limit = request.max_spliced_tokens > 0
                             ? static_cast<size_t>(request.max_spliced_tokens)
                             : static_cast<size_t>(std::numeric_limits<int32_t>::max());
    for (const TokenId id : request.ids) {
      if (ids_.size() >= limit) break;
      if (id != kVisualToken) {
        ids_.push_back(id);
        continue;
      }
      const at::Tensor& visual = visuals[image_idx++];
      const int64_t rows = std::min<int64_t>(visual.size(0), limit - ids_.size());
      visual_rows_.push_back(
          {.first_row = static_cast<int64_t>(ids_.size()), .visual = visual.narrow(0, 0, rows)});
      ids_.insert(ids_.end(), rows, kVisualToken);
    }
  }

  void MakeCache(int64_t num_tokens) {
    const LanguageConfig& language = model_.config().language;
    const int32_t num_blocks = static_cast<int32_t>((num_tokens + kBlockSize - 1) / kBlockSize);
    paged_.reset();
    store_ = backend_.MakeKvStore(
        {.num_layers = language.num_layers,
         .num_kv_heads = static_cast<int32_t>(model_.language().num_kv_heads()),
         .head_dim = language.head_dim(),
         .num_blocks = num_blocks,
         .block_size = kBlockSize});
    paged_ = backend_.MakePagedContext(*store_);
    blocks_.resize(num_blocks);
    std::iota(blocks_.begin(), blocks_.end(), 0);
  }

  void Plan(int32_t start, int32_t count) {
    const PagedSpan span = {
        .first_row = 0, .num_tokens = count, .start_position = start, .blocks = blocks_};
    backend_.PlanPaged({&span, 1}, *workspace_, *paged_);
  }

  void Prefill(const PromptRequest& request, PromptTrace* trace) {
    const int32_t length = static_cast<int32_t>(ids_.size());
    MakeCache(int64_t{length} + request.max_new_tokens);
    trace->num_prompt_tokens = length;
    at::Tensor hidden = model_.EmbedRows(ids_, visual_rows_, *workspace_);
    if (!request.embed_rows.empty()) {
      const at::Tensor rows = backend_.UploadIds(request.embed_rows, *workspace_);
      trace->inputs_embeds = ToHost(at::index(hidden, {rows}));
    }
    Plan(0, length);
    std::vector<at::Tensor> last_rows;
    const HiddenTap tap = [&](int32_t, const at::Tensor& state) {
      // A copy: the next layer may write over it.
      last_rows.push_back(state.narrow(0, length - 1, 1).clone());
    };
    hidden = model_.language().Forward(std::move(hidden), *paged_, *workspace_, &tap);
    at::Tensor normed;
    logits_ = model_.language().Logits(
        hidden.narrow(0, length - 1, 1), at::Tensor(), *workspace_, &normed);
    last_rows.back() = normed;  // as the reference reports hidden states
    trace->hidden_last = ToHost(at::cat(last_rows));
    trace->logits_last = ToHost(logits_.view({-1}));
    if (!request.logits_rows.empty()) {
      const at::Tensor rows = backend_.UploadIds(request.logits_rows, *workspace_);
      trace->logits_at = ToHost(model_.language().Logits(hidden, rows, *workspace_));
    }
  }

  void Decode(const PromptRequest& request, PromptTrace* trace) {
    const int64_t vocab =
        request.vocab_size > 0 ? request.vocab_size : model_.config().language.vocab_rows;
    int32_t position = static_cast<int32_t>(ids_.size());
    while (static_cast<int32_t>(trace->tokens.size()) < request.max_new_tokens) {
      const TokenId token =
          static_cast<TokenId>(at::argmax(logits_.narrow(1, 0, vocab)).item<int64_t>());
      trace->tokens.push_back(token);
      const auto& stops = request.stop_ids;
      trace->stopped = std::find(stops.begin(), stops.end(), token) != stops.end();
      if (trace->stopped) return;
      at::Tensor hidden =
          model_.language().Embed(backend_.UploadIds({&token, 1}, *workspace_), *workspace_);
      Plan(position++, 1);
      hidden = model_.language().Forward(std::move(hidden), *paged_, *workspace_);
      logits_ = model_.language().Logits(hidden, at::Tensor(), *workspace_);
    }
  }

  const std::unique_ptr<ModelWeights> weights_;
  const Backend& backend_;
  const ParrotModel& model_;
  const std::unique_ptr<Workspace> workspace_;
  const std::unique_ptr<AttentionContext> dense_;
  // Of the prompt that runs.
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<AttentionContext> paged_;
  std::vector<BlockId> blocks_;
  std::vector<TokenId> ids_;  // spliced
  std::vector<VisualRows> visual_rows_;
  at::Tensor logits_;  // [1, vocab_rows] of the last position so far
};

}  // namespace

absl::StatusOr<std::unique_ptr<PromptProbe>> PromptProbe::Load(const WeightSource& source,
                                                               const PromptProbeOptions& options) {
  ASSIGN_OR_RETURN(const c10::Device device, OpenDevice(options.device));
  const int32_t num_threads =
      options.num_threads > 0 ? options.num_threads : kernels::DefaultNumThreads();
  at::set_num_threads(num_threads);
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend,
                   MakeBackend(device, options.dtype, options.cpu, source));
  ASSIGN_OR_RETURN(std::unique_ptr<ModelWeights> weights,
                   ModelWeights::Load(source, std::move(backend), {}));
  return std::make_unique<BackendProbe>(std::move(weights), num_threads);
}

}  // namespace parrot
