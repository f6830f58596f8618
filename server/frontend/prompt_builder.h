// PromptBuilder: the work of one request before the engine: data URIs and image bytes to pixels and
// hashes (or what was kept of an image that is named by its digest), messages to token ids. The
// cheap part first (tokens, so that a prompt that is too long costs no image decode), and between
// any two parts it asks whether anybody still wants the result.
//
// Immutable after construction, so thread-safe: every thread of the pool uses the same one.
#ifndef PARROT_SERVER_FRONTEND_PROMPT_BUILDER_H_
#define PARROT_SERVER_FRONTEND_PROMPT_BUILDER_H_

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "model/api/token.h"
#include "model/text/chat_template.h"
#include "scheduler/request.h"
#include "server/frontend/image_intake.h"
#include "server/frontend/validator.h"

namespace parrot {

struct PreparedPrompt {
  std::vector<TokenId> token_ids;   // visual positions expanded
  std::vector<PlacedImage> images;  // by position
  // What the router reads: all text tokens in order, or those before the first answer about an
  // image.
  std::vector<TokenId> text_ids;
  std::vector<TokenId> exact_text_ids;  // Request::exact_text_ids
  bool pin_first_turn = false;
  int32_t num_text_tokens = 0;
  int32_t num_image_tokens = 0;
  int32_t num_decoded_images = 0;   // the others were known
  int64_t decoded_image_bytes = 0;  // encoded size of those
  absl::Duration tokenize;
  absl::Duration decode_image;
  absl::Duration preprocess;
};

class PromptBuilder {
 public:
  // All borrowed. `max_prompt_tokens` is the context; `tokens_per_image` the rows of one image.
  struct Options {
    int32_t max_prompt_tokens = 0;
    int32_t tokens_per_image = 0;
  };
  PromptBuilder(const Options& options,
                const ChatTemplate& chat_template,
                const ImageIntake& image_intake,
                Clock& clock);

  // Takes the messages and the prefix out of `request`, the rest of it stays. Between two stages
  // `keep_going` is asked; what it says when not OK is returned. Errors of text and images carry
  // their field.
  [[nodiscard]] absl::StatusOr<PreparedPrompt> Build(
      ValidRequest& request,
      std::string_view tenant,
      const std::function<absl::Status()>& keep_going) const;

  // Prompt tokens without any limit and without a look at the images.
  struct TokenCounts {
    int32_t text_tokens = 0;
    int32_t image_tokens = 0;
  };
  [[nodiscard]] absl::StatusOr<TokenCounts> Count(ValidRequest request) const;

 private:
  absl::StatusOr<PlacedImage> PrepareImage(ImageSpec image,
                                           std::string_view tenant,
                                           PreparedPrompt& prompt) const;
  // Text tokens of `pinned`, which is a part of a conversation that was rendered.
  absl::StatusOr<std::vector<TokenId>> PinnedText(const Conversation& pinned) const;

  const Options options_;
  const ChatTemplate& chat_template_;
  const ImageIntake& image_intake_;
  Clock& clock_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_PROMPT_BUILDER_H_
