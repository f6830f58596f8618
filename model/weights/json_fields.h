// Typed, bounded access to the keys of one JSON object of a configuration file. Errors name the
// file, the key and the rule.
//
// A reader asks for key after key; the first error stays and later calls do nothing, so that a
// function reads as a table:
//
//   JsonFields fields("config.json", object);
//   config.num_layers = fields.Int("num_hidden_layers", /*fallback=*/32, {1, kMaxLayers});
//   config.rope_theta = fields.Float("rope_theta", 1e6, {1.0, 1e12});
//   return fields.status();
#ifndef PARROT_MODEL_WEIGHTS_JSON_FIELDS_H_
#define PARROT_MODEL_WEIGHTS_JSON_FIELDS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace parrot {

struct IntRange {
  int64_t min = 0;
  int64_t max = 0;
};
struct FloatRange {
  double min = 0.0;
  double max = 0.0;
};

// Confined to one thread. Borrows the object.
class JsonFields {
 public:
  // REQUIRES: object.is_object(). `prefix` stands before keys in errors ("vision_config.").
  JsonFields(std::string_view file, const nlohmann::json& object, std::string_view prefix = {});

  // The first error, or OK.
  const absl::Status& status() const { return status_; }
  bool ok() const { return status_.ok(); }

  // Null counts as absent only here.
  bool Has(const char* key) const;
  // nullptr when the key is absent.
  const nlohmann::json* Find(const char* key) const;

  // A wrong type, a null or a value outside the range is an error.
  int32_t Int(const char* key, int64_t fallback, IntRange range);
  double Float(const char* key, double fallback, FloatRange range);
  bool Bool(const char* key, bool fallback);
  std::string String(const char* key, std::string_view fallback);

  // Well-formed, but we cannot do it: `rule` says what we can.
  void Refuse(const char* key, std::string_view rule);
  // Wrong for its type or against another key.
  void Fail(const char* key, std::string_view rule, std::string_view limit = {});
  // Refuses a boolean that is not `only`; absent is `only`.
  void OnlyBool(const char* key, bool only, std::string_view reason);
  // Refuses a string that is not `only`; absent and null are `only`.
  void OnlyString(const char* key, std::string_view only);

 private:
  std::string ValueText(const char* key) const;

  const std::string file_;
  const std::string prefix_;
  const nlohmann::json& object_;
  absl::Status status_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_JSON_FIELDS_H_
