// The files of train/world/data, compiled in by CMake.
#ifndef PARROT_TRAIN_WORLD_PHRASEBOOK_DATA_H_
#define PARROT_TRAIN_WORLD_PHRASEBOOK_DATA_H_

#include <array>
#include <string_view>

#include "train/world/phrasebook.h"

namespace parrot {

// JSON texts, in the order of Language.
extern const std::array<std::string_view, kNumLanguages> kPhrasebookJson;

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_PHRASEBOOK_DATA_H_
