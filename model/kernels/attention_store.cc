// Rotary embedding and the writing of keys and values: little work beside attention itself, so
// plain C++ for all instruction sets.
#include <emmintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/kernels/attention.h"

namespace parrot::kernels {
namespace {

// Rows of keys in a row of memory are neighbours: what one task writes.
constexpr int64_t kRowsPerTask = 16;

// A head of a row, rotated if it has tables: x * cos + rotate_half(x) * sin.
struct Rotated {
  const float* x = nullptr;
  const float* cos = nullptr;
  const float* sin = nullptr;
  int32_t half = 0;

  float operator[](int32_t d) const {
    if (cos == nullptr) return x[d];
    return d < half ? x[d] * cos[d] - x[d + half] * sin[d]
                    : x[d] * cos[d - half] + x[d - half] * sin[d - half];
  }
};

void RotateInPlace(float* x, const Rotated& rotary) {
  for (int32_t i = 0; i < rotary.half; ++i) {
    const float low = x[i], high = x[i + rotary.half];
    x[i] = low * rotary.cos[i] - high * rotary.sin[i];
    x[i + rotary.half] = high * rotary.cos[i] + low * rotary.sin[i];
  }
}

struct ToFloat32 {
  using Element = float;
  float operator()(float x) const { return x; }
};

// To nearest, halves to even.
struct ToBFloat16 {
  using Element = uint16_t;
  uint16_t operator()(float x) const {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
};

struct ToInt8 {
  using Element = int8_t;
  float scale;  // > 0 or NaN
  int8_t operator()(float x) const {
    return static_cast<int8_t>(_mm_cvtss_si32(_mm_set_ss(x / scale)));
  }
};

// out[d * stride] = convert(x[d]), d < size
template <typename Convert>
void Write(const Rotated& x, int32_t size, const Convert& convert, int64_t stride, std::byte* out) {
  auto* elements = reinterpret_cast<typename Convert::Element*>(out);
  for (int32_t d = 0; d < size; ++d) elements[d * stride] = convert(x[d]);
}

// max |x| / 127; 1 for zeros. NaN if there is one.
float ScaleOf(const Rotated& x, int32_t size) {
  float largest = 0.0f;
  for (int32_t d = 0; d < size; ++d) {
    const float magnitude = std::abs(x[d]);
    if (magnitude > largest || std::isnan(magnitude)) largest = magnitude;
  }
  return largest == 0.0f ? 1.0f : largest / 127.0f;
}

// `element`: of the first one, counted in elements from the beginning of `out`.
void WriteHead(const Rotated& x,
               const KvLayout& layout,
               int64_t element,
               int64_t stride,
               std::byte* out,
               float* scale) {
  const int32_t size = layout.head_dim;
  switch (layout.format) {
    case KvFormat::kFloat32:
      return Write(x, size, ToFloat32{}, stride, out + element * sizeof(float));
    case KvFormat::kBFloat16:
      return Write(x, size, ToBFloat16{}, stride, out + element * sizeof(uint16_t));
    case KvFormat::kInt8:
      *scale = ScaleOf(x, size);
      return Write(x, size, ToInt8{*scale}, stride, out + element);
  }
}

void StoreRow(const KvWrite& write, const AttentionSpan& span, int64_t index) {
  const KvLayout& layout = write.layout;
  const int64_t row = span.first_row + index, position = span.start + index;
  const int32_t half = layout.head_dim / 2;
  Rotated rotary = {};
  if (write.rotary.cos != nullptr) {
    rotary = {.cos = write.rotary.cos + position * half,
              .sin = write.rotary.sin + position * half,
              .half = half};
    for (int32_t head = 0; head < write.num_heads; ++head) {
      RotateInPlace(write.query + row * write.query_stride + head * layout.head_dim, rotary);
    }
  }
  const int64_t lane = position % layout.block_size;
  std::byte* block = write.store + span.blocks[position / layout.block_size] * layout.block_bytes();
  for (int32_t head = 0; head < layout.num_kv_heads; ++head) {
    std::byte* keys = block + head * layout.head_bytes();
    std::byte* values = keys + layout.values_offset();
    float* scales = reinterpret_cast<float*>(keys + layout.scales_offset());
    rotary.x = write.key + row * write.key_stride + head * layout.head_dim;
    WriteHead(rotary, layout, lane, layout.key_lanes(), keys, scales + lane);
    const Rotated value = {.x = write.value + row * write.value_stride + head * layout.head_dim};
    WriteHead(
        value, layout, lane * layout.value_lanes(), 1, values, scales + layout.key_lanes() + lane);
  }
}

}  // namespace

RotaryValues MakeRotaryValues(float theta, int32_t head_dim, int32_t num_positions) {
  const int32_t half = head_dim / 2;
  RotaryValues values;
  values.cos.resize(static_cast<size_t>(num_positions) * half);
  values.sin.resize(values.cos.size());
  for (int32_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const float inverse = 1.0f / std::pow(theta, exponent);
    for (int32_t position = 0; position < num_positions; ++position) {
      const float angle = static_cast<float>(position) * inverse;
      values.cos[static_cast<size_t>(position) * half + i] = std::cos(angle);
      values.sin[static_cast<size_t>(position) * half + i] = std::sin(angle);
    }
  }
  return values;
}

void RotateAndStore(Isa /*all round alike*/, WorkerPool& pool, const KvWrite& write) {
  int64_t total_rows = 0;
  for (const AttentionSpan& span : write.spans) total_rows += span.num_rows;
  pool.Run((total_rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    // Rows [begin, + kRowsPerTask) of all spans' rows side by side.
    int64_t begin = task * kRowsPerTask;
    int64_t left = kRowsPerTask;
    for (const AttentionSpan& span : write.spans) {
      const int64_t end = std::min<int64_t>(span.num_rows, begin + left);
      for (int64_t row = begin; row < end; ++row) StoreRow(write, span, row);
      left -= std::max<int64_t>(0, end - begin);
      if (left == 0) return;
      begin = std::max<int64_t>(0, begin - span.num_rows);
    }
  });
}

}  // namespace parrot::kernels
