#include "client/known_images.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "base/check.h"
#include "base/error_status.h"

namespace parrot {
namespace {

// More than any server keeps for one client; forgetting costs a call or an upload, never an answer.
constexpr size_t kMaxKnown = 8192;

bool SaysUnknownImage(const absl::Status& error, const ErrorFacts& facts) {
  return error.code() == absl::StatusCode::kFailedPrecondition && facts.reason == "IMAGE_NOT_FOUND";
}

// A server without a store of images, or from before there was one.
bool SaysNoDigests(const absl::Status& error, const ErrorFacts& facts) {
  return error.code() == absl::StatusCode::kUnimplemented && facts.field.ends_with("digest_sha256");
}

}  // namespace

bool ImagePlan::names_any() const {
  return std::find(is_known.begin(), is_known.end(), true) != is_known.end();
}

ImagePlan KnownImages::Plan(const MessageList& messages) const {
  ImagePlan plan;
  {
    absl::MutexLock lock(&mutex_);
    if (!enabled_) return plan;
  }
  for (const v1::Message& message : messages) {
    for (const v1::Part& part : message.parts()) {
      if (part.image().has_data()) plan.digests.push_back(Sha256Of(part.image().data()));
    }
  }
  absl::MutexLock lock(&mutex_);
  plan.is_known.reserve(plan.digests.size());
  for (const Sha256Digest& digest : plan.digests) plan.is_known.push_back(known_.contains(digest));
  return plan;
}

void KnownImages::Name(const ImagePlan& plan, MessageList* messages) {
  size_t idx = 0;
  for (v1::Message& message : *messages) {
    for (v1::Part& part : *message.mutable_parts()) {
      if (!part.image().has_data()) continue;
      PARROT_CHECK(idx < plan.digests.size());
      if (plan.is_known[idx]) {
        part.mutable_image()->set_digest_sha256(std::string(plan.digests[idx].view()));
        part.mutable_image()->clear_mime_type();
      }
      ++idx;
    }
  }
}

void KnownImages::Remember(const std::vector<Sha256Digest>& digests) {
  absl::MutexLock lock(&mutex_);
  if (!enabled_) return;
  if (known_.size() + digests.size() > kMaxKnown) known_.clear();
  known_.insert(digests.begin(), digests.end());
}

void KnownImages::Forget(const Sha256Digest& digest) {
  absl::MutexLock lock(&mutex_);
  known_.erase(digest);
}

bool KnownImages::ShouldResend(const absl::Status& error, const ImagePlan& plan) {
  if (!plan.names_any()) return false;
  const ErrorFacts facts = GetErrorFacts(error);
  absl::MutexLock lock(&mutex_);
  if (SaysNoDigests(error, facts)) {
    enabled_ = false;
    known_.clear();
    return true;
  }
  if (!SaysUnknownImage(error, facts)) return false;
  // Digests that the caller chose to send are the caller's to replace.
  bool all_ours = true;
  for (const std::string& subject : facts.subjects) {
    bool is_ours = false;
    for (size_t i = 0; i < plan.digests.size(); ++i) {
      if (!plan.is_known[i] || plan.digests[i].ToHex() != subject) continue;
      is_ours = true;
      known_.erase(plan.digests[i]);
    }
    all_ours = all_ours && is_ours;
  }
  return all_ours;
}

}  // namespace parrot
