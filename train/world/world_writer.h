// Writes a picture world to a folder: what docs/picture-world.md describes.
//
//   DIR/train/images/000000.png ...      pictures
//   DIR/train/scenes.jsonl               what each shows (SceneJson)
//   DIR/train/dialogs.json               conversations about them, LLaVA's form
//   DIR/train/captions.json              one description of each
//   DIR/train/text.json                  conversations about descriptions, without pictures
//   DIR/heldout/images/..., scenes.jsonl pictures of combinations that no training picture holds
//   DIR/eval/Mini-MMMB*_{en,cn,pt,ar,tr,ru}.tsv
//   DIR/lexicon.json                     the words of each thing, to align pictures with words
//   DIR/corpus.txt                       sentences of all languages alike, to train a tokenizer
//
// Stateless; not thread-safe for one folder. The same files for the same options on every machine
// and with every number of threads.
#ifndef PARROT_TRAIN_WORLD_WORLD_WRITER_H_
#define PARROT_TRAIN_WORLD_WORLD_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "train/world/dialog.h"
#include "train/world/scene.h"

namespace parrot {

struct WorldOptions {
  std::string output_dir;
  uint64_t seed = 1;
  int num_train = 40000;        // pictures
  int num_held_out = 1000;      // pictures
  int dialogs_per_picture = 2;  // of dialogs.json and of text.json
  int num_questions = 1020;     // of each evaluation file
  int num_threads = 0;          // 0: one per core
  // Off: the other files, beside pictures that are there already.
  bool write_images = true;
  SceneOptions scene;
  DialogOptions dialog;
};

// INTERNAL when a file or folder cannot be written.
absl::Status WriteWorld(const WorldOptions& options);

// Replaces the file. INTERNAL with the path when that fails.
absl::Status WriteWorldFile(const std::string& path, std::string_view bytes);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_WORLD_WRITER_H_
