// Files of packed weights: written once, mapped afterwards, and never in the way of a start.
#include <sys/resource.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/runtime/model_runner_factory.h"
#include "model/weights/dummy_weights.h"
#include "tests/model/step_driver/step_driver.h"
#include "tests/model/tiny_model/tiny_model.h"

namespace parrot {
namespace {

namespace fs = std::filesystem;

class PackedWeightsTest : public testing::TestWithParam<const char*> {
 protected:
  PackedWeightsTest() { fs::create_directory(dir_); }
  ~PackedWeightsTest() override {
    fs::permissions(dir_, fs::perms::owner_all);
    fs::remove_all(dir_);
  }

  // An answer of the model, and what became of the file.
  std::vector<TokenId> Answer(const WeightSource& weights,
                              const std::string& quantization = "none") {
    ModelRunnerOptions options;
    options.dtype = ComputeDtype::kBFloat16;
    options.num_threads = 2;
    options.kv_cache_memory_bytes = int64_t{16} << 20;
    options.vocab_size = kTinyVocabSize;
    options.cpu.backend = "cpu";
    options.cpu.quantization = quantization;
    options.cpu.packed_weights_dir = dir_.string();
    options.progress = [this](const LoadProgress& progress) { outcome_ = progress.packed_weights; };
    auto runner = CreateModelRunner(weights, options);
    EXPECT_TRUE(runner.ok()) << runner.status();
    if (!runner.ok()) return {};
    DriverRequest request;
    request.ids = TinyPrompt(100, 20, true);
    request.images = {TinyImage(weights.config(), 1)};
    request.max_new_tokens = 12;
    return StepDriver(**runner).Run({request})[0].tokens;
  }
  std::vector<fs::path> Files() const {
    return {fs::directory_iterator(dir_), fs::directory_iterator()};
  }

  const fs::path dir_ = fs::path(testing::TempDir()) / ("packed" + std::to_string(getpid()));
  std::string outcome_;
};

TEST_P(PackedWeightsTest, AreWrittenOnceAndThenMappedWithoutReadingTheCheckpoint) {
  const CountingWeights weights(TinyConfig(/*tied=*/false), 7);
  const std::vector<TokenId> packed = Answer(weights, GetParam());
  EXPECT_EQ(outcome_, "written");
  const int num_matrices = weights.num_matrix_reads();
  EXPECT_GT(num_matrices, 20);
  ASSERT_EQ(Files().size(), 1u);
  const std::vector<TokenId> mapped = Answer(weights, GetParam());
  EXPECT_EQ(outcome_, "mapped");
  EXPECT_LE(weights.num_matrix_reads() - num_matrices, 2) << "positions and router alone";
  EXPECT_EQ(mapped, packed);
}

INSTANTIATE_TEST_SUITE_P(Formats, PackedWeightsTest, testing::Values("none", "int8", "int4-g32"));

class PackedWeightsFileTest : public PackedWeightsTest {};

TEST_F(PackedWeightsFileTest, BelongToOneModelAndFormat) {
  Answer(DummyWeights(TinyConfig(true), 7));
  EXPECT_EQ(outcome_, "written");
  Answer(DummyWeights(TinyConfig(true), 7), "int8");
  EXPECT_EQ(outcome_, "written");
  Answer(DummyWeights(TinyConfig(false), 7));
  EXPECT_EQ(outcome_, "written");
  Answer(DummyWeights(TinyConfig(true), 8));
  EXPECT_EQ(outcome_, "written");
  EXPECT_EQ(Files().size(), 4u);
  Answer(DummyWeights(TinyConfig(true), 7));
  EXPECT_EQ(outcome_, "mapped");
}

TEST_F(PackedWeightsFileTest, AreWrittenAgainWhenDamaged) {
  const DummyWeights weights(TinyConfig(true), 7);
  const std::vector<TokenId> expected = Answer(weights);
  const fs::path file = Files().at(0);
  const auto size = fs::file_size(file);
  for (const uintmax_t left : {uintmax_t{0}, uintmax_t{20}, uintmax_t{4096}, size - 1, size + 1}) {
    fs::resize_file(file, left);
    EXPECT_EQ(Answer(weights), expected);
    EXPECT_EQ(outcome_, "written") << left;
    EXPECT_EQ(fs::file_size(file), size);
  }
  // Of the right size and not ours.
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).write("12345678", 8);
  Answer(weights);
  EXPECT_EQ(outcome_, "written");
  // What a process left that died while it wrote.
  fs::rename(file, file.string() + ".partial");
  Answer(weights);
  EXPECT_EQ(outcome_, "written");
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(PackedWeightsFileTest, DoNotStopAStartThatCannotWriteThem) {
  const DummyWeights weights(TinyConfig(true), 7);
  const std::vector<TokenId> expected = Answer(weights);
  fs::remove_all(dir_);
  EXPECT_EQ(Answer(weights), expected);
  EXPECT_EQ(outcome_, "not written: No such file or directory");

  // No space left, half-way.
  fs::create_directory(dir_);
  rlimit old_limit = {};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {.rlim_cur = 100'000, .rlim_max = old_limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::vector<TokenId> answer = Answer(weights);
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(answer, expected);
  EXPECT_EQ(outcome_, "not written: File too large");
  EXPECT_TRUE(Files().empty());
}

// Sizes alone: 10^12 elements.
class HugeWeights : public DummyWeights {
 public:
  explicit HugeWeights(const ModelConfig& config)
      : DummyWeights(config, 7), tensors_({{.name = "huge", .shape = {1'000'000, 1'000'000}}}) {}
  const std::vector<TensorSpec>& tensors() const override { return tensors_; }

 private:
  const std::vector<TensorSpec> tensors_;
};

TEST(WeightDtypeTest, AutoIsFloat32UnlessThatWouldNotFit) {
  ModelRunnerOptions options;
  options.cpu.backend = "cpu";
  ModelConfig config = TinyConfig(true);
  EXPECT_EQ(ResolveDtype(DummyWeights(config, 7), options), ComputeDtype::kFloat32);
  EXPECT_EQ(ResolveDtype(HugeWeights(config), options), ComputeDtype::kBFloat16);
  options.dtype = ComputeDtype::kFloat32;
  EXPECT_EQ(ResolveDtype(HugeWeights(config), options), ComputeDtype::kFloat32);
  options.dtype = ComputeDtype::kAuto;
  config.stored_dtype = DataType::kBFloat16;
  EXPECT_EQ(ResolveDtype(DummyWeights(config, 7), options), ComputeDtype::kBFloat16);
}

}  // namespace
}  // namespace parrot
