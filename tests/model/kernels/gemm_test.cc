#include "model/kernels/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/aligned_buffer.h"
#include "model/kernels/gemm_kernels.h"
#include "tests/model/kernels/guarded_rows.h"

namespace parrot::kernels {
namespace {

struct Format {
  const char* name;
  WeightEncoding encoding;
};
constexpr Format kFormats[] = {{"fp32", {WeightFormat::kFloat32}},
                               {"bf16", {WeightFormat::kBFloat16}},
                               {"int8", {WeightFormat::kInt8}},
                               {"int8 g32", {WeightFormat::kInt8, 32}},
                               {"int8 g128", {WeightFormat::kInt8, 128}},
                               {"int4 g32", {WeightFormat::kInt4, 32}},
                               {"int4 g128", {WeightFormat::kInt4, 128}}};

std::vector<float> Random(int64_t size, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<float> values(size);
  for (float& value : values) value = static_cast<float>(engine() % 2001) / 1000.0f - 1.0f;
  return values;
}

struct Guarded : GuardedRows<float> {
  explicit Guarded(const std::vector<float>& values) : GuardedRows(values.size()) {
    std::copy(values.begin(), values.end(), data());
  }
  std::vector<float> values() { return {data(), data() + size()}; }
};

PackedMatrix Pack(const MatrixShape& shape, Isa isa, const std::vector<float>& w) {
  PackedMatrix matrix(shape, isa);
  Guarded values(w);
  matrix.Add(values.data(),
             SourceType::kFloat32,
             shape.in_features,
             0,
             shape.out_features,
             0,
             shape.in_features);
  return matrix;
}

PackedMatrix RandomMatrix(int64_t out,
                          int64_t in,
                          WeightEncoding encoding,
                          Isa isa,
                          PanelOrder order = PanelOrder::kPlain) {
  return Pack({out, in, encoding, order}, isa, Random(out * in, 7));
}

std::vector<float> Product(WorkerPool& pool,
                           Isa isa,
                           const std::vector<float>& x,
                           int64_t rows,
                           const PackedMatrix& w,
                           Epilogue epilogue = {}) {
  const MatrixShape& shape = w.shape();
  const int64_t columns = shape.out_features / (shape.order == PanelOrder::kGateUp ? 2 : 1);
  Guarded in(x), out(std::vector<float>(rows * columns, -77.0f));
  PackedRows a(isa);
  a.Pack(pool,
         rows,
         shape.in_features,
         w.activations(),
         {.x = in.data(), .stride = shape.in_features});
  epilogue.out = out.data();
  epilogue.out_stride = columns;
  const GemmPart part = {.weights = &w, .epilogue = epilogue};
  GemmScratch scratch;
  Gemm(pool, a, {&part, 1}, scratch);
  return out.values();
}

float RoundedToBFloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

std::vector<float> Rounded(std::vector<float> x, Activations activations) {
  if (activations == Activations::kFloat32) return x;
  for (float& value : x) value = RoundedToBFloat16(value);
  return x;
}

// x W^T in double, from the weights and activations as the products see them.
std::vector<double> Reference(const std::vector<float>& given,
                              int64_t rows,
                              const PackedMatrix& w) {
  const std::vector<float> x = Rounded(given, w.activations());
  const int64_t in = w.shape().in_features, out = w.shape().out_features;
  std::vector<double> y(rows * out);
  std::vector<float> row(in);
  for (int64_t n = 0; n < out; ++n) {
    w.ReadRow(n, row.data());
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t k = 0; k < in; ++k) y[m * out + n] += double{x[m * in + k]} * row[k];
    }
  }
  return y;
}

void ExpectNear(const std::vector<float>& got, const std::vector<double>& want, double error) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], error) << "at " << i;
}

void ForAll(const std::function<void(Isa, const Format&)>& test) {
  for (const Isa isa : AllIsas()) {
    for (const Format& format : kFormats) {
      SCOPED_TRACE(std::string(IsaName(isa)) + ", " + format.name);
      test(isa, format);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(GemmTest, IsNearThePlainLoopForOddShapes) {
  struct Shape {
    int64_t rows, in, out;
  };
  WorkerPool pool(2);
  ForAll([&](Isa isa, const Format& format) {
    for (const auto [rows, in, out] : {Shape{1, 1, 1},
                                       Shape{1, 31, 135},
                                       Shape{2, 64, 33},
                                       Shape{3, 130, 17},
                                       Shape{5, 33, 40},
                                       Shape{7, 259, 9},
                                       Shape{13, 45, 50}}) {
      const PackedMatrix w = RandomMatrix(out, in, format.encoding, isa);
      const std::vector<float> x = Random(rows * in, 3);
      ExpectNear(Product(pool, isa, x, rows, w), Reference(x, rows, w), 2e-5);
    }
  });
}

// One row, a row among many (in blocks of all sizes), several spans of input features; one thread
// and three.
TEST(GemmTest, ARowIsTheSameToTheLastBitWhateverItsCompany) {
  constexpr int64_t kIn = 521, kOut = 75;
  WorkerPool one(1), three(3);
  ForAll([&](Isa isa, const Format& format) {
    const bool slow = IsEmulated(isa);
    const PackedMatrix w = RandomMatrix(kOut, kIn, format.encoding, isa);
    const int64_t most = slow ? 14 : 401;
    const std::vector<float> x = Random(most * kIn, 5);
    const std::vector<float> all = Product(three, isa, x, most, w);
    std::vector<int64_t> counts = {1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 16, 25, 37};
    if (slow) counts = {1, 3, 5};
    for (const int64_t rows : counts) {
      const std::vector<float> some(x.end() - rows * kIn, x.end());
      const std::vector<float> want(all.end() - rows * kOut, all.end());
      ASSERT_EQ(Product(one, isa, some, rows, w), want) << rows << " rows";
    }
  });
}

TEST(GemmTest, EmulatedIsTheHardwareToTheLastBit) {
  WorkerPool pool(2);
  for (const Isa isa : NativeIsas()) {
    for (const Format& format : kFormats) {
      SCOPED_TRACE(std::string(IsaName(isa)) + ", " + format.name);
      for (const GemmActivation activation : {GemmActivation::kGelu, GemmActivation::kQuickGelu}) {
        const std::vector<float> x = Random(5 * 77, 1);
        const Epilogue epilogue = {.activation = activation};
        const auto product = [&](Isa on) {
          const PackedMatrix w = RandomMatrix(45, 77, format.encoding, on);
          return Product(pool, on, x, 5, w, epilogue);
        };
        ASSERT_EQ(product(isa), product(EmulatedOf(isa)));
      }
    }
  }
}

// Products, sums and operands that are too small to be normal, beside large ones: each instruction
// has rules of its own for them.
TEST(GemmTest, EmulatedIsTheHardwareWhereNumbersAreTiny) {
  constexpr int64_t kRows = 4, kIn = 38, kOut = 40;
  WorkerPool pool(1);
  const auto tiny = [](int64_t size, int largest_exponent, uint32_t seed) {
    std::vector<float> values = Random(size, seed);
    std::mt19937 engine(seed);
    for (float& value : values) {
      value = std::ldexp(value, largest_exponent - static_cast<int>(engine() % 16));
    }
    return values;
  };
  for (const int exponent : {-118, -62, -55, -40}) {
    const std::vector<float> x = tiny(kRows * kIn, exponent, 1);
    const std::vector<float> w = tiny(kOut * kIn, exponent == -118 ? 2 : exponent, 2);
    for (const Isa isa : NativeIsas()) {
      for (const WeightFormat format : {WeightFormat::kFloat32, WeightFormat::kBFloat16}) {
        SCOPED_TRACE(std::string(IsaName(isa)) + " " + std::to_string(exponent));
        const auto product = [&](Isa on) {
          return Product(pool, on, x, kRows, Pack({kOut, kIn, {format}}, on, w));
        };
        ASSERT_EQ(product(isa), product(EmulatedOf(isa)));
      }
    }
  }
}

double Activate(GemmActivation activation, double y) {
  switch (activation) {
    case GemmActivation::kGelu:
      return 0.5 * y * (1.0 + std::erf(y / std::sqrt(2.0)));
    case GemmActivation::kQuickGelu:
      return y / (1.0 + std::exp(-1.702 * y));
    default:
      return y;
  }
}

TEST(GemmTest, EpiloguesHappenInTheirOrder) {
  constexpr int64_t kRows = 3, kIn = 40, kOut = 37;
  WorkerPool pool(2);
  Guarded bias(Random(kOut, 11)), scale(Random(kRows, 12)), residual(Random(kRows * kOut, 13));
  for (const Isa isa : AllIsas()) {
    const PackedMatrix w = RandomMatrix(kOut, kIn, {WeightFormat::kInt8}, isa);
    const std::vector<float> x = Random(kRows * kIn, 3);
    const std::vector<double> plain = Reference(x, kRows, w);
    for (const GemmActivation activation :
         {GemmActivation::kNone, GemmActivation::kGelu, GemmActivation::kQuickGelu}) {
      std::vector<double> want = plain;
      for (int64_t i = 0; i < kRows * kOut; ++i) {
        want[i] = Activate(activation, want[i] + bias.data()[i % kOut]) * scale.data()[i / kOut] +
                  0.75 * residual.data()[i];
      }
      const Epilogue epilogue = {.bias = bias.data(),
                                 .activation = activation,
                                 .row_scale = scale.data(),
                                 .residual = residual.data(),
                                 .residual_stride = kOut,
                                 .residual_scale = 0.75f};
      ExpectNear(Product(pool, isa, x, kRows, w, epilogue), want, 2e-5);
    }
  }
}

TEST(GemmTest, AddsToWhatIsThereAlready) {
  constexpr int64_t kRows = 2, kIn = 8, kOut = 5, kStride = 9;
  WorkerPool pool(1);
  for (const Isa isa : AllIsas()) {
    const PackedMatrix w = RandomMatrix(kOut, kIn, {}, isa);
    const std::vector<float> x = Random(kRows * kIn, 3);
    const std::vector<double> product = Reference(x, kRows, w);
    std::vector<float> out(kRows * kStride, 2.0f);
    PackedRows a(isa);
    a.Pack(pool, kRows, kIn, w.activations(), {.x = x.data(), .stride = kIn});
    GemmPart part = {.weights = &w};
    part.epilogue = {.residual = out.data(),
                     .residual_stride = kStride,
                     .out = out.data(),
                     .out_stride = kStride};
    GemmScratch scratch;
    Gemm(pool, a, {&part, 1}, scratch);
    for (int64_t i = 0; i < kRows * kStride; ++i) {
      const int64_t m = i / kStride, n = i % kStride;
      EXPECT_NEAR(out[i], n < kOut ? 2.0 + product[m * kOut + n] : 2.0, 1e-5);
    }
  }
}

TEST(GemmTest, GatesMeetTheirUpsInOneProduct) {
  constexpr int64_t kRows = 4, kIn = 50, kHalf = 43;
  WorkerPool pool(2);
  ForAll([&](Isa isa, const Format& format) {
    const PackedMatrix w = RandomMatrix(2 * kHalf, kIn, format.encoding, isa, PanelOrder::kGateUp);
    const std::vector<float> x = Random(kRows * kIn, 3);
    const std::vector<double> both = Reference(x, kRows, w);
    std::vector<double> want(kRows * kHalf);
    for (int64_t m = 0; m < kRows; ++m) {
      for (int64_t n = 0; n < kHalf; ++n) {
        const double gate = both[m * 2 * kHalf + n], up = both[m * 2 * kHalf + kHalf + n];
        want[m * kHalf + n] = gate / (1.0 + std::exp(-gate)) * up;
      }
    }
    const Epilogue epilogue = {.activation = GemmActivation::kSiluMul};
    ExpectNear(Product(pool, isa, x, kRows, w, epilogue), want, 5e-5);
  });
}

// Three matrices side by side, of which one takes part from an input feature on.
TEST(GemmTest, PartsShareTheirRows) {
  constexpr int64_t kRows = 3, kIn = 128;
  WorkerPool pool(2);
  ForAll([&](Isa isa, const Format& format) {
    const std::vector<float> x = Random(kRows * kIn, 3);
    const PackedMatrix small = RandomMatrix(20, kIn, format.encoding, isa);
    const PackedMatrix large = RandomMatrix(90,
                                            kIn,
                                            small.activations() == Activations::kFloat32
                                                ? WeightEncoding()
                                                : WeightEncoding{WeightFormat::kBFloat16},
                                            isa);
    const PackedMatrix wide = RandomMatrix(12, 3 * kIn, format.encoding, isa);
    std::vector<float> wide_x(kRows * 3 * kIn, 0.0f);
    for (int64_t m = 0; m < kRows; ++m) {
      std::copy_n(&x[m * kIn], kIn, &wide_x[m * 3 * kIn + kIn]);
    }
    std::vector<float> y(kRows * 20), z(kRows * 90), u(kRows * 12);
    PackedRows a(isa);
    a.Pack(pool, kRows, kIn, small.activations(), {.x = x.data(), .stride = kIn});
    const GemmPart parts[] = {
        {.weights = &small, .epilogue = {.out = y.data(), .out_stride = 20}},
        {.weights = &large, .epilogue = {.out = z.data(), .out_stride = 90}},
        {.weights = &wide, .first_in = kIn, .epilogue = {.out = u.data(), .out_stride = 12}}};
    GemmScratch scratch;
    Gemm(pool, a, parts, scratch);
    ExpectNear(y, Reference(x, kRows, small), 2e-5);
    ExpectNear(z, Reference(x, kRows, large), 2e-5);
    ExpectNear(u, Reference(wide_x, kRows, wide), 2e-5);
  });
}

// As the experts' down projections, side by side.
TEST(GemmTest, PartsBeginAtAnyEvenInputFeature) {
  constexpr int64_t kRows = 3, kIn = 22, kParts = 5, kOut = 35;
  WorkerPool pool(2);
  for (const Isa isa : AllIsas()) {
    for (const WeightFormat format :
         {WeightFormat::kFloat32, WeightFormat::kBFloat16, WeightFormat::kInt8}) {
      const PackedMatrix w = RandomMatrix(kOut, kParts * kIn, {format}, isa);
      const std::vector<float> x = Random(kRows * kIn, 3);
      for (int64_t i = 0; i < kParts; ++i) {
        std::vector<float> wide_x(kRows * kParts * kIn, 0.0f), y(kRows * kOut);
        for (int64_t m = 0; m < kRows; ++m) {
          std::copy_n(&x[m * kIn], kIn, &wide_x[(m * kParts + i) * kIn]);
        }
        PackedRows a(isa);
        a.Pack(pool, kRows, kIn, w.activations(), {.x = x.data(), .stride = kIn});
        const GemmPart part = {
            .weights = &w, .first_in = i * kIn, .epilogue = {.out = y.data(), .out_stride = kOut}};
        GemmScratch scratch;
        Gemm(pool, a, {&part, 1}, scratch);
        ExpectNear(y, Reference(wide_x, kRows, w), 2e-5);
      }
    }
  }
}

std::vector<float> NormReference(const PackedRows::Source& s, int64_t rows, int64_t size) {
  std::vector<float> y(rows * size);
  for (int64_t m = 0; m < rows; ++m) {
    const float* x = s.x + (s.row_index != nullptr ? s.row_index[m] : m) * s.stride;
    double mean = 0.0, squares = 0.0;
    for (int64_t k = 0; k < size; ++k) mean += x[k] / static_cast<double>(size);
    if (s.norm != NormOf::kLayer) mean = 0.0;
    for (int64_t k = 0; k < size; ++k) squares += (x[k] - mean) * (x[k] - mean);
    const double factor = s.norm == NormOf::kNone
                              ? 1.0
                              : 1.0 / std::sqrt(squares / static_cast<double>(size) + s.eps);
    for (int64_t k = 0; k < size; ++k) {
      const double weight = s.norm_weight != nullptr ? s.norm_weight[k] : 1.0;
      const double bias = s.norm_bias != nullptr ? s.norm_bias[k] : 0.0;
      y[m * size + k] = static_cast<float>((x[k] - mean) * factor * weight + bias);
    }
  }
  return y;
}

// The norm alone, and the norm that is part of packing: the identity gives it back.
TEST(GemmTest, NormsAreNearThePlainLoopWithRowsPicked) {
  constexpr int64_t kRows = 4, kStride = 70;
  const int32_t picked[kRows] = {3, 0, 0, 2};
  WorkerPool pool(2);
  for (const int64_t size : {int64_t{1}, int64_t{8}, int64_t{45}, int64_t{70}}) {
    Guarded x(Random(kRows * kStride - (kStride - size), 3)), weight(Random(size, 4));
    Guarded bias(Random(size, 5));
    std::vector<float> identity(size * size, 0.0f);
    for (int64_t k = 0; k < size; ++k) identity[k * size + k] = 1.0f;
    for (const Isa isa : AllIsas()) {
      const PackedMatrix w = Pack({size, size, {}}, isa, identity);
      const PackedMatrix rounding = Pack({size, size, {WeightFormat::kBFloat16}}, isa, identity);
      for (const NormOf norm : {NormOf::kNone, NormOf::kRms, NormOf::kLayer}) {
        PackedRows::Source source = {
            .x = x.data(), .stride = kStride, .row_index = picked, .norm = norm, .eps = 1e-3f};
        if (norm != NormOf::kNone) source.norm_weight = weight.data();
        if (norm == NormOf::kLayer) source.norm_bias = bias.data();
        const std::vector<float> reference = NormReference(source, kRows, size);
        const std::vector<double> want(reference.begin(), reference.end());
        Guarded out(std::vector<float>(kRows * size, 0.0f));
        Norm(isa, pool, kRows, size, source, out.data(), size);
        ExpectNear(out.values(), want, 3e-6);
        for (const PackedMatrix* matrix : {&w, &rounding}) {
          PackedRows a(isa);
          a.Pack(pool, kRows, size, matrix->activations(), source);
          std::vector<float> product(kRows * size);
          const GemmPart part = {.weights = matrix,
                                 .epilogue = {.out = product.data(), .out_stride = size}};
          GemmScratch scratch;
          Gemm(pool, a, {&part, 1}, scratch);
          EXPECT_EQ(product, Rounded(out.values(), matrix->activations()));
        }
      }
    }
  }
}

TEST(GemmTest, NormsInPlace) {
  WorkerPool pool(1);
  for (const Isa isa : AllIsas()) {
    std::vector<float> x = Random(2 * 19, 3);
    const std::vector<float> ones(19, 1.0f);
    const PackedRows::Source source = {
        .x = x.data(), .stride = 19, .norm = NormOf::kRms, .norm_weight = ones.data()};
    const std::vector<float> reference = NormReference(source, 2, 19);
    Norm(isa, pool, 2, 19, source, x.data(), 19);
    ExpectNear(x, {reference.begin(), reference.end()}, 1e-6);
  }
}

TEST(PackedMatrixTest, WeightsAreOffByAtMostHalfAStep) {
  constexpr int64_t kOut = 21, kIn = 77;
  const std::vector<float> w = Random(kOut * kIn, 9);
  ForAll([&](Isa isa, const Format& format) {
    const PackedMatrix matrix = Pack({kOut, kIn, format.encoding}, isa, w);
    // Values are in [-1, 1]. A scale rounded to bfloat16 may miss the largest ones. Tiles take
    // weights of groups as bfloat16.
    const bool rounds =
        format.encoding.group_size != 0 && (isa == Isa::kAmx || isa == Isa::kEmulatedAmx);
    const double step = format.encoding.format == WeightFormat::kFloat32    ? 0.0
                        : format.encoding.format == WeightFormat::kBFloat16 ? 0x1p-8
                        : format.encoding.format == WeightFormat::kInt8     ? 1.0 / 127
                                                                            : 2.0 / 15 * 1.15;
    std::vector<float> row(kIn);
    for (int64_t n = 0; n < kOut; ++n) {
      matrix.ReadRow(n, row.data());
      for (int64_t k = 0; k < kIn; ++k) {
        ASSERT_NEAR(row[k], w[n * kIn + k], step / 2 + (rounds ? 0x1p-8 : 1e-7));
      }
    }
  });
}

// In any pieces of rows and groups, from any type, a matrix is the same.
TEST(PackedMatrixTest, PiecesMakeTheWhole) {
  constexpr int64_t kOut = 38, kIn = 300;
  std::vector<float> w = Random(kOut * kIn, 9);
  std::vector<uint16_t> bits(w.size()), halves(w.size());
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = std::round(w[i] * 64.0f) / 64.0f;  // exact in all types
    uint32_t word;
    std::memcpy(&word, &w[i], sizeof(word));
    bits[i] = static_cast<uint16_t>(word >> 16);
    const uint32_t exponent = ((word >> 23) & 255) - 112;
    halves[i] = static_cast<uint16_t>((word >> 16 & 0x8000) |
                                      (w[i] == 0.0f ? 0 : exponent << 10 | (word >> 13 & 1023)));
  }
  ForAll([&](Isa isa, const Format& format) {
    const MatrixShape shape = {kOut, kIn, format.encoding, PanelOrder::kGateUp};
    const PackedMatrix whole = Pack(shape, isa, w);
    EXPECT_GT(whole.bytes(), 0);
    PackedMatrix pieces(shape, isa);
    const int64_t cut =
        format.encoding.format == WeightFormat::kInt8 && format.encoding.group_size == 0 ? kIn
                                                                                         : 128;
    pieces.Add(bits.data(), SourceType::kBFloat16, kIn, 0, 13, 0, cut);
    pieces.Add(halves.data() + 13 * kIn, SourceType::kFloat16, kIn, 13, kOut - 13, 0, cut);
    if (cut < kIn) {
      pieces.Add(&w[cut], SourceType::kFloat32, kIn, 0, kOut, cut, kIn - cut);
    }
    std::vector<float> row(kIn), want(kIn);
    for (int64_t n = 0; n < kOut; ++n) {
      pieces.ReadRow(n, row.data());
      whole.ReadRow(n, want.data());
      ASSERT_EQ(row, want);
    }
  });
}

// FNV-1a.
uint64_t Digest(uint64_t hash, const PackedMatrix& matrix) {
  const MatrixView view(matrix);
  for (int64_t i = 0; i < matrix.bytes(); ++i) {
    hash = (hash ^ static_cast<uint8_t>(view.data[i])) * 0x100000001b3u;
  }
  return hash;
}

// Files of packed weights outlive the program that wrote them. Whoever changes these digests has
// changed what is in such files, and raises the version.
TEST(PackedMatrixTest, TheBytesAreThoseOfTheLayoutVersion) {
  ASSERT_EQ(kPackedLayoutVersion, 2);
  const std::map<Isa, std::vector<uint64_t>> want = {
      // of kFormats
      {Isa::kEmulatedAvx2,
       {0xdf7dea0f57703399u,
        0xda500bde2c9fb239u,
        0x7075cd7dd6bcfff3u,
        0x8777f2125e1efc31u,
        0x6b79210b4b83f4cbu,
        0x9444d196ee3f00f9u,
        0xd84255b4d5a8e828u}},
      {Isa::kEmulatedAvx512,
       {0xf9b3a6a6d0d9da21u,
        0x47d408bfbbf340du,
        0x35ee135b322a720fu,
        0xbad4763a9193991du,
        0xf7efa30b8ec85aabu,
        0x20e7c0230843b7b2u,
        0x331d66865b0603bau}},
      {Isa::kEmulatedAvx512Bf16,
       {0xf9b3a6a6d0d9da21u,
        0x8be1eaf04c080ea9u,
        0x6dc0a2424746e581u,
        0xf3523c08129f9689u,
        0x5f463ff0298ca8f5u,
        0x2e2b4a67d61e7fe6u,
        0xf853441b94eeebd6u}},
      {Isa::kEmulatedAmx,
       {0xf9b3a6a6d0d9da21u,
        0x8be1eaf04c080ea9u,
        0x6dc0a2424746e581u,
        0xf3523c08129f9689u,
        0x5f463ff0298ca8f5u,
        0x2e2b4a67d61e7fe6u,
        0xf853441b94eeebd6u}},
  };
  ForAll([&](Isa isa, const Format& format) {
    uint64_t digest = 0xcbf29ce484222325u;
    for (const PanelOrder order : {PanelOrder::kPlain, PanelOrder::kGateUp}) {
      digest = Digest(digest, RandomMatrix(38, 157, format.encoding, isa, order));
    }
    const Isa lanes = IsEmulated(isa) ? isa : EmulatedOf(isa);
    EXPECT_EQ(digest, want.at(lanes)[&format - kFormats]) << std::hex << "0x" << digest;
  });
}

// The other tests' packed weights, rows and sums lie in such memory.
TEST(AlignedBufferDeathTest, EndsAtAPageThatNobodyMayTouch) {
  for (const size_t size : {size_t{1}, size_t{64}, size_t{4096}, size_t{5000}}) {
    AlignedBuffer buffer(size);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(buffer.bytes().data()) % 64, 0u);
    volatile std::byte* data = buffer.bytes().data();
    data[size - 1] = std::byte{1};
    EXPECT_DEATH(data[(size + 63) / 64 * 64] = std::byte{1}, "");
  }
}

TEST(PackedMatrixTest, GroupsOfOneValueAndOfZerosAreKept) {
  std::vector<float> w(2 * 64, 0.0f);
  for (int64_t k = 0; k < 32; ++k) w[k] = -0.75f;
  for (int64_t k = 64; k < 96; ++k) w[k] = 15.0f;
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const PackedMatrix matrix = Pack({2, 64, {format, 32}}, Isa::kEmulatedAvx2, w);
    std::vector<float> row(64);
    for (int64_t n = 0; n < 2; ++n) {
      matrix.ReadRow(n, row.data());
      for (int64_t k = 0; k < 64; ++k)
        EXPECT_NEAR(row[k], w[n * 64 + k], 1e-2 * std::abs(w[n * 64]));
    }
  }
}

}  // namespace
}  // namespace parrot::kernels
