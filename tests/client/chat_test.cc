// parrot-cli chat, on pipes and on a terminal of its own.
#include <csignal>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "base/hash.h"
#include "child_process.h"
#include "fake_parrot_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kPicture = GoldenPath("images/files/rgb_1x1.png");

class ChatTest : public testing::Test {
 protected:
  std::vector<std::string> Command(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {PARROT_CLI, "chat", "--target", server_.target()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // The requests of Generate calls; the first call seen is GetModelInfo.
  std::vector<v1::GenerateRequest> Requests() {
    std::vector<v1::GenerateRequest> requests;
    for (const FakeParrotServer::Seen& seen : server_.seen()) {
      if (seen.request.messages_size() > 0) requests.push_back(seen.request);
    }
    return requests;
  }
  GenerateScript Hanging(const std::string& text) {
    std::vector<v1::GenerateResponse> events = AnswerEvents({text});
    events.pop_back();
    return {.events = events, .hang = true};
  }

  FakeParrotServer server_;
};

TEST_F(ChatTest, AnswersEachLineAndKeepsTheHistory) {
  server_.SetScripts({{.events = AnswerEvents({"One."})}, {.events = AnswerEvents({"Two."})}});
  const ChildResult result = RunChild(Command({"--max-tokens", "5"}), "first\n\nsecond");
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.output, "One.\nTwo.\n");
  EXPECT_THAT(result.error, HasSubstr("nano on cpu, 6 experts"));
  EXPECT_THAT(result.error, HasSubstr("1 token, first after 250 ms, stop"));
  EXPECT_THAT(result.error, HasSubstr("experts |"));
  EXPECT_THAT(result.output + result.error, Not(HasSubstr("\x1b")));
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].stop().max_tokens(), 5);
  ASSERT_EQ(requests[1].messages_size(), 3);
  EXPECT_EQ(requests[1].messages(0).parts(0).text(), "first");
  EXPECT_EQ(requests[1].messages(1).role(), v1::ROLE_ASSISTANT);
  EXPECT_EQ(requests[1].messages(1).parts(0).text(), "One.");
  EXPECT_EQ(requests[1].messages(2).parts(0).text(), "second");
}

TEST_F(ChatTest, CommandsShapeTheNextRequest) {
  const std::string input =
      std::string("/image \"") + kPicture +
      "\"\n/system Be brief.\nlook\n/clear\n/system\n//slash\n/quit\nunsaid\n";
  const ChildResult result = RunChild(Command(), input);
  EXPECT_EQ(result.exit_code, 0) << result.error;
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  ASSERT_EQ(requests[0].messages_size(), 2);
  EXPECT_EQ(requests[0].messages(0).parts(0).text(), "Be brief.");
  ASSERT_EQ(requests[0].messages(1).parts_size(), 2);
  EXPECT_EQ(requests[0].messages(1).parts(0).image().data().substr(1, 3), "PNG");
  ASSERT_EQ(requests[1].messages_size(), 1);
  ASSERT_EQ(requests[1].messages(0).parts_size(), 1);
  EXPECT_EQ(requests[1].messages(0).parts(0).text(), "/slash");
}

TEST_F(ChatTest, LaterTurnsNameThePictureAndAForgottenOneIsSentAgain) {
  ErrorFacts forgotten{.reason = "IMAGE_NOT_FOUND"};
  const std::string image = ReadGoldenFile("images/files/rgb_1x1.png");
  forgotten.subjects = {Sha256Of(image).ToHex()};
  const auto answer = AnswerEvents({"A bird."});
  server_.SetScripts(
      {{.events = answer},
       {.events = answer},
       {.status = DetailedStatus(grpc::StatusCode::FAILED_PRECONDITION, "unknown", forgotten)},
       {.events = answer}});
  const ChildResult result =
      RunChild(Command(), std::string("/image ") + kPicture + "\nfirst\nsecond\nthird\n");
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.output, "A bird.\nA bird.\nA bird.\n");
  EXPECT_THAT(result.error, Not(HasSubstr("error")));
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 4u);
  const auto picture = [&requests](size_t i) { return requests[i].messages(0).parts(0).image(); };
  for (const size_t i : {0, 3}) EXPECT_EQ(picture(i).data(), image);
  for (const size_t i : {1, 2}) EXPECT_EQ(picture(i).digest_sha256(), Sha256Of(image).view());
}

TEST_F(ChatTest, HelpAndMistakesDoNotAskTheServer) {
  const ChildResult result =
      RunChild(Command(), "/help\n/bogus\n/image /nonexistent.png\n/image\n   \n");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(result.error, HasSubstr("/image PATH"));
  EXPECT_THAT(result.error, HasSubstr("unknown command"));
  EXPECT_THAT(result.error, HasSubstr("error: NOT_FOUND"));
  EXPECT_TRUE(Requests().empty());
}

TEST_F(ChatTest, PicturesOverTheServersLimitAreRefusedHere) {
  const std::string image = std::string("/image ") + kPicture + "\n";
  const ChildResult result = RunChild(Command(), image + image + "look\n" + image + "again\n");
  EXPECT_THAT(result.error, HasSubstr("takes 1 picture(s) in a conversation"));
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].messages(0).parts_size(), 2);
  EXPECT_EQ(requests[1].messages(2).parts_size(), 1);
}

TEST_F(ChatTest, FailedMessageIsForgottenAndItsPictureIsNot) {
  server_.SetScripts({{.status = {grpc::StatusCode::INTERNAL, "step failed"}},
                      {.events = AnswerEvents({"A bird."})}});
  const ChildResult result =
      RunChild(Command(), std::string("/image ") + kPicture + "\nfirst\nsecond\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.output, "A bird.\n");
  EXPECT_THAT(result.error, HasSubstr("error: INTERNAL: step failed"));
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  ASSERT_EQ(requests[1].messages_size(), 1);
  EXPECT_EQ(requests[1].messages(0).parts_size(), 2);
  EXPECT_EQ(requests[1].messages(0).parts(1).text(), "second");
}

TEST_F(ChatTest, WeightsShowAboveTheAnswerWhenTheyComeEarly) {
  auto events = AnswerEvents({"A bird."});
  *events[1].mutable_delta()->add_routing() = SixExperts(0);
  server_.SetScripts({{.events = events}});
  ChildProcess child(Command(), ChildProcess::Io::kTerminal, {"LC_ALL=C.UTF-8", "NO_COLOR=1"});
  ASSERT_TRUE(child.WaitForOutput("> "));
  child.Write("look\n");
  ASSERT_TRUE(child.WaitForOutput("experts |▁▂▂▂▁ | 0.10 0.20 0.30 0.25 0.10 0.05\r\nA bird.\r\n"));
  ASSERT_TRUE(child.WaitForOutput("> "));
  EXPECT_EQ(child.output().find("experts |"), child.output().rfind("experts |"));
  child.Write("\x04");
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(ChatTest, CtrlCStopsTheAnswerAndTwoAtThePromptLeave) {
  server_.SetScripts({Hanging("tick "), {.events = AnswerEvents({"fine."})}});
  ChildProcess child(Command(), ChildProcess::Io::kTerminal, {"NO_COLOR=1"});
  ASSERT_TRUE(child.WaitForOutput("> "));
  child.Write("count\n");
  ASSERT_TRUE(child.WaitForOutput("tick "));
  child.Write("\x03");
  ASSERT_TRUE(child.WaitForOutput("(stopped)"));
  EXPECT_TRUE(server_.WaitForCancelled(1));
  ASSERT_TRUE(child.WaitForOutput("> "));
  child.Write("how are you\n");
  ASSERT_TRUE(child.WaitForOutput("fine."));
  ASSERT_TRUE(child.WaitForOutput("> "));
  child.Write("\x03");
  ASSERT_TRUE(child.WaitForOutput("Ctrl-C again"));
  ASSERT_TRUE(child.WaitForOutput("> "));
  child.Write("\x03");
  EXPECT_EQ(child.Wait(), 0);
  // What had been written stays part of the conversation.
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 2u);
  ASSERT_EQ(requests[1].messages_size(), 3);
  EXPECT_EQ(requests[1].messages(1).parts(0).text(), "tick ");
}

TEST_F(ChatTest, OneCtrlCAtThePromptDoesNotLeave) {
  ChildProcess child(Command(), ChildProcess::Io::kTerminal, {"NO_COLOR=1"});
  ASSERT_TRUE(child.WaitForOutput("> "));
  child.Write("\x03");
  ASSERT_TRUE(child.WaitForOutput("Ctrl-C again"));
  ASSERT_TRUE(child.WaitForOutput("> "));
  child.Write("hello\n");
  ASSERT_TRUE(child.WaitForOutput("A blue bird."));
  ASSERT_TRUE(child.WaitForOutput("> "));
  child.Write("\x03");
  ASSERT_TRUE(child.WaitForOutput("Ctrl-C again"));
  child.Write("\x04");
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(ChatTest, InterruptStopsTheAnswerOnAPipeToo) {
  server_.SetScripts({Hanging("tick "), {.events = AnswerEvents({"next."})}});
  ChildProcess child(Command(), ChildProcess::Io::kPipes);
  child.Write("one\n");
  ASSERT_TRUE(child.WaitForOutput("tick "));
  child.Signal(SIGINT);
  child.Write("two\n");
  ASSERT_TRUE(child.WaitForOutput("next."));
  child.CloseInput();
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(ChatTest, TerminateLeavesFromThePromptAndFromAnAnswer) {
  server_.SetScripts({Hanging("tick ")});
  ChildProcess answering(Command(), ChildProcess::Io::kPipes);
  answering.Write("one\n");
  ASSERT_TRUE(answering.WaitForOutput("tick "));
  answering.Signal(SIGTERM);
  EXPECT_EQ(answering.Wait(), 143);
  ChildProcess waiting(Command(), ChildProcess::Io::kTerminal);
  ASSERT_TRUE(waiting.WaitForOutput("> "));
  waiting.Signal(SIGTERM);
  EXPECT_EQ(waiting.Wait(), 143);
}

TEST_F(ChatTest, UnreachableServerEndsTheChatAtOnce) {
  const ChildResult result = RunChild({PARROT_CLI, "chat", "--target", "127.0.0.1:1"}, "hi\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr("error: UNAVAILABLE"));
}

}  // namespace
}  // namespace parrot
