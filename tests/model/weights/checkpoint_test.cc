#include "model/weights/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/weights/tensor_names.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

std::string Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

struct Counts {
  size_t tensors;
  int files;
  int64_t language, vision, projector, moe;
};

TEST(CheckpointTest, LoadsTheGoldenCheckpointsWithExactCounts) {
  const std::map<std::string, Counts> expected = {
      {"nano-mha", {105, 1, 959872, 224832, 24832, 443136}},
      {"nano-gqa", {132, 3, 2870528, 901888, 98816, 1181184}},
      {"nano-7bshape", {77, 1, 1459712, 546304, 98816, 1181184}}};
  for (const char* name : kGoldenCheckpoints) {
    const auto checkpoint = Checkpoint::Open(GoldenCheckpoint(name));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const Counts& counts = expected.at(name);
    EXPECT_EQ((*checkpoint)->tensors().size(), counts.tensors);
    EXPECT_EQ((*checkpoint)->num_files(), counts.files);
    const ParameterCounts parameters = CountParameters((*checkpoint)->tensors());
    EXPECT_EQ(parameters.language, counts.language);
    EXPECT_EQ(parameters.vision, counts.vision);
    EXPECT_EQ(parameters.projector, counts.projector);
    EXPECT_EQ(parameters.moe, counts.moe);
    EXPECT_THAT((*checkpoint)->notes(), IsEmpty());
  }
}

TEST(CheckpointTest, ReadsTheSizesOfNanoGqa) {
  const auto checkpoint = Checkpoint::Open(GoldenCheckpoint("nano-gqa"));
  ASSERT_TRUE(checkpoint.ok());
  const ModelConfig& c = (*checkpoint)->config();
  EXPECT_EQ(c.vision.image_size, 224);  // CLIP's default: the file does not state it
  EXPECT_EQ(c.vision.num_tokens(), 257);
  EXPECT_EQ(c.vision.num_heads, 2);
  EXPECT_EQ(c.vision.num_used_layers(), 3);
  EXPECT_FLOAT_EQ(c.vision.layer_norm_eps, 1e-5f);
  EXPECT_EQ(c.language.num_kv_heads, 2);
  EXPECT_TRUE(c.language.tie_word_embeddings);
  EXPECT_FLOAT_EQ(c.language.rope_theta, 1e6f);
  EXPECT_EQ(c.projector.depth, 2);
  EXPECT_EQ(c.moe.num_experts, 6);
  EXPECT_FLOAT_EQ(c.moe.residual_weight, 0.1f);
  EXPECT_TRUE(c.image_processor.pad_to_square);
  EXPECT_EQ(c.stored_dtype, DataType::kBFloat16);
  EXPECT_EQ(c.eos_token_id, 2502);
  EXPECT_EQ(c.model_max_length, 2048);
  EXPECT_EQ(c.revision.size(), 64u);
  EXPECT_EQ(c.kv_bytes_per_token(DataType::kBFloat16), 2 * 3 * 2 * 64 * 2);
  EXPECT_THAT((*checkpoint)->bytes_by_dtype(), ElementsAre(std::pair("bfloat16", 10104832)));
}

TEST(CheckpointTest, ViewsHoldTheFilesBytesAndOutliveTheCheckpoint) {
  TensorView view;
  {
    auto checkpoint = Checkpoint::Open(GoldenCheckpoint("nano-mha"));
    ASSERT_TRUE(checkpoint.ok());
    auto got = (*checkpoint)->Get(tensor_names::kMoeGate);
    ASSERT_TRUE(got.ok());
    view = *std::move(got);
  }
  EXPECT_THAT(view.shape, ElementsAre(6, 128));
  EXPECT_EQ(view.dtype, DataType::kFloat32);
  const auto tensors = ReadTensors(GoldenCheckpoint("nano-mha") + "/model.safetensors");
  const auto raw = std::find_if(tensors.begin(), tensors.end(), [](const RawTensor& t) {
    return t.name == tensor_names::kMoeGate;
  });
  ASSERT_EQ(view.bytes.size(), raw->data.size());
  EXPECT_EQ(std::memcmp(view.bytes.data(), raw->data.data(), raw->data.size()), 0);
}

TEST(CheckpointTest, EveryListedTensorCanBeRead) {
  for (const char* name : kGoldenCheckpoints) {
    const auto checkpoint = Checkpoint::Open(GoldenCheckpoint(name));
    ASSERT_TRUE(checkpoint.ok());
    for (const TensorSpec& spec : (*checkpoint)->tensors()) {
      const auto view = (*checkpoint)->Get(spec.name);
      ASSERT_TRUE(view.ok()) << view.status();
      EXPECT_EQ(view->shape, spec.shape);
      EXPECT_EQ(static_cast<int64_t>(view->bytes.size()),
                spec.num_elements() * DataTypeBytes(view->dtype));
    }
    EXPECT_EQ((*checkpoint)->Get("model.nothing").status().code(), absl::StatusCode::kNotFound);
  }
}

TEST(CheckpointTest, UnalignedTensorsAreHandedOutAligned) {
  const TempDir dir;
  CopyCheckpoint("nano-mha", dir.path());
  std::vector<RawTensor> tensors = ReadTensors(dir.File("model.safetensors"));
  Json header = Json::object();
  std::string data;
  for (const RawTensor& t : tensors) {
    header[t.name] = {{"dtype", t.dtype},
                      {"shape", t.shape},
                      {"data_offsets", {data.size(), data.size() + t.data.size()}}};
    data += t.data;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8 + 1, ' ');  // one byte off
  WriteBytes(dir.File("model.safetensors"), SafetensorsBytes(text, data));
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const RawTensor& t : tensors) {
    const auto view = (*checkpoint)->Get(t.name);
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view->bytes.data()) % 4, 0u);
    EXPECT_EQ(std::memcmp(view->bytes.data(), t.data.data(), t.data.size()), 0);
  }
}

TEST(CheckpointTest, ShrunkFileIsAnErrorNotACrash) {
  const TempDir dir;
  CopyCheckpoint("nano-mha", dir.path());
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok());
  std::filesystem::resize_file(dir.File("model.safetensors"), 20000);
  EXPECT_EQ((*checkpoint)->Get(tensor_names::kFinalNorm).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(CheckpointTest, WithoutVisionConfigTheTowerComesFromTheShapes) {
  for (const char* name : {"nano-gqa", "nano-7bshape"}) {
    const TempDir dir;
    CopyCheckpoint(name, dir.path());
    std::filesystem::remove(dir.File("vision_config.json"));
    std::filesystem::remove(dir.File("preprocessor_config.json"));
    const auto with = Checkpoint::Open(GoldenCheckpoint(name));
    const auto without = Checkpoint::Open(dir.path());
    ASSERT_TRUE(without.ok()) << without.status();
    const VisionConfig& expected = (*with)->config().vision;
    const VisionConfig& vision = (*without)->config().vision;
    EXPECT_EQ(vision.image_size, expected.image_size);
    EXPECT_EQ(vision.patch_size, expected.patch_size);
    EXPECT_EQ(vision.hidden_size, expected.hidden_size);
    EXPECT_EQ(vision.num_layers, expected.num_layers);
    EXPECT_EQ(vision.num_heads, expected.num_heads);
    EXPECT_EQ(vision.intermediate_size, expected.intermediate_size);
    EXPECT_EQ(vision.layer_norm_eps, expected.layer_norm_eps);
    EXPECT_EQ(vision.select_layer, expected.select_layer);
    const ImageProcessorConfig& processor = (*without)->config().image_processor;
    EXPECT_EQ(processor.mean, (*with)->config().image_processor.mean);
    EXPECT_EQ(processor.std, (*with)->config().image_processor.std);
    EXPECT_NE((*with)->config().revision, (*without)->config().revision);
  }
}

TEST(CheckpointTest, HeadsOfSixtyFourAreAssumedOnlyWhereTheyFit) {
  const TempDir dir;
  CopyCheckpoint("nano-mha", dir.path());  // 64 channels: one head, though it has four of 16
  std::filesystem::remove(dir.File("vision_config.json"));
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_EQ((*checkpoint)->config().vision.num_heads, 1);
}

TEST(LoadModelConfigTest, EqualsTheCheckpointsConfig) {
  for (const char* name : kGoldenCheckpoints) {
    const auto config = LoadModelConfig(GoldenCheckpoint(name));
    ASSERT_TRUE(config.ok()) << config.status();
    const auto checkpoint = Checkpoint::Open(GoldenCheckpoint(name));
    EXPECT_EQ(config->vision.num_tokens(), (*checkpoint)->config().vision.num_tokens());
    EXPECT_EQ(config->language.vocab_rows, (*checkpoint)->config().language.vocab_rows);
    EXPECT_EQ(config->stored_dtype, (*checkpoint)->config().stored_dtype);
  }
}

TEST(LoadModelConfigTest, NeedsNoWeights) {
  const TempDir dir;
  WriteBytes(dir.File("config.json"), R"({"intermediate_size": 11008, "rope_theta": 1000000.0})");
  const auto config = LoadModelConfig(dir.path());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vision.num_tokens(), 577);
  EXPECT_EQ(config->vision.num_heads, 16);
  EXPECT_EQ(CountParameters(ExpectedTensors(*config)).total(), 8'347'826'176);
}

// The released models: totals that match the published shard sizes.
ModelConfig Released7B() { return ModelConfig(); }
ModelConfig Released14B() {
  ModelConfig config;
  config.language.hidden_size = 5120;
  config.language.intermediate_size = 13696;
  config.language.num_layers = 40;
  config.language.num_heads = 40;
  config.language.num_kv_heads = 40;
  config.language.vocab_rows = 152064;
  return config;
}

TEST(TensorSpecsTest, CountsTheReleasedModels) {
  const std::vector<TensorSpec> seven = ExpectedTensors(Released7B());
  EXPECT_EQ(seven.size(), 801u);
  const ParameterCounts counts = CountParameters(seven);
  EXPECT_EQ(counts.language, 7'721'324'544);
  EXPECT_EQ(counts.vision, 303'507'456);
  EXPECT_EQ(counts.projector, 20'979'712);
  EXPECT_EQ(counts.moe, 302'014'464);
  EXPECT_EQ(counts.total(), 8'347'826'176);

  const std::vector<TensorSpec> fourteen = ExpectedTensors(Released14B());
  EXPECT_EQ(fourteen.size(), 897u);
  const ParameterCounts counts14 = CountParameters(fourteen);
  EXPECT_EQ(counts14.language, 14'167'290'880);
  EXPECT_EQ(counts14.vision, 303'507'456);
  EXPECT_EQ(counts14.projector, 31'467'520);
  EXPECT_EQ(counts14.moe, 377'518'080);
  EXPECT_EQ(counts14.total(), 14'879'783'936);
}

// An index written from our names has the size of the published one, to the byte.
TEST(TensorSpecsTest, NamesFillThePublishedIndex) {
  for (const auto& [config, shards, bytes] :
       {std::tuple(Released7B(), 4, 82'505u), std::tuple(Released14B(), 6, 90'393u)}) {
    const std::vector<TensorSpec> tensors = ExpectedTensors(config);
    Json index = {{"metadata", {{"total_size", 2 * CountParameters(tensors).total()}}},
                  {"weight_map", Json::object()}};
    for (const TensorSpec& spec : tensors) {
      index["weight_map"][spec.name] =
          "model-00001-of-0000" + std::to_string(shards) + ".safetensors";
    }
    EXPECT_EQ(index.dump(2).size() + 1, bytes);
  }
}

// ---- What must be refused ----

struct BadCheckpoint {
  std::string what;
  TinyKind base;
  std::function<void(const TempDir&)> damage;
  std::string message;  // expected in the error
  std::string reason = "MODEL_FILE_INVALID";
};

void EditTensors(const std::string& path, const std::function<void(RawTensor&)>& edit) {
  std::vector<RawTensor> tensors = ReadTensors(path);
  for (RawTensor& tensor : tensors) edit(tensor);
  std::erase_if(tensors, [](const RawTensor& t) { return t.name.empty(); });
  WriteBytes(path, SafetensorsBytes(tensors));
}

void EditTensor(const TempDir& dir,
                const std::string& name,
                const std::function<void(RawTensor&)>& edit) {
  EditTensors(dir.File("model.safetensors"), [&](RawTensor& t) {
    if (t.name == name) edit(t);
  });
}

void AddTensor(const TempDir& dir, RawTensor tensor) {
  std::vector<RawTensor> tensors = ReadTensors(dir.File("model.safetensors"));
  tensors.push_back(std::move(tensor));
  WriteBytes(dir.File("model.safetensors"), SafetensorsBytes(tensors));
}

void EditIndex(const TempDir& dir, const std::function<void(Json&)>& edit) {
  EditJson(dir.File("model.safetensors.index.json"), [&](Json& json) { edit(json["weight_map"]); });
}

constexpr char kGate0[] = "model.layers.0.mlp.gate_proj.weight";

std::vector<BadCheckpoint> BadWeights() {
  using enum TinyKind;
  return {
      {"tensor missing",
       kSingle,
       [](const TempDir& d) { EditTensor(d, kGate0, [](RawTensor& t) { t.name.clear(); }); },
       "model.safetensors: model.layers.0.mlp.gate_proj.weight: tensor is missing; config.json "
       "asks for it"},
      {"tensor of another name",
       kSingle,
       [](const TempDir& d) {
         EditTensor(d, "model.norm.weight", [](RawTensor& t) { t.name = "model.norm.gamma"; });
       },
       "model.norm.weight: tensor is missing"},
      {"tensor left over",
       kSingle,
       [](const TempDir& d) {
         AddTensor(d, {"model.image_newline", "F32", {1}, "0123"});
       },
       "model.safetensors: model.image_newline: tensor is left over"},
      {"a third layer",
       kSingle,
       [](const TempDir& d) {
         AddTensor(d, {"model.layers.2.input_layernorm.weight", "F32", {0}, ""});
       },
       "left over"},
      {"position_ids",
       kSingle,
       [](const TempDir& d) {
         AddTensor(d, {tensor_names::Vision("embeddings.position_ids"), "I64", {0}, ""});
       },
       "left over"},
      {"shape transposed",
       kSingle,
       [](const TempDir& d) {
         EditTensor(d, kGate0, [](RawTensor& t) { std::swap(t.shape[0], t.shape[1]); });
       },
       "shape is [32, 48], config.json asks for [48, 32]"},
      {"dtype of integers",
       kSingle,
       [](const TempDir& d) { EditTensor(d, kGate0, [](RawTensor& t) { t.dtype = "I32"; }); },
       "dtype is I32, weights must be F32, BF16 or F16",
       "MODEL_UNSUPPORTED"},
      {"tower against vision_config.json",
       kSingle,
       [](const TempDir& d) {
         EditJson(d.File("vision_config.json"),
                  [](Json& j) { j["vision_config"]["intermediate_size"] = 95; });
       },
       "vision_config.json asks for [95"},
      {"layers of the tower against vision_config.json",
       kSingle,
       [](const TempDir& d) {
         EditJson(d.File("vision_config.json"),
                  [](Json& j) { j["vision_config"]["num_hidden_layers"] = 2; });
       },
       "encoder.layers.2.layer_norm1.bias: tensor is left over"},
      {"experts against config.json",
       kSingle,
       [](const TempDir& d) {
         EditJson(d.File("config.json"), [](Json& j) { j["num_experts"] = 7; });
       },
       "config.json (num_experts, moe_intermediate_size) asks for"},
      {"processor against the tower",
       kSingle,
       [](const TempDir& d) {
         EditJson(d.File("preprocessor_config.json"), [](Json& j) {
           j["size"] = 14;
           j["crop_size"] = 14;
         });
       },
       "preprocessor_config.json: size: is 14, the vision tower takes 28 pixels"},
      {"mm_hidden_size against the tower",
       kSingle,
       [](const TempDir& d) {
         EditJson(d.File("config.json"), [](Json& j) { j["mm_hidden_size"] = 128; });
       },
       "config.json: mm_hidden_size: is 128, the vision tower has 64 channels"},
      {"untied without a head",
       kSingle,
       [](const TempDir& d) { EditTensor(d, "lm_head.weight", [](RawTensor& t) { t.name = ""; }); },
       "lm_head.weight: tensor is missing"},
      {"no tower and no vision_config.json",
       kSingle,
       [](const TempDir& d) {
         std::filesystem::remove(d.File("vision_config.json"));
         EditTensors(d.File("model.safetensors"), [](RawTensor& t) {
           if (t.name.find("vision_tower") != std::string::npos) t.name.clear();
         });
       },
       "patch_embedding.weight: tensor is missing"},
      {"positions that are no square",
       kSingle,
       [](const TempDir& d) {
         std::filesystem::remove(d.File("vision_config.json"));
         EditTensor(
             d, tensor_names::Vision("embeddings.position_embedding.weight"), [](RawTensor& t) {
               t.shape[0] = 4;
               t.data.resize(static_cast<size_t>(4 * 64 * 4));
             });
       },
       "is not a square of patches and one class row"},
      {"data cut off",
       kSingle,
       [](const TempDir& d) {
         std::filesystem::resize_file(d.File("model.safetensors"),
                                      std::filesystem::file_size(d.File("model.safetensors")) - 4);
       },
       "after the end of the file"},
      {"tied head of another shape",
       kSharded,
       [](const TempDir& d) {
         const std::string shard = d.File("model-00003-of-00003.safetensors");
         std::vector<RawTensor> tensors = ReadTensors(shard);
         tensors.push_back({"lm_head.weight", "BF16", {1, 32}, std::string(64, '\0')});
         WriteBytes(shard, SafetensorsBytes(tensors));
         EditIndex(d, [](Json& m) { m["lm_head.weight"] = "model-00003-of-00003.safetensors"; });
       },
       "lm_head.weight: shape is [1, 32]"},
      {"shard missing",
       kSharded,
       [](const TempDir& d) {
         std::filesystem::remove(d.File("model-00002-of-00003.safetensors"));
       },
       "model-00002-of-00003.safetensors: no such file",
       "MODEL_FILE_MISSING"},
      {"index leaves a tensor out",
       kSharded,
       [](const TempDir& d) { EditIndex(d, [](Json& m) { m.erase("model.norm.weight"); }); },
       "model.norm.weight: is not in model.safetensors.index.json"},
      {"index names the wrong shard",
       kSharded,
       [](const TempDir& d) {
         EditIndex(d, [](Json& m) {
           m["model.embed_tokens.weight"] = "model-00002-of-00003.safetensors";
         });
       },
       "model.embed_tokens.weight: is not in model-00002-of-00003.safetensors"},
      {"index names a tensor that is nowhere",
       kSharded,
       [](const TempDir& d) {
         EditIndex(d, [](Json& m) { m["model.extra"] = "model-00002-of-00003.safetensors"; });
       },
       "model.extra: is not in model-00002-of-00003.safetensors"},
      {"tensor in two shards",
       kSharded,
       [](const TempDir& d) {
         const auto first = ReadTensors(d.File("model-00001-of-00003.safetensors"));
         auto second = ReadTensors(d.File("model-00002-of-00003.safetensors"));
         second.push_back(first[0]);
         WriteBytes(d.File("model-00002-of-00003.safetensors"), SafetensorsBytes(second));
       },
       "is also in model-00001-of-00003.safetensors"},
      {"index is no JSON",
       kSharded,
       [](const TempDir& d) { WriteBytes(d.File("model.safetensors.index.json"), "{"); },
       "model.safetensors.index.json: is not valid JSON"},
      {"index without weight_map",
       kSharded,
       [](const TempDir& d) { WriteBytes(d.File("model.safetensors.index.json"), "{}"); },
       "weight_map: must be an object"},
      {"index with an empty weight_map",
       kSharded,
       [](const TempDir& d) {
         WriteBytes(d.File("model.safetensors.index.json"), R"({"weight_map":{}})");
       },
       "weight_map: is empty"},
      {"index with a duplicate key",
       kSharded,
       [](const TempDir& d) {
         WriteBytes(d.File("model.safetensors.index.json"),
                    R"({"weight_map":{"a":"x.safetensors","a":"y.safetensors"}})");
       },
       "model.safetensors.index.json: a: duplicate key"},
      {"only pickles",
       kSingle,
       [](const TempDir& d) {
         std::filesystem::rename(d.File("model.safetensors"), d.File("pytorch_model.bin"));
       },
       "only safetensors",
       "MODEL_UNSUPPORTED"},
      {"only a .pt",
       kSingle,
       [](const TempDir& d) {
         std::filesystem::rename(d.File("model.safetensors"), d.File("model.pt"));
       },
       "only safetensors",
       "MODEL_UNSUPPORTED"},
      {"no weights at all",
       kSingle,
       [](const TempDir& d) { std::filesystem::remove(d.File("model.safetensors")); },
       "model.safetensors: no such file, and no model.safetensors.index.json",
       "MODEL_FILE_MISSING"},
      {"no config.json",
       kSingle,
       [](const TempDir& d) { std::filesystem::remove(d.File("config.json")); },
       "config.json: no such file",
       "MODEL_FILE_MISSING"},
  };
}

TEST(CheckpointTest, RefusesWeightsThatAreNotTheConfigurations) {
  const std::vector<BadCheckpoint> cases = BadWeights();
  EXPECT_EQ(cases.size(), 30u);
  for (const BadCheckpoint& bad : cases) {
    const TempDir dir;
    WriteTinyCheckpoint(bad.base, dir.path());
    ASSERT_TRUE(Checkpoint::Open(dir.path()).ok()) << bad.what;
    bad.damage(dir);
    const absl::Status status = Checkpoint::Open(dir.path()).status();
    EXPECT_THAT(Text(status), HasSubstr(bad.message)) << bad.what;
    EXPECT_EQ(GetErrorFacts(status).reason, bad.reason) << bad.what;
    EXPECT_EQ(Text(status).find(dir.path()), std::string::npos) << "path shown: " << bad.what;
  }
}

TEST(CheckpointTest, ShardNamesStayInTheFolder) {
  for (const char* name : {"../model-00001-of-00003.safetensors",
                           "/etc/passwd.safetensors",
                           "..",
                           ".safetensors",
                           "sub/x.safetensors",
                           "a\\b.safetensors",
                           "a\x01.safetensors",
                           "model-00001-of-00003.bin",
                           "",
                           ".hidden.safetensors"}) {
    const Json index = {{"weight_map", {{"t", name}}}};
    EXPECT_THAT(Text(ParseWeightIndex(index.dump()).status()),
                HasSubstr("must name a .safetensors file in the same folder"))
        << name;
  }
  EXPECT_FALSE(ParseWeightIndex(R"({"weight_map":{"t":1}})").ok());
  EXPECT_TRUE(ParseWeightIndex(R"({"weight_map":{"t":"model-00001-of-00003.safetensors"}})").ok());
}

// ---- What must be accepted ----

TEST(CheckpointTest, ATiedHeadMayBeStored) {
  const TempDir dir;
  CopyCheckpoint("nano-gqa", dir.path());
  const std::string shard = dir.File("model-00003-of-00003.safetensors");
  std::vector<RawTensor> tensors = ReadTensors(shard);
  tensors.push_back({"lm_head.weight", "BF16", {2560, 256}, std::string(2560 * 256 * 2, '\0')});
  WriteBytes(shard, SafetensorsBytes(tensors));
  EditIndex(dir, [](Json& m) { m["lm_head.weight"] = "model-00003-of-00003.safetensors"; });
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->tensors().size(), 132u);
  EXPECT_THAT((*checkpoint)->notes(), Contains(HasSubstr("lm_head.weight is stored but unused")));
  // The reference ties the weights after loading: the copy is never used.
  EXPECT_EQ((*checkpoint)->Get("lm_head.weight")->bytes.data(),
            (*checkpoint)->Get(tensor_names::kTokenEmbedding)->bytes.data());
}

TEST(CheckpointTest, ATiedHeadNeedNotBeStored) {
  const auto checkpoint = Checkpoint::Open(GoldenCheckpoint("nano-gqa"));
  ASSERT_TRUE(checkpoint.ok());
  const auto head = (*checkpoint)->Get(tensor_names::kLmHead);
  ASSERT_TRUE(head.ok());
  EXPECT_THAT(head->shape, ElementsAre(2560, 256));
}

TEST(CheckpointTest, ADisabledMoeMayBeStoredOrNot) {
  for (const bool stored : {true, false}) {
    const TempDir dir;
    CopyCheckpoint("nano-mha", dir.path());
    EditJson(dir.File("config.json"), [](Json& j) { j["use_moe"] = false; });
    if (!stored) {
      EditTensors(dir.File("model.safetensors"), [](RawTensor& t) {
        if (t.name.find("moe_model") != std::string::npos) t.name.clear();
      });
    }
    const auto checkpoint = Checkpoint::Open(dir.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(CountParameters((*checkpoint)->tensors()).moe, 0);
  }
}

TEST(CheckpointTest, TheSingleFileWinsOverAnIndex) {
  const TempDir dir;
  CopyCheckpoint("nano-mha", dir.path());
  WriteBytes(dir.File("model.safetensors.index.json"), "not even JSON");
  EXPECT_TRUE(Checkpoint::Open(dir.path()).ok());
}

TEST(CheckpointTest, DtypesMayBeMixedAndTheTensorsDecide) {
  const TempDir dir;
  CopyCheckpoint("nano-7bshape", dir.path());
  EditJson(dir.File("config.json"), [](Json& j) { j["torch_dtype"] = "float32"; });
  EditTensor(dir, "model.norm.weight", [](RawTensor& t) {
    t.dtype = "F32";
    t.data.resize(t.data.size() * 2);
  });
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->config().stored_dtype, DataType::kBFloat16);
  EXPECT_EQ((*checkpoint)->bytes_by_dtype().at("float32"), 1024);
  EXPECT_THAT((*checkpoint)->notes(), Contains(HasSubstr("more than one dtype")));
  EXPECT_THAT((*checkpoint)->notes(), Contains(HasSubstr("torch_dtype is float32")));
}

TEST(CheckpointTest, ReshardingChangesNothingButTheRevision) {
  const TempDir dir;
  CopyCheckpoint("nano-gqa", dir.path());
  std::vector<RawTensor> all;
  for (int shard = 1; shard <= 3; ++shard) {
    const std::string path =
        dir.File("model-0000" + std::to_string(shard) + "-of-00003.safetensors");
    for (RawTensor& t : ReadTensors(path)) all.push_back(std::move(t));
    std::filesystem::remove(path);
  }
  std::filesystem::remove(dir.File("model.safetensors.index.json"));
  WriteBytes(dir.File("model.safetensors"), SafetensorsBytes(all));
  const auto sharded = Checkpoint::Open(GoldenCheckpoint("nano-gqa"));
  const auto single = Checkpoint::Open(dir.path());
  ASSERT_TRUE(single.ok()) << single.status();
  EXPECT_EQ((*single)->num_files(), 1);
  EXPECT_EQ((*single)->tensors().size(), (*sharded)->tensors().size());
  EXPECT_NE((*single)->config().revision, (*sharded)->config().revision);
}

TEST(CheckpointTest, TheRevisionIsAFunctionOfTheFiles) {
  const auto a = Checkpoint::Open(GoldenCheckpoint("nano-mha"));
  const auto b = Checkpoint::Open(GoldenCheckpoint("nano-mha"));
  EXPECT_EQ((*a)->config().revision, (*b)->config().revision);
  const TempDir dir;
  CopyCheckpoint("nano-mha", dir.path());
  const auto copy = Checkpoint::Open(dir.path());
  EXPECT_EQ((*copy)->config().revision, (*a)->config().revision);
  EditJson(dir.File("config.json"), [](Json& j) { j["moe_weight"] = 0.2; });
  EXPECT_NE((*Checkpoint::Open(dir.path()))->config().revision, (*a)->config().revision);
}

}  // namespace
}  // namespace parrot
