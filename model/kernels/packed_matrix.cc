#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "model/kernels/gemm.h"
#include "model/kernels/gemm_kernels.h"

namespace parrot::kernels {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

uint32_t BFloat16Bits(float x) {
  if (std::isnan(x)) return 0x7fc0;
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

float FromBFloat16(uint32_t bits) { return std::bit_cast<float>(bits << 16); }

float FromFloat16(uint32_t half) {
  // The exponent's bias differs by 112; that also makes normal numbers of those that are not.
  const float magnitude = std::bit_cast<float>((half & 0x7fff) << 13) * 0x1p112f;
  const uint32_t infinite = (half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | infinite |
                              (half & 0x8000) << 16);
}

// values[0, n) as floats.
void Widen(const void* values, SourceType type, int64_t first, int64_t n, float* out) {
  const auto widen = [&](const uint16_t* from, float (*convert)(uint32_t)) {
    for (int64_t i = 0; i < n; ++i) out[i] = convert(from[first + i]);
  };
  switch (type) {
    case SourceType::kFloat32:
      std::memcpy(out, static_cast<const float*>(values) + first, n * sizeof(float));
      return;
    case SourceType::kBFloat16:
      return widen(static_cast<const uint16_t*>(values), FromBFloat16);
    case SourceType::kFloat16:
      return widen(static_cast<const uint16_t*>(values), FromFloat16);
  }
}

// The nearest integer, halves to even, for |x| < 2^22.
float Nearest(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

// The nearest integer in [low, high]; low for NaN.
int NearestIn(float x, int low, int high) {
  const float bounded = std::min(static_cast<float>(high), std::max(static_cast<float>(low), x));
  return static_cast<int>(Nearest(bounded));
}

// Where an output feature's weights are.
class Column {
 public:
  Column(const MatrixView& view, int64_t out) : view_(view) {
    int64_t panel = 0;
    if (view.order == PanelOrder::kGateUp) {
      vector_ = out / view.columns;
      panel = out % view.columns / view.lanes;
      lane_ = out % view.columns % view.lanes;
    } else {
      panel = out / (2 * view.lanes);
      vector_ = out / view.lanes % 2;
      lane_ = out % view.lanes;
    }
    panel_ = panel * view.panel_bytes;
  }

  int64_t vector() const { return vector_; }
  // What the second vector's int4 weights are multiplied by in the products.
  float lift() const { return vector_ == 0 || view_.pairs ? 1.0f : 16.0f; }

  // Bytes from the matrix's start: of input feature k's weight (int4: of the byte that has it), and
  // of the scale of k's group.
  int64_t WeightAt(int64_t k) const {
    const int64_t in = k % view_.group, lanes = view_.lanes;
    const int64_t weights = ScalesAt(k) + view_.scale_bytes;
    if (view_.pairs) return weights + InPairs(in);
    switch (view_.format) {
      case WeightFormat::kFloat32:
        return weights + 4 * ((2 * in + vector_) * lanes + lane_);
      case WeightFormat::kBFloat16:
        return weights + 4 * (in * lanes + lane_) + 2 * vector_;
      case WeightFormat::kInt8:
        return weights + (2 * in + vector_) * lanes + lane_;
      case WeightFormat::kInt4:
        return weights + 4 * (in / kStep * lanes + lane_) + in % kStep;
    }
    return 0;
  }
  int64_t ScaleAt(int64_t k) const { return ScalesAt(k) + 4 * (vector_ * view_.lanes + lane_); }

 private:
  int64_t InPairs(int64_t in) const {
    const int64_t pair = in / 2 * 2 * view_.lanes;  // weights of a vector before this pair
    switch (view_.format) {
      case WeightFormat::kFloat32:
        break;  // never in pairs
      case WeightFormat::kBFloat16:
        return 2 * (2 * pair + 2 * (vector_ * view_.lanes + lane_) + in % 2);
      case WeightFormat::kInt8:
        return 2 * pair + 2 * (vector_ * view_.lanes + lane_) + in % 2;
      case WeightFormat::kInt4:
        return 4 * (in / kStep * view_.lanes + lane_) + 2 * (in % 2) + in % kStep / 2;
    }
    return 0;
  }
  int64_t ScalesAt(int64_t k) const { return panel_ + k / view_.group * view_.group_bytes; }

  const MatrixView& view_;
  int64_t vector_ = 0, lane_ = 0, panel_ = 0;
};

template <typename T>
T Get(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <typename T>
void Put(T value, std::byte* to) {
  std::memcpy(to, &value, sizeof(value));
}

struct Int4Scale {
  float scale = 0.0f;
  float zero = 0.0f;

  uint32_t Pack(float lift) const {
    return BFloat16Bits(zero * lift) | BFloat16Bits(scale / lift) << 16;
  }
  static Int4Scale Unpack(uint32_t word, float lift) {
    return {.scale = FromBFloat16(word >> 16) * lift, .zero = FromBFloat16(word & 0xffff) / lift};
  }
};

// 0 is among the values. The scale is one that can be stored.
Int4Scale Int4ScaleOf(const float* w, int64_t n) {
  float low = 0.0f, high = 0.0f;
  for (int64_t k = 0; k < n; ++k) {
    low = std::min(low, w[k]);
    high = std::max(high, w[k]);
  }
  const float scale = FromBFloat16(BFloat16Bits((high - low) / 15.0f));
  if (!(scale > 0.0f)) return {};
  return {.scale = scale, .zero = static_cast<float>(NearestIn(-low / scale, 0, 15))};
}

float MaxAbs(const float* w, int64_t n) {
  float most = 0.0f;
  for (int64_t k = 0; k < n; ++k) most = std::max(most, std::abs(w[k]));
  return most;
}

float Inverse(float scale) { return scale > 0.0f ? 1.0f / scale : 0.0f; }

// Weights of input features [first, first + n) of a column, all of one group.
void Store(const MatrixView& view,
           const Column& column,
           int64_t first,
           const float* w,
           int64_t n,
           std::byte* data) {
  const auto at = [&](int64_t k) { return data + column.WeightAt(first + k); };
  switch (view.format) {
    case WeightFormat::kFloat32:
      for (int64_t k = 0; k < n; ++k) Put(w[k], at(k));
      return;
    case WeightFormat::kBFloat16:
      for (int64_t k = 0; k < n; ++k) Put(static_cast<uint16_t>(BFloat16Bits(w[k])), at(k));
      return;
    case WeightFormat::kInt8: {
      const float inverse = Inverse(Get<float>(data + column.ScaleAt(first)));
      for (int64_t k = 0; k < n; ++k) {
        Put(static_cast<int8_t>(NearestIn(w[k] * inverse, -127, 127)), at(k));
      }
      return;
    }
    case WeightFormat::kInt4: {
      const auto [scale, zero] =
          Int4Scale::Unpack(Get<uint32_t>(data + column.ScaleAt(first)), column.lift());
      const float inverse = Inverse(scale);
      for (int64_t k = 0; k < n; ++k) {
        const int q = NearestIn(w[k] * inverse + zero, 0, 15);
        *at(k) |= static_cast<std::byte>(q << 4 * column.vector());
      }
      return;
    }
  }
}

}  // namespace

MatrixView::MatrixView(const PackedMatrix& matrix) {
  const MatrixShape& shape = matrix.shape();
  pairs = matrix.activations() == Activations::kBFloat16;
  lanes = GemmKernelsOf(matrix.isa(), matrix.activations()).lanes;
  const int64_t padded_in = RoundUp(shape.in_features, kStep);
  data = matrix.data_.as<std::byte>();
  format = shape.encoding.format;
  order = shape.order;
  grouped = shape.encoding.group_size != 0;
  group = grouped ? shape.encoding.group_size : padded_in;
  const bool scaled = format == WeightFormat::kInt8 || format == WeightFormat::kInt4;
  scale_bytes = scaled ? 8 * lanes : 0;
  step_bytes = kStep * lanes * (8 >> static_cast<int>(format));  // each format has half the bits
  group_bytes = scale_bytes + group / kStep * step_bytes;
  const int64_t groups = grouped ? (padded_in + group - 1) / group : 1;
  panel_bytes = groups * scale_bytes + padded_in / kStep * step_bytes;
  columns = order == PanelOrder::kGateUp ? shape.out_features / 2 : shape.out_features;
  const int64_t width = order == PanelOrder::kGateUp ? lanes : 2 * lanes;
  panels = (columns + width - 1) / width;
}

PackedMatrix::PackedMatrix(const MatrixShape& shape, Isa isa)
    : PackedMatrix(shape, isa, AlignedBuffer(BytesOf(shape, isa))) {}

PackedMatrix::PackedMatrix(const MatrixShape& shape, Isa isa, AlignedBuffer memory)
    : shape_(shape), isa_(isa), data_(std::move(memory)) {}

int64_t PackedMatrix::BytesOf(const MatrixShape& shape, Isa isa) {
  const PackedMatrix empty(shape, isa, AlignedBuffer());
  const MatrixView view(empty);
  return view.panels * view.panel_bytes;
}

void PackedMatrix::Add(const void* values,
                       SourceType type,
                       int64_t stride,
                       int64_t first_out,
                       int64_t num_out,
                       int64_t first_in,
                       int64_t num_in) {
  // Some input features of all rows, then the next ones: what is written together is near.
  constexpr int64_t kPiece = 128;  // a multiple of all group sizes
  const MatrixView view(*this);
  std::byte* data = data_.as<std::byte>();
  std::array<float, kPiece> w;
  const auto for_pieces = [&](const auto& visit) {
    for (int64_t k = 0; k < num_in; k += kPiece) {
      const int64_t n = std::min(kPiece, num_in - k);
      for (int64_t i = 0; i < num_out; ++i) {
        Widen(values, type, i * stride + k, n, w.data());
        visit(Column(view, first_out + i), first_in + k, n);
      }
    }
  };
  const WeightFormat format = shape_.encoding.format;
  if (format == WeightFormat::kInt8 && !view.grouped) {
    for_pieces([&](const Column& column, int64_t, int64_t n) {
      std::byte* scale = data + column.ScaleAt(0);
      Put(std::max(Get<float>(scale), MaxAbs(w.data(), n) / 127.0f), scale);
    });
  }
  for_pieces([&](const Column& column, int64_t first, int64_t n) {
    const int64_t step = view.grouped ? view.group : n;
    for (int64_t k = 0; k < n; k += step) {
      const int64_t count = std::min(step, n - k);
      std::byte* scale = data + column.ScaleAt(first + k);
      if (format == WeightFormat::kInt4) {
        Put(Int4ScaleOf(w.data() + k, count).Pack(column.lift()), scale);
      } else if (view.grouped) {
        Put(MaxAbs(w.data() + k, count) / 127.0f, scale);
      }
      Store(view, column, first + k, w.data() + k, count, data);
    }
  });
}

void PackedMatrix::ReadRow(int64_t out, float* row) const {
  const MatrixView view(*this);
  const Column column(view, out);
  // Tiles multiply by weights of groups as bfloat16.
  const bool rounds = view.grouped && (isa_ == Isa::kAmx || isa_ == Isa::kEmulatedAmx);
  for (int64_t k = 0; k < shape_.in_features; ++k) {
    const std::byte* at = view.data + column.WeightAt(k);
    const std::byte* scale = view.data + column.ScaleAt(k);
    switch (shape_.encoding.format) {
      case WeightFormat::kFloat32:
        row[k] = Get<float>(at);
        break;
      case WeightFormat::kBFloat16:
        row[k] = FromBFloat16(Get<uint16_t>(at));
        break;
      case WeightFormat::kInt8:
        row[k] = Get<float>(scale) * static_cast<float>(Get<int8_t>(at));
        break;
      case WeightFormat::kInt4: {
        const auto [unit, zero] = Int4Scale::Unpack(Get<uint32_t>(scale), column.lift());
        const uint8_t byte = Get<uint8_t>(at);
        row[k] = unit * (static_cast<float>(column.vector() == 0 ? byte & 15 : byte >> 4) - zero);
        break;
      }
    }
    if (rounds) row[k] = FromBFloat16(BFloat16Bits(row[k]));
  }
}

}  // namespace parrot::kernels
