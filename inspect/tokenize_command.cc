#include <istream>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "inspect/commands.h"
#include "model/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace parrot {

absl::Status TokenizeLines(const TokenizeOptions& options, std::istream& in, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(options.dir));
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    const nlohmann::json text = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!text.is_string()) {
      return ErrorStatus(absl::StatusCode::kInvalidArgument,
                         absl::StrCat("line ", number, ": is not a JSON string"),
                         {.reason = "INVALID_INPUT_LINE"});
    }
    auto ids = tokenizer->Encode(text.get_ref<const std::string&>(),
                                 {.parse_special = options.parse_special});
    if (!ids.ok()) return WithField(ids.status(), absl::StrCat("line ", number));
    out << nlohmann::json(*ids).dump() << '\n';
  }
  return absl::OkStatus();
}

}  // namespace parrot
