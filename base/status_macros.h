// RETURN_IF_ERROR and ASSIGN_OR_RETURN for absl::Status; the Abseil LTS has none.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<File> file, File::Open(path));
//   RETURN_IF_ERROR(file->Validate());
#ifndef PARROT_BASE_STATUS_MACROS_H_
#define PARROT_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// `lhs` is a declaration and the pasted names are identifiers: neither can stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define RETURN_IF_ERROR(expr)                                       \
  do {                                                              \
    if (absl::Status parrot_status = (expr); !parrot_status.ok()) { \
      return parrot_status;                                         \
    }                                                               \
  } while (false)

#define PARROT_MACRO_CONCAT_INNER(a, b) a##b
#define PARROT_MACRO_CONCAT(a, b) PARROT_MACRO_CONCAT_INNER(a, b)

#define ASSIGN_OR_RETURN(lhs, expr) \
  PARROT_ASSIGN_OR_RETURN_IMPL(PARROT_MACRO_CONCAT(parrot_statusor_, __LINE__), lhs, expr)

#define PARROT_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr) \
  auto statusor = (expr);                                 \
  if (!statusor.ok()) {                                   \
    return std::move(statusor).status();                  \
  }                                                       \
  lhs = *std::move(statusor)
// NOLINTEND(bugprone-macro-parentheses)

#endif  // PARROT_BASE_STATUS_MACROS_H_
