#include "model/weights/json_fields.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/weights/model_file.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

}  // namespace

JsonFields::JsonFields(std::string_view file, const Json& object, std::string_view prefix)
    : file_(file), prefix_(prefix), object_(object) {
  PARROT_CHECK(object.is_object());
}

const Json* JsonFields::Find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() ? nullptr : &*it;
}

bool JsonFields::Has(const char* key) const {
  const Json* value = Find(key);
  return value != nullptr && !value->is_null();
}

std::string JsonFields::ValueText(const char* key) const {
  const Json* value = Find(key);
  if (value == nullptr) return "absent";
  if (value->is_structured()) return value->is_array() ? "an array" : "an object";
  return PrintableName(value->dump(-1, ' ', true, Json::error_handler_t::replace));
}

void JsonFields::Refuse(const char* key, std::string_view rule) {
  if (!ok()) return;
  const std::string value = ValueText(key);
  status_ =
      ModelUnsupported(file_, prefix_ + key, absl::StrCat(ToAbsl(rule), ", got ", value), value);
}

void JsonFields::Fail(const char* key, std::string_view rule, std::string_view limit) {
  if (!ok()) return;
  const std::string value = ValueText(key);
  status_ = ModelFileInvalid(
      file_, prefix_ + key, absl::StrCat(ToAbsl(rule), ", got ", value), value, limit);
}

int32_t JsonFields::Int(const char* key, int64_t fallback, IntRange range) {
  const Json* value = Find(key);
  if (value == nullptr) return static_cast<int32_t>(fallback);
  const std::string limit = absl::StrCat("[", range.min, ", ", range.max, "]");
  if (!value->is_number_integer()) {
    Fail(key, "must be an integer", limit);
    return static_cast<int32_t>(fallback);
  }
  // An unsigned number above 2^63 would turn negative.
  const bool in_range =
      value->is_number_unsigned()
          ? range.max >= 0 && value->get<uint64_t>() <= static_cast<uint64_t>(range.max) &&
                static_cast<int64_t>(value->get<uint64_t>()) >= range.min
          : value->get<int64_t>() >= range.min && value->get<int64_t>() <= range.max;
  if (!in_range) {
    Fail(key, absl::StrCat("must be in ", limit), limit);
    return static_cast<int32_t>(fallback);
  }
  return static_cast<int32_t>(value->get<int64_t>());
}

double JsonFields::Float(const char* key, double fallback, FloatRange range) {
  const Json* value = Find(key);
  if (value == nullptr) return fallback;
  const std::string limit = absl::StrCat("[", range.min, ", ", range.max, "]");
  if (!value->is_number()) {
    Fail(key, "must be a number", limit);
    return fallback;
  }
  const double number = value->get<double>();
  if (!std::isfinite(number) || number < range.min || number > range.max) {
    Fail(key, absl::StrCat("must be in ", limit), limit);
    return fallback;
  }
  return number;
}

bool JsonFields::Bool(const char* key, bool fallback) {
  const Json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Fail(key, "must be true or false");
    return fallback;
  }
  return value->get<bool>();
}

std::string JsonFields::String(const char* key, std::string_view fallback) {
  const Json* value = Find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) {
    Fail(key, "must be a string");
    return std::string(fallback);
  }
  return value->get<std::string>();
}

void JsonFields::OnlyBool(const char* key, bool only, std::string_view reason) {
  if (Has(key) && Bool(key, only) != only) Refuse(key, reason);
}

void JsonFields::OnlyString(const char* key, std::string_view only) {
  if (Has(key) && String(key, only) != only) {
    Refuse(key, absl::StrCat("only \"", ToAbsl(only), "\" is supported"));
  }
}

}  // namespace parrot
