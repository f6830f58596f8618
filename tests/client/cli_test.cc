// parrot-cli as its users run it: a process with flags, pipes and signals, against a scripted
// server.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "child_process.h"
#include "fake_parrot_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "self_signed_certificate.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

const std::string kImages = GoldenPath("images/files/");

std::vector<std::string> Command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), PARROT_CLI);
  return arguments;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string TempFile(const std::string& name, const std::string& contents) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "parrot_cli_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name, std::ios::binary) << contents;
  return (folder / name).string();
}

class CliTest : public testing::Test {
 protected:
  ChildResult Run(std::vector<std::string> arguments,
                  std::string_view input = "",
                  const std::vector<std::string>& environment = {}) {
    arguments.insert(arguments.end(), {"--target", server_.target()});
    return RunChild(Command(std::move(arguments)), input, environment);
  }
  std::vector<std::string> AskCommand(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {
        "generate", "--prompt", "hi", "--target", server_.target()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Command(std::move(arguments));
  }
  // Sends some text and then waits for the client to go away.
  void HangAfter(const std::string& text) {
    std::vector<v1::GenerateResponse> events = AnswerEvents({text});
    events.pop_back();
    server_.SetScripts({{.events = events, .hang = true}});
  }

  FakeParrotServer server_;
};

TEST_F(CliTest, GenerateStreamsTextToStdoutAndTheRestToStderr) {
  const ChildResult result = Run({"generate", "--prompt", "What is it?"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.output, "A blue bird.\n");
  EXPECT_THAT(result.error, HasSubstr("600 prompt tokens (577 image, 23 text), 3 generated, stop"));
  EXPECT_THAT(result.error, HasSubstr("first token 250 ms, total 750 ms, 4.0 tokens/s"));
  EXPECT_THAT(result.error, HasSubstr("clip 125 ms"));
  EXPECT_THAT(result.error, HasSubstr("expert 2  #########.....................  0.300"));
  EXPECT_THAT(result.output + result.error, Not(HasSubstr("\x1b")));
}

TEST_F(CliTest, QuietPrintsTheAnswerAlone) {
  const ChildResult result = Run({"generate", "--prompt", "x", "--quiet"});
  EXPECT_EQ(result.output, "A blue bird.\n");
  EXPECT_EQ(result.error, "");
}

TEST_F(CliTest, JsonIsOneObjectWithTheDocumentedFields) {
  const ChildResult result = Run({"generate", "--prompt", "What is it?", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  const json object = json::parse(result.output);
  EXPECT_EQ(object["request_id"], "req-1");
  EXPECT_EQ(object["model"], "nano");
  EXPECT_EQ(object["text"], "A blue bird.");
  EXPECT_EQ(object["token_ids"], (json::array_t{100, 101, 102}));
  EXPECT_EQ(object["finish_reason"], "stop");
  EXPECT_EQ(object["stop_token_id"], 2002);
  EXPECT_EQ(object["usage"],
            (json{{"prompt_tokens", 600},
                  {"text_tokens", 23},
                  {"image_tokens", 577},
                  {"completion_tokens", 3},
                  {"cached_tokens", 0},
                  {"blocked_tokens", 0}}));
  EXPECT_EQ(object["timings"]["clip"], 0.125);
  EXPECT_EQ(object["timings"].size(), 13u);
  // The list per image of the expert weights, as short as the float32 allows.
  EXPECT_EQ(object["routing"], (json::array_t{{0.1, 0.2, 0.3, 0.25, 0.1, 0.05}}));
  EXPECT_EQ(object["routing_entropy"], (json::array_t{1.64}));
  EXPECT_EQ(object["cache_levels"], (json::array_t{"none"}));
  EXPECT_EQ(object["routing_modes"], (json::array_t{"exact"}));
  EXPECT_EQ(object["routing_error_bounds"], (json::array_t{nullptr}));
  EXPECT_FALSE(object.contains("error"));
}

TEST_F(CliTest, FlagsReachTheRequest) {
  const ChildResult result = Run({"generate",
                                  "--prompt",
                                  "Q?",
                                  "--image",
                                  kImages + "rgb_1x1.png",
                                  "--image",
                                  kImages + "webp_1x1.webp",
                                  "--system",
                                  "Be brief.",
                                  "--prefix",
                                  "It is",
                                  "--literal",
                                  "--pin-first-turn",
                                  "--max-tokens",
                                  "7",
                                  "--temperature",
                                  "0.5",
                                  "--top-k",
                                  "20",
                                  "--top-p",
                                  "0.9",
                                  "--seed",
                                  "18446744073709551615",
                                  "--stop-token-id",
                                  "5",
                                  "--stop-token-id",
                                  "6",
                                  "--language",
                                  "pt",
                                  "--model",
                                  "nano",
                                  "--timeout",
                                  "90",
                                  "--request-id",
                                  "mine"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const FakeParrotServer::Seen seen = server_.seen()[0];
  const v1::GenerateRequest& request = seen.request;
  ASSERT_EQ(request.messages_size(), 2);
  EXPECT_EQ(request.messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(request.messages(0).parts(0).text(), "Be brief.");
  ASSERT_EQ(request.messages(1).parts_size(), 3);
  EXPECT_EQ(request.messages(1).parts(0).image().data(), ReadFile(kImages + "rgb_1x1.png"));
  EXPECT_EQ(request.messages(1).parts(1).image().data(), ReadFile(kImages + "webp_1x1.webp"));
  EXPECT_EQ(request.messages(1).parts(2).text(), "Q?");
  EXPECT_EQ(request.generation_prefix(), "It is");
  EXPECT_EQ(request.image_placement(), v1::IMAGE_PLACEMENT_LITERAL);
  EXPECT_EQ(request.routing(), v1::ROUTING_MODE_PIN_FIRST_TURN);
  EXPECT_EQ(request.stop().max_tokens(), 7);
  EXPECT_FLOAT_EQ(request.sampling().temperature(), 0.5f);
  EXPECT_EQ(request.sampling().top_k(), 20);
  EXPECT_FLOAT_EQ(request.sampling().top_p(), 0.9f);
  EXPECT_EQ(request.sampling().seed(), 18446744073709551615u);
  EXPECT_THAT(request.stop().stop_token_ids(), ElementsAre(5, 6));
  EXPECT_EQ(request.language(), "pt");
  EXPECT_EQ(request.model(), "nano");
  EXPECT_GT(seen.time_left, absl::Seconds(70));
  EXPECT_THAT(seen.metadata, Contains(Pair("x-request-id", "mine")));
}

TEST_F(CliTest, SamplingFlagsReachTheRequest) {
  GenerateScript script{.events = AnswerEvents({"A"})};
  for (const int32_t index : {1, 2}) {
    script.events.push_back(script.events.back());
    script.events.back().mutable_finish()->set_output_index(index);
  }
  server_.SetScripts({script});
  const ChildResult result = Run({"generate",
                                  "--prompt",
                                  "Q?",
                                  "--min-p",
                                  "0.1",
                                  "--repetition-penalty",
                                  "1.1",
                                  "--presence-penalty",
                                  "-0.5",
                                  "--frequency-penalty",
                                  "0.25",
                                  "--logit-bias",
                                  "17=-2.5",
                                  "--logit-bias",
                                  "3=100",
                                  "--lock",
                                  "zh",
                                  "--lock-bias",
                                  "2.5",
                                  "--min-tokens",
                                  "2",
                                  "--ignore-eos",
                                  "--stop",
                                  "END",
                                  "--stop",
                                  "\n\n",
                                  "--include-stop",
                                  "--n",
                                  "3",
                                  "--logprobs",
                                  "5",
                                  "--prompt-logprobs",
                                  "2",
                                  "--choice",
                                  "yes",
                                  "--choice",
                                  "no"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const v1::GenerateRequest request = server_.seen()[0].request;
  EXPECT_EQ(request.output().prompt_logprobs(), 2);
  EXPECT_FLOAT_EQ(request.sampling().min_p(), 0.1f);
  EXPECT_EQ(request.sampling().language_lock().language(), "zh");
  EXPECT_EQ(request.sampling().language_lock().mode(), v1::LOCK_MODE_SOFT);
  EXPECT_FLOAT_EQ(request.sampling().language_lock().bias(), 2.5f);
  EXPECT_FLOAT_EQ(request.sampling().repetition_penalty(), 1.1f);
  EXPECT_FLOAT_EQ(request.sampling().presence_penalty(), -0.5f);
  EXPECT_FLOAT_EQ(request.sampling().frequency_penalty(), 0.25f);
  ASSERT_EQ(request.sampling().logit_bias_size(), 2);
  EXPECT_FLOAT_EQ(request.sampling().logit_bias().at(17), -2.5f);
  EXPECT_FLOAT_EQ(request.sampling().logit_bias().at(3), 100.0f);
  EXPECT_EQ(request.stop().min_tokens(), 2);
  EXPECT_TRUE(request.stop().ignore_eos());
  EXPECT_THAT(request.stop().stop(), ElementsAre("END", "\n\n"));
  EXPECT_TRUE(request.stop().include_stop());
  EXPECT_EQ(request.n(), 3);
  EXPECT_EQ(request.output().logprobs(), 5);
  EXPECT_THAT(request.choices(), ElementsAre("yes", "no"));
}

// Two answers, the second with log-probabilities and ended by a stop string.
TEST_F(CliTest, SeveralAnswersAreShownOneAfterTheOther) {
  GenerateScript script{.events = AnswerEvents({"A blue", " bird."})};
  v1::GenerateResponse delta = DeltaEvent("A parrot.", 7);
  delta.mutable_delta()->set_output_index(1);
  v1::TokenLogprobs* logprobs = delta.mutable_delta()->add_logprobs();
  logprobs->mutable_chosen()->set_token_id(7);
  logprobs->mutable_chosen()->set_logprob(-0.1f);
  logprobs->mutable_chosen()->set_token("\xE9\xB8");
  v1::TokenLogprob* top = logprobs->add_top();
  top->set_token_id(8);
  top->set_logprob(-0.05f);
  top->set_token("A");
  v1::GenerateResponse finish;
  finish.mutable_finish()->set_output_index(1);
  finish.mutable_finish()->set_finish_reason(v1::FINISH_REASON_STOP);
  finish.mutable_finish()->set_stop_text("END");
  v1::ChoiceProbability* choice = finish.mutable_finish()->add_choices();
  choice->set_text("A parrot.");
  choice->set_probability(0.75f);
  choice->set_logprob(-0.3f);
  script.events.insert(script.events.begin() + 1, delta);
  script.events.push_back(finish);
  server_.SetScripts({script});
  const ChildResult text = Run({"generate", "--prompt", "Q?", "--n", "2", "--quiet"});
  EXPECT_EQ(text.output, "A blue bird.\n\nA parrot.\n");

  const ChildResult result = Run({"generate", "--prompt", "Q?", "--n", "2", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const json object = json::parse(result.output);
  EXPECT_EQ(object["text"], "A blue bird.");
  EXPECT_EQ(object["finish_reason"], "stop");
  EXPECT_FALSE(object.contains("logprobs"));
  ASSERT_EQ(object["other_answers"].size(), 1u);
  const json& other = object["other_answers"][0];
  EXPECT_EQ(other["text"], "A parrot.");
  EXPECT_EQ(other["token_ids"], (json::array_t{7}));
  EXPECT_EQ(other["finish_reason"], "stop");
  EXPECT_EQ(other["stop_text"], "END");
  ASSERT_EQ(other["choices"].size(), 1u);
  EXPECT_EQ(other["choices"][0],
            (json{{"text", "A parrot."}, {"probability", 0.75}, {"logprob", -0.3}}));
  EXPECT_EQ(other["logprobs"][0]["token_id"], 7);
  EXPECT_EQ(other["logprobs"][0]["logprob"], -0.1);
  EXPECT_EQ(other["logprobs"][0]["bytes"], (json::array_t{0xE9, 0xB8}));
  EXPECT_EQ(other["logprobs"][0]["top"][0]["token"], "A");
}

TEST_F(CliTest, LogprobsOfThePromptArePartOfTheJson) {
  GenerateScript script{.events = AnswerEvents({"A blue", " bird."})};
  v1::PromptTokenLogprobs* token = script.events[0].mutable_accepted()->add_prompt_logprobs();
  token->set_position(4);
  token->mutable_token()->set_token_id(7);
  token->mutable_token()->set_logprob(-0.5f);
  token->mutable_token()->set_token("x");
  token->add_top()->set_token_id(9);
  server_.SetScripts({script});
  const ChildResult result =
      Run({"generate", "--prompt", "Q?", "--prompt-logprobs", "1", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const json list = json::parse(result.output)["prompt_logprobs"];
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["position"], 4);
  EXPECT_EQ(list[0]["token_id"], 7);
  EXPECT_EQ(list[0]["logprob"], -0.5);
  EXPECT_EQ(list[0]["token"], "x");
  EXPECT_EQ(list[0]["top"][0]["token_id"], 9);
}

TEST_F(CliTest, WhatIsNotGivenIsNotSent) {
  ASSERT_EQ(Run({"generate", "--prompt", "Q?"}).exit_code, 0);
  const v1::GenerateRequest request = server_.seen()[0].request;
  EXPECT_FALSE(request.has_model() || request.has_generation_prefix() || request.has_language() ||
               request.has_image_placement() || request.has_n() || request.has_routing());
  EXPECT_EQ(request.sampling().ByteSizeLong(), 0u);
  EXPECT_EQ(request.stop().ByteSizeLong(), 0u);
}

TEST_F(CliTest, PromptComesFromStandardInputWithoutItsLastNewline) {
  ASSERT_EQ(Run({"generate"}, "two\nlines\n").exit_code, 0);
  EXPECT_EQ(server_.seen()[0].request.messages(0).parts(0).text(), "two\nlines");
}

TEST_F(CliTest, MessagesFileBecomesTheConversation) {
  TempFile("picture.bin", "PICTURE");
  const std::string path = TempFile("messages.json", R"([
    {"role": "system", "content": "S"},
    {"role": "user", "content": [{"type": "text", "text": "before"},
                                 {"type": "image_url", "image_url": {"url": "file:picture.bin"}}]},
    {"role": "assistant", "content": "A"},
    {"role": "user", "content": [
       {"type": "image", "image": "data:image/png;base64,UE5H"}, {"type": "text", "text": "Q"}]}])");
  const ChildResult result = Run({"generate", "--messages", path});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const v1::GenerateRequest request = server_.seen()[0].request;
  ASSERT_EQ(request.messages_size(), 4);
  EXPECT_EQ(request.messages(1).parts(0).text(), "before");
  EXPECT_EQ(request.messages(1).parts(1).image().data(), "PICTURE");
  EXPECT_FALSE(request.messages(1).parts(1).image().has_mime_type());
  EXPECT_EQ(request.messages(2).role(), v1::ROLE_ASSISTANT);
  EXPECT_EQ(request.messages(3).parts(0).image().data(), "PNG");
  EXPECT_EQ(request.messages(3).parts(0).image().mime_type(), "image/png");
}

TEST_F(CliTest, BadInputFilesFailBeforeTheCall) {
  const std::string bad = TempFile("bad.json", R"([{"role": "user"}])");
  const std::vector<std::vector<std::string>> cases = {
      {"generate", "--messages", bad},
      {"generate", "--messages", "/nonexistent.json"},
      {"generate", "--prompt", "x", "--image", "/nonexistent.png"},
      {"generate", "--prompt", "x", "--api-key-file", "/nonexistent"},
      {"generate", "--prompt", "x", "--tls-ca", "/nonexistent"}};
  for (const std::vector<std::string>& arguments : cases) {
    const ChildResult result = Run(arguments);
    EXPECT_EQ(result.exit_code, 1) << arguments[1];
    EXPECT_THAT(result.error, HasSubstr("error: ")) << arguments[1];
    EXPECT_EQ(result.output, "");
  }
  EXPECT_THAT(Run({"generate", "--messages", bad}).error, HasSubstr("field: messages[0].content"));
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(CliTest, WrongUsageIsExitCode2) {
  const std::vector<std::vector<std::string>> cases = {
      {},
      {"invent"},
      {"generate", "--bogus"},
      {"generate", "--prompt"},
      {"generate", "--prompt", "x", "--max-tokens", "many"},
      {"generate", "--prompt", "x", "--temperature", "hot"},
      {"generate", "--prompt", "x", "--timeout", "soon"},
      {"generate", "--prompt", "x", "--timeout", "-1s"},
      {"generate", "--prompt", "x", "--messages", "m.json"},
      {"generate", "--prompt", "x", "--tls-cert", "c.pem"},
      {"health", "--prompt", "x"}};
  for (const std::vector<std::string>& arguments : cases) {
    const ChildResult result = RunChild(Command(arguments));
    EXPECT_EQ(result.exit_code, 2) << ::testing::PrintToString(arguments);
    EXPECT_EQ(result.output, "");
    EXPECT_NE(result.error, "");
  }
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(CliTest, NoPromptAtATerminalIsWrongUsage) {
  ChildProcess child(Command({"generate"}), ChildProcess::Io::kTerminal);
  EXPECT_EQ(child.Wait(), 2);
  EXPECT_THAT(child.output(), HasSubstr("usage: give --prompt"));
}

TEST_F(CliTest, HelpAndVersionSucceed) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"--help"}, {"--version"}, {"generate", "--help"}, {"chat", "--help"}}) {
    const ChildResult result = RunChild(Command(arguments));
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_NE(result.output, "");
  }
}

TEST_F(CliTest, ErrorsShowEverythingTheServerSaid) {
  server_.SetScripts({{.status = DetailedStatus(grpc::StatusCode::INVALID_ARGUMENT,
                                                "sampling.top_p: 7 is not in (0, 1]",
                                                {.reason = "OUT_OF_RANGE",
                                                 .field = "sampling.top_p",
                                                 .value = "7",
                                                 .limit = "(0, 1]",
                                                 .retry_after = absl::Milliseconds(1200)},
                                                "req-9")}});
  const ChildResult result = RunChild(AskCommand());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.output, "");
  EXPECT_EQ(result.error,
            "error: INVALID_ARGUMENT: sampling.top_p: 7 is not in (0, 1]\n"
            "  reason: OUT_OF_RANGE\n"
            "  field: sampling.top_p\n"
            "  value: 7\n"
            "  limit: (0, 1]\n"
            "  retry after: 1.20 s\n"
            "  request id: req-9\n");
  const ChildResult with_json = RunChild(AskCommand({"--json"}));
  EXPECT_EQ(with_json.exit_code, 1);
  EXPECT_EQ(json::parse(with_json.output)["error"],
            (json{{"code", "INVALID_ARGUMENT"},
                  {"message", "sampling.top_p: 7 is not in (0, 1]"},
                  {"reason", "OUT_OF_RANGE"},
                  {"field", "sampling.top_p"},
                  {"value", "7"},
                  {"limit", "(0, 1]"},
                  {"retry_after_seconds", 1.2},
                  {"request_id", "req-9"}}));
}

TEST_F(CliTest, FailureAfterSomeTextShowsBoth) {
  std::vector<v1::GenerateResponse> events = AnswerEvents({"half"});
  events.pop_back();
  server_.SetScripts({{.events = events, .status = {grpc::StatusCode::INTERNAL, "step failed"}}});
  const ChildResult plain = RunChild(AskCommand());
  EXPECT_EQ(plain.exit_code, 1);
  EXPECT_EQ(plain.output, "half\n");
  EXPECT_THAT(plain.error, HasSubstr("error: INTERNAL: step failed"));
  const json object = json::parse(RunChild(AskCommand({"--json"})).output);
  EXPECT_EQ(object["text"], "half");
  EXPECT_EQ(object["finish_reason"], nullptr);
  EXPECT_EQ(object["error"]["code"], "INTERNAL");
}

TEST_F(CliTest, ServerMessagesCannotSteerTheTerminal) {
  server_.SetScripts({{.status = {grpc::StatusCode::INTERNAL, "\x1b[2Jgone"}}});
  EXPECT_THAT(RunChild(AskCommand()).error, Not(HasSubstr("\x1b")));
}

TEST_F(CliTest, ModelOutputIsCleanedOnATerminalOnly) {
  server_.SetScripts({{.events = AnswerEvents({"a\x1b]0;title\x07"
                                               "b\tc\n"})}});
  ChildProcess terminal(AskCommand(), ChildProcess::Io::kTerminal, {"NO_COLOR=1", "TERM=xterm"});
  EXPECT_EQ(terminal.Wait(), 0);
  EXPECT_THAT(terminal.output(),
              HasSubstr("a\xEF\xBF\xBD]0;title\xEF\xBF\xBD"
                        "b\tc"));
  EXPECT_THAT(terminal.output(), Not(HasSubstr("\x1b]0;")));
  EXPECT_EQ(RunChild(AskCommand({"-q"})).output,
            "a\x1b]0;title\x07"
            "b\tc\n\n");
}

TEST_F(CliTest, ColourOnATerminalUnlessNoColor) {
  ChildProcess colourful(AskCommand(), ChildProcess::Io::kTerminal, {"TERM=xterm"});
  EXPECT_EQ(colourful.Wait(), 0);
  EXPECT_THAT(colourful.output(), HasSubstr("\x1b[2m"));
  ChildProcess plain(AskCommand(), ChildProcess::Io::kTerminal, {"TERM=xterm", "NO_COLOR=1"});
  EXPECT_EQ(plain.Wait(), 0);
  EXPECT_THAT(plain.output(), Not(HasSubstr("\x1b[2m")));
}

TEST_F(CliTest, InterruptCancelsGenerate) {
  HangAfter("tick ");
  ChildProcess child(AskCommand(), ChildProcess::Io::kPipes);
  ASSERT_TRUE(child.WaitForOutput("tick "));
  child.Signal(SIGINT);
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_EQ(child.output(), "tick \n");
  EXPECT_THAT(child.error(), HasSubstr("CANCELLED"));
  EXPECT_TRUE(server_.WaitForCancelled(1));
}

TEST_F(CliTest, CtrlCAtATerminalCancelsGenerate) {
  HangAfter("tick ");
  ChildProcess child(AskCommand(), ChildProcess::Io::kTerminal);
  ASSERT_TRUE(child.WaitForOutput("tick "));
  child.Write("\x03");
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_TRUE(server_.WaitForCancelled(1));
}

TEST_F(CliTest, InterruptBeforeAnyEventCancelsTheQueuedRequest) {
  server_.SetScripts({{.hang = true}});
  ChildProcess child(AskCommand({"--json"}), ChildProcess::Io::kPipes);
  ASSERT_TRUE(server_.WaitForCalls(1));
  child.Signal(SIGTERM);
  EXPECT_EQ(child.Wait(), 143);
  EXPECT_EQ(json::parse(child.output())["error"]["code"], "CANCELLED");
  EXPECT_TRUE(server_.WaitForCancelled(1));
}

TEST_F(CliTest, TimeoutEndsTheCall) {
  server_.SetScripts({{.hang = true}});
  const ChildResult result = RunChild(AskCommand({"--timeout", "100ms"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr("DEADLINE_EXCEEDED"));
}

TEST_F(CliTest, OversizeRequestNamesTheLimitAndIsNotSent) {
  const std::string image = TempFile("nine_mebibytes", std::string(9 << 20, 'x'));
  const ChildResult result = RunChild(AskCommand({"--image", image, "--image", image}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr("RESOURCE_EXHAUSTED"));
  EXPECT_THAT(result.error, HasSubstr("reason: MESSAGE_TOO_LARGE"));
  EXPECT_THAT(result.error, HasSubstr("limit: 16777216"));
  const std::string huge = TempFile("eleven_mebibytes", std::string(11 << 20, 'x'));
  const ChildResult too_big = RunChild(AskCommand({"--image", huge}));
  EXPECT_EQ(too_big.exit_code, 1);
  EXPECT_THAT(too_big.error, HasSubstr("limit: 10485760"));
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(CliTest, UnreachableServerFailsWithAHint) {
  int port = 0;
  {
    FakeParrotServer gone;
    port = gone.port();
  }
  const std::string target = "127.0.0.1:" + std::to_string(port);
  const ChildResult result = RunChild(Command({"generate", "-p", "x", "--target", target}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr("error: UNAVAILABLE"));
  EXPECT_THAT(result.error, HasSubstr("is parrot-server running and ready at " + target));
}

TEST_F(CliTest, UnavailableServerIsTriedAgain) {
  server_.SetScripts({{.status = {grpc::StatusCode::UNAVAILABLE, "loading"}},
                      {.events = AnswerEvents({"ready"})}});
  const ChildResult result = RunChild(AskCommand());
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.output, "ready\n");
}

TEST_F(CliTest, RouteShowsTheWeights) {
  const ChildResult text =
      Run({"route", "--prompt", "Q", "--prefix", "P", "--literal", "--pin-first-turn"});
  EXPECT_EQ(text.exit_code, 0) << text.error;
  EXPECT_THAT(text.output, HasSubstr("image 0, entropy 1.640 nats\n  expert 0  ###"));
  EXPECT_EQ(server_.seen()[0].request.generation_prefix(), "P");
  EXPECT_EQ(server_.seen()[0].request.image_placement(), v1::IMAGE_PLACEMENT_LITERAL);
  EXPECT_EQ(server_.seen()[0].request.routing(), v1::ROUTING_MODE_PIN_FIRST_TURN);
  const json object = json::parse(Run({"route", "--prompt", "Q", "--json"}).output);
  EXPECT_EQ(object["routing"], (json::array_t{{0.1, 0.2, 0.3, 0.25, 0.1, 0.05}}));
  EXPECT_EQ(object["request_id"], "req-3");
}

TEST_F(CliTest, TokenizePrintsAJsonList) {
  EXPECT_EQ(Run({"tokenize", "--text", "AB"}).output, "[65, 66]\n");
  EXPECT_EQ(Run({"tokenize"}, "AB\n").output, "[65, 66]\n");
  const json object = json::parse(Run({"tokenize", "--text", "AB", "--json"}).output);
  EXPECT_EQ(object["token_ids"], (json::array_t{65, 66}));
  EXPECT_EQ(object["count"], 2);
}

TEST_F(CliTest, CountPrintsTheUsage) {
  EXPECT_EQ(Run({"count", "--prompt", "Q"}).output,
            "600 prompt tokens (577 image, 23 text), limit 2048 with the answer\n");
  const json object = json::parse(Run({"count", "--prompt", "Q", "--json"}).output);
  EXPECT_EQ(object["usage"]["prompt_tokens"], 600);
  EXPECT_EQ(object["max_model_len"], 2048);
}

TEST_F(CliTest, ModelsPrintsWhatIsServed) {
  EXPECT_THAT(Run({"models"}).output, HasSubstr("names       nano\n"));
  const json object = json::parse(Run({"models", "--json"}).output);
  EXPECT_EQ(object["served_names"], (json::array_t{"nano"}));
  EXPECT_EQ(object["num_experts"], 6);
  EXPECT_EQ(object["limits"]["max_images"], 1);
}

TEST_F(CliTest, HealthExitsZeroOnlyWhenServing) {
  server_.SetServing("", false);
  const ChildResult down = Run({"health"});
  EXPECT_EQ(down.exit_code, 1);
  EXPECT_EQ(down.output, "NOT_SERVING\n");
  server_.SetServing("", true);
  const ChildResult up = Run({"health", "--json"});
  EXPECT_EQ(up.exit_code, 0);
  EXPECT_EQ(json::parse(up.output), (json{{"service", ""}, {"status", "SERVING"}}));
  EXPECT_EQ(Run({"health", "--service", "nobody"}).exit_code, 1);
}

TEST_F(CliTest, HealthWaitsUntilServing) {
  server_.SetServing("", false);
  ChildProcess child(Command({"health", "--wait", "20s", "--target", server_.target()}),
                     ChildProcess::Io::kTerminal);
  ASSERT_TRUE(child.WaitForOutput("server is up, NOT_SERVING"));
  server_.SetServing("", true);
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_THAT(child.output(), HasSubstr("SERVING\r\n"));
}

TEST_F(CliTest, HealthWaitsThroughARestart) {
  auto server = std::make_unique<FakeParrotServer>();
  server->SetServing("", false);
  const int port = server->port();
  ChildProcess child(Command({"health", "--wait", "20s", "--target", server->target()}),
                     ChildProcess::Io::kTerminal);
  ASSERT_TRUE(child.WaitForOutput("server is up, NOT_SERVING"));
  server.reset();
  server = std::make_unique<FakeParrotServer>(grpc::InsecureServerCredentials(), port);
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(CliTest, InterruptEndsTheWaitForHealth) {
  server_.SetServing("", false);
  ChildProcess child(Command({"health", "--wait", "20s", "--target", server_.target()}),
                     ChildProcess::Io::kTerminal);
  ASSERT_TRUE(child.WaitForOutput("server is up, NOT_SERVING"));
  child.Write("\x03");
  EXPECT_EQ(child.Wait(), 130);
}

TEST_F(CliTest, HealthStopsWaitingInTime) {
  server_.SetServing("", false);
  const ChildResult result = Run({"health", "--wait", "200ms"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr("did not become SERVING"));
}

TEST_F(CliTest, KeyComesFromFileOrEnvironment) {
  const std::string path = TempFile("key", "from-file\n");
  ASSERT_EQ(Run({"models", "--api-key-file", path}, "", {"PARROT_API_KEY=from-env"}).exit_code, 0);
  ASSERT_EQ(Run({"models"}, "", {"PARROT_API_KEY=from-env"}).exit_code, 0);
  ASSERT_EQ(Run({"models"}).exit_code, 0);
  const auto seen = server_.seen();
  EXPECT_THAT(seen[0].metadata, Contains(Pair("authorization", "Bearer from-file")));
  EXPECT_THAT(seen[1].metadata, Contains(Pair("authorization", "Bearer from-env")));
  EXPECT_THAT(seen[2].metadata, Not(Contains(Pair("authorization", ::testing::_))));
}

TEST_F(CliTest, KeyInTheClearIsWarnedAbout) {
  const std::vector<std::string> away = {"models", "--timeout", "1ms", "--target", "192.0.2.1:1"};
  EXPECT_THAT(RunChild(Command(away), "", {"PARROT_API_KEY=k"}).error, HasSubstr("in the clear"));
  EXPECT_THAT(RunChild(Command(away)).error, Not(HasSubstr("in the clear")));
  EXPECT_EQ(Run({"models"}, "", {"PARROT_API_KEY=k"}).error, "");
}

TEST_F(CliTest, TargetComesFromTheEnvironmentToo) {
  EXPECT_EQ(RunChild(Command({"models"}), "", {"PARROT_TARGET=" + server_.target()}).exit_code, 0);
}

TEST(CliTlsTest, CertificatesComeFromFiles) {
  const SelfSignedCertificate identity = MakeSelfSignedCertificate("localhost");
  const SelfSignedCertificate caller = MakeSelfSignedCertificate("caller");
  grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = caller.cert_pem;
  ssl.pem_key_cert_pairs.push_back({identity.key_pem, identity.cert_pem});
  FakeParrotServer server(grpc::SslServerCredentials(ssl));
  const std::vector<std::string> with_files = {"models",
                                               "--target",
                                               server.target(),
                                               "--tls-ca",
                                               TempFile("ca.pem", identity.cert_pem),
                                               "--tls-cert",
                                               TempFile("cert.pem", caller.cert_pem),
                                               "--tls-key",
                                               TempFile("key.pem", caller.key_pem)};
  EXPECT_EQ(RunChild(Command(with_files)).exit_code, 0);
  EXPECT_EQ(RunChild(Command({"models", "--target", server.target()})).exit_code, 1);
}

std::vector<std::string> BenchCommand(std::vector<std::string> more = {}) {
  more.insert(more.begin(), "bench");
  return more;
}

TEST_F(CliTest, BenchMeasuresAndSaves) {
  const std::string json_path = TempFile("bench.json", "");
  const std::string csv_path = TempFile("bench.csv", "");
  const std::string html_path = TempFile("bench.html", "");
  const ChildResult result = Run(BenchCommand({"--num-prompts",
                                               "7",
                                               "--max-concurrency",
                                               "2",
                                               "--num-warmups",
                                               "1",
                                               "--languages",
                                               "en:2,ar",
                                               "--image-fraction",
                                               "1",
                                               "--image-size",
                                               "8x8",
                                               "--output-len",
                                               "5",
                                               "--goodput",
                                               "ttft:60000",
                                               "e2el:60000",
                                               "--percentiles",
                                               "99",
                                               "--save-result",
                                               json_path,
                                               "--save-result",
                                               csv_path,
                                               "--save-result",
                                               html_path}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_THAT(result.output, HasSubstr("Successful requests:                     7"));
  EXPECT_EQ(result.error,
            "saved " + json_path + "\nsaved " + csv_path + "\nsaved " + html_path + "\n");
  const json object = json::parse(ReadFile(json_path));
  EXPECT_EQ(object["completed"], 7);
  EXPECT_EQ(object["parrot"]["good"], 7);
  EXPECT_EQ(object["total_output_tokens"], 21);
  EXPECT_THAT(ReadFile(csv_path), HasSubstr("ordinal,request_id,"));
  EXPECT_THAT(ReadFile(html_path), HasSubstr("<svg "));
  const std::vector<FakeParrotServer::Seen> seen = server_.seen();
  int num_asked = 0;
  for (const FakeParrotServer::Seen& call : seen) {
    if (call.request.messages().empty()) continue;  // what the command asks about the model
    ++num_asked;
    EXPECT_EQ(call.request.stop().max_tokens(), 5);
    EXPECT_TRUE(call.request.messages(0).parts(0).has_image());
  }
  EXPECT_EQ(num_asked, 8);
}

TEST_F(CliTest, BenchOfADatasetSendsItsLinesOnce) {
  const std::string dataset = TempFile("data.jsonl",
                                       R"([{"role": "user", "content": "one"}]
{"messages": [{"role": "user", "content": "two"}], "language": "tr"}
)");
  const ChildResult result =
      Run(BenchCommand({"--dataset", dataset, "--duration", "inf", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const json object = json::parse(result.output);
  EXPECT_EQ(object["completed"], 2);
  EXPECT_EQ(object["parrot"]["languages"][0]["language"], "tr");
}

TEST_F(CliTest, BenchFailsWhenARequestDid) {
  server_.SetScripts(
      {{.status = {grpc::StatusCode::INTERNAL, "gone"}}, {.events = AnswerEvents({"A"})}});
  const ChildResult result = Run(BenchCommand({"--num-prompts", "2", "--max-concurrency", "1"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("Failed requests:                         1"));
  EXPECT_THAT(result.output, HasSubstr("INTERNAL:                                1"));
}

TEST_F(CliTest, BenchReportsWhatItHasAfterCtrlC) {
  server_.SetScripts({{.events = AnswerEvents({"A"})}, {.hang = true}});
  ChildProcess child(
      Command(BenchCommand(
          {"--num-prompts", "50", "--max-concurrency", "1", "--target", server_.target()})),
      ChildProcess::Io::kTerminal);
  EXPECT_TRUE(child.WaitForOutput("1 running, 1 done"));
  child.Write("\x03");
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_THAT(child.output(), HasSubstr("Successful requests:                     1"));
  EXPECT_THAT(child.output(), HasSubstr("Interrupted requests:                    1"));
  EXPECT_TRUE(server_.WaitForCancelled(1));
}

TEST_F(CliTest, BenchRefusesWhatCannotBeMeant) {
  const std::vector<std::vector<std::string>> cases = {
      {"--num-prompts", "0"},
      {"--request-rate", "0"},
      {"--burstiness", "-1"},
      {"--arrival", "sometimes"},
      {"--arrival", "constant", "--burstiness", "2"},
      {"--max-concurrency", "none"},
      {"--image-fraction", "1.5"},
      {"--image-size", "640"},
      {"--image-size", "0x4"},
      {"--languages", "de"},
      {"--languages", "en:0"},
      {"--input-len", "9:4"},
      {"--output-len", "0"},
      {"--goodput", "speed:1"},
      {"--goodput", "ttft:-1"},
      {"--percentiles", "101"},
      {"--save-result", "result.yaml"},
      {"--save-result", "/nonexistent/a.json"},
      {"--dataset", "d.jsonl", "--languages", "en"},
      {"--duration", "1s", "--image-fraction", "1"}};
  for (const std::vector<std::string>& arguments : cases) {
    const ChildResult result = Run(BenchCommand(arguments));
    EXPECT_EQ(result.exit_code, 2) << ::testing::PrintToString(arguments);
    EXPECT_NE(result.error, "");
  }
  EXPECT_TRUE(server_.seen().empty());
}

}  // namespace
}  // namespace parrot
