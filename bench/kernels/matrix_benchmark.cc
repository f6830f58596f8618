#include "bench/kernels/matrix_benchmark.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iostream>
#include <random>
#include <utility>

namespace parrot {
namespace {

constexpr int64_t kBlockRows = 64;    // of random weights, which repeat
constexpr int64_t kMaxHeadRows = 16;  // whoever wants logits wants them of few rows
constexpr std::pair<const char*, kernels::WeightEncoding> kEncodings[] = {
    {"fp32", {kernels::WeightFormat::kFloat32, 0}},
    {"bf16", {kernels::WeightFormat::kBFloat16, 0}},
    {"int8", {kernels::WeightFormat::kInt8, 0}},
    {"int8-g128", {kernels::WeightFormat::kInt8, 128}},
    {"int4-g32", {kernels::WeightFormat::kInt4, 32}},
    {"int4-g128", {kernels::WeightFormat::kInt4, 128}},
};

std::vector<float> RandomFloats(int64_t count, float scale) {
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(random);
  return values;
}

void Fill(const std::vector<float>& block, kernels::PackedMatrix& matrix) {
  const auto [out, in, encoding, order] = matrix.shape();
  for (int64_t first = 0; first < out; first += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, out - first);
    matrix.Add(block.data(), kernels::SourceType::kFloat32, in, first, rows, 0, in);
  }
}

std::vector<kernels::PackedMatrix> MakeCopies(const kernels::MatrixShape& shape,
                                              kernels::Isa isa,
                                              Roofline& roofline) {
  const std::vector<float> block = RandomFloats(
      kBlockRows * shape.in_features, 1.0f / std::sqrt(static_cast<float>(shape.in_features)));
  std::vector<kernels::PackedMatrix> copies;
  copies.emplace_back(shape, isa);
  const size_t count = roofline.NumCopies(static_cast<size_t>(copies[0].bytes()));
  while (copies.size() < count) copies.emplace_back(shape, isa);
  roofline.pool().Run(static_cast<int64_t>(count),
                      [&](int64_t i, int) { Fill(block, copies[static_cast<size_t>(i)]); });
  return copies;
}

}  // namespace

std::vector<std::string> WeightEncodingNames() {
  std::vector<std::string> names;
  for (const auto& [name, encoding] : kEncodings) names.emplace_back(name);
  return names;
}

std::optional<kernels::WeightEncoding> ParseWeightEncoding(std::string_view name) {
  for (const auto& [known, encoding] : kEncodings) {
    if (name == known) return encoding;
  }
  return std::nullopt;
}

std::vector<MatrixCase> MatricesOf(const ModelConfig& config, const std::vector<int64_t>& rows) {
  const LanguageConfig& l = config.language;
  const VisionConfig& v = config.vision;
  const int64_t h = l.hidden_size, i = l.intermediate_size, q = int64_t{l.num_heads} * l.head_dim();
  const int64_t kv = int64_t{l.num_kv_heads} * l.head_dim();
  const int64_t vh = v.hidden_size, experts = config.moe.num_experts;
  const int64_t expert = config.moe.intermediate_size;
  std::vector<int64_t> head_rows;
  for (const int64_t m : rows) {
    if (m <= kMaxHeadRows) head_rows.push_back(m);
  }
  const std::vector<int64_t> image = {v.num_tokens()};
  return {{"qkv", q + 2 * kv, h, false, rows},
          {"attention out", h, q, false, rows},
          {"gate+up", 2 * i, h, true, rows},
          {"down", h, i, false, rows},
          {"head", l.vocab_rows, h, false, head_rows},
          {"vision qkv", 3 * vh, vh, false, image},
          {"vision out", vh, vh, false, image},
          {"vision fc1", v.intermediate_size, vh, false, image},
          {"vision fc2", vh, v.intermediate_size, false, image},
          {"projector 1", h, vh, false, image},
          {"projector 2", h, h, false, image},
          {"expert gate+up", 2 * expert, h, true, image},
          {"experts' down", h, experts * expert, false, image}};
}

Table EmptyMatrixTable() {
  Table table = {.title = "Products with packed weights",
                 .columns = {"model", "matrix", "M", "K", "N", "weights"}};
  for (std::string& column : Roofline::Columns()) table.columns.push_back(std::move(column));
  return table;
}

Table SummaryOf(const Table& matrices) {
  Table summary = {
      .title = "Products: share of the limit over all matrices",
      .columns = {"isa", "weights", "M", "lowest, %", "of", "median, %", "matrices", "disturbed"}};
  const auto column = [&](std::string_view name) {
    const auto& names = matrices.columns;
    return static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  };
  const size_t isa = column("isa"), weights = column("weights"), m = column("M");
  const size_t share = column(Roofline::kShareColumn), disturbed = column("disturbed");
  using Row = std::vector<Cell>;
  std::vector<std::vector<const Row*>> groups;  // in order of appearance
  for (const Row& row : matrices.rows) {
    const auto is_like_row = [&](const std::vector<const Row*>& group) {
      const Row& first = *group.front();
      return first[isa].text == row[isa].text && first[weights].text == row[weights].text &&
             first[m].text == row[m].text;
    };
    const auto group = std::find_if(groups.begin(), groups.end(), is_like_row);
    if (group == groups.end()) {
      groups.push_back({&row});
    } else {
      group->push_back(&row);
    }
  }
  for (const std::vector<const Row*>& group : groups) {
    std::vector<double> shares;
    const Row* lowest = group.front();
    int num_disturbed = 0;
    for (const Row* row : group) {
      shares.push_back((*row)[share].number);
      if ((*row)[share].number < (*lowest)[share].number) lowest = row;
      if (!(*row)[disturbed].text.empty()) ++num_disturbed;
    }
    const Row& first = *group.front();
    summary.rows.push_back(
        {first[isa],
         first[weights],
         first[m],
         Cell((*lowest)[share].number, 0),
         (*lowest)[column("model")].text + " " + (*lowest)[column("matrix")].text,
         Cell(SpreadOf(shares).median, 0),
         Cell(static_cast<double>(group.size()), 0),
         Cell(num_disturbed, 0)});
  }
  return summary;
}

void MeasureMatrix(const MatrixCase& matrix,
                   const MatrixRun& run,
                   Roofline& roofline,
                   Table& table) {
  if (matrix.rows.empty()) return;
  const kernels::MatrixShape shape = {
      .out_features = matrix.out_features,
      .in_features = matrix.in_features,
      .encoding = *ParseWeightEncoding(run.encoding),
      .order = matrix.gate_up ? kernels::PanelOrder::kGateUp : kernels::PanelOrder::kPlain};
  const std::vector<kernels::PackedMatrix> copies = MakeCopies(shape, run.isa, roofline);
  const int64_t columns = matrix.gate_up ? shape.out_features / 2 : shape.out_features;
  kernels::PackedRows packed(run.isa);
  kernels::GemmScratch scratch;
  for (const int64_t m : matrix.rows) {
    std::cerr << run.model << " " << matrix.name << ", " << m << " rows, " << run.encoding << ", "
              << IsaName(run.isa) << "\n";
    const std::vector<float> x = RandomFloats(m * shape.in_features, 1.0f);
    std::vector<float> out(static_cast<size_t>(m * columns));
    const auto call = [&](size_t i) {
      packed.Pack(roofline.pool(),
                  m,
                  shape.in_features,
                  copies[0].activations(),
                  {.x = x.data(), .stride = shape.in_features});
      const kernels::GemmPart part = {
          .weights = &copies[i % copies.size()],
          .epilogue = {.activation = matrix.gate_up ? kernels::GemmActivation::kSiluMul
                                                    : kernels::GemmActivation::kNone,
                       .out = out.data(),
                       .out_stride = columns}};
      kernels::Gemm(roofline.pool(), packed, {&part, 1}, scratch);
    };
    std::vector<Cell> row = {run.model,
                             matrix.name,
                             Cell(static_cast<double>(m), 0),
                             Cell(static_cast<double>(shape.in_features), 0),
                             Cell(static_cast<double>(shape.out_features), 0),
                             run.encoding};
    const double weights = static_cast<double>(shape.in_features * shape.out_features);
    roofline.Measure({.flop = 2.0 * static_cast<double>(m) * weights,
                      .bytes = static_cast<double>(copies[0].bytes())},
                     run.isa,
                     copies[0].activations() == kernels::Activations::kBFloat16
                         ? Arithmetic::kBFloat16
                         : Arithmetic::kFloat32,
                     call,
                     row);
    table.rows.push_back(std::move(row));
  }
}

}  // namespace parrot
