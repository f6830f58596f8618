#include "model/text/tokenizer_json.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "model/text/tokenizer_file.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

// Values outside vocab and merges; real files have about 60.
constexpr size_t kMaxOtherValues = 65536;

class Reader : public nlohmann::json_sax<Json> {
 public:
  absl::Status status() const { return status_; }
  TokenizerJson Take() { return std::move(result_); }

  bool null() override { return Value(nullptr); }
  bool boolean(bool value) override { return Value(value); }
  bool number_integer(number_integer_t value) override { return Integer(value); }
  bool number_unsigned(number_unsigned_t value) override {
    constexpr auto kMax = std::numeric_limits<int64_t>::max();
    return Integer(value > static_cast<uint64_t>(kMax) ? kMax : static_cast<int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return Value(value); }
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return Fail("binary value"); }
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& value) override;
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    status_ = BadTokenizer("", absl::StrCat("not valid JSON at byte ", position));
    return false;
  }

 private:
  // Where the reader stands. kPair is inside one two-element merge.
  enum class Place { kDocument, kVocab, kMerges, kPair };

  // An open object or array of the document; `key` is the last one read in it.
  struct Frame {
    Json* node;
    std::string key;
  };

  bool Fail(std::string_view what) {
    status_ = BadTokenizer(Path(), what);
    return false;
  }
  std::string Path() const;
  Json* Store(Json value);
  bool Value(Json value);
  bool Integer(int64_t value);
  bool Open(Json empty);
  bool Close();
  bool MergeText(const std::string& text);

  Place place_ = Place::kDocument;
  std::vector<Frame> frames_;
  size_t num_other_values_ = 0;
  std::string vocab_key_;
  std::vector<std::string> pair_;
  TokenizerJson result_;
  absl::Status status_;
};

// Keys of a damaged file may be anything.
std::string Printable(const std::string& key) {
  const bool printable =
      std::all_of(key.begin(), key.end(), [](char c) { return c >= '!' && c <= '~'; });
  return printable ? key : "?";
}

std::string Reader::Path() const {
  std::string path;
  for (const Frame& frame : frames_) {
    if (frame.node->is_array()) {
      absl::StrAppend(&path, "[", frame.node->size(), "]");
    } else if (!frame.key.empty()) {
      absl::StrAppend(&path, path.empty() ? "" : ".", Printable(frame.key));
    }
  }
  if (place_ == Place::kMerges || place_ == Place::kPair) {
    absl::StrAppend(&path, "[", result_.merges.size(), "]");
  }
  return path;
}

// Puts a value into the innermost open object or array; the document's root if none is open.
Json* Reader::Store(Json value) {
  if (frames_.empty()) {
    result_.rest = std::move(value);
    return &result_.rest;
  }
  Frame& frame = frames_.back();
  if (frame.node->is_array()) {
    frame.node->push_back(std::move(value));
    return &frame.node->back();
  }
  Json& slot = (*frame.node)[frame.key];
  slot = std::move(value);
  return &slot;
}

bool Reader::Value(Json value) {
  if (place_ == Place::kVocab) return Fail("id is not an integer");
  if (place_ != Place::kDocument) return Fail("merge is not text");
  if (++num_other_values_ > kMaxOtherValues) return Fail("too many values");
  Store(std::move(value));
  return true;
}

bool Reader::Integer(int64_t value) {
  if (place_ != Place::kVocab) return Value(value);
  result_.vocab.emplace_back(std::move(vocab_key_), value);
  return true;
}

bool Reader::string(string_t& value) {
  if (place_ == Place::kMerges) return MergeText(value);
  if (place_ == Place::kPair) {
    pair_.push_back(std::move(value));
    return true;
  }
  return Value(std::move(value));
}

bool Reader::MergeText(const std::string& text) {
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    return Fail("merge is not two tokens");
  }
  result_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  return true;
}

bool Reader::key(string_t& value) {
  if (place_ == Place::kVocab) {
    vocab_key_ = std::move(value);
    return true;
  }
  Frame& frame = frames_.back();
  if (value.size() > 64) return Fail("key is longer than 64 bytes");
  frame.key = std::move(value);
  if (frame.node->contains(frame.key)) return Fail("duplicate key");
  return true;
}

bool Reader::Open(Json empty) {
  if (place_ == Place::kVocab) return Fail("id is not an integer");
  if (place_ == Place::kPair) return Fail("merge is not text");
  const bool is_array = empty.is_array();
  if (place_ == Place::kMerges) {
    if (!is_array) return Fail("merge is not text");
    pair_.clear();
    place_ = Place::kPair;
    return true;
  }
  if (frames_.size() >= static_cast<size_t>(kMaxTokenizerFileDepth)) {
    return Fail(absl::StrCat("nested deeper than ", kMaxTokenizerFileDepth));
  }
  if (++num_other_values_ > kMaxOtherValues) return Fail("too many values");
  const bool in_model = frames_.size() == 2 && frames_[0].key == "model";
  if (in_model && frames_[1].key == "vocab" && !is_array) place_ = Place::kVocab;
  if (in_model && frames_[1].key == "merges" && is_array) place_ = Place::kMerges;
  Json* node = Store(std::move(empty));
  if (place_ == Place::kDocument) frames_.push_back({node, ""});
  return true;
}

bool Reader::Close() {
  if (place_ == Place::kPair) {
    if (pair_.size() != 2) return Fail("merge is not two tokens");
    result_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
    place_ = Place::kMerges;
  } else if (place_ != Place::kDocument) {
    place_ = Place::kDocument;
  } else {
    frames_.pop_back();
  }
  return true;
}

}  // namespace

absl::Status BadTokenizer(std::string_view key_path, std::string_view what) {
  const absl::Status status =
      ErrorStatus(absl::StatusCode::kInvalidArgument, what, {.reason = "MODEL_FILE_INVALID"});
  return key_path.empty() ? status : WithField(status, key_path);
}

absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string_view json) {
  if (json.size() > kMaxTokenizerFileBytes) {
    return BadTokenizer("", absl::StrCat(json.size(), " bytes, limit ", kMaxTokenizerFileBytes));
  }
  Reader reader;
  if (!Json::sax_parse(json.begin(), json.end(), &reader)) return reader.status();
  return reader.Take();
}

}  // namespace parrot
