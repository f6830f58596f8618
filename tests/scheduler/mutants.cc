#include "tests/scheduler/mutants.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace parrot {

std::vector<Mutant> AllMutants() {
  std::vector<Mutant> mutants;
  for (int i = 1; i <= static_cast<int>(Mutant::kMistakesTheReason); ++i) {
    mutants.push_back(static_cast<Mutant>(i));
  }
  return mutants;
}

const char* MutantName(Mutant mutant) {
  static constexpr const char* kNames[] = {"none",
                                           "gives a block twice",
                                           "loses a block",
                                           "forgets a retired slot",
                                           "loses a copy",
                                           "swaps two blocks",
                                           "skips an uncomputed prefix",
                                           "keys by image alone",
                                           "forgets an eviction",
                                           "evicts what is needed",
                                           "routes by another's text",
                                           "shifts visual rows",
                                           "exceeds the tokens budget",
                                           "exceeds the images budget",
                                           "runs too many sequences",
                                           "ignores deadlines",
                                           "swaps two tokens",
                                           "loses a token",
                                           "repeats a token",
                                           "loses an end",
                                           "repeats an end",
                                           "ends before the last token",
                                           "loses a routing",
                                           "mistakes the reason"};
  return kNames[static_cast<int>(mutant)];
}

bool MutantExecutor::Now() {
  if (random_() % 4 != 0) return false;
  ++num_mutations_;
  return true;
}

void MutantExecutor::Submit(StepResult buffers, StepDone done) {
  // The engine gets back what it sent: it is the sound part.
  auto sent = std::make_shared<StepInput>(*buffers.input);
  MutateInput(buffers.input.get());
  executor_.Submit(std::move(buffers), [this, sent, done = std::move(done)](StepResult result) {
    *result.input = std::move(*sent);
    MutateOutput(result.output.get());
    done(std::move(result));
  });
}

EngineOptions MutantExecutor::Mutate(EngineOptions options) {
  const auto raise = [this](Mutant mutant, int32_t* value) {
    if (mutant_ != mutant) return;
    ++*value;
    ++num_mutations_;
  };
  raise(Mutant::kExceedsTheTokensBudget, &options.max_num_batched_tokens);
  raise(Mutant::kExceedsTheImagesBudget, &options.max_images_per_step);
  raise(Mutant::kRunsTooManySequences, &options.max_num_seqs);
  return options;
}

std::shared_ptr<const Request> MutantExecutor::Mutate(std::shared_ptr<const Request> request) {
  const bool hides_text = mutant_ == Mutant::kKeysByImageAlone && !request->images.empty();
  const bool hides_deadline =
      mutant_ == Mutant::kIgnoresDeadlines && request->deadline != absl::InfiniteFuture();
  if (!hides_text && !hides_deadline) return request;
  ++num_mutations_;
  auto hidden = std::make_shared<Request>(*request);
  if (hides_text) hidden->text_ids.clear();
  if (hides_deadline) hidden->deadline = absl::InfiniteFuture();
  return hidden;
}

void MutantExecutor::MutateInput(StepInput* input) {
  RememberTables(*input);
  MutateBlocks(input);
  MutateImages(input);
  if (mutant_ == Mutant::kSkipsUncomputedPrefix) SkipPrefix(input);
  if (mutant_ == Mutant::kForgetsARetiredSlot && !input->retired_slots.empty() && Now()) {
    input->retired_slots.pop_back();
  }
}

void MutantExecutor::RememberTables(const StepInput& input) {
  for (const SlotId slot : input.retired_slots) last_block_.erase(slot);
  for (const SlotStart& start : input.new_slots) {
    std::vector<TokenId>& text = texts_[start.slot];
    text.clear();
    for (int32_t i = 0; i < start.num_prompt_tokens; ++i) {
      if (start.token_ids[i] != kVisualToken) text.push_back(start.token_ids[i]);
    }
    if (mutant_ == Mutant::kGivesABlockTwice && !start.block_ids.empty()) {
      last_block_[start.slot] = start.block_ids.back();
    }
  }
}

void MutantExecutor::MutateBlocks(StepInput* input) {
  if (mutant_ == Mutant::kLosesABlock && !input->block_appends.empty() && Now()) {
    input->block_appends.pop_back();
  }
  if (mutant_ == Mutant::kLosesACopy && !input->block_copies.empty() && Now()) {
    input->block_copies.pop_back();
  }
  for (SlotStart& start : input->new_slots) {
    std::vector<BlockId>& table = start.block_ids;
    if (mutant_ == Mutant::kSwapsTwoBlocks && table.size() >= 2 && Now()) {
      std::swap(table.front(), table.back());
    }
    if (mutant_ != Mutant::kGivesABlockTwice || table.empty()) continue;
    for (const auto& [slot, block] : last_block_) {
      if (slot == start.slot || !Now()) continue;
      table.back() = block;
      break;
    }
  }
}

void MutantExecutor::SkipPrefix(StepInput* input) {
  for (size_t i = 0; i < input->spans.size(); ++i) {
    Span& span = input->spans[i];
    const bool has_images = std::any_of(input->visual_spans.begin(),
                                        input->visual_spans.end(),
                                        [&](const VisualSpan& v) { return v.slot == span.slot; });
    const int32_t count = capacity().block_size;
    if (has_images || span.start_position != 0 || span.num_tokens <= count || !Now()) continue;
    span.start_position += count;
    span.num_tokens -= count;
    span.token_offset += count;
    for (LogitsRow& row : input->logits_rows) {
      if (row.span_idx == static_cast<int32_t>(i)) row.row -= count;
    }
  }
}

void MutantExecutor::MutateImages(StepInput* input) {
  if (mutant_ == Mutant::kForgetsAnEviction && !input->evicted_images.empty() && Now()) {
    input->evicted_images.pop_back();
  }
  for (RouteJob& job : input->route_jobs) {
    if (job.source != RoutingSource::kText) continue;
    if (mutant_ == Mutant::kKeysByImageAlone) job.text_ids = texts_.at(job.slot);
    const bool arrives = std::any_of(input->encode_jobs.begin(),
                                     input->encode_jobs.end(),
                                     [&](const EncodeJob& e) { return e.image.hash == job.image; });
    if (mutant_ == Mutant::kEvictsWhatIsNeeded && !arrives && Now()) {
      input->evicted_images.push_back(job.image);
    }
    if (mutant_ != Mutant::kRoutesByAnothersText) continue;
    std::vector<TokenId> own = job.text_ids;
    if (own != text_before_ && Now()) job.text_ids = text_before_;
    text_before_ = std::move(own);
  }
  for (VisualSpan& visual : input->visual_spans) {
    if (mutant_ != Mutant::kShiftsVisualRows) break;
    if (visual.first_row > 0 && Now()) --visual.first_row;
  }
}

void MutantExecutor::MutateOutput(StepOutput* output) {
  if (mutant_ != Mutant::kSwapsTwoTokens || output->rows.size() < 2) return;
  TokenId& first = output->rows.front().token;
  TokenId& last = output->rows.back().token;
  if (first != last && Now()) std::swap(first, last);
}

// Loses or repeats the first event of the kind.
template <typename Event>
void MutantExecutor::MutateEvent(std::vector<EngineEvent>* events, bool repeat) {
  const auto it = std::find_if(events->begin(), events->end(), [](const EngineEvent& event) {
    return std::holds_alternative<Event>(event);
  });
  if (it == events->end() || !Now()) return;
  if (repeat) {
    const EngineEvent copy = *it;
    events->insert(it, copy);
  } else {
    events->erase(it);
  }
}

void MutantExecutor::Mutate(std::vector<EngineEvent>* events) {
  if (mutant_ == Mutant::kLosesAToken) MutateEvent<TokenEvent>(events, /*repeat=*/false);
  if (mutant_ == Mutant::kRepeatsAToken) MutateEvent<TokenEvent>(events, /*repeat=*/true);
  if (mutant_ == Mutant::kLosesAnEnd) MutateEvent<FinishEvent>(events, /*repeat=*/false);
  if (mutant_ == Mutant::kRepeatsAnEnd) MutateEvent<FinishEvent>(events, /*repeat=*/true);
  if (mutant_ == Mutant::kLosesARouting) MutateEvent<RoutingEvent>(events, /*repeat=*/false);
  for (size_t i = 0; i < events->size(); ++i) {
    auto* finish = std::get_if<FinishEvent>(&(*events)[i]);
    if (finish == nullptr) continue;
    if (mutant_ == Mutant::kEndsBeforeTheLastToken && i > 0 &&
        std::holds_alternative<TokenEvent>((*events)[i - 1]) && Now()) {
      std::swap((*events)[i - 1], (*events)[i]);
    } else if (mutant_ == Mutant::kMistakesTheReason && finish->reason == FinishReason::kLength &&
               Now()) {
      finish->reason = FinishReason::kStop;
    }
  }
}

}  // namespace parrot
