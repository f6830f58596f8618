// ResponseStream: the mailbox between the front end, which produces an answer, and the protocol
// writer, which sends it as fast as its client reads. While a write is out, further pieces of text
// are merged, so memory is bounded by that request's own text and nobody spins, blocks or drops.
//
// Shared by the call (the protocol's reactor) and the front end. Thread-safe.
//
// The reader:
//   auto stream = std::make_shared<ResponseStream>(options, [this](ReadyReason r) { OnReady(r); });
//   key = frontend.Submit(std::move(spec), identity, stream);     // OnReady may run inside
//   OnReady(kEvent)  -> WriteNext()
//   OnReady(kAborted) -> cancel the transport (the client took nothing for too long)
//   WriteNext(): std::optional<AnswerEvent> e = stream->Take();
//                if (!e) return;                                  // OnReady(kEvent) comes later
//                EndEvent -> finish the call with its status; else write one message
//   OnWriteDone() -> WriteNext()
// After the client has gone: frontend.Cancel(key), then drop the stream; nothing more need be
// taken.
//
// The order of events: [Accepted Delta* OutputFinished...] End. A stream that fails before its
// first output yields End alone, so the protocol can still answer with a bare status.
#ifndef PARROT_SERVER_FRONTEND_RESPONSE_STREAM_H_
#define PARROT_SERVER_FRONTEND_RESPONSE_STREAM_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/live_count.h"
#include "server/frontend/answer.h"

namespace parrot {

enum class ReadyReason {
  kEvent,    // Take() has something, after it had nothing (or was never called)
  kAborted,  // a write has been out for too long: give the transport up. Comes at most once, and no
             // kEvent follows; Take() yields End with ABORTED
};

enum class StreamMode {
  kDeltas,  // every piece as soon as the reader is free
  kWhole,   // ready once, at the end, with each output merged into one delta; a failed stream
            // yields End alone
};

struct ResponseStreamOptions {
  StreamMode mode = StreamMode::kDeltas;
  absl::Duration stall_timeout = absl::Seconds(10);
  Clock* clock = nullptr;  // borrowed; null: Clock::Real()
};

class ResponseStream {
 public:
  // `ready` runs on a thread of the front end (or inside Submit), never under a lock, so it may
  // call Take(). It must not block. It is dropped after End was taken or Detach() was called, so
  // that it may hold its owner.
  using ReadyCallback = std::function<void(ReadyReason)>;
  ResponseStream(const ResponseStreamOptions& options, ReadyCallback ready);
  ResponseStream(const ResponseStream&) = delete;
  ResponseStream& operator=(const ResponseStream&) = delete;

  // -- Reader ------------------------------------------------------------------------------------
  // The next event; nullopt: nothing yet, `ready` tells. One reader at a time.
  std::optional<AnswerEvent> Take();
  // The reader goes: no callback starts after this returns (one may still be running), pending
  // events are freed. Frontend::Cancel calls it too.
  void Detach();
  // The client's id or the minted one; empty before Submit.
  std::string request_id() const;

  // -- Producer: the front end
  // ---------------------------------------------------------------------
  void SetRequestId(std::string request_id);
  // All of these do nothing once the stream has ended. REQUIRES: Accept comes before Push.
  void Accept(AcceptedEvent accepted, int32_t num_outputs);
  // An empty piece changes nothing.
  void Push(int32_t output_idx, AnswerPiece piece);
  // What the router said of every image; travels with the first delta.
  void SetRouting(std::vector<ImageRouting> routing);
  void FinishOutput(OutputFinishedEvent finished);
  // True if this call ended the stream: the first one wins. Pending events stay readable. When
  // there was any output, each output that has not finished is finished like `fallback` first, its
  // completion and blocked tokens being those that were pushed.
  bool End(absl::Status status, const OutputFinishedEvent& fallback);
  // Ends with ABORTED a stream whose reader has taken nothing for stall_timeout, ended or not;
  // drops what was pending. True if it did; the caller then cancels the request.
  bool AbortIfStalled(absl::Time now);
  // The status of such a stream.
  static absl::Status TooSlow();

  // Whether the first output was handed to the stream: later errors need a finish event as well.
  bool has_output() const;
  bool ended() const;
  // End was taken, or the reader has gone.
  bool closed() const;
  // Text and ids that wait for the reader. For metrics and tests.
  size_t pending_bytes() const;

 private:
  struct PendingOutput {
    AnswerPiece piece;
    int32_t num_tokens = 0;   // pushed so far
    int32_t num_blocked = 0;  // of them
    std::optional<OutputFinishedEvent> finished;
    bool finish_taken = false;
  };
  enum class ReaderState {
    kArmed,  // found nothing; the next event calls ready
    kDue,    // was told, or holds an event: must call Take() within stall_timeout
    kDone,   // took End, or went
  };

  // The callback to run, without the lock, if the reader must be told; else null.
  std::shared_ptr<const ReadyCallback> WakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasEventLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<AnswerEvent> NextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropPendingLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const StreamMode mode_;
  const absl::Duration stall_timeout_;
  Clock& clock_;
  mutable absl::Mutex mutex_;
  // Shared with callbacks in progress.
  std::shared_ptr<const ReadyCallback> ready_ ABSL_GUARDED_BY(mutex_);
  std::string request_id_ ABSL_GUARDED_BY(mutex_);
  std::optional<AcceptedEvent> accepted_ ABSL_GUARDED_BY(mutex_);  // until taken
  std::vector<PendingOutput> outputs_ ABSL_GUARDED_BY(mutex_);
  std::vector<ImageRouting> routing_ ABSL_GUARDED_BY(mutex_);  // until taken
  bool has_output_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  ReaderState reader_ ABSL_GUARDED_BY(mutex_) = ReaderState::kArmed;
  absl::Time due_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // in kDue

  LiveCount<LiveKind::kResponseStream> live_count_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_RESPONSE_STREAM_H_
