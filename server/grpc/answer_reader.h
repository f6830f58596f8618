// AnswerReader: what the streaming and the unary calls have in common. It submits a request to the
// front end and hands the events of its ResponseStream to one reactor, one at a time, whichever
// thread they come from, and gives everything up when the client goes.
//
// Three things may happen at once, on three threads: the front end has an event, gRPC finished a
// write, the client cancelled. One of them becomes the actor; the others leave a note, and the
// actor looks again before it leaves. So no lock is held while gRPC or the front end is called.
//
//   reactor (on a gRPC thread)         front end
//   reader_.Submit(spec, identity) ->  ... ready -> actor: delegate.OnEvent(delta): StartWrite,
//   true OnWriteDone(ok) -> reader_.OnWriteDone(ok)   -> actor: OnEvent(next) ... OnEnd(status):
//   Finish OnCancel        -> reader_.OnCancel()        -> front end frees the request;
//   OnEnd(CANCELLED)
//
// Lifetime: the reactor owns the reader and deletes itself in OnDone, which gRPC calls only after
// Finish. Finish is called by the actor alone, in OnEnd, as the last thing. The front end's
// callback holds the shared state, never the reactor.
#ifndef PARROT_SERVER_GRPC_ANSWER_READER_H_
#define PARROT_SERVER_GRPC_ANSWER_READER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/frontend/frontend.h"
#include "server/frontend/response_stream.h"

namespace parrot {

class AnswerReader {
 public:
  // The reactor. Its functions run one at a time.
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // True if a write was started: the next event waits for OnWriteDone.
    virtual bool OnEvent(AnswerEvent& event) = 0;
    // The last call; finishes the RPC. The delegate may be gone when it returns.
    virtual void OnEnd(const absl::Status& status) = 0;
  };
  // Ends the transport with a status even if the client reads nothing. May run on any thread until
  // OnEnd is called; must not call the reader.
  using AbortTransport = std::function<void(const absl::Status&)>;

  // Borrows both, which outlive the last callback.
  AnswerReader(Frontend* frontend, Delegate* delegate, AbortTransport abort_transport);
  AnswerReader(const AnswerReader&) = delete;
  AnswerReader& operator=(const AnswerReader&) = delete;

  // Call once. Events may arrive before it returns, and the delegate may be gone then.
  void Submit(GenerateSpec spec,
              const Identity& identity,
              StreamMode mode,
              absl::Duration stall_timeout);
  // A write that OnEvent started is done; not ok: the client has gone.
  void OnWriteDone(bool ok);
  // The client cancelled, its deadline passed or its connection broke. Any time after Submit.
  void OnCancel();
  // The client's id or the minted one. REQUIRES: Submit was called.
  std::string request_id() const { return stream_->request_id(); }

 private:
  // Shared by the reader and the front end's callback, which may run while the reader goes.
  struct State {
    // True: the caller is the actor now. Else the actor will look again, or all is over.
    bool Enter();
    // False: something happened meanwhile, stay.
    bool Leave();
    void Close();
    // OK while the client is there.
    absl::Status gone();

    AnswerReader* reader = nullptr;  // valid for the actor
    AbortTransport abort_transport;
    absl::Mutex mutex;
    bool busy ABSL_GUARDED_BY(mutex) = true;  // Submit is the first actor
    bool again ABSL_GUARDED_BY(mutex) = false;
    bool closed ABSL_GUARDED_BY(mutex) = false;
    bool cancelled ABSL_GUARDED_BY(mutex) = false;
    bool aborted ABSL_GUARDED_BY(mutex) = false;  // by us: the client took nothing
  };
  static void OnReady(const std::shared_ptr<State>& state, ReadyReason reason);
  // The actor's loop. The reader may be gone when it returns.
  void Run();
  void GiveUp();

  Frontend* const frontend_;  // null only if Submit is never called
  Delegate& delegate_;
  std::shared_ptr<State> state_;
  std::shared_ptr<ResponseStream> stream_;  // this and the front end
  RequestKey key_ = 0;                      // set by Submit
};

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_ANSWER_READER_H_
