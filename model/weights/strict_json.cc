#include "model/weights/strict_json.h"

#include <string>
#include <utility>
#include <vector>

#include "model/weights/model_file.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

// Builds the document from parser events, so that depth and duplicates are seen as they come.
class DocumentBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit DocumentBuilder(int max_depth) : max_depth_(max_depth) {}

  Json&& TakeRoot() { return std::move(root_); }
  const std::string& rule() const { return rule_; }
  const std::string& item() const { return item_; }

  bool null() override { return Put(nullptr) != nullptr; }
  bool boolean(bool value) override { return Put(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return Put(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return Put(value) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override {
    return Put(value) != nullptr;
  }
  bool string(string_t& value) override { return Put(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return Push(Json::object()); }
  bool end_object() override { return Pop(); }
  bool start_array(std::size_t) override { return Push(Json::array()); }
  bool end_array() override { return Pop(); }

  bool key(string_t& key) override {
    auto& object = stack_.back()->get_ref<Json::object_t&>();
    const auto [it, inserted] = object.emplace(key, nullptr);
    if (!inserted) {
      rule_ = "duplicate key";
      item_ = key;
      return false;
    }
    slot_ = &it->second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    rule_ = "is not valid JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  Json* Put(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (stack_.back()->is_array()) {
      stack_.back()->push_back(std::move(value));
      return &stack_.back()->back();
    }
    *slot_ = std::move(value);
    return slot_;
  }

  bool Push(Json container) {
    if (static_cast<int>(stack_.size()) == max_depth_) {
      rule_ = "is nested deeper than " + std::to_string(max_depth_) + " levels";
      return false;
    }
    stack_.push_back(Put(std::move(container)));
    return true;
  }

  bool Pop() {
    stack_.pop_back();
    return true;
  }

  const int max_depth_;
  Json root_;
  // The open containers. A pointer stays valid: a container grows only while it is the innermost.
  std::vector<Json*> stack_;
  Json* slot_ = nullptr;  // where the value of the last key goes
  std::string rule_;
  std::string item_;
};

}  // namespace

absl::StatusOr<Json> ParseStrictJson(std::string_view file, std::string_view text, int max_depth) {
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return ModelFileInvalid(file, {}, "is not valid JSON at byte " + std::to_string(nul));
  }
  DocumentBuilder builder(max_depth);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return ModelFileInvalid(file, builder.item(), builder.rule());
  }
  return builder.TakeRoot();
}

}  // namespace parrot
