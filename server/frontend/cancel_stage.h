// Where a request was when its client gave it up.
#ifndef PARROT_SERVER_FRONTEND_CANCEL_STAGE_H_
#define PARROT_SERVER_FRONTEND_CANCEL_STAGE_H_

namespace parrot {

enum class CancelStage {
  kPreprocessQueue,  // waits for a thread
  kPreprocess,       // image decode, tokenise
  kEngine,           // queued or in prefill: no token yet
  kDecode,           // tokens flow
  kWrite,            // all is generated, the client has not read all of it
};

// "preprocess_queue", ...
const char* CancelStageName(CancelStage stage);

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_CANCEL_STAGE_H_
