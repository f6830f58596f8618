// The pictures of the golden data sets, saved again, against those that the reference saved.
#include "eval/images/jpeg_resave.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "eval/data_table.h"
#include "eval/dataset.h"
#include "eval/images/picture_file.h"
#include "gtest/gtest.h"
#include "model/image/image_decoder.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using nlohmann::json;

// The picture of each row, by data set and index.
std::map<std::pair<std::string, int64_t>, std::string> Pictures() {
  std::map<std::pair<std::string, int64_t>, std::string> pictures;
  for (const std::string stem : {"MMMB_", "MMBench_dev_"}) {
    for (const std::string language : {"ar", "cn", "en", "pt", "ru", "tr"}) {
      const auto table =
          DataTable::Parse(ReadGoldenFile("eval/tsv/" + stem + language + ".tsv"), {});
      EXPECT_TRUE(table.ok()) << table.status();
      const auto dataset = MakeDataset(stem + language, *table);
      EXPECT_TRUE(dataset.ok()) << dataset.status();
      for (const EvalRow& row : dataset->rows) {
        pictures[{dataset->name, row.index}] = dataset->images[row.image_idx];
      }
    }
  }
  return pictures;
}

// Largest difference of a channel; sizes must be equal.
int Difference(const DecodedImage& a, const DecodedImage& b) {
  EXPECT_EQ(a.rgb.width, b.rgb.width);
  EXPECT_EQ(a.rgb.height, b.rgb.height);
  if (a.rgb.size_bytes() != b.rgb.size_bytes()) return 256;
  int difference = 0;
  for (size_t i = 0; i < a.rgb.size_bytes(); ++i) {
    difference = std::max(difference, std::abs(a.rgb.pixels[i] - b.rgb.pixels[i]));
  }
  return difference;
}

TEST(JpegResave, PicturesAreTheReferences) {
  const auto pictures = Pictures();
  std::map<std::string, json> images;  // by the reference's file
  std::map<std::string, std::string> sources;
  for (const json& line : ReadJsonLines("eval/prompts.jsonl.xz")) {
    const std::string name = line.at("image").at("jpeg_sha256").get<std::string>().substr(0, 16);
    images[name] = line.at("image");
    // Every row, whether it holds its picture or refers to another's.
    const std::string& picture = pictures.at({line.at("dataset"), line.at("index")});
    EXPECT_EQ(sources.emplace(name, picture).first->second, picture) << line.at("index");
  }
  ASSERT_EQ(images.size(), 22u);
  int num_exact = 0;
  for (const auto& [name, image] : images) {
    SCOPED_TRACE(name + " " + image.at("source_mode").get<std::string>());
    const auto saved = SaveAgainAsJpeg(sources.at(name));
    ASSERT_TRUE(saved.ok()) << saved.status();
    const auto ours = DecodeImage(*saved, "", {});
    const auto theirs = DecodeImage(ReadGoldenFile("eval/images/" + name + ".jpg"), "", {});
    ASSERT_TRUE(ours.ok() && theirs.ok());
    const int difference = Difference(*ours, *theirs);
    EXPECT_LE(difference, 3);
    num_exact += difference == 0 ? 1 : 0;
  }
  EXPECT_GE(num_exact, 20);
}

TEST(JpegResave, WhatIsNoPictureIsRefused) {
  for (const char* text : {"", "no picture", "GIF89a", "BM", "\xff\xd8\xff"}) {
    EXPECT_EQ(SaveAgainAsJpeg(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

// Cut or changed anywhere, a file is refused or is some picture; nothing else happens.
TEST(JpegResave, DamagedFilesOfTheSimpleFormatsDoNoHarm) {
  int num_refused = 0;
  for (const auto& [key, picture] : Pictures()) {
    if (key.first != "MMMB_ar" || !(picture.starts_with("GIF") || picture.starts_with("BM")))
      continue;
    for (size_t size = 0; size < picture.size(); size += 7) {
      const auto cut = DecodePictureFile(std::string_view(picture).substr(0, size));
      num_refused += cut.ok() ? 0 : 1;
      std::string changed = picture;
      changed[size] = static_cast<char>(changed[size] ^ 0xa5);
      const auto decoded = DecodePictureFile(changed);
      EXPECT_TRUE(!decoded.ok() || decoded->size_bytes() > 0);
    }
  }
  EXPECT_GT(num_refused, 300);
}

}  // namespace
}  // namespace parrot
