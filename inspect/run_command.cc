#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "inspect/commands.h"
#include "inspect/prompt_input.h"
#include "model/runtime/prompt_probe.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "model/weights/safetensors_writer.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using Json = nlohmann::ordered_json;

// The tensors of the trace by the names of the golden data; absent ones are left out.
absl::Status WriteTrace(const std::string& path,
                        const PromptTrace& trace,
                        const std::vector<TokenId>& input_ids) {
  const std::vector<int64_t> ids(input_ids.begin(), input_ids.end());
  const std::vector<int64_t> tokens(trace.tokens.begin(), trace.tokens.end());
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, tensor] : {std::pair("vision", &trace.vision),
                                     std::pair("projector", &trace.projector),
                                     std::pair("attention", &trace.attention),
                                     std::pair("g", &trace.attended),
                                     std::pair("router_logits", &trace.router_logits),
                                     std::pair("router", &trace.router),
                                     std::pair("moe", &trace.moe),
                                     std::pair("hidden_last", &trace.hidden_last),
                                     std::pair("logits_last", &trace.logits_last)}) {
    if (tensor->shape.empty()) continue;
    entries.push_back({.name = name,
                       .type = SafetensorsType::kF32,
                       .shape = tensor->shape,
                       .bytes = std::as_bytes(std::span(tensor->values))});
  }
  for (const auto& [name, values] : {std::pair("input_ids", &ids), std::pair("tokens", &tokens)}) {
    entries.push_back({.name = name,
                       .type = SafetensorsType::kI64,
                       .shape = {static_cast<int64_t>(values->size())},
                       .bytes = std::as_bytes(std::span(*values))});
  }
  return WriteSafetensors(path, std::move(entries));
}

Json Summary(const RenderedPrompt& prompt,
             const PromptTrace& trace,
             const Tokenizer& tokenizer,
             const RunOptions& options) {
  Json summary = {{"text", tokenizer.Decode(trace.tokens)},
                  {"token_ids", trace.tokens},
                  {"finish_reason", trace.stopped ? "stop" : "length"},
                  {"usage",
                   {{"prompt_tokens", trace.num_prompt_tokens},
                    {"text_tokens", prompt.num_text_tokens},
                    {"images", prompt.num_image_slots},
                    {"completion_tokens", trace.tokens.size()}}},
                  {"routing", trace.routing}};
  if (!options.output_path.empty()) summary["output"] = options.output_path;
  return summary;
}

}  // namespace

absl::Status RunPrompt(const RunOptions& options, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(options.dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(options.dir));
  ASSIGN_OR_RETURN(const PromptInput input, ReadPrompt(options, checkpoint->config(), *tokenizer));
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptProbe> probe,
                   PromptProbe::Load(*checkpoint,
                                     {.device = options.device,
                                      .dtype = options.dtype,
                                      .cpu = options.cpu,
                                      .num_threads = options.num_threads}));
  ASSIGN_OR_RETURN(const PromptTrace trace, probe->Run(input.request));
  if (!options.output_path.empty()) {
    RETURN_IF_ERROR(WriteTrace(options.output_path, trace, input.prompt.token_ids));
  }
  out << Summary(input.prompt, trace, *tokenizer, options)
             .dump(2, ' ', false, Json::error_handler_t::replace)
      << '\n';
  return absl::OkStatus();
}

}  // namespace parrot
