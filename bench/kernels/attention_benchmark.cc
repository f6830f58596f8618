#include "bench/kernels/attention_benchmark.h"

#include <cstddef>
#include <cstring>
#include <iostream>
#include <utility>

#include "model/kernels/aligned_buffer.h"

namespace parrot {
namespace {

constexpr int32_t kContext = 641;  // an image and a question
constexpr int32_t kBlockSize = 32;
constexpr int kStoredByte = 0x3c;  // repeated, a small number in every format

const char* FormatName(kernels::KvFormat format) {
  switch (format) {
    case kernels::KvFormat::kFloat32:
      return "fp32";
    case kernels::KvFormat::kBFloat16:
      return "bf16";
    case kernels::KvFormat::kInt8:
      return "int8";
  }
  return "";
}

// The store, and the spans of one call: those of call i are in the blocks of layer i % layers.
class AttentionState {
 public:
  AttentionState(const AttentionCase& attention, kernels::KvFormat format, const Roofline& roofline)
      : attention_(attention),
        layout_{.num_kv_heads = attention.num_kv_heads,
                .head_dim = attention.head_dim,
                .block_size = kBlockSize,
                .format = format},
        blocks_each_((attention.start + attention.num_rows + kBlockSize - 1) / kBlockSize),
        stride_(int64_t{attention.num_heads} * attention.head_dim) {
    const int64_t layer_blocks = int64_t{blocks_each_} * attention.num_sequences;
    const auto layer_bytes = static_cast<size_t>(layer_blocks * layout_.block_bytes());
    num_layers_ = roofline.NumCopies(layer_bytes);
    store_ = kernels::AlignedBuffer(num_layers_ * layer_bytes);
    std::memset(store_.as<std::byte>(), kStoredByte, store_.size());
    blocks_.resize(num_layers_ * static_cast<size_t>(layer_blocks));
    for (size_t i = 0; i < blocks_.size(); ++i) blocks_[i] = static_cast<int32_t>(i);
    const int32_t num_rows = attention.num_sequences * attention.num_rows;
    query_.assign(static_cast<size_t>(num_rows * stride_), 0.5f);
    out_.resize(query_.size());
    spans_.resize(static_cast<size_t>(attention.num_sequences));
  }

  void Call(size_t call, kernels::Isa isa, kernels::WorkerPool& pool) {
    const size_t first = call % num_layers_ * spans_.size();
    for (size_t i = 0; i < spans_.size(); ++i) {
      spans_[i] = {.first_row = static_cast<int32_t>(i) * attention_.num_rows,
                   .num_rows = attention_.num_rows,
                   .start = attention_.start,
                   .blocks = blocks_.data() + (first + i) * static_cast<size_t>(blocks_each_)};
    }
    kernels::Attend(isa,
                    pool,
                    {.layout = layout_,
                     .num_heads = attention_.num_heads,
                     .causal = attention_.causal,
                     .store = store_.as<std::byte>(),
                     .spans = spans_,
                     .query = query_.data(),
                     .query_stride = stride_,
                     .out = out_.data(),
                     .out_stride = stride_},
                    scratch_);
  }

  Work WorkOfCall() const {
    const double rows = attention_.num_rows, end = attention_.start + rows;
    const double keys = attention_.causal ? rows * (attention_.start + (rows + 1) / 2) : rows * end;
    const double sequences = attention_.num_sequences;
    return {.flop = 4.0 * sequences * keys * static_cast<double>(stride_),
            .bytes = sequences * end * static_cast<double>(layout_.block_bytes()) / kBlockSize};
  }

 private:
  const AttentionCase& attention_;
  const kernels::KvLayout layout_;
  const int32_t blocks_each_;  // of a sequence
  const int64_t stride_;       // of queries and results
  size_t num_layers_ = 0;
  kernels::AlignedBuffer store_;
  std::vector<int32_t> blocks_;
  std::vector<float> query_, out_;
  std::vector<kernels::AttentionSpan> spans_;
  kernels::AlignedBuffer scratch_;
};

}  // namespace

std::vector<AttentionCase> AttentionsOf(const ModelConfig& config) {
  const LanguageConfig& l = config.language;
  const VisionConfig& v = config.vision;
  const std::vector<kernels::KvFormat> all = {
      kernels::KvFormat::kFloat32, kernels::KvFormat::kBFloat16, kernels::KvFormat::kInt8};
  AttentionCase decode = {.name = "decode, 1 sequence",
                          .num_heads = l.num_heads,
                          .num_kv_heads = l.num_kv_heads,
                          .head_dim = l.head_dim(),
                          .start = kContext - 1,
                          .formats = all};
  AttentionCase decode_16 = decode, prompt = decode;
  decode_16.name = "decode, 16 sequences";
  decode_16.num_sequences = 16;
  prompt.name = "prompt";
  prompt.start = 0;
  prompt.num_rows = kContext;
  return {std::move(decode),
          std::move(decode_16),
          std::move(prompt),
          {.name = "image",
           .num_heads = v.num_heads,
           .num_kv_heads = v.num_heads,
           .head_dim = v.head_dim(),
           .causal = false,
           .num_rows = v.num_tokens(),
           .formats = {kernels::KvFormat::kFloat32}}};
}

Table EmptyAttentionTable() {
  Table table = {.title = "Attention",
                 .columns = {"model", "rows", "tokens", "heads", "KV heads", "head size", "KV"}};
  for (std::string& column : Roofline::Columns()) table.columns.push_back(std::move(column));
  return table;
}

void MeasureAttention(const AttentionCase& attention,
                      const std::string& model,
                      kernels::Isa isa,
                      Roofline& roofline,
                      Table& table) {
  for (const kernels::KvFormat format : attention.formats) {
    std::cerr << model << " attention, " << attention.name << ", " << FormatName(format) << ", "
              << IsaName(isa) << "\n";
    AttentionState state(attention, format, roofline);
    std::vector<Cell> row = {model,
                             attention.name,
                             Cell(attention.start + attention.num_rows, 0),
                             Cell(attention.num_heads, 0),
                             Cell(attention.num_kv_heads, 0),
                             Cell(attention.head_dim, 0),
                             FormatName(format)};
    roofline.Measure(
        state.WorkOfCall(),
        isa,
        Arithmetic::kFloat32,
        [&](size_t i) { state.Call(i, isa, roofline.pool()); },
        row);
    table.rows.push_back(std::move(row));
  }
}

}  // namespace parrot
