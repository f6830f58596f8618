#include "model/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/aligned_buffer.h"
#include "model/kernels/isa.h"
#include "model/kernels/worker_pool.h"
#include "tests/model/kernels/guarded_rows.h"

namespace parrot::kernels {
namespace {

constexpr float kTheta = 10000.0f;
constexpr KvFormat kFormats[] = {KvFormat::kFloat32, KvFormat::kBFloat16, KvFormat::kInt8};

struct Shape {
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t block_size = 0;
};

// Groups of 1 to 14 query heads, heads and blocks that are and are not whole vectors.
constexpr Shape kShapes[] = {{3, 3, 64, 32},
                             {7, 1, 64, 32},
                             {4, 2, 20, 12},
                             {16, 2, 40, 16},
                             {6, 2, 128, 48},
                             {14, 1, 6, 5},
                             {1, 1, 2, 300}};

struct Sequence {
  int32_t context = 0;
  int32_t num_queries = 0;  // its last positions
};
constexpr Sequence kSequences[] = {{1, 1}, {21, 21}, {70, 3}, {270, 6}, {530, 1}};

// Some sequences and a store full of NaN in which their blocks lie in no order.
class Rows {
 public:
  Rows(const Shape& shape, KvFormat format)
      : shape_(shape),
        layout_{.num_kv_heads = shape.num_kv_heads,
                .head_dim = shape.head_dim,
                .block_size = shape.block_size,
                .format = format},
        rotary_(MakeRotaryValues(kTheta, shape.head_dim, 530)),
        query_(TotalRows() * query_size()),
        key_(TotalRows() * key_size()),
        value_(TotalRows() * key_size()),
        out_(TotalRows() * query_size()),
        store_(NumBlocks() * layout_.block_bytes()) {
    std::mt19937 random(1);
    for (GuardedRows<float>* x : {&query_, &key_, &value_}) x->Fill(random, 2.0f);
    std::vector<int32_t> blocks(NumBlocks());
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    for (const Sequence& sequence : kSequences) {
      const int32_t count = BlocksOf(sequence);
      blocks_.emplace_back(blocks.end() - count, blocks.end());
      blocks.resize(blocks.size() - count);
    }
    std::memset(store_.data(), 0xff, store_.size());
    std::fill(out_.span().begin(), out_.span().end(), std::nanf(""));
  }

  int64_t query_size() const { return int64_t{shape_.num_heads} * shape_.head_dim; }
  int64_t key_size() const { return int64_t{shape_.num_kv_heads} * shape_.head_dim; }

  // Row `position` of sequence i.
  int64_t RowOf(size_t i, int64_t position) const {
    int64_t row = position;
    for (size_t before = 0; before < i; ++before) row += kSequences[before].context;
    return row;
  }
  AttentionSpan SpanOf(size_t i, int32_t begin, int32_t end) const {
    return {.first_row = static_cast<int32_t>(RowOf(i, begin)),
            .num_rows = end - begin,
            .start = begin,
            .blocks = blocks_[i].data()};
  }
  // Everything before the queries: stored, not asked.
  std::vector<AttentionSpan> Prefixes() const {
    std::vector<AttentionSpan> spans;
    for (size_t i = 0; i < std::size(kSequences); ++i) {
      spans.push_back(SpanOf(i, 0, kSequences[i].context - kSequences[i].num_queries));
    }
    return spans;
  }
  std::vector<AttentionSpan> Queries() const {
    std::vector<AttentionSpan> spans;
    for (size_t i = 0; i < std::size(kSequences); ++i) {
      const Sequence& sequence = kSequences[i];
      spans.push_back(SpanOf(i, sequence.context - sequence.num_queries, sequence.context));
    }
    return spans;
  }

  void Store(Isa isa, WorkerPool& pool, std::span<const AttentionSpan> spans) {
    RotateAndStore(isa,
                   pool,
                   {.layout = layout_,
                    .store = store_.data(),
                    .spans = spans,
                    .num_heads = shape_.num_heads,
                    .query = query_.data(),
                    .query_stride = query_size(),
                    .key = key_.data(),
                    .key_stride = key_size(),
                    .value = value_.data(),
                    .value_stride = key_size(),
                    .rotary = rotary_.table()});
  }
  void Attend(Isa isa,
              WorkerPool& pool,
              std::span<const AttentionSpan> spans,
              AlignedBuffer& scratch,
              bool causal = true) {
    kernels::Attend(isa,
                    pool,
                    {.layout = layout_,
                     .num_heads = shape_.num_heads,
                     .causal = causal,
                     .store = store_.data(),
                     .spans = spans,
                     .query = query_.data(),
                     .query_stride = query_size(),
                     .out = out_.data(),
                     .out_stride = query_size()},
                    scratch);
  }

  // Rows that were asked, side by side.
  std::vector<float> Outputs() {
    std::vector<float> outputs;
    for (const AttentionSpan& span : Queries()) {
      const float* begin = out_.data() + span.first_row * query_size();
      outputs.insert(outputs.end(), begin, begin + span.num_rows * query_size());
    }
    return outputs;
  }
  // The same by the definition, from queries, keys and values before any Store.
  std::vector<double> Expected(bool causal) {
    std::vector<double> outputs;
    for (size_t i = 0; i < std::size(kSequences); ++i) {
      const Sequence& sequence = kSequences[i];
      const std::vector<float> keys = Stored(i, key_, /*rotate=*/true);
      const std::vector<float> values = Stored(i, value_, /*rotate=*/false);
      for (int32_t p = sequence.context - sequence.num_queries; p < sequence.context; ++p) {
        const int32_t visible = causal ? p + 1 : sequence.context;
        for (int32_t head = 0; head < shape_.num_heads; ++head) {
          const float* query = query_.data() + RowOf(i, p) * query_size() + head * shape_.head_dim;
          AppendHead(Rotated(query, p), keys, values, visible, head, outputs);
        }
      }
    }
    return outputs;
  }

 private:
  int32_t BlocksOf(const Sequence& sequence) const {
    return (sequence.context + shape_.block_size - 1) / shape_.block_size;
  }
  int64_t NumBlocks() const {
    int64_t count = 1;
    for (const Sequence& sequence : kSequences) count += BlocksOf(sequence);
    return count;
  }
  static int64_t TotalRows() {
    int64_t rows = 0;
    for (const Sequence& sequence : kSequences) rows += sequence.context;
    return rows;
  }

  std::vector<float> Rotated(const float* x, int64_t position) const {
    const int32_t half = shape_.head_dim / 2;
    std::vector<float> out(shape_.head_dim);
    for (int32_t i = 0; i < half; ++i) {
      const float cos = rotary_.cos[position * half + i], sin = rotary_.sin[position * half + i];
      out[i] = x[i] * cos - x[half + i] * sin;
      out[half + i] = x[half + i] * cos + x[i] * sin;
    }
    return out;
  }
  // What is left of a head after it was stored.
  void Round(std::vector<float>& x) const {
    float scale = 0.0f;
    for (const float value : x) scale = std::max(scale, std::abs(value) / 127.0f);
    for (float& value : x) {
      if (layout_.format == KvFormat::kInt8) value = std::nearbyint(value / scale) * scale;
      if (layout_.format != KvFormat::kBFloat16) continue;
      int exponent = 0;
      const float mantissa = std::frexp(value, &exponent);
      value = std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
    }
  }
  // A sequence's keys or values as the store has them, [context][kv_heads][head_dim].
  std::vector<float> Stored(size_t sequence, GuardedRows<float>& x, bool rotate) const {
    std::vector<float> rows;
    for (int32_t p = 0; p < kSequences[sequence].context; ++p) {
      for (int32_t head = 0; head < shape_.num_kv_heads; ++head) {
        const float* from = x.data() + RowOf(sequence, p) * key_size() + head * shape_.head_dim;
        std::vector<float> row =
            rotate ? Rotated(from, p) : std::vector<float>(from, from + shape_.head_dim);
        Round(row);
        rows.insert(rows.end(), row.begin(), row.end());
      }
    }
    return rows;
  }
  void AppendHead(const std::vector<float>& query,
                  const std::vector<float>& keys,
                  const std::vector<float>& values,
                  int32_t visible,
                  int32_t head,
                  std::vector<double>& out) const {
    const int64_t d = shape_.head_dim;
    const int64_t kv_head = head / (shape_.num_heads / shape_.num_kv_heads);
    double total = 0.0;
    std::vector<double> sums(d, 0.0);
    for (int64_t p = 0; p < visible; ++p) {
      const int64_t offset = p * key_size() + kv_head * d;
      double score = 0.0;
      for (int64_t i = 0; i < d; ++i) score += double{query[i]} * keys[offset + i];
      const double weight = std::exp(score / std::sqrt(static_cast<double>(d)));
      total += weight;
      for (int64_t i = 0; i < d; ++i) sums[i] += weight * values[offset + i];
    }
    for (const double sum : sums) out.push_back(sum / total);
  }

  const Shape shape_;
  const KvLayout layout_;
  const RotaryValues rotary_;
  GuardedRows<float> query_, key_, value_, out_;
  GuardedRows<std::byte> store_;
  std::vector<std::vector<int32_t>> blocks_;  // of each sequence
};

std::string Describe(const Shape& shape, KvFormat format, Isa isa) {
  return std::string(IsaName(isa)) + ", " + std::to_string(shape.num_heads) + "/" +
         std::to_string(shape.num_kv_heads) + " heads of " + std::to_string(shape.head_dim) +
         ", blocks of " + std::to_string(shape.block_size) + ", format " +
         std::to_string(static_cast<int>(format));
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> AllAtOnce(const Shape& shape, KvFormat format, Isa isa, bool causal = true) {
  WorkerPool pool(2);
  AlignedBuffer scratch;
  Rows rows(shape, format);
  rows.Store(isa, pool, rows.Prefixes());
  rows.Store(isa, pool, rows.Queries());
  rows.Attend(isa, pool, rows.Queries(), scratch, causal);
  return rows.Outputs();
}

// Each sequence by itself, one thread.
std::vector<float> OneByOne(const Shape& shape, KvFormat format, Isa isa) {
  WorkerPool pool(1);
  AlignedBuffer scratch;
  Rows rows(shape, format);
  rows.Store(isa, pool, rows.Prefixes());
  for (const AttentionSpan& span : rows.Queries()) {
    rows.Store(isa, pool, {&span, 1});
    rows.Attend(isa, pool, {&span, 1}, scratch);
  }
  return rows.Outputs();
}

// Steps in which each sequence moves on by its own number of rows.
std::vector<float> InChunks(const Shape& shape, KvFormat format, Isa isa) {
  WorkerPool pool(2);
  AlignedBuffer scratch;
  Rows rows(shape, format);
  rows.Store(isa, pool, rows.Prefixes());
  std::vector<AttentionSpan> left = rows.Queries();
  std::mt19937 random(3);
  while (!left.empty()) {
    std::vector<AttentionSpan> step;
    for (AttentionSpan& span : left) {
      AttentionSpan part = span;
      part.num_rows = std::min<int32_t>(span.num_rows, random() % 3 == 0 ? 1 + random() % 20 : 1);
      step.push_back(part);
      span.first_row += part.num_rows;
      span.start += part.num_rows;
      span.num_rows -= part.num_rows;
    }
    rows.Store(isa, pool, step);
    rows.Attend(isa, pool, step, scratch);
    std::erase_if(left, [](const AttentionSpan& span) { return span.num_rows == 0; });
  }
  return rows.Outputs();
}

void ExpectNear(const std::vector<float>& values, const std::vector<double>& expected) {
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], expected[i], 2e-5) << i;
}

TEST(AttentionTest, IsASoftmaxOverTheKeysThatARowSees) {
  for (const Shape& shape : kShapes) {
    for (const KvFormat format : kFormats) {
      const std::vector<double> expected = Rows(shape, format).Expected(/*causal=*/true);
      for (const Isa isa : AllIsas()) {
        SCOPED_TRACE(Describe(shape, format, isa));
        ASSERT_NO_FATAL_FAILURE(ExpectNear(AllAtOnce(shape, format, isa), expected));
      }
    }
  }
}

TEST(AttentionTest, WithoutCausalityEachRowSeesItsWholeSequence) {
  const Shape& shape = kShapes[0];
  const std::vector<double> expected = Rows(shape, KvFormat::kFloat32).Expected(/*causal=*/false);
  for (const Isa isa : AllIsas()) {
    SCOPED_TRACE(IsaName(isa));
    ASSERT_NO_FATAL_FAILURE(
        ExpectNear(AllAtOnce(shape, KvFormat::kFloat32, isa, /*causal=*/false), expected));
  }
}

TEST(AttentionTest, ARowHasTheSameBitsAloneInABatchInChunksAndWithMoreThreads) {
  for (size_t i = 0; i < std::size(kShapes); ++i) {
    const KvFormat format = kFormats[i % std::size(kFormats)];
    for (const Isa isa : AllIsas()) {
      SCOPED_TRACE(Describe(kShapes[i], format, isa));
      const std::vector<float> alone = OneByOne(kShapes[i], format, isa);
      EXPECT_TRUE(SameBits(alone, AllAtOnce(kShapes[i], format, isa)));
      EXPECT_TRUE(SameBits(alone, InChunks(kShapes[i], format, isa)));
    }
  }
}

TEST(AttentionTest, EmulatedInstructionsGiveTheBitsOfRealOnes) {
  const std::vector<Isa> native = NativeIsas();
  for (const Isa isa : native) {
    const Isa emulated = EmulatedOf(isa);
    for (size_t i = 0; i < std::size(kShapes); ++i) {
      const KvFormat format = kFormats[i % std::size(kFormats)];
      EXPECT_TRUE(
          SameBits(AllAtOnce(kShapes[i], format, isa), AllAtOnce(kShapes[i], format, emulated)))
          << Describe(kShapes[i], format, isa);
    }
  }
}

TEST(AttentionTest, ASteadyStepNeedsNoMoreMemory) {
  WorkerPool pool(2);
  AlignedBuffer scratch;
  Rows rows(kShapes[1], KvFormat::kBFloat16);
  rows.Store(Isa::kEmulatedAvx2, pool, rows.Prefixes());
  rows.Store(Isa::kEmulatedAvx2, pool, rows.Queries());
  rows.Attend(Isa::kEmulatedAvx2, pool, rows.Queries(), scratch);
  const std::byte* const memory = scratch.as<std::byte>();
  rows.Attend(Isa::kEmulatedAvx2, pool, rows.Queries(), scratch);
  EXPECT_EQ(scratch.as<std::byte>(), memory);
}

TEST(AttentionTest, PartsOfAHeadBeginAtCacheLines) {
  for (const Shape& shape : kShapes) {
    for (const KvFormat format : kFormats) {
      const KvLayout layout = {.num_kv_heads = shape.num_kv_heads,
                               .head_dim = shape.head_dim,
                               .block_size = shape.block_size,
                               .format = format};
      EXPECT_EQ(layout.values_offset() % 64, 0);
      EXPECT_EQ(layout.scales_offset() % 64, 0);
      EXPECT_EQ(layout.head_bytes() % 64, 0);
      EXPECT_EQ(layout.block_bytes(), shape.num_kv_heads * layout.head_bytes());
    }
  }
}

TEST(AttentionTest, RotationTurnsPairsByThePosition) {
  const RotaryValues values = MakeRotaryValues(kTheta, /*head_dim=*/8, /*num_positions=*/100);
  for (int position = 0; position < 100; ++position) {
    for (int i = 0; i < 4; ++i) {
      const double angle = position / std::pow(kTheta, i / 4.0);
      EXPECT_NEAR(values.cos[position * 4 + i], std::cos(angle), 2e-5);
      EXPECT_NEAR(values.sin[position * 4 + i], std::sin(angle), 2e-5);
    }
  }
}

}  // namespace
}  // namespace parrot::kernels
