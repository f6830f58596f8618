// Ten steps of each golden run: losses, gradient norms, learning rates and what became of every
// trained tensor, against the reference's trainer.
#include <atomic>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/from_blob.h"
#include "gtest/gtest.h"
#include "model/kernels/worker_pool.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "model/weights/safetensors_file.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"
#include "train/data/picture_reader.h"
#include "train/data/sample_encoder.h"
#include "train/data/training_sample.h"
#include "train/feature_cache.h"
#include "train/gradient_sum.h"
#include "train/item_order.h"
#include "train/language_objective.h"
#include "train/trainer.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

std::vector<TrainingSample> GoldenSamples() {
  Json list = Json::array();
  for (const Json& line : ReadJsonLines("training/nano-mha.samples.jsonl")) list.push_back(line);
  return *ParseTrainingSamples("golden", list.dump(), GoldenPath(""));
}

// A tensor of a golden safetensors file, in double.
at::Tensor GoldenTensor(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsTensor* found = file.Find(name);
  EXPECT_NE(found, nullptr) << name;
  const std::span<const std::byte> bytes = file.Data(*found);
  return at::from_blob(const_cast<std::byte*>(bytes.data()), found->shape, at::kFloat)
      .to(at::kDouble);
}

double RelativeDistance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
}

// The gradients of the first batch, before any step.
void ExpectFirstGradients(const Json& golden,
                          const SafetensorsFile& values,
                          const Objective& objective,
                          const Parameters& parameters) {
  const double bound = 5 * golden["tolerance"]["float64"]["step1_grad_norm_rel"].get<double>();
  kernels::WorkerPool pool(1);
  GradientSum sum(parameters.trained(), objective, pool);
  const ItemOrder order(objective.num_items(), /*seed=*/0, /*shuffled=*/false);
  const auto sums = sum.Run(1, [&] { return objective.Prepare(order.Items(0, golden["batch"])); });
  ASSERT_TRUE(sums.ok()) << sums.status();
  for (size_t i = 0; i < parameters.trained().size(); ++i) {
    const std::string& name = parameters.trained()[i].name;
    const at::Tensor& gradient = sum.gradients()[i];
    const double norm = golden["tensors"][name]["step1_grad_norm"];
    EXPECT_NEAR(gradient.to(at::kDouble).norm().item<double>(), norm, bound * norm) << name;
    if (values.Find("step1_grad." + name) == nullptr) continue;
    EXPECT_LE(RelativeDistance(gradient, GoldenTensor(values, "step1_grad." + name)), bound)
        << name;
  }
}

struct GoldenCase {
  const char* run;
  bool checkpoint_activations;
};

class TrainingGoldenTest : public testing::TestWithParam<GoldenCase> {};

TEST_P(TrainingGoldenTest, TenStepsAreTheReferences) {
  const Json golden =
      Json::parse(ReadGoldenFile(std::string("training/nano-mha.") + GetParam().run + ".json"));
  const std::string base = GoldenPath("checkpoints/nano-mha");
  const auto checkpoint = *Checkpoint::Open(base);
  const auto tokenizer = *Tokenizer::Load(base);
  const std::vector<TrainingSample> samples = GoldenSamples();
  const SampleEncoder encoder(*tokenizer, checkpoint->config().model_max_length);
  const PictureReader reader(checkpoint->config(), nullptr);
  const auto parameters = *Parameters::Load(*checkpoint, at::kCPU, at::kFloat);
  const bool align = golden["stage"] == 1;
  parameters->Train([&](const TensorSpec& spec) {
    return align ? spec.part == ModelPart::kProjector : spec.part != ModelPart::kVision;
  });
  const TrainingModel model(checkpoint->config(),
                            {},
                            {.use_moe = !align,
                             .checkpoint_activations = GetParam().checkpoint_activations,
                             .max_length = checkpoint->config().model_max_length},
                            *parameters);
  FeatureCache pictures(reader, model, int64_t{1} << 30);
  const LanguageObjective objective(samples, encoder, &pictures, model);
  const auto alone = *JoinProcessGroup({});
  TrainerOptions options;
  options.output_dir = testing::TempDir() + "/golden_" + GetParam().run;
  std::filesystem::remove_all(options.output_dir);
  options.micro_batch = golden["batch"];
  options.max_steps = golden["steps"];
  options.shuffled = false;
  options.schedule.learning_rate = golden["learning_rate"];
  const auto values =
      *SafetensorsFile::Open(GoldenPath(golden["values"]["file"].get<std::string>()));
  ExpectFirstGradients(golden, *values, objective, *parameters);
  std::vector<at::Tensor> initial;
  for (const TrainedTensor& tensor : parameters->trained()) {
    initial.push_back(tensor.master.detach().clone());
  }
  Trainer trainer(
      options, {.base_dir = base}, objective, *parameters, parameters->trained(), *alone);
  ASSERT_TRUE(trainer.Start({}).ok());
  std::atomic<bool> stop = false;
  // Five times what a float64 run of the reference differs by, as for its activations.
  const Json& tolerance = golden["tolerance"]["float64"];
  const double loss_bound = 5 * tolerance["loss_abs"].get<double>();
  const double norm_bound = 5 * tolerance["grad_norm_rel"].get<double>();
  const auto end = trainer.Run(stop, [&](const StepReport& report) {
    const Json& expected = golden["log"][static_cast<size_t>(report.step) - 1];
    EXPECT_NEAR(report.loss, expected["loss"].get<double>(), loss_bound) << report.step;
    EXPECT_NEAR(report.grad_norm / expected["grad_norm"].get<double>(), 1.0, norm_bound)
        << report.step;
    EXPECT_NEAR(report.learning_rate, expected["lr"].get<double>(), 1e-12) << report.step;
    EXPECT_EQ(report.targets, expected["supervised"].get<int64_t>()) << report.step;
  });
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, RunEnd::kFinished);

  const Json& tensors = golden["tensors"];
  ASSERT_EQ(parameters->trained().size(), tensors.size());
  const double delta_bound = 5 * tolerance["delta_rel"].get<double>();
  for (size_t i = 0; i < initial.size(); ++i) {
    const TrainedTensor& trained = parameters->trained()[i];
    ASSERT_TRUE(tensors.contains(trained.name)) << trained.name;
    const Json& expected = tensors[trained.name];
    const at::Tensor now = trained.master.detach().to(at::kDouble);
    const at::Tensor delta = now - initial[i].to(at::kDouble);
    const double norm = expected["delta_norm"];
    EXPECT_NEAR(delta.norm().item<double>() / norm, 1.0, delta_bound) << trained.name;
    // Each element's difference is at most what the two runs are apart; a sum adds them up as a
    // random walk at best, so the norm times the root of the count bounds it.
    const double sum_bound = delta_bound * norm * std::sqrt(static_cast<double>(now.numel()));
    EXPECT_NEAR(delta.sum().item<double>(), expected["delta_sum"].get<double>(), sum_bound)
        << trained.name;
    EXPECT_NEAR(now.sum().item<double>(), expected["sum"].get<double>(), sum_bound + 1e-6)
        << trained.name;
    EXPECT_NEAR(now.abs().sum().item<double>(), expected["abs_sum"].get<double>(), sum_bound + 1e-6)
        << trained.name;
    if (values->Find(trained.name) == nullptr) continue;
    EXPECT_TRUE(initial[i].to(at::kDouble).equal(GoldenTensor(*values, "initial." + trained.name)));
    EXPECT_LE((now - GoldenTensor(*values, trained.name)).abs().max().item<double>(),
              5 * tolerance["weight_max_abs"].get<double>())
        << trained.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Runs,
                         TrainingGoldenTest,
                         testing::Values(GoldenCase{"stage1", false},
                                         GoldenCase{"stage2", false},
                                         GoldenCase{"stage2", true},
                                         GoldenCase{"stage2_high_lr", false}),
                         [](const auto& info) {
                           return std::string(info.param.run) +
                                  (info.param.checkpoint_activations ? "_recomputed" : "");
                         });

}  // namespace
}  // namespace parrot
