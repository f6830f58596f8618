// SIGTERM and SIGINT as function calls on a thread of their own.
//
//   int main() {
//     SignalWatcher signals([&](int signal, int count) { ... });   // before any other thread
#ifndef PARROT_SERVER_SIGNALS_H_
#define PARROT_SERVER_SIGNALS_H_

#include <functional>
#include <thread>

namespace parrot {

class SignalWatcher {
 public:
  // Runs on the watcher's thread: the signal, and how many came so far (1: the first).
  using Handler = std::function<void(int signal, int count)>;

  // Blocks both signals in this thread and all it starts later. SIGPIPE is ignored: a reader of our
  // log that goes must not end the server.
  explicit SignalWatcher(Handler handler);
  // The handler does not run any more.
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  std::thread thread_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_SIGNALS_H_
