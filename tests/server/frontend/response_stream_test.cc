#include "server/frontend/response_stream.h"

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"

namespace parrot {
namespace {

AnswerPiece Piece(std::string text, TokenId token) {
  return {.text = std::move(text), .token_ids = {token}};
}

// A stream whose reader is the test: it counts the calls to `ready` and takes when it likes.
class ResponseStreamTest : public ::testing::Test {
 protected:
  std::shared_ptr<ResponseStream> Make(StreamMode mode = StreamMode::kDeltas) {
    auto stream = std::make_shared<ResponseStream>(
        ResponseStreamOptions{.mode = mode, .clock = &clock_},
        [this](ReadyReason reason) { reasons_.push_back(reason); });
    stream->Accept({.request_id = "r", .model = "m"}, /*num_outputs=*/1);
    return stream;
  }
  static std::string Name(const std::optional<AnswerEvent>& event) {
    if (!event.has_value()) return "nothing";
    if (std::holds_alternative<AcceptedEvent>(*event)) return "accepted";
    if (const auto* delta = std::get_if<DeltaEvent>(&*event)) return "delta:" + delta->piece.text;
    if (std::holds_alternative<OutputFinishedEvent>(*event)) return "finished";
    return "end:" + absl::StatusCodeToString(std::get<EndEvent>(*event).status.code());
  }
  static std::vector<std::string> TakeAll(ResponseStream& stream) {
    std::vector<std::string> names;
    while (std::optional<AnswerEvent> event = stream.Take()) names.push_back(Name(event));
    return names;
  }

  FakeClock clock_;
  std::vector<ReadyReason> reasons_;
};

using Names = std::vector<std::string>;

TEST_F(ResponseStreamTest, TellsTheReaderOnceUntilItFindsNothing) {
  const auto stream = Make();
  EXPECT_EQ(Name(stream->Take()), "nothing");
  stream->Push(0, Piece("a", 1));
  stream->Push(0, Piece("b", 2));
  EXPECT_EQ(reasons_.size(), 1u);
  EXPECT_EQ(TakeAll(*stream), (Names{"accepted", "delta:ab"}));
  stream->Push(0, Piece("c", 3));
  EXPECT_EQ(reasons_.size(), 2u);
}

TEST_F(ResponseStreamTest, MergesWhatComesWhileAWriteIsOut) {
  const auto stream = Make();
  stream->Push(0, Piece("a", 1));
  EXPECT_EQ(Name(stream->Take()), "accepted");  // its write is out from here on
  for (int i = 0; i < 1000; ++i) stream->Push(0, Piece("x", i));
  EXPECT_EQ(reasons_.size(), 1u);
  EXPECT_EQ(stream->pending_bytes(), 1001u + 1001u * sizeof(TokenId));
  const std::optional<AnswerEvent> event = stream->Take();
  ASSERT_TRUE(event.has_value());
  const auto& delta = std::get<DeltaEvent>(*event);
  EXPECT_EQ(delta.piece.text.size(), 1001u);
  EXPECT_EQ(delta.piece.token_ids.size(), 1001u);
  EXPECT_EQ(stream->pending_bytes(), 0u);
}

TEST_F(ResponseStreamTest, DeliversEverythingInOrderAfterTheEnd) {
  const auto stream = Make();
  stream->SetRouting({{.image_idx = 0, .expert_weights = {1.0f}}});
  stream->Push(0, Piece("a", 1));
  stream->Push(0, {.text = "\xEF\xBF\xBD"});
  stream->FinishOutput({.reason = FinishReason::kStop});
  EXPECT_TRUE(stream->End(absl::OkStatus(), {}));
  EXPECT_EQ(TakeAll(*stream), (Names{"accepted", "delta:a\xEF\xBF\xBD", "finished", "end:OK"}));
  EXPECT_TRUE(stream->closed());
}

TEST_F(ResponseStreamTest, CarriesTheRoutingWithTheFirstDeltaOnly) {
  const auto stream = Make();
  stream->SetRouting({{.image_idx = 0, .expert_weights = {1.0f}}});
  EXPECT_EQ(Name(stream->Take()), "nothing");  // routing alone is no output
  stream->Push(0, Piece("a", 1));
  EXPECT_EQ(Name(stream->Take()), "accepted");
  EXPECT_EQ(std::get<DeltaEvent>(*stream->Take()).routing.size(), 1u);
  stream->Push(0, Piece("b", 1));
  EXPECT_TRUE(std::get<DeltaEvent>(*stream->Take()).routing.empty());
}

TEST_F(ResponseStreamTest, FailureBeforeAnyOutputIsABareEnd) {
  const auto stream = Make();
  EXPECT_TRUE(stream->End(absl::ResourceExhaustedError("full"), {}));
  EXPECT_EQ(reasons_.size(), 1u);
  EXPECT_EQ(TakeAll(*stream), (Names{"end:RESOURCE_EXHAUSTED"}));
}

TEST_F(ResponseStreamTest, FailureAfterOutputFinishesTheOutputFirst) {
  const auto stream = Make();
  stream->Push(0, Piece("a", 1));
  stream->End(absl::DeadlineExceededError("late"), {.reason = FinishReason::kDeadline});
  EXPECT_EQ(TakeAll(*stream), (Names{"accepted", "delta:a", "finished", "end:DEADLINE_EXCEEDED"}));
}

TEST_F(ResponseStreamTest, FirstEndWinsAndNothingFollowsIt) {
  const auto stream = Make();
  EXPECT_TRUE(stream->End(absl::OkStatus(), {}));
  EXPECT_FALSE(stream->End(absl::CancelledError(""), {}));
  stream->Push(0, Piece("late", 1));
  stream->FinishOutput({});
  EXPECT_EQ(TakeAll(*stream), (Names{"end:OK"}));
  EXPECT_EQ(Name(stream->Take()), "nothing");
}

TEST_F(ResponseStreamTest, WholeModeTellsOnceAndMergesAll) {
  const auto stream = Make(StreamMode::kWhole);
  stream->Push(0, Piece("a", 1));
  stream->Push(0, Piece("b", 2));
  EXPECT_TRUE(reasons_.empty());
  EXPECT_EQ(Name(stream->Take()), "nothing");
  stream->FinishOutput({.reason = FinishReason::kLength});
  stream->End(absl::OkStatus(), {});
  EXPECT_EQ(reasons_.size(), 1u);
  EXPECT_EQ(TakeAll(*stream), (Names{"accepted", "delta:ab", "finished", "end:OK"}));
}

TEST_F(ResponseStreamTest, WholeModeFailsWithABareEnd) {
  const auto stream = Make(StreamMode::kWhole);
  stream->Push(0, Piece("a", 1));
  stream->End(absl::DeadlineExceededError("late"), {.reason = FinishReason::kDeadline});
  EXPECT_EQ(TakeAll(*stream), (Names{"end:DEADLINE_EXCEEDED"}));
}

TEST_F(ResponseStreamTest, ReaderThatTakesNothingForTenSecondsIsAborted) {
  const auto stream = Make();
  stream->Push(0, Piece("a", 1));  // the reader was told and does not come
  clock_.Advance(absl::Milliseconds(9999));
  EXPECT_FALSE(stream->AbortIfStalled(clock_.Now()));
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(stream->AbortIfStalled(clock_.Now()));
  EXPECT_FALSE(stream->AbortIfStalled(clock_.Now() + absl::Hours(1)));
  EXPECT_EQ(reasons_, (std::vector<ReadyReason>{ReadyReason::kEvent, ReadyReason::kAborted}));
  EXPECT_EQ(stream->pending_bytes(), 0u);
  EXPECT_EQ(TakeAll(*stream), (Names{"end:ABORTED"}));
}

TEST_F(ResponseStreamTest, EachTakeRestartsTheStallClock) {
  const auto stream = Make();
  stream->Push(0, Piece("a", 1));
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Seconds(9));
    EXPECT_FALSE(stream->AbortIfStalled(clock_.Now()));
    EXPECT_NE(Name(stream->Take()), "nothing");
    stream->Push(0, Piece("b", 2));
  }
}

TEST_F(ResponseStreamTest, AReaderThatWaitsForEventsIsNotStalled) {
  const auto stream = Make();
  EXPECT_EQ(Name(stream->Take()), "nothing");
  clock_.Advance(absl::Hours(1));
  EXPECT_FALSE(stream->AbortIfStalled(clock_.Now()));
}

TEST_F(ResponseStreamTest, AWriteThatHangsAfterTheEndIsAborted) {
  const auto stream = Make();
  stream->Push(0, Piece("a", 1));
  EXPECT_EQ(Name(stream->Take()), "accepted");
  stream->FinishOutput({.reason = FinishReason::kStop});
  stream->End(absl::OkStatus(), {});
  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(stream->AbortIfStalled(clock_.Now()));
  EXPECT_EQ(TakeAll(*stream), (Names{"end:ABORTED"}));
}

TEST_F(ResponseStreamTest, AReaderThatTookTheEndIsNeverStalled) {
  const auto stream = Make();
  stream->End(absl::OkStatus(), {});
  EXPECT_EQ(TakeAll(*stream), (Names{"end:OK"}));
  clock_.Advance(absl::Hours(1));
  EXPECT_FALSE(stream->AbortIfStalled(clock_.Now()));
}

TEST_F(ResponseStreamTest, DetachedReaderHearsNothingAndHoldsNothing) {
  auto owner = std::make_shared<int>(0);
  const std::weak_ptr<int> held = owner;
  ResponseStream stream({.clock = &clock_}, [owner](ReadyReason) { FAIL(); });
  owner.reset();
  EXPECT_FALSE(held.expired());
  stream.Accept({}, 1);
  stream.Detach();
  EXPECT_TRUE(held.expired());
  stream.Push(0, Piece("a", 1));
  EXPECT_EQ(stream.pending_bytes(), 0u);
  EXPECT_TRUE(stream.End(absl::CancelledError(""), {}));
}

TEST_F(ResponseStreamTest, CallbackMayTakeFromInside) {
  std::vector<std::string> names;
  std::shared_ptr<ResponseStream> stream;
  stream =
      std::make_shared<ResponseStream>(ResponseStreamOptions{.clock = &clock_}, [&](ReadyReason) {
        for (const std::string& name : TakeAll(*stream)) {
          names.push_back(name);
        }
      });
  stream->Accept({}, 1);
  stream->Push(0, Piece("a", 1));
  stream->Push(0, Piece("b", 2));
  stream->End(absl::OkStatus(), {.reason = FinishReason::kStop});
  EXPECT_EQ(names, (Names{"accepted", "delta:a", "delta:b", "finished", "end:OK"}));
  stream.reset();
}

}  // namespace
}  // namespace parrot
