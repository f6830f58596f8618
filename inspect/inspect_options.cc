#include "inspect/inspect_options.h"

#include <CLI/CLI.hpp>
#include <map>

namespace parrot {
namespace {

constexpr int kExitUsage = 2;

void AddDir(CLI::App* command, std::string& dir) {
  command->add_option("DIR", dir, "Checkpoint folder")->required();
}

void AddRunOptions(CLI::App* run, RunOptions& o, std::string& compat) {
  AddDir(run, o.dir);
  run->add_option(
         "--messages",
         o.messages_path,
         "JSON file: a list of chat messages in OpenAI's style; images as data URI or file:")
      ->required();
  run->add_option("--prefix", o.prefix, "Text that opens the assistant's turn");
  run->add_flag("--literal",
                o.literal,
                "Keep the order of parts and add nothing (default: images first, as trained)");
  run->add_flag(
      "--parse-special",
      o.parse_special,
      "Strings such as <|im_end|> and <image> in messages act as the reference lets them");
  run->add_option("--compat",
                  compat,
                  "reference: later images are zeros, the prompt is cut to the training length, "
                  "<|endoftext|> is dropped")
      ->check(CLI::IsMember({"reference"}));
  run->add_option("--extra-image",
                  o.extra_image_path,
                  "An image beside a prompt that has none: its features are computed, not used");
  run->add_option("--max-tokens", o.max_new_tokens, "Tokens to generate, greedily")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  run->add_option("-o,--output",
                  o.output_path,
                  "safetensors file for vision, projector, router, moe (first image), logits_last, "
                  "input_ids, tokens and more");
  run->add_option("--dtype", o.dtype, "float32, bfloat16 or auto")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, ComputeDtype>{{"auto", ComputeDtype::kAuto},
                                              {"float32", ComputeDtype::kFloat32},
                                              {"bfloat16", ComputeDtype::kBFloat16}}));
  run->add_option("--device", o.device, "cpu, cuda or cuda:N")->capture_default_str();
  run->add_option("--backend", o.cpu.backend, "On a CPU: reference, or cpu for our own kernels")
      ->capture_default_str();
  run->add_option("--cpu-isa", o.cpu.isa, "avx2, avx512, avx512_bf16 or amx; empty: the fastest")
      ->capture_default_str();
  run->add_option("--quantization", o.cpu.quantization, "As the server's")->capture_default_str();
  run->add_option("--num-threads", o.num_threads, "CPU threads; 0: all")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

void AddQuantizeOptions(CLI::App* quantize, QuantizeOptions& o) {
  AddDir(quantize, o.dir);
  quantize->add_option("--quantization", o.quantization, "As the server's")->required();
  quantize->add_option("--messages",
                       o.message_paths,
                       "JSON files of chat messages: the change of logits and of greedy text "
                       "against float32");
  quantize->add_option("--max-tokens", o.max_new_tokens, "Tokens to generate of each, greedily")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  quantize->add_flag("--json", o.json, "One JSON object instead of a table");
}

}  // namespace

ParsedCommandLine ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app{
      "Looks into a Parrot checkpoint: is it sound, and what does the model do step by step"};
  app.require_subcommand(1);

  CheckOptions check;
  CLI::App* check_app = app.add_subcommand(
      "check", "Validate configuration, tensors and tokenizer; print sizes and memory");
  AddDir(check_app, check.dir);
  check_app->add_flag("--json", check.json, "Print one JSON object");

  TokenizeOptions tokenize;
  CLI::App* tokenize_app = app.add_subcommand(
      "tokenize", "One JSON string per line of standard input -> one JSON list of token ids");
  AddDir(tokenize_app, tokenize.dir);
  tokenize_app->add_flag(
      "--parse-special", tokenize.parse_special, "Strings of special tokens become those tokens");

  PreprocessOptions preprocess;
  CLI::App* preprocess_app =
      app.add_subcommand("preprocess", "What the vision tower sees of a JPEG, PNG or WebP file");
  AddDir(preprocess_app, preprocess.dir);
  preprocess_app->add_option("IMAGE", preprocess.image_path, "Image file")->required();
  preprocess_app->add_option("-o,--output", preprocess.output_path, "File to write")->required();
  preprocess_app->add_flag("--npy",
                           preprocess.npy,
                           "Write the normalised floats [3, size, size] as .npy, not the picture");

  RunOptions run;
  std::string compat;
  CLI::App* run_app =
      app.add_subcommand("run", "One prompt through the model, with what happens on the way");
  AddRunOptions(run_app, run, compat);

  QuantizeOptions quantize;
  CLI::App* quantize_app = app.add_subcommand(
      "quantize", "What a format of weights loses: per layer, in logits, in greedy text");
  AddQuantizeOptions(quantize_app, quantize);

  ParsedCommandLine result;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    result.exit_code = app.exit(error) == 0 ? 0 : kExitUsage;
    return result;
  }
  run.compat_reference = !compat.empty();
  result.has_command = true;
  if (check_app->parsed()) result.command = check;
  if (tokenize_app->parsed()) result.command = tokenize;
  if (preprocess_app->parsed()) result.command = preprocess;
  if (run_app->parsed()) result.command = run;
  if (quantize_app->parsed()) result.command = quantize;
  return result;
}

}  // namespace parrot
