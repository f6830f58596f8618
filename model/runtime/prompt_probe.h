// PromptProbe: one prompt through the model, synchronously, with everything on the way written
// down. For parrot-inspect and for golden tests. This header is torch-free.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<PromptProbe> probe, PromptProbe::Load(*weights, options));
//   ASSIGN_OR_RETURN(PromptTrace trace, probe->Run({.ids = ids, .images = {pixels}}));
//
// Confined to one thread; torch's operations run on it.
#ifndef PARROT_MODEL_RUNTIME_PROMPT_PROBE_H_
#define PARROT_MODEL_RUNTIME_PROMPT_PROBE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/image_input.h"
#include "model/api/model_config.h"
#include "model/api/token.h"
#include "model/runtime/model_runner_factory.h"
#include "model/weights/weight_source.h"

namespace parrot {

// Row-major floats.
struct FloatTensor {
  std::vector<int64_t> shape;  // empty: not there
  std::vector<float> values;
};

struct PromptProbeOptions {
  std::string device = "cpu";  // "cpu", "cuda" or "cuda:N"
  ComputeDtype dtype = ComputeDtype::kFloat32;
  CpuOptions cpu = {.backend = "reference"};
  int32_t num_threads = 0;  // 0: all cores of the process
};

struct PromptRequest {
  // Text ids, and one kVisualToken per image where its visual tokens go.
  std::vector<TokenId> ids;
  // [size, size, 3] bytes each, in order of their placeholders. Images beyond the placeholders are
  // not spliced; the first image is traced even when it has no placeholder.
  std::vector<std::shared_ptr<const ImagePixels>> images;
  // The reference's defects: visual tokens of the second and later images are zeros
  // (zero_later_images); the spliced sequence is cut to this many positions, keeping its head
  // (max_spliced_tokens, 0: never).
  bool zero_later_images = false;
  int32_t max_spliced_tokens = 0;
  int32_t max_new_tokens = 0;     // greedy
  std::vector<TokenId> stop_ids;  // end the continuation; the stop token is part of it
  int32_t vocab_size = 0;         // ids >= it are never chosen; 0: all rows are real
  // Rows of the spliced prompt whose embeddings and logits are wanted.
  std::vector<int32_t> embed_rows;
  std::vector<int32_t> logits_rows;
};

// Of the first image, where it says image. N image tokens, T text tokens, L layers, E experts.
struct PromptTrace {
  int32_t num_prompt_tokens = 0;  // after splicing and cutting
  FloatTensor vision;             // [N, vision hidden]
  FloatTensor projector;          // F [N, H]
  FloatTensor attention;          // [T]
  FloatTensor attended;           // [H] ("g" in the golden data)
  FloatTensor router_logits;      // [E]
  FloatTensor router;             // [E]
  FloatTensor moe;                // V [N, H]
  FloatTensor inputs_embeds;      // [embed_rows, H]
  FloatTensor hidden_last;  // [L + 1, H]: last position before layer 0 and after each layer; the
                            // last row after the final norm
  FloatTensor logits_last;  // [vocab_rows]
  FloatTensor logits_at;    // [logits_rows, vocab_rows]
  std::vector<TokenId> tokens;              // greedy continuation
  bool stopped = false;                     // by a stop id
  std::vector<std::vector<float>> routing;  // weights of each image; empty for zeros
};

class PromptProbe {
 public:
  // Errors as CreateModelRunner's.
  static absl::StatusOr<std::unique_ptr<PromptProbe>> Load(const WeightSource& source,
                                                           const PromptProbeOptions& options);
  virtual ~PromptProbe() = default;

  // INVALID_ARGUMENT for ids outside the vocabulary, more placeholders than images, images of
  // another size, or a prompt without text.
  virtual absl::StatusOr<PromptTrace> Run(const PromptRequest& request) = 0;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_PROMPT_PROBE_H_
