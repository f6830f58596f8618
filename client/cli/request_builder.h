// From flags, files and standard input to requests. Blocks while it reads; stateless.
#ifndef PARROT_CLIENT_CLI_REQUEST_BUILDER_H_
#define PARROT_CLIENT_CLI_REQUEST_BUILDER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/cli_options.h"
#include "client/client_options.h"
#include "client/messages/messages_json.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

// Limits of what the tool reads, the server's defaults.
inline constexpr int64_t kMaxImageFileBytes = 10 << 20;
inline constexpr int64_t kMaxTextBytes = 256 << 10;

// Payload-free marker: statuses of this reason are mistakes in the command line (exit code 2).
inline constexpr char kUsageReason[] = "USAGE";

// `given`, or standard input without its last newline. INVALID_ARGUMENT with kUsageReason if there
// is neither (standard input is a terminal); `flag` is what the message tells the user to give.
absl::StatusOr<std::string> TextOrStandardInput(const std::optional<std::string>& given,
                                                const std::string& flag);

// The conversation of --messages, or of --system, --image and --prompt.
absl::StatusOr<std::vector<InputMessage>> ReadConversation(const ConversationFlags& flags);

// The sampling and stop fields that were given; nothing is set that was not.
void ApplySampling(const SamplingFlags& flags, v1::GenerateRequest* request);

// Everything but the messages.
v1::GenerateRequest GenerateRequestFrom(const CliOptions& options);

// Reads the key and the certificates.
absl::StatusOr<ClientOptions> ClientOptionsFrom(const ConnectionFlags& flags);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_REQUEST_BUILDER_H_
