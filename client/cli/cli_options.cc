#include "client/cli/cli_options.h"

#include <map>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "client/cli/duration_flag.h"

namespace parrot {
namespace {

constexpr char kConnection[] = "Connection";
constexpr char kConversation[] = "Conversation";
constexpr char kSampling[] = "Sampling";

constexpr char kFooter[] =
    "Exit codes: 0 success, 1 failure, 2 wrong usage, 130 cancelled by Ctrl-C.\n"
    "Environment: PARROT_API_KEY, PARROT_TARGET, NO_COLOR.";

void AddConnection(CLI::App* app, ConnectionFlags* flags) {
  app->add_option("--target", flags->target, "Server, HOST:PORT or a gRPC name")
      ->envname("PARROT_TARGET")
      ->capture_default_str()
      ->group(kConnection);
  AddDurationFlag(app, "--timeout", &flags->timeout, "Deadline of the call: 90s, 2m, inf [60s]");
  app->get_option("--timeout")->group(kConnection);
  app->add_option("--api-key-file", flags->api_key_file, "File with the key; else PARROT_API_KEY")
      ->group(kConnection);
  app->add_flag("--tls", flags->tls, "TLS with the system's certificates")->group(kConnection);
  app->add_option("--tls-ca", flags->tls_ca, "TLS; PEM file of the authority to trust")
      ->group(kConnection);
  CLI::Option* cert = app->add_option("--tls-cert", flags->tls_cert, "PEM file, own certificate");
  CLI::Option* key = app->add_option("--tls-key", flags->tls_key, "PEM file, its private key");
  cert->group(kConnection)->needs(key);
  key->group(kConnection)->needs(cert);
}

void AddOutput(CLI::App* app, CliOptions* options) {
  app->add_flag("--json", options->json, "Print one JSON object");
  app->add_flag("--quiet,-q", options->quiet, "Print nothing but the result and errors");
}

void AddRequestId(CLI::App* app, CliOptions* options) {
  app->add_option("--request-id", options->request_id, "Id under which the server logs the call");
}

void AddConversation(CLI::App* app, ConversationFlags* flags) {
  CLI::Option* prompt =
      app->add_option("--prompt,-p", flags->prompt, "The question; default: standard input");
  CLI::Option* image =
      app->add_option("--image,-i", flags->images, "JPEG, PNG or WebP file; may be repeated")
          ->expected(1)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  CLI::Option* system = app->add_option("--system", flags->system, "System turn");
  CLI::Option* messages =
      app->add_option("--messages", flags->messages_file, "JSON file, OpenAI-style message list");
  for (CLI::Option* option : {prompt, image, system}) messages->excludes(option);
  CLI::Option* prefix =
      app->add_option("--prefix", flags->prefix, "Text that opens the assistant's turn");
  CLI::Option* literal = app->add_flag(
      "--literal", flags->literal, "Images where the parts are; nothing added to the text");
  for (CLI::Option* option : {prompt, image, system, messages, prefix, literal}) {
    option->group(kConversation);
  }
}

void AddLanguage(CLI::App* app, ConversationFlags* flags) {
  app->add_option("--language", flags->language, "BCP 47 label for the server's metrics")
      ->group(kConversation);
}

void AddRouting(CLI::App* app, ConversationFlags* flags) {
  app->add_flag(
         "--pin-first-turn",
         flags->pin_first_turn,
         "Weigh the experts by the first turn with an image: faster later turns, approximate")
      ->group(kConversation);
}

// "17=-2.5"
void AddLogitBias(CLI::App* app, SamplingFlags* flags) {
  app->add_option_function<std::vector<std::string>>(
         "--logit-bias",
         [flags](const std::vector<std::string>& entries) {
           for (const std::string& entry : entries) {
             const std::pair<std::string, std::string> parts =
                 absl::StrSplit(entry, absl::MaxSplits('=', 1));
             uint32_t token = 0;
             float bias = 0;
             if (!absl::SimpleAtoi(parts.first, &token) || !absl::SimpleAtof(parts.second, &bias)) {
               throw CLI::ValidationError("--logit-bias", "'" + entry + "' is not ID=BIAS");
             }
             flags->logit_bias.emplace_back(token, bias);
           }
         },
         "Added to the logit of a token, ID=BIAS; repeatable")
      ->type_name("ID=BIAS")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(kSampling);
}

void AddSampling(CLI::App* app, SamplingFlags* flags) {
  const std::vector<CLI::Option*> options = {
      app->add_option("--max-tokens", flags->max_tokens, "Most tokens to generate"),
      app->add_option("--temperature", flags->temperature, "0 .. 2; 0 is greedy [0]"),
      app->add_option("--top-k", flags->top_k, "Sample from the k most probable tokens"),
      app->add_option("--top-p", flags->top_p, "Sample from the nucleus of this probability"),
      app->add_option("--seed", flags->seed, "Seed of the draws"),
      app->add_option("--stop-token-id", flags->stop_token_ids, "Ends the answer; repeatable")
          ->expected(1)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll),
      app->add_option("--min-p", flags->min_p, "Sample from tokens of this share of the best"),
      app->add_option("--repetition-penalty",
                      flags->repetition_penalty,
                      "Over 1: against tokens of the prompt and the answer"),
      app->add_option(
          "--presence-penalty", flags->presence_penalty, "Against tokens of the answer"),
      app->add_option("--frequency-penalty",
                      flags->frequency_penalty,
                      "Against tokens of the answer, each time"),
      app->add_option("--min-tokens", flags->min_tokens, "Fewest tokens to generate"),
      app->add_flag("--ignore-eos", flags->ignore_eos, "Go on past the end of the turn"),
      app->add_option("--stop", flags->stop, "Text that ends the answer; repeatable")
          ->expected(1)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll),
      app->add_flag("--include-stop", flags->include_stop, "Keep that text in the answer")};
  for (CLI::Option* option : options) option->group(kSampling);
  AddLogitBias(app, flags);
  CLI::Option* lock = app->add_option(
      "--lock", flags->lock_language, "Only letters of this language's script: en, zh, ...");
  CLI::Option* bias =
      app->add_option("--lock-bias", flags->lock_bias, "Against other letters, instead of a ban");
  lock->type_name("LANGUAGE")->group(kSampling);
  bias->needs(lock)->group(kSampling);
}

void AddAnswers(CLI::App* app, SamplingFlags* flags) {
  app->add_option("--n", flags->num_answers, "Answers, drawn with seeds S, S + 1, ... [1]")
      ->group(kSampling);
  app->add_option("--logprobs", flags->logprobs, "Log-probabilities of the K best, for --json")
      ->type_name("K")
      ->group(kSampling);
  app->add_option("--prompt-logprobs", flags->prompt_logprobs, "The same of the prompt's tokens")
      ->type_name("K")
      ->group(kSampling);
  app->add_option("--choice", flags->choices, "The answer is one of these; repeatable")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(kSampling);
}

CLI::App* AddCommand(CLI::App* app,
                     CliOptions* options,
                     CliCommand command,
                     const std::string& name,
                     const std::string& help) {
  CLI::App* sub = app->add_subcommand(name, help);
  sub->callback([options, command] { options->command = command; });
  sub->footer(kFooter);
  AddConnection(sub, &options->connection);
  if (command != CliCommand::kHealth) {
    sub->add_option("--model", options->connection.model, "Served name; default: the first")
        ->group(kConnection);
  }
  return sub;
}

void AddCommands(CLI::App* app, CliOptions* options) {
  CLI::App* generate = AddCommand(
      app, options, CliCommand::kGenerate, "generate", "Ask one question, stream the answer");
  AddConversation(generate, &options->conversation);
  AddLanguage(generate, &options->conversation);
  AddRouting(generate, &options->conversation);
  AddSampling(generate, &options->sampling);
  AddAnswers(generate, &options->sampling);
  AddRequestId(generate, options);
  AddOutput(generate, options);

  CLI::App* chat = AddCommand(app, options, CliCommand::kChat, "chat", "Talk in the terminal");
  chat->add_option("--system", options->conversation.system, "System turn")->group(kConversation);
  chat->add_flag("--literal", options->conversation.literal, "Nothing added to the text")
      ->group(kConversation);
  AddLanguage(chat, &options->conversation);
  AddRouting(chat, &options->conversation);
  AddSampling(chat, &options->sampling);
  chat->add_flag("--quiet,-q", options->quiet, "Print nothing but answers and errors");

  CLI::App* route = AddCommand(
      app, options, CliCommand::kRoute, "route", "Show the expert weights; generate nothing");
  AddConversation(route, &options->conversation);
  AddLanguage(route, &options->conversation);
  AddRouting(route, &options->conversation);
  AddRequestId(route, options);
  AddOutput(route, options);

  CLI::App* count =
      AddCommand(app, options, CliCommand::kCount, "count", "Count the tokens of a prompt");
  AddConversation(count, &options->conversation);
  AddOutput(count, options);

  CLI::App* tokenize = AddCommand(
      app, options, CliCommand::kTokenize, "tokenize", "Token ids of a text, without a template");
  tokenize->add_option("--text", options->text, "The text; default: standard input");
  AddOutput(tokenize, options);

  CLI::App* bench =
      AddCommand(app, options, CliCommand::kBench, "bench", "Measure a server under load");
  AddBenchFlags(bench, &options->bench);
  AddOutput(bench, options);

  CLI::App* eval = AddCommand(
      app, options, CliCommand::kEval, "eval", "Ask a server a benchmark's questions; score them");
  AddEvalFlags(eval, &options->eval);
  AddOutput(eval, options);

  CLI::App* health = AddCommand(
      app, options, CliCommand::kHealth, "health", "Exit 0 if the server is SERVING, else 1");
  health->add_option("--service", options->service, "Service; default: the whole server");
  AddDurationFlag(health, "--wait", &options->wait, "Wait this long for it: 90s, 10m");
  AddOutput(health, options);

  CLI::App* models =
      AddCommand(app, options, CliCommand::kModels, "models", "What is served, and its limits");
  AddOutput(models, options);
}

}  // namespace

std::variant<CliOptions, int> ParseCommandLine(int argc,
                                               const char* const* argv,
                                               std::ostream& out,
                                               std::ostream& err) {
  CliOptions options;
  CLI::App app("Client of Parrot Server: questions about pictures over gRPC.", "parrot-cli");
  app.require_subcommand(1);
  app.set_version_flag("--version", PARROT_VERSION);
  app.footer(kFooter);
  AddCommands(&app, &options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? kExitOk : kExitUsage;
  }
  const ConnectionFlags& connection = options.connection;
  options.connection.tls |= !connection.tls_ca.empty() || !connection.tls_cert.empty();
  return options;
}

}  // namespace parrot
