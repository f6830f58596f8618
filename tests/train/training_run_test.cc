// Runs of the trainer: interrupted and resumed, on several threads, over two processes, in bf16;
// and what they leave behind. On a small golden checkpoint with pictures of a few pixels.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"
#include "train/data/picture_reader.h"
#include "train/data/sample_encoder.h"
#include "train/data/training_sample.h"
#include "train/feature_cache.h"
#include "train/language_objective.h"
#include "train/stage_runner.h"
#include "train/trainer.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

Json GoldenSampleList() {
  Json list = Json::array();
  for (const Json& line : ReadJsonLines("training/nano-mha.samples.jsonl")) list.push_back(line);
  return list;
}

Json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

// Stage 2 on the golden checkpoint, ready to run.
class TrainingRun {
 public:
  explicit TrainingRun(const TrainerOptions& options,
                       at::ScalarType dtype = at::kFloat,
                       const ProcessGroupOptions& group = {})
      : checkpoint_(*Checkpoint::Open(base_)),
        tokenizer_(*Tokenizer::Load(base_)),
        samples_(*ParseTrainingSamples("golden", GoldenSampleList().dump(), GoldenPath(""))),
        encoder_(*tokenizer_, 2048),
        reader_(checkpoint_->config(), nullptr),
        parameters_(*Parameters::Load(*checkpoint_, at::kCPU, dtype)),
        processes_(*JoinProcessGroup(group)) {
    parameters_->Train([](const TensorSpec& spec) { return spec.part != ModelPart::kVision; });
    model_ = std::make_unique<TrainingModel>(checkpoint_->config(),
                                             ReferenceBackend::Options{.compute_dtype = dtype},
                                             TrainingModel::Options{},
                                             *parameters_);
    pictures_ = std::make_unique<FeatureCache>(reader_, *model_, int64_t{1} << 30);
    objective_ = std::make_unique<LanguageObjective>(samples_, encoder_, pictures_.get(), *model_);
    trainer_ = std::make_unique<Trainer>(options,
                                         ModelFiles{.base_dir = base_},
                                         *objective_,
                                         *parameters_,
                                         parameters_->trained(),
                                         *processes_);
  }

  // Losses of the steps; stops after step `stop_after`.
  std::vector<double> Losses(int64_t stop_after = -1) {
    EXPECT_TRUE(trainer_->Start({}).ok());
    std::atomic<bool> stop = false;
    std::vector<double> losses;
    // The flag is looked at before a step's end: set it one step early.
    if (stop_after == 1) stop = true;
    const auto end = trainer_->Run(stop, [&](const StepReport& report) {
      losses.push_back(report.loss);
      losses.push_back(report.grad_norm);
      if (report.step + 1 == stop_after) stop = true;
    });
    EXPECT_TRUE(end.ok()) << end.status();
    if (end.ok()) {
      EXPECT_EQ(*end, stop_after > 0 ? RunEnd::kInterrupted : RunEnd::kFinished);
    }
    return losses;
  }

  absl::Status Start() { return trainer_->Start({}); }
  const Parameters& parameters() const { return *parameters_; }

 private:
  const std::string base_ = GoldenPath("checkpoints/nano-mha");
  const std::unique_ptr<Checkpoint> checkpoint_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  const std::vector<TrainingSample> samples_;
  const SampleEncoder encoder_;
  const PictureReader reader_;
  const std::unique_ptr<Parameters> parameters_;
  const std::unique_ptr<ProcessGroup> processes_;
  std::unique_ptr<TrainingModel> model_;
  std::unique_ptr<FeatureCache> pictures_;
  std::unique_ptr<LanguageObjective> objective_;
  std::unique_ptr<Trainer> trainer_;
};

TrainerOptions SmallRun(const std::string& name) {
  TrainerOptions options;
  options.output_dir = testing::TempDir() + "/run_" + name;
  std::filesystem::remove_all(options.output_dir);
  options.micro_batch = 2;
  options.accumulation = 2;
  options.max_steps = 4;
  options.schedule.learning_rate = 1e-3;
  return options;
}

bool SameValues(const Parameters& a, const Parameters& b) {
  for (const TensorSpec& spec : a.specs()) {
    if (!a.Value(spec.name).equal(b.Value(spec.name))) return false;
  }
  return true;
}

TEST(TrainingRunTest, ResumedRunHasTheLossesAndWeightsOfTheStraightOne) {
  TrainingRun straight(SmallRun("straight"));
  const std::vector<double> expected = straight.Losses();
  ASSERT_EQ(expected.size(), 8u);

  TrainerOptions options = SmallRun("resumed");
  std::vector<double> losses = TrainingRun(options).Losses(/*stop_after=*/2);
  EXPECT_EQ(losses.size(), 4u);
  options.resume = true;
  TrainingRun second(options);
  const std::vector<double> rest = second.Losses();
  losses.insert(losses.end(), rest.begin(), rest.end());
  EXPECT_EQ(losses, expected);
  EXPECT_TRUE(SameValues(second.parameters(), straight.parameters()));
}

TEST(TrainingRunTest, RefusesAnotherPlanAndAFolderInUse) {
  TrainerOptions options = SmallRun("plan");
  TrainingRun(options).Losses(/*stop_after=*/1);
  EXPECT_EQ(TrainingRun(options).Start().code(), absl::StatusCode::kFailedPrecondition);
  options.resume = true;
  EXPECT_TRUE(TrainingRun(options).Start().ok());
  options.schedule.learning_rate = 2e-3;
  EXPECT_EQ(TrainingRun(options).Start().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(TrainingRunTest, ThreadsDoNotChangeTheResult) {
  TrainerOptions options = SmallRun("threads1");
  const std::vector<double> expected = TrainingRun(options).Losses();
  options = SmallRun("threads2");
  options.num_threads = 2;
  options.num_loaders = 2;
  EXPECT_EQ(TrainingRun(options).Losses(), expected);
}

// A port that was free a moment ago.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(fd, generic, length), 0);
  EXPECT_EQ(getsockname(fd, generic, &length), 0);
  close(fd);
  return ntohs(address.sin_port);
}

TEST(TrainingRunTest, TwoProcessesEqualOneThatAccumulates) {
  const std::vector<double> expected = TrainingRun(SmallRun("single")).Losses();
  // Two ranks in two threads: the group does not know the difference.
  const int port = FreePort();
  std::vector<double> losses[2];
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&losses, rank, port] {
      TrainerOptions options = SmallRun("rank" + std::to_string(rank));
      options.accumulation = 1;
      losses[rank] =
          TrainingRun(options, at::kFloat, {.rank = rank, .size = 2, .port = port}).Losses();
    });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(losses[0], expected);
  EXPECT_EQ(losses[1], expected);
}

TEST(TrainingRunTest, BFloat16StaysNearFloat32) {
  const std::vector<double> expected = TrainingRun(SmallRun("fp32")).Losses();
  const std::vector<double> losses = TrainingRun(SmallRun("bf16"), at::kBFloat16).Losses();
  ASSERT_EQ(losses.size(), expected.size());
  for (size_t i = 0; i < losses.size(); i += 2) {
    EXPECT_NEAR(losses[i], expected[i], 0.05 * expected[i]) << "step " << i / 2 + 1;
  }
}

TEST(TrainingRunTest, RefusesToResumeWithOtherData) {
  const std::string data = testing::TempDir() + "/resumed_data.json";
  Json samples = GoldenSampleList();
  std::ofstream(data) << samples.dump();
  StageOptions options = {.stage = TrainingStage::kAlign,
                          .model_dir = GoldenPath("checkpoints/nano-mha"),
                          .data_paths = {data},
                          .image_dir = GoldenPath("")};
  options.trainer = SmallRun("other_data");
  ASSERT_EQ(*RunStage(options, true), RunEnd::kInterrupted);
  options.trainer.resume = true;
  ASSERT_EQ(*RunStage(options, true), RunEnd::kInterrupted);
  samples[0]["conversations"].back()["value"] = "another answer";
  std::ofstream(data) << samples.dump();
  EXPECT_EQ(RunStage(options, true).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(TrainingRunTest, StagesLeaveACheckpointWithTheReferencesNamesAndKeys) {
  const std::string root = testing::TempDir() + "/stages";
  std::filesystem::remove_all(root);
  std::filesystem::create_directories(root);
  std::ofstream(root + "/data.json") << GoldenSampleList().dump();
  const std::string golden = GoldenPath("checkpoints/nano-mha");
  StageOptions align = {.stage = TrainingStage::kAlign,
                        .model_dir = golden,
                        .data_paths = {root + "/data.json"},
                        .image_dir = GoldenPath("")};
  align.trainer = SmallRun("align");
  align.trainer.max_steps = 2;
  ASSERT_TRUE(RunStage(align, false).ok());
  StageOptions finetune = align;
  finetune.stage = TrainingStage::kFinetune;
  finetune.model_dir = align.trainer.output_dir + "/model";
  finetune.trainer.output_dir = root + "/finetune";
  ASSERT_TRUE(RunStage(finetune, false).ok());

  const Json base = ReadJson(golden + "/config.json");
  for (const auto& [dir, is_align] :
       {std::pair(finetune.model_dir, true), std::pair(root + "/finetune/model", false)}) {
    Json expected = base;
    expected["use_moe"] = !is_align;
    expected["tune_mm_mlp_adapter"] = is_align;
    EXPECT_EQ(ReadJson(dir + "/config.json"), expected);
    const auto before = *Checkpoint::Open(golden);
    const auto after = Checkpoint::Open(dir);  // every name, shape and key is checked
    ASSERT_TRUE(after.ok()) << after.status();
    for (const TensorSpec& spec : before->tensors()) {
      const TensorView a = *before->Get(spec.name), b = *(*after)->Get(spec.name);
      EXPECT_EQ(a.dtype, b.dtype) << spec.name;
      const bool trained =
          is_align ? spec.part == ModelPart::kProjector : spec.part != ModelPart::kVision;
      // Padding rows of the vocabulary and dead units aside, what is trained has moved.
      EXPECT_EQ(std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end()),
                !trained)
          << spec.name;
    }
  }
  EXPECT_TRUE(std::filesystem::exists(root + "/finetune/loss.svg"));
  std::ifstream log(root + "/finetune/log.jsonl");
  int lines = 0;
  for (std::string line; std::getline(log, line); ++lines) {
    EXPECT_EQ(Json::parse(line)["step"], lines + 1);
  }
  EXPECT_EQ(lines, 2);
}

}  // namespace
}  // namespace parrot
