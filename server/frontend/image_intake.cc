#include "server/frontend/image_intake.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/image/image_probe.h"
#include "server/frontend/option_checks.h"

namespace parrot {

ImageIntake::ImageIntake(const ClipImageProcessor& processor, ImageStore& store, Clock& clock)
    : processor_(processor), store_(store), clock_(clock) {}

absl::StatusOr<TakenImage> ImageIntake::Take(std::string_view encoded,
                                             std::string_view declared_mime,
                                             std::string_view tenant) const {
  const absl::Time start = clock_.Now();
  TakenImage taken;
  if (store_.enabled()) {
    taken.digest = Sha256Of(encoded);
    std::optional<StoredImage> known = store_.Find(tenant, taken.digest);
    if (known.has_value()) {
      // The bytes are good; what the client says of them may not be.
      if (!declared_mime.empty()) {
        RETURN_IF_ERROR(ProbeImage(encoded, declared_mime, processor_.limits()).status());
      }
      taken.image = *std::move(known);
      taken.was_known = true;
      taken.decode_time = clock_.Now() - start;
      return taken;
    }
  }
  const absl::Duration look_up = clock_.Now() - start;
  ASSIGN_OR_RETURN(PreprocessedImage image, processor_.Preprocess(encoded, declared_mime, tenant));
  taken.decode_time = look_up + image.decode_time;
  taken.preprocess_time = image.preprocess_time;
  taken.image = {.input = std::move(image.input), .info = image.info};
  if (store_.enabled()) store_.Put(tenant, taken.digest, taken.image);
  return taken;
}

absl::Status ImageIntake::Resolve(std::vector<MessageSpec>& messages,
                                  std::string_view tenant) const {
  ErrorFacts facts{.reason = kImageNotFound};
  for (size_t i = 0; i < messages.size(); ++i) {
    for (size_t j = 0; j < messages[i].parts.size(); ++j) {
      auto* image = std::get_if<ImageSpec>(&messages[i].parts[j]);
      if (image == nullptr || image->source != ImageSpec::Source::kDigest) continue;
      const std::optional<Sha256Digest> digest = Sha256Digest::FromBytes(image->data);
      PARROT_CHECK(digest.has_value());  // the Validator saw it
      std::optional<StoredImage> found = store_.Find(tenant, *digest);
      if (found.has_value()) {
        image->kept = std::move(found->input);
        continue;
      }
      const std::string hex = digest->ToHex();
      std::vector<std::string>& missing = facts.subjects;
      if (missing.empty()) {
        facts.field = Indexed("messages", i) + "." + Indexed("parts", j) + ".image.digest_sha256";
        facts.value = hex;
      }
      if (std::find(missing.begin(), missing.end(), hex) == missing.end()) missing.push_back(hex);
    }
  }
  if (facts.subjects.empty()) return absl::OkStatus();
  return ErrorStatus(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(facts.field,
                                  ": not known here, send the image (",
                                  facts.subjects.size(),
                                  " such in the request)"),
                     facts);
}

}  // namespace parrot
