#include "tests/inspect/run_inspect.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "tests/model/weights/checkpoint_files.h"

extern char** environ;

namespace parrot {

InspectResult RunInspect(const std::vector<std::string>& arguments, std::string_view input) {
  // Files, not pipes: nothing can fill up and block.
  const TempDir dir;
  WriteBytes(dir.File("in"), input);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  constexpr int kCreate = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&actions, 0, dir.File("in").c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, dir.File("out").c_str(), kCreate, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, dir.File("err").c_str(), kCreate, 0600);

  std::vector<std::string> words = {PARROT_INSPECT_BINARY};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  PARROT_CHECK(error == 0) << argv[0];
  int status = 0;
  PARROT_CHECK(waitpid(pid, &status, 0) == pid);
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          .out = ReadBytes(dir.File("out")),
          .err = ReadBytes(dir.File("err"))};
}

}  // namespace parrot
