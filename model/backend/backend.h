// Backend: the operations that Parrot is made of, on one device. model/nn states the model's
// mathematics once in these terms; each backend fuses, packs and quantises behind them.
//
// Granularity. Operations are coarse where something wants to stay inside: a norm and the matrix
// that reads it are one call (activations may be quantised in between), so are the two matrices of
// an MLP, and residual sums are part of the call that ends a block.
//
// Tensors. Rows are tokens: a hidden state is [rows, hidden], in compute_dtype(), on device(),
// contiguous. What an operation returns lives in the Workspace until the next BeginStep (a later
// step reuses it); the reference backend allocates fresh tensors instead, because autograd keeps
// them. Whoever wants to keep a result for longer copies it.
//
// Order. Calls take effect in the order in which they are made. Nothing returns to the host before
// Synchronize: model code branches on host integers only and never reads a tensor.
//
// Threads. A Backend is immutable after construction: workers may share one, each with its own
// Workspace, contexts and KvStore. Errors of the device are c10::Error exceptions, caught where a
// step begins (ModelRunner) or weights are loaded (ModelWeights).
#ifndef PARROT_MODEL_BACKEND_BACKEND_H_
#define PARROT_MODEL_BACKEND_BACKEND_H_

#include <cstdint>
#include <memory>
#include <span>

#include "ATen/core/Tensor.h"
#include "model/backend/attention_context.h"
#include "model/backend/handles.h"
#include "model/backend/tensor_source.h"

namespace parrot {

// Scratch memory of one worker. Confined to the thread that runs its steps.
class Workspace {
 public:
  virtual ~Workspace() = default;
  // Results of the step before are no longer needed. `num_rows` is the largest number of rows that
  // an operation of the step will see; backends with captured graphs choose their bucket by it.
  virtual void BeginStep(int64_t num_rows) = 0;
};

struct WorkspaceLimits {
  int32_t num_threads = 1;  // of this worker's operations, where a backend has its own threads
  int64_t max_rows = 0;     // language-model rows of a step
  int64_t max_images = 0;   // images of a step
};

struct Qkv {
  at::Tensor query;  // [rows, heads, head_dim]
  at::Tensor key;    // [rows, kv_heads, head_dim]
  at::Tensor value;  // [rows, kv_heads, head_dim]
};

struct Routing {
  at::Tensor weights;  // [images, experts] compute dtype; each row sums to 1
  // On the way there; empty in backends that fuse them.
  at::Tensor attention;  // [sum of text lengths]: softmax of the class row over its text
  at::Tensor attended;   // [images, hidden]
  at::Tensor logits;     // [images, experts]
};

// A change to one logit before anything else happens to it: penalties, biases.
struct LogitEdit {
  TokenId token = -1;
  float repetition = 1.0f;  // divides a positive logit, multiplies a negative one
  float bias = 0.0f;        // added afterwards
};

// How one row of logits is used. Host values.
struct SampleRow {
  float temperature = 0.0f;  // 0: the largest logit, the lowest id among equals
  int32_t top_k = 0;         // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  // A uniform number in [0, 1): the draw is the first token, by id, at which the cumulative
  // probability of the kept set exceeds this share of its total. The generator is the runtime's, so
  // that every backend draws alike.
  double uniform = 0.0;
  int32_t num_logprobs = -1;         // -1: none; k: the chosen token's and the k largest
  TokenId score_target = -1;         // >= 0: no draw; the log-probability of this token is wanted
  std::span<const LogitEdit> edits;  // each token at most once; read during the call
  // Where this is false, blocked_bias is added after the edits: [vocab_size] bool on the device;
  // undefined: none. A bias that leaves no finite logit is not added.
  at::Tensor allowed;
  float blocked_bias = 0.0f;
};

// On the device; [rows] each. Log-probabilities are of the unmodified distribution (no edits,
// temperature 1, nothing cut) over the real vocabulary.
struct SampledRows {
  at::Tensor tokens;        // int64; the target where one is scored
  at::Tensor finite;        // bool: every logit of the row is a number
  at::Tensor blocked;       // bool: `allowed` is false for the largest logit after the edits;
                            // undefined when no row has it
  at::Tensor logprobs;      // fp32; undefined when no row asks
  at::Tensor top_tokens;    // [rows, max num_logprobs] int64, largest first; undefined likewise
  at::Tensor top_logprobs;  // [rows, max num_logprobs] fp32
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual at::Device device() const = 0;
  virtual at::ScalarType compute_dtype() const = 0;
  // True when a row's result does not depend on which other rows are in the call, bit by bit. When
  // false, a runtime that promises independence of batch mates runs sequences one by one.
  virtual bool rows_are_independent() const = 0;
  // True when handles may keep the tensors that a source gives; false when they pack them: a source
  // may then give views of read-only memory in the dtype of the file.
  virtual bool keeps_sources() const = 0;
  // Memory of one KV block, all layers.
  virtual int64_t KvBlockBytes(const KvStoreSpec&) const = 0;

  // --- Load time. Tensors are asked for by name and full shape.
  using Source = TensorSource;
  virtual std::unique_ptr<NormHandle> MakeNorm(const NormSpec&, Source&) const = 0;
  virtual std::unique_ptr<LinearHandle> MakeLinear(const LinearSpec&, Source&) const = 0;
  virtual std::unique_ptr<EmbeddingHandle> MakeEmbedding(const EmbeddingSpec&, Source&) const = 0;
  // `normalization` is copied.
  virtual std::unique_ptr<PatchEmbeddingHandle> MakePatchEmbedding(
      const PatchEmbeddingSpec&, const PixelNormalization& normalization, Source&) const = 0;
  virtual std::unique_ptr<QkvHandle> MakeQkv(const QkvSpec&, Source&) const = 0;
  virtual std::unique_ptr<MlpHandle> MakeMlp(const MlpSpec&, Source&) const = 0;
  virtual std::unique_ptr<GatedMlpHandle> MakeGatedMlp(const GatedMlpSpec&, Source&) const = 0;
  virtual std::unique_ptr<MoeHandle> MakeMoe(const MoeSpec&, Source&) const = 0;
  // `tied`: the embedding whose matrix is the head, or null for a head of its own.
  virtual std::unique_ptr<LmHeadHandle> MakeLmHead(const LmHeadSpec&,
                                                   const EmbeddingHandle* tied,
                                                   Source&) const = 0;
  // After the last handle. Says what became of a file of packed weights; empty without one.
  virtual std::string EndLoading() const { return {}; }

  // --- Made once per worker.
  virtual std::unique_ptr<Workspace> MakeWorkspace(const WorkspaceLimits&) const = 0;
  virtual std::unique_ptr<KvStore> MakeKvStore(const KvStoreSpec&) const = 0;
  virtual std::unique_ptr<AttentionContext> MakeDenseContext() const = 0;
  // `store` outlives the context.
  virtual std::unique_ptr<AttentionContext> MakePagedContext(KvStore& store) const = 0;

  // --- Once per step.
  virtual void PlanDense(const DenseSequences&, Workspace&, AttentionContext&) const = 0;
  virtual void PlanPaged(std::span<const PagedSpan> spans, Workspace&, AttentionContext&) const = 0;
  // Host to device: [n] int32 ids, [images, size, size, 3] uint8 pixels. The host memory may be
  // reused when the call returns.
  virtual at::Tensor UploadIds(std::span<const int32_t> ids, Workspace&) const = 0;
  virtual at::Tensor UploadPixels(std::span<const uint8_t* const> images,
                                  int64_t size,
                                  Workspace&) const = 0;
  // Waits until everything asked for is done. For the runtime, never for model code.
  virtual void Synchronize() const = 0;

  // --- Operations. [rows, hidden] in and out unless said otherwise.
  // out[i] = table[ids[i]]; ids [rows] int32 on the device.
  virtual at::Tensor Embed(const EmbeddingHandle&, const at::Tensor& ids, Workspace&) const = 0;
  // The rows of all parts, in order. Spliced prompts: text rows and visual rows side by side.
  virtual at::Tensor ConcatRows(std::span<const at::Tensor> parts, Workspace&) const = 0;
  // pixels [images, size, size, 3] uint8 -> [images * tokens, hidden]:
  //   patch p of image n: x[n, p] = W * flat(normalise(pixels[n, patch p])), channel-major
  //   out[n] = norm(concat(class, x[n]) + positions)
  virtual at::Tensor EmbedPatches(const PatchEmbeddingHandle&,
                                  const at::Tensor& pixels,
                                  Workspace&) const = 0;
  virtual at::Tensor Norm(const NormHandle&, const at::Tensor& x, Workspace&) const = 0;
  // activation(x W^T + b)
  virtual at::Tensor Linear(const LinearHandle&, const at::Tensor& x, Workspace&) const = 0;
  // residual + activation(x W^T + b); `residual` may be overwritten.
  virtual at::Tensor LinearAdd(const LinearHandle&,
                               const at::Tensor& x,
                               const at::Tensor& residual,
                               Workspace&) const = 0;
  // The three projections of norm(hidden), without rotary embedding.
  virtual Qkv NormQkv(const QkvHandle&, const at::Tensor& hidden, Workspace&) const = 0;
  // Rotates queries and keys by their positions (if the handle has a theta), stores keys and values
  // (paged), and attends -> [rows, heads * head_dim]. For row t of a sequence and head h:
  //   out[t, h] = sum_s softmax_s(q[t, h] . k[s, h / group] / sqrt(head_dim)) v[s, h / group]
  // over all s of the sequence, s <= t when causal.
  virtual at::Tensor Attend(const QkvHandle&, const Qkv&, AttentionContext&, Workspace&) const = 0;
  // Include the residual: they return the new hidden state. `hidden` may be overwritten.
  virtual at::Tensor Mlp(const MlpHandle&, const at::Tensor& hidden, Workspace&) const = 0;
  virtual at::Tensor GatedMlp(const GatedMlpHandle&,
                              const at::Tensor& hidden,
                              Workspace&) const = 0;

  // Routing of several images at once. class_rows [images, hidden] is row 0 of each image's
  // features; text [sum T, hidden] are embeddings, those of image i at [cu_text[i], cu_text[i +
  // 1]).
  //   a = softmax(c X^T / sqrt(hidden));  r = softmax(W_r (a X))
  virtual Routing Route(const MoeHandle&,
                        const at::Tensor& class_rows,
                        const at::Tensor& text,
                        std::span<const int32_t> cu_text,
                        Workspace&) const = 0;
  // E_i(x) = down_i(silu(gate_i x) * up_i x): [rows, hidden] -> [experts, rows, hidden].
  virtual at::Tensor ExpertOutputs(const MoeHandle&,
                                   const at::Tensor& features,
                                   Workspace&) const = 0;
  // sum_i weights[i] * outputs[i] + residual_weight * features, for one image: outputs
  // [experts, rows, hidden], weights [experts].
  virtual at::Tensor Combine(const MoeHandle&,
                             const at::Tensor& features,
                             const at::Tensor& outputs,
                             const at::Tensor& weights,
                             Workspace&) const = 0;
  // Combine(ExpertOutputs) in one, for images of equal size side by side: features
  // [images * tokens, hidden], weights [images, experts]. May round differently from the two.
  virtual at::Tensor MixExperts(const MoeHandle&,
                                const at::Tensor& features,
                                const at::Tensor& weights,
                                Workspace&) const = 0;

  // fp32 logits of the whole vocabulary, [n, vocab_rows], of the rows `rows` ([n] int32 on the
  // device; undefined: all rows) of hidden. `normed`, when not null, receives the final norm's
  // output, [n, hidden].
  virtual at::Tensor Logits(const LmHeadHandle&,
                            const at::Tensor& hidden,
                            const at::Tensor& rows,
                            at::Tensor* normed,
                            Workspace&) const = 0;
  // Draws from logits [rows, vocab_rows]; ids >= vocab_size are padding and never drawn.
  virtual SampledRows Sample(const at::Tensor& logits,
                             std::span<const SampleRow> rows,
                             int64_t vocab_size,
                             Workspace&) const = 0;
};

}  // namespace parrot

#endif  // PARROT_MODEL_BACKEND_BACKEND_H_
