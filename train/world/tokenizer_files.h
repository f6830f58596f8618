// The files of a tokenizer as Hugging Face's transformers writes them for Qwen2: the form that our
// server and the reference read. Stateless; thread-safe.
#ifndef PARROT_TRAIN_WORLD_TOKENIZER_FILES_H_
#define PARROT_TRAIN_WORLD_TOKENIZER_FILES_H_

#include <map>
#include <string>
#include <vector>

#include "train/world/byte_pair_trainer.h"

namespace parrot {

// File name -> text: tokenizer.json, vocab.json, merges.txt, added_tokens.json,
// special_tokens_map.json, tokenizer_config.json. Ids: 256 bytes, then what the merges give in
// their order, then <|endoftext|>, <|im_start|>, <|im_end|>. `max_length_tokens` is what training
// cuts at. REQUIRES: each merge joins bytes or results of earlier ones.
std::map<std::string, std::string> TokenizerFiles(const std::vector<LearnedMerge>& merges,
                                                  int max_length_tokens);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_TOKENIZER_FILES_H_
