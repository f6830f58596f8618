// The Validator, row by row: each case changes one thing of a good request and says what comes out.
#include "server/frontend/validator.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using Code = absl::StatusCode;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int32_t kVocabSize = 1000;

Validator MakeValidator(int32_t max_images = 2, bool has_image_store = true) {
  ValidatorOptions options{.served_names = {"parrot", "alias"},
                           .vocab_size = kVocabSize,
                           .num_experts = 6,
                           .default_seed = 7,
                           .has_image_store = has_image_store};
  options.limits.max_images = max_images;
  return Validator(options);
}

MessageSpec Message(RoleSpec role, std::vector<PartSpec> parts) {
  return {.role = role, .parts = std::move(parts)};
}
MessageSpec UserText(const std::string& text) { return Message(RoleSpec::kUser, {TextSpec{text}}); }
ImageSpec Bytes(size_t size) {
  return {.source = ImageSpec::Source::kBytes, .data = std::string(size, 'x')};
}
ImageSpec DataUriOf(size_t decoded_bytes) {
  // Multiples of three have no padding.
  return {.source = ImageSpec::Source::kDataUri,
          .data = "data:image/png;base64," + std::string(decoded_bytes / 3 * 4, 'A')};
}

GenerateSpec Good() {
  GenerateSpec spec;
  spec.messages = {UserText("Hello")};
  return spec;
}

struct Case {
  std::string name;
  std::function<void(GenerateSpec&)> change;
  Code code = Code::kOk;
  std::string field;   // of the facts
  std::string reason;  // of the facts
};

void Check(const std::vector<Case>& cases) {
  const Validator validator = MakeValidator();
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    GenerateSpec spec = Good();
    test.change(spec);
    const absl::Status status = validator.Validate(std::move(spec)).status();
    EXPECT_EQ(status.code(), test.code) << status;
    const ErrorFacts facts = GetErrorFacts(status);
    EXPECT_EQ(facts.field, test.field) << status;
    EXPECT_EQ(facts.reason, test.reason) << status;
    EXPECT_LE(status.message().size(), 512u);
    if (!facts.field.empty()) {
      EXPECT_NE(std::string(status.message()).find(test.code == Code::kNotFound ? "" : facts.field),
                std::string::npos)
          << status;
    }
  }
}

TEST(ValidatorTest, ModelNames) {
  Check({
      {"absent", [](auto&) {}},
      {"first", [](auto& s) { s.model = "parrot"; }},
      {"alias", [](auto& s) { s.model = "alias"; }},
      {"unknown", [](auto& s) { s.model = "gpt"; }, Code::kNotFound, "model", "MODEL_NOT_FOUND"},
      {"empty", [](auto& s) { s.model = ""; }, Code::kNotFound, "model", "MODEL_NOT_FOUND"},
  });
}

TEST(ValidatorTest, UnknownModelIsShownShortAndPrintable) {
  const absl::Status status =
      MakeValidator().ResolveModel("bad\n\x01\xff" + std::string(1000, 'x')).status();
  EXPECT_EQ(status.message(), "model 'bad???" + std::string(58, 'x') + "' not served");
}

TEST(ValidatorTest, MessagesAndRoles) {
  Check({
      {"none",
       [](auto& s) { s.messages.clear(); },
       Code::kInvalidArgument,
       "messages",
       "EMPTY_PROMPT"},
      {"role unset",
       [](auto& s) { s.messages[0].role = RoleSpec::kUnspecified; },
       Code::kInvalidArgument,
       "messages[0].role",
       "INVALID_ROLE"},
      {"role unknown",
       [](auto& s) { s.messages[0].role = static_cast<RoleSpec>(9); },
       Code::kInvalidArgument,
       "messages[0].role",
       "INVALID_ROLE"},
      {"system first",
       [](auto& s) {
         s.messages = {Message(RoleSpec::kSystem, {TextSpec{"Be brief."}}), UserText("Hi")};
       }},
      {"system twice",
       [](auto& s) {
         s.messages = {Message(RoleSpec::kSystem, {TextSpec{"a"}}),
                       Message(RoleSpec::kSystem, {TextSpec{"b"}}),
                       UserText("Hi")};
       },
       Code::kInvalidArgument,
       "messages[1].role",
       "INVALID_ROLE"},
      {"system alone",
       [](auto& s) { s.messages = {Message(RoleSpec::kSystem, {TextSpec{"a"}})}; },
       Code::kInvalidArgument,
       "messages[0].role",
       "INVALID_ROLE"},
      {"system late",
       [](auto& s) {
         s.messages = {UserText("Hi"), Message(RoleSpec::kSystem, {TextSpec{"a"}}), UserText("x")};
       },
       Code::kInvalidArgument,
       "messages[1].role",
       "INVALID_ROLE"},
      {"assistant first",
       [](auto& s) {
         s.messages = {Message(RoleSpec::kAssistant, {TextSpec{"a"}}), UserText("x")};
       },
       Code::kInvalidArgument,
       "messages[0].role",
       "INVALID_ROLE"},
      {"assistant last",
       [](auto& s) {
         s.messages = {UserText("x"), Message(RoleSpec::kAssistant, {TextSpec{"a"}})};
       },
       Code::kInvalidArgument,
       "messages[1].role",
       "INVALID_ROLE"},
      {"three turns",
       [](auto& s) {
         s.messages = {
             UserText("x"), Message(RoleSpec::kAssistant, {TextSpec{"a"}}), UserText("y")};
       }},
      {"64 messages", [](auto& s) { s.messages.assign(64, UserText("x")); }},
      {"65 messages",
       [](auto& s) { s.messages.assign(65, UserText("x")); },
       Code::kInvalidArgument,
       "messages",
       "TOO_MANY_MESSAGES"},
      {"no part",
       [](auto& s) { s.messages[0].parts.clear(); },
       Code::kInvalidArgument,
       "messages[0].parts",
       "EMPTY_PROMPT"},
      {"empty text",
       [](auto& s) { s.messages = {UserText("")}; },
       Code::kInvalidArgument,
       "messages[0].parts",
       "EMPTY_PROMPT"},
      {"empty text beside a text", [](auto& s) { s.messages[0].parts.emplace_back(TextSpec{""}); }},
      {"part unset",
       [](auto& s) { s.messages[0].parts.emplace_back(std::monostate()); },
       Code::kInvalidArgument,
       "messages[0].parts[1]",
       "PART_MISSING"},
  });
}

TEST(ValidatorTest, Texts) {
  const auto text = [](const std::string& value) {
    return [value](GenerateSpec& s) { s.messages = {UserText(value)}; };
  };
  const std::string bad_field = "messages[0].parts[0].text";
  Check({
      {"NUL", text(std::string("a\0b", 3))},
      {"combining mark alone", text("\xCC\x81")},
      {"right to left", text("\xE2\x80\xAEمرحبا")},
      {"joined emoji", text("\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7")},
      {"control token strings", text("<|im_start|>system<|im_end|><|endoftext|><image>-200")},
      {"overlong", text("abc\xC0\xAF"), Code::kInvalidArgument, bad_field, "INVALID_UTF8"},
      {"surrogate", text("\xED\xA0\x80"), Code::kInvalidArgument, bad_field, "INVALID_UTF8"},
      {"beyond Unicode",
       text("\xF4\x90\x80\x80"),
       Code::kInvalidArgument,
       bad_field,
       "INVALID_UTF8"},
      {"cut", text("caf\xC3"), Code::kInvalidArgument, bad_field, "INVALID_UTF8"},
      {"256 KiB", text(std::string(256 << 10, 'a'))},
      {"256 KiB and one",
       text(std::string((256 << 10) + 1, 'a')),
       Code::kInvalidArgument,
       bad_field,
       "TEXT_TOO_LONG"},
      {"prefix alone is too long",
       [](auto& s) { s.generation_prefix = std::string(256 << 10, 'a'); },
       Code::kInvalidArgument,
       "generation_prefix",
       "TEXT_TOO_LONG"},
      {"prefix with invalid UTF-8",
       [](auto& s) { s.generation_prefix = "\xFF"; },
       Code::kInvalidArgument,
       "generation_prefix",
       "INVALID_UTF8"},
      {"prefix", [](auto& s) { s.generation_prefix = "The answer is"; }},
  });
  GenerateSpec spec = Good();
  spec.messages = {UserText("seventeen bytes..\xFF")};
  EXPECT_EQ(MakeValidator().Validate(std::move(spec)).status().message(),
            "messages[0].parts[0].text: invalid UTF-8 at byte 17");
}

TEST(ValidatorTest, Images) {
  const auto images = [](std::vector<ImageSpec> list) {
    return [list](GenerateSpec& s) {
      for (const ImageSpec& image : list) s.messages[0].parts.emplace_back(image);
    };
  };
  const std::string field = "messages[0].parts[1].image";
  const auto digest = [](size_t num_bytes) {
    return ImageSpec{.source = ImageSpec::Source::kDigest, .data = std::string(num_bytes, 'd')};
  };
  ImageSpec typed_digest = digest(32);
  typed_digest.mime_type = "image/png";
  const auto weighted = [](std::vector<float> weights) {
    ImageSpec image = Bytes(10);
    image.expert_weights = std::move(weights);
    return std::vector<ImageSpec>{image};
  };
  const std::string weights = field + ".expert_weights";
  ImageSpec typed_uri = DataUriOf(30);
  typed_uri.mime_type = "image/png";
  ImageSpec url{.source = ImageSpec::Source::kDataUri, .data = "https://example.org/a.png"};
  Check({
      {"one", images({Bytes(10)})},
      {"two", images({Bytes(10), DataUriOf(30)})},
      {"three",
       images({Bytes(1), Bytes(1), Bytes(1)}),
       Code::kInvalidArgument,
       "messages",
       "IMAGE_COUNT"},
      {"10 MiB", images({Bytes(10 << 20)})},
      {"10 MiB and one",
       images({Bytes((10 << 20) + 1)}),
       Code::kInvalidArgument,
       field,
       "IMAGE_TOO_LARGE"},
      {"data URI of more than 10 MiB",
       images({DataUriOf((10 << 20) + 2)}),
       Code::kInvalidArgument,
       field,
       "IMAGE_TOO_LARGE"},
      {"12 MiB in two", images({Bytes(6 << 20), Bytes(6 << 20)})},
      {"12 MiB and one in two",
       images({Bytes(6 << 20), Bytes((6 << 20) + 1)}),
       Code::kInvalidArgument,
       "messages",
       "IMAGE_TOO_LARGE"},
      {"no source",
       images({ImageSpec{}}),
       Code::kInvalidArgument,
       field + ".source",
       "IMAGE_MISSING"},
      {"digest", images({digest(32), Bytes(10)})},
      {"digest of 31 bytes",
       images({digest(31)}),
       Code::kInvalidArgument,
       field + ".digest_sha256",
       "INVALID_DIGEST"},
      {"digest in hexadecimal",
       images({Bytes(1), digest(64)}),
       Code::kInvalidArgument,
       "messages[0].parts[2].image.digest_sha256",
       "INVALID_DIGEST"},
      {"digest with a type beside",
       images({typed_digest}),
       Code::kInvalidArgument,
       field + ".mime_type",
       "INVALID_DIGEST"},
      {"one expert", images(weighted({0, 0, 1, 0, 0, 0}))},
      {"even weights", images(weighted({.1667f, .1667f, .1667f, .1667f, .1666f, .1666f}))},
      {"weights as printed", images(weighted({.5f, .3f, .2009f, 0, 0, 0}))},
      {"too few weights",
       images(weighted({.5f, .5f})),
       Code::kInvalidArgument,
       weights,
       "EXPERT_WEIGHTS_LENGTH"},
      {"too many weights",
       images(weighted({1, 0, 0, 0, 0, 0, 0})),
       Code::kInvalidArgument,
       weights,
       "EXPERT_WEIGHTS_LENGTH"},
      {"negative weight",
       images(weighted({.5f, .6f, -.1f, 0, 0, 0})),
       Code::kInvalidArgument,
       weights + "[2]",
       "OUT_OF_RANGE"},
      {"weight nan",
       images(weighted({kNan, 1, 0, 0, 0, 0})),
       Code::kInvalidArgument,
       weights + "[0]",
       "OUT_OF_RANGE"},
      {"weight inf",
       images(weighted({0, 1, 0, 0, 0, kInf})),
       Code::kInvalidArgument,
       weights + "[5]",
       "OUT_OF_RANGE"},
      {"weights of sum 0",
       images(weighted({0, 0, 0, 0, 0, 0})),
       Code::kInvalidArgument,
       weights,
       "EXPERT_WEIGHTS_SUM"},
      {"weights of sum 1.002",
       images(weighted({.5f, .502f, 0, 0, 0, 0})),
       Code::kInvalidArgument,
       weights,
       "EXPERT_WEIGHTS_SUM"},
      {"URL", images({url}), Code::kInvalidArgument, field + ".data_uri", "INVALID_DATA_URI"},
      {"data URI with a type beside",
       images({typed_uri}),
       Code::kInvalidArgument,
       field + ".mime_type",
       "INVALID_DATA_URI"},
      {"image of the assistant",
       [](auto& s) {
         s.messages = {UserText("x"), Message(RoleSpec::kAssistant, {Bytes(1)}), UserText("y")};
       },
       Code::kInvalidArgument,
       "messages[1].parts[0].image",
       "INVALID_ROLE"},
      {"image alone", [](auto& s) { s.messages = {Message(RoleSpec::kUser, {Bytes(1)})}; }},
      {"routing without an image",
       [](auto& s) { s.kind = RequestKind::kRoute; },
       Code::kInvalidArgument,
       "messages",
       "IMAGE_MISSING"},
  });
}

TEST(ValidatorTest, SupportedSampling) {
  const auto with = [](auto member, auto value) {
    return [member, value](GenerateSpec& s) { s.sampling.*member = value; };
  };
  using S = SamplingSpec;
  const std::string t = "sampling.temperature";
  const std::string p = "sampling.top_p";
  const std::string k = "sampling.top_k";
  const Code ia = Code::kInvalidArgument;
  const std::string range = "OUT_OF_RANGE";
  Check({
      {"t 0", with(&S::temperature, 0.0f)},
      {"t -0", with(&S::temperature, -0.0f)},
      {"t tiny", with(&S::temperature, 1e-38f)},
      {"t 2", with(&S::temperature, 2.0f)},
      {"t above", with(&S::temperature, std::nextafter(2.0f, 3.0f)), ia, t, range},
      {"t below", with(&S::temperature, -1e-3f), ia, t, range},
      {"t nan", with(&S::temperature, kNan), ia, t, range},
      {"t inf", with(&S::temperature, kInf), ia, t, range},
      {"p 0", with(&S::top_p, 0.0f), ia, p, range},
      {"p tiny", with(&S::top_p, 1e-38f)},
      {"p 1", with(&S::top_p, 1.0f)},
      {"p above", with(&S::top_p, 1.001f), ia, p, range},
      {"p nan", with(&S::top_p, kNan), ia, p, range},
      {"k -1", with(&S::top_k, -1), ia, k, range},
      {"k 0", with(&S::top_k, 0), ia, k, range},
      {"k 1", with(&S::top_k, 1)},
      {"k max", with(&S::top_k, INT32_MAX)},
      {"k min", with(&S::top_k, INT32_MIN), ia, k, range},
      {"seed", with(&S::seed, UINT64_MAX)},
  });
}

// Out of range is INVALID_ARGUMENT. Of what this server does not offer, a value that changes
// nothing is accepted, the rest is UNIMPLEMENTED.
TEST(ValidatorTest, OtherOptions) {
  const auto sampling = [](auto member, auto value) {
    return [member, value](GenerateSpec& s) { s.sampling.*member = value; };
  };
  const auto stop = [](auto member, auto value) {
    return [member, value](GenerateSpec& s) { s.stop.*member = value; };
  };
  const auto spec = [](auto member, auto value) {
    return [member, value](GenerateSpec& s) { s.*member = value; };
  };
  using S = SamplingSpec;
  using T = StopSpec;
  using G = GenerateSpec;
  const Code ia = Code::kInvalidArgument;
  const Code no = Code::kUnimplemented;
  const std::string range = "OUT_OF_RANGE";
  const std::string unsupported = "UNSUPPORTED_OPTION";
  using Strings = std::vector<std::string>;
  const std::vector<Case> cases = {
      {"min_p neutral", sampling(&S::min_p, 0.0f)},
      {"min_p", sampling(&S::min_p, 0.1f)},
      {"min_p above", sampling(&S::min_p, 1.5f), ia, "sampling.min_p", range},
      {"min_p nan", sampling(&S::min_p, kNan), ia, "sampling.min_p", range},
      {"repetition neutral", sampling(&S::repetition_penalty, 1.0f)},
      {"repetition", sampling(&S::repetition_penalty, 1.05f)},
      {"repetition 10", sampling(&S::repetition_penalty, 10.0f)},
      {"repetition 0",
       sampling(&S::repetition_penalty, 0.0f),
       ia,
       "sampling.repetition_penalty",
       range},
      {"repetition 11",
       sampling(&S::repetition_penalty, 11.0f),
       ia,
       "sampling.repetition_penalty",
       range},
      {"presence neutral", sampling(&S::presence_penalty, -0.0f)},
      {"presence", sampling(&S::presence_penalty, 0.5f)},
      {"presence -3",
       sampling(&S::presence_penalty, -3.0f),
       ia,
       "sampling.presence_penalty",
       range},
      {"frequency", sampling(&S::frequency_penalty, -2.0f)},
      {"frequency inf",
       sampling(&S::frequency_penalty, kInf),
       ia,
       "sampling.frequency_penalty",
       range},
      {"bias",
       [](auto& s) {
         s.sampling.logit_bias = {{0, -100.0f}, {kVocabSize - 1, 100.0f}};
       }},
      {"bias of a token outside",
       [](auto& s) {
         s.sampling.logit_bias = {{1, 2.0f}, {kVocabSize, 2.0f}};
       },
       ia,
       "sampling.logit_bias",
       range},
      {"bias of token 2^32 - 1",
       [](auto& s) {
         s.sampling.logit_bias = {{UINT32_MAX, 2.0f}};
       },
       ia,
       "sampling.logit_bias",
       range},
      {"bias 101",
       [](auto& s) {
         s.sampling.logit_bias = {{1, 2.0f}, {7, 101.0f}};
       },
       ia,
       "sampling.logit_bias[7]",
       range},
      {"bias -inf",
       [](auto& s) {
         s.sampling.logit_bias = {{7, -kInf}};
       },
       ia,
       "sampling.logit_bias[7]",
       range},
      {"bias nan",
       [](auto& s) {
         s.sampling.logit_bias = {{7, kNan}};
       },
       ia,
       "sampling.logit_bias[7]",
       range},
      {"bias 129",
       [](auto& s) { s.sampling.logit_bias.resize(129); },
       ia,
       "sampling.logit_bias",
       range},
      {"lock", [](auto& s) { s.sampling.language_lock = LanguageLockSpec{.language = "ZH-hant"}; }},
      {"lock of a soft default",
       [](auto& s) {
         s.sampling.language_lock = LanguageLockSpec{"ru", LockModeSpec::kSoft, std::nullopt};
       }},
      {"lock without a language",
       [](auto& s) { s.sampling.language_lock = LanguageLockSpec{}; },
       ia,
       "sampling.language_lock.language",
       "LOCK_LANGUAGE"},
      {"lock of another language",
       [](auto& s) { s.sampling.language_lock = LanguageLockSpec{.language = "de"}; },
       ia,
       "sampling.language_lock.language",
       "LOCK_LANGUAGE"},
      {"lock of no language",
       [](auto& s) { s.sampling.language_lock = LanguageLockSpec{.language = "other"}; },
       ia,
       "sampling.language_lock.language",
       "LOCK_LANGUAGE"},
      {"lock mode 9",
       [](auto& s) {
         s.sampling.language_lock = LanguageLockSpec{"en", static_cast<LockModeSpec>(9), {}};
       },
       ia,
       "sampling.language_lock.mode",
       "UNKNOWN_ENUM"},
      {"hard lock with a bias",
       [](auto& s) {
         s.sampling.language_lock = LanguageLockSpec{"en", LockModeSpec::kHard, 1.0f};
       },
       ia,
       "sampling.language_lock.bias",
       "CONFLICTING_OPTIONS"},
      {"soft lock of bias 0",
       [](auto& s) {
         s.sampling.language_lock = LanguageLockSpec{"en", LockModeSpec::kSoft, 0.0f};
       },
       ia,
       "sampling.language_lock.bias",
       range},
      {"soft lock of bias inf",
       [](auto& s) {
         s.sampling.language_lock = LanguageLockSpec{"en", LockModeSpec::kSoft, kInf};
       },
       ia,
       "sampling.language_lock.bias",
       range},
      {"lock beside choices",
       [](auto& s) {
         s.choices = {"a"};
         s.sampling.language_lock = LanguageLockSpec{.language = "en"};
       },
       ia,
       "sampling",
       "CONFLICTING_OPTIONS"},
      {"min_tokens neutral", stop(&T::min_tokens, 0)},
      {"min_tokens", stop(&T::min_tokens, 1)},
      {"min_tokens negative", stop(&T::min_tokens, -1), ia, "stop.min_tokens", range},
      {"min_tokens above max_tokens",
       [](auto& s) {
         s.stop.max_tokens = 5;
         s.stop.min_tokens = 6;
       },
       ia,
       "stop.min_tokens",
       range},
      {"stop string", stop(&T::stop, Strings{"END"})},
      {"stop strings 4", stop(&T::stop, Strings(4, std::string(64, 'x')))},
      {"stop string not UTF-8",
       stop(&T::stop, Strings{"a", "\xFF"}),
       ia,
       "stop.stop[1]",
       "INVALID_UTF8"},
      {"stop string empty", stop(&T::stop, Strings{""}), ia, "stop.stop[0]", range},
      {"stop string long",
       stop(&T::stop, Strings{"a", std::string(65, 'x')}),
       ia,
       "stop.stop[1]",
       range},
      {"stop strings 5", stop(&T::stop, Strings(5, "a")), ia, "stop.stop", range},
      {"ignore_eos neutral", stop(&T::ignore_eos, false)},
      {"ignore_eos", stop(&T::ignore_eos, true)},
      {"include_stop", stop(&T::include_stop, true)},
      {"logprobs", [](auto& s) { s.output.logprobs = 0; }},
      {"logprobs 20", [](auto& s) { s.output.logprobs = 20; }},
      {"logprobs -1", [](auto& s) { s.output.logprobs = -1; }, ia, "output.logprobs", range},
      {"logprobs 21", [](auto& s) { s.output.logprobs = 21; }, ia, "output.logprobs", range},
      {"prompt logprobs", [](auto& s) { s.output.prompt_logprobs = 0; }},
      {"prompt logprobs 20", [](auto& s) { s.output.prompt_logprobs = 20; }},
      {"prompt logprobs 21",
       [](auto& s) { s.output.prompt_logprobs = 21; },
       ia,
       "output.prompt_logprobs",
       range},
      {"prompt logprobs -1",
       [](auto& s) { s.output.prompt_logprobs = -1; },
       ia,
       "output.prompt_logprobs",
       range},
      {"n neutral", spec(&G::n, 1)},
      {"n 2", spec(&G::n, 2)},
      {"n 128", spec(&G::n, 128)},
      {"n 129", spec(&G::n, 129), ia, "n", range},
      {"n 0", spec(&G::n, 0), ia, "n", range},
      {"n huge", spec(&G::n, INT32_MAX), ia, "n", range},
      {"priority neutral", spec(&G::priority, 0)},
      {"priority", spec(&G::priority, 9)},
      {"priority -1", spec(&G::priority, -1), ia, "priority", range},
      {"priority 10", spec(&G::priority, 10), ia, "priority", range},
      {"timeout", spec(&G::timeout_ms, int64_t{1})},
      {"timeout longest", spec(&G::timeout_ms, int64_t{600000})},
      {"timeout over the longest", spec(&G::timeout_ms, int64_t{600001}), ia, "timeout_ms", range},
      {"timeout 0", spec(&G::timeout_ms, int64_t{0}), ia, "timeout_ms", range},
      {"timeout huge", spec(&G::timeout_ms, INT64_MAX), ia, "timeout_ms", range},
      {"choices", spec(&G::choices, Strings{"yes", "no"})},
      {"one choice", spec(&G::choices, Strings{std::string(256, 'x')})},
      {"a choice twice",
       spec(&G::choices, Strings{"yes", "no", "yes"}),
       ia,
       "choices[2]",
       "DUPLICATE_CHOICE"},
      {"an empty choice", spec(&G::choices, Strings{"yes", ""}), ia, "choices[1]", range},
      {"a long choice", spec(&G::choices, Strings{std::string(257, 'x')}), ia, "choices[0]", range},
      {"33 choices", spec(&G::choices, Strings(33, "x")), ia, "choices", range},
      {"a choice not UTF-8", spec(&G::choices, Strings{"a\xFF"}), ia, "choices[0]", "INVALID_UTF8"},
      {"choices and a temperature",
       [](auto& s) {
         s.choices = {"a"};
         s.sampling.temperature = 0.0f;
       },
       ia,
       "sampling",
       "CONFLICTING_OPTIONS"},
      {"choices and max_tokens",
       [](auto& s) {
         s.choices = {"a"};
         s.stop.max_tokens = 5;
       },
       ia,
       "stop",
       "CONFLICTING_OPTIONS"},
      {"choices and logprobs",
       [](auto& s) {
         s.choices = {"a"};
         s.output.logprobs = 0;
       },
       ia,
       "output.logprobs",
       "CONFLICTING_OPTIONS"},
      {"choices and n",
       [](auto& s) {
         s.choices = {"a"};
         s.n = 2;
       },
       ia,
       "n",
       "CONFLICTING_OPTIONS"},
      {"schema", spec(&G::json_schema, "{}"), no, "json_schema", unsupported},
  };
  Check(cases);

  // The list that GetModelInfo shows is the list that the table proves.
  std::set<std::string> proved;
  for (const Case& test : cases) {
    if (test.code == no) proved.insert(test.field);
  }
  std::vector<std::string> listed = MakeValidator().UnsupportedOptions();
  EXPECT_EQ(proved, std::set<std::string>(listed.begin(), listed.end()));

  const Validator storeless = MakeValidator(/*max_images=*/2, /*has_image_store=*/false);
  GenerateSpec digest = Good();
  digest.messages[0].parts.emplace_back(
      ImageSpec{.source = ImageSpec::Source::kDigest, .data = std::string(32, 'd')});
  const absl::Status refused = storeless.Validate(std::move(digest)).status();
  EXPECT_EQ(refused.code(), no);
  EXPECT_EQ(GetErrorFacts(refused).reason, unsupported);
  EXPECT_EQ(GetErrorFacts(refused).field, "messages[0].parts[1].image.digest_sha256");
  listed = storeless.UnsupportedOptions();
  EXPECT_EQ(listed.back(), "messages.parts.image.digest_sha256");
}

TEST(ValidatorTest, UploadsAndDigests) {
  const Validator validator = MakeValidator();
  EXPECT_EQ(validator.ValidateUpload(std::nullopt, "x").value(), "parrot");
  EXPECT_EQ(validator.ValidateUpload("alias", std::string(10 << 20, 'x')).value(), "alias");
  const auto facts = [](const absl::Status& status) {
    const ErrorFacts facts = GetErrorFacts(status);
    return facts.reason + " " + facts.field;
  };
  EXPECT_EQ(facts(validator.ValidateUpload("other", "x").status()), "MODEL_NOT_FOUND model");
  EXPECT_EQ(facts(validator.ValidateUpload({}, "").status()), "IMAGE_MISSING data");
  EXPECT_EQ(facts(validator.ValidateUpload({}, std::string((10 << 20) + 1, 'x')).status()),
            "IMAGE_TOO_LARGE data");

  const std::string digest = "0123456789abcdef0123456789abcdef";
  const auto parsed = validator.ValidateDigests({digest, digest});
  ASSERT_EQ(parsed.value().size(), 2u);
  EXPECT_EQ(parsed->back().view(), digest);
  EXPECT_EQ(facts(validator.ValidateDigests({}).status()), "OUT_OF_RANGE digests_sha256");
  EXPECT_EQ(facts(validator.ValidateDigests(std::vector<std::string>(65, digest)).status()),
            "OUT_OF_RANGE digests_sha256");
  EXPECT_EQ(facts(validator.ValidateDigests({digest, "short"}).status()),
            "INVALID_DIGEST digests_sha256[1]");

  const Validator storeless = MakeValidator(/*max_images=*/2, /*has_image_store=*/false);
  for (const absl::Status& status :
       {storeless.ValidateUpload({}, "x").status(), storeless.ValidateDigests({digest}).status()}) {
    EXPECT_EQ(status.code(), Code::kUnimplemented);
    EXPECT_EQ(GetErrorFacts(status).reason, "IMAGE_STORE_OFF");
  }
}

TEST(ValidatorTest, RequestHoldsWhatWasAsked) {
  const Validator validator = MakeValidator();
  GenerateSpec spec = Good();
  spec.sampling.min_p = 0.25f;
  spec.sampling.repetition_penalty = 1.5f;
  spec.sampling.presence_penalty = -0.5f;
  spec.sampling.frequency_penalty = 0.75f;
  spec.sampling.logit_bias = {{3, -7.0f}, {5, 2.0f}};
  spec.sampling.language_lock = LanguageLockSpec{"ar-EG", LockModeSpec::kSoft, 3.0f};
  spec.stop.min_tokens = 4;
  spec.stop.ignore_eos = true;
  spec.stop.stop = {"END", "\n\n"};
  spec.stop.include_stop = true;
  spec.n = 3;
  spec.output.logprobs = 0;
  spec.output.prompt_logprobs = 4;
  const ValidRequest request = validator.Validate(std::move(spec)).value();
  EXPECT_EQ(request.sampling.min_p, 0.25f);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(request.sampling.presence_penalty, -0.5f);
  EXPECT_EQ(request.sampling.frequency_penalty, 0.75f);
  using Bias = std::vector<std::pair<TokenId, float>>;
  EXPECT_EQ(request.sampling.logit_bias, (Bias{{3, -7.0f}, {5, 2.0f}}));
  EXPECT_EQ(request.sampling.language_lock->script, Script::kArabic);
  EXPECT_EQ(request.sampling.language_lock->blocked_bias, -3.0f);
  EXPECT_EQ(request.lock_language, "ar");
  EXPECT_EQ(request.min_tokens, 4);
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_EQ(request.stop.stop, (std::vector<std::string>{"END", "\n\n"}));
  EXPECT_TRUE(request.stop.include_stop);
  EXPECT_EQ(request.stop.min_tokens, 4);
  EXPECT_EQ(request.num_outputs, 3);
  EXPECT_EQ(request.sampling.num_logprobs, 0);
  EXPECT_EQ(request.sampling.num_prompt_logprobs, 4);

  const ValidRequest neutral = validator.Validate(Good()).value();
  EXPECT_EQ(neutral.sampling.repetition_penalty, 1.0f);
  EXPECT_EQ(neutral.sampling.min_p, 0.0f);
  EXPECT_EQ(neutral.min_tokens, 0);
  EXPECT_EQ(neutral.num_outputs, 1);
  EXPECT_EQ(neutral.sampling.num_logprobs, -1);
  EXPECT_TRUE(neutral.stop.stop.empty());
  EXPECT_FALSE(neutral.ignore_eos);
}

TEST(ValidatorTest, StopsAndLabels) {
  const Code ia = Code::kInvalidArgument;
  Check({
      {"max_tokens 1", [](auto& s) { s.stop.max_tokens = 1; }},
      {"max_tokens 0",
       [](auto& s) { s.stop.max_tokens = 0; },
       ia,
       "stop.max_tokens",
       "OUT_OF_RANGE"},
      {"max_tokens -1",
       [](auto& s) { s.stop.max_tokens = -1; },
       ia,
       "stop.max_tokens",
       "OUT_OF_RANGE"},
      {"max_tokens huge",
       [](auto& s) { s.stop.max_tokens = INT32_MAX; },
       ia,
       "stop.max_tokens",
       "OUT_OF_RANGE"},
      {"stop ids",
       [](auto& s) {
         s.stop.stop_token_ids = {0, kVocabSize - 1};
       }},
      {"stop id negative",
       [](auto& s) {
         s.stop.stop_token_ids = {0, -200};
       },
       ia,
       "stop.stop_token_ids[1]",
       "OUT_OF_RANGE"},
      {"stop id outside",
       [](auto& s) { s.stop.stop_token_ids = {kVocabSize}; },
       ia,
       "stop.stop_token_ids[0]",
       "OUT_OF_RANGE"},
      {"64 stop ids", [](auto& s) { s.stop.stop_token_ids.assign(64, 1); }},
      {"65 stop ids",
       [](auto& s) { s.stop.stop_token_ids.assign(65, 1); },
       ia,
       "stop.stop_token_ids",
       "OUT_OF_RANGE"},
      {"literal", [](auto& s) { s.placement = PlacementSpec::kLiteral; }},
      {"placement unknown",
       [](auto& s) { s.placement = static_cast<PlacementSpec>(3); },
       ia,
       "image_placement",
       "UNKNOWN_ENUM"},
      {"language", [](auto& s) { s.language = "pt-BR"; }},
      {"language empty", [](auto& s) { s.language = ""; }, ia, "language", "INVALID_LANGUAGE"},
      {"language long",
       [](auto& s) { s.language = std::string(17, 'a'); },
       ia,
       "language",
       "INVALID_LANGUAGE"},
      {"language odd", [](auto& s) { s.language = "en\n"; }, ia, "language", "INVALID_LANGUAGE"},
  });
}

TEST(ValidatorTest, RequestIds) {
  const Validator validator = MakeValidator();
  const auto resolve = [&](std::optional<std::string> body, std::optional<std::string> header) {
    GenerateSpec spec;
    spec.request_id = std::move(body);
    spec.header_request_id = std::move(header);
    const auto id = validator.ResolveRequestId(spec);
    return id.ok() ? "id:" + *id : GetErrorFacts(id.status()).field;
  };
  EXPECT_EQ(resolve({}, {}), "id:");
  EXPECT_EQ(resolve("a-1", {}), "id:a-1");
  EXPECT_EQ(resolve({}, "b"), "id:b");
  EXPECT_EQ(resolve("same", "same"), "id:same");
  EXPECT_EQ(resolve("a", "b"), "request_id");
  EXPECT_EQ(resolve("", {}), "request_id");
  EXPECT_EQ(resolve(std::string(128, 'x'), {}), "id:" + std::string(128, 'x'));
  EXPECT_EQ(resolve(std::string(129, 'x'), {}), "request_id");
  EXPECT_EQ(resolve("new\nline", {}), "request_id");
  EXPECT_EQ(resolve({}, "\xC3\xA9"), "x-request-id");
}

TEST(ValidatorTest, FillsDefaultsAndMapsTinyTemperaturesToGreedy) {
  GenerateSpec spec = Good();
  spec.sampling.temperature = 9e-6f;
  spec.sampling.top_k = INT32_MAX;
  spec.stop.stop_token_ids = {5, 3};
  const auto request = MakeValidator().Validate(std::move(spec));
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->model, "parrot");
  EXPECT_EQ(request->sampling.temperature, 0.0f);
  EXPECT_EQ(request->sampling.top_k, kVocabSize);
  EXPECT_EQ(request->sampling.top_p, 1.0f);
  EXPECT_EQ(request->sampling.seed, 7u);
  EXPECT_EQ(request->stop_token_ids, (std::vector<TokenId>{3, 5}));
  EXPECT_FALSE(request->max_tokens.has_value());
  EXPECT_FALSE(request->literal_placement);
}

TEST(ValidatorTest, LengthsAgainstTheContext) {
  const Validator validator = MakeValidator();
  const auto generate =
      [&](int32_t prompt, std::optional<int32_t> max_tokens, int32_t min_tokens = 0) {
        return validator.CheckLength(RequestKind::kGenerate, prompt, max_tokens, min_tokens);
      };
  EXPECT_EQ(*generate(100, std::nullopt), 512);
  EXPECT_EQ(*generate(2000, std::nullopt), 48);
  EXPECT_EQ(*generate(2047, std::nullopt), 1);
  EXPECT_EQ(*generate(1048, 1000), 1000);
  EXPECT_EQ(*generate(100, std::nullopt, 600), 600);
  EXPECT_EQ(*generate(100, 700, 600), 700);
  EXPECT_EQ(*generate(1448, std::nullopt, 600), 600);
  EXPECT_EQ(*validator.CheckLength(RequestKind::kRoute, 2048, std::nullopt, 0), 0);

  const absl::Status full = generate(2048, std::nullopt).status();
  EXPECT_EQ(full.message(), "messages: prompt has 2048 tokens, limit 2048");
  const absl::Status both = generate(1049, 1000).status();
  EXPECT_EQ(both.message(),
            "messages: prompt has 1049 tokens, with max_tokens 1000 it needs 2049, limit 2048");
  const absl::Status fewest = generate(1449, std::nullopt, 600).status();
  EXPECT_EQ(fewest.message(),
            "messages: prompt has 1449 tokens, with min_tokens 600 it needs 2049, limit 2048");
  for (const absl::Status& status : {full, both, fewest}) {
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_EQ(GetErrorFacts(status).reason, "CONTEXT_LENGTH_EXCEEDED");
    EXPECT_EQ(GetErrorFacts(status).limit, "2048");
  }
  EXPECT_EQ(GetErrorFacts(both).value, "2049");
  EXPECT_FALSE(validator.CheckLength(RequestKind::kRoute, 2049, std::nullopt, 0).ok());
}

TEST(ValidatorTest, RoutingModes) {
  const auto mode = [](int32_t number) {
    return [number](GenerateSpec& s) { s.routing = static_cast<RoutingSpec>(number); };
  };
  Check({
      {"unspecified", mode(0)},
      {"exact", mode(1)},
      {"pinned", mode(2)},
      {"weights without an image",
       mode(3),
       Code::kInvalidArgument,
       "routing",
       "ROUTING_BY_WEIGHTS"},
      {"unknown", mode(4), Code::kInvalidArgument, "routing", "UNKNOWN_ENUM"},
      {"negative", mode(-1), Code::kInvalidArgument, "routing", "UNKNOWN_ENUM"},
  });
  for (const bool pinned : {false, true}) {
    GenerateSpec spec = Good();
    spec.routing = pinned ? RoutingSpec::kPinFirstTurn : RoutingSpec::kExact;
    EXPECT_EQ(MakeValidator().Validate(std::move(spec))->pin_first_turn, pinned);
  }
}

TEST(ValidatorTest, RoutingNeedsExperts) {
  const Validator validator({.served_names = {"m"}, .vocab_size = 10, .num_experts = 0});
  GenerateSpec spec = Good();
  spec.kind = RequestKind::kRoute;
  spec.messages[0].parts.emplace_back(Bytes(1));
  EXPECT_EQ(validator.Validate(std::move(spec)).status().code(), Code::kUnimplemented);

  GenerateSpec weighted = Good();
  ImageSpec image = Bytes(1);
  image.expert_weights = {1.0f};
  weighted.messages[0].parts.emplace_back(image);
  const absl::Status status = validator.Validate(std::move(weighted)).status();
  EXPECT_EQ(status.code(), Code::kUnimplemented);
  EXPECT_EQ(GetErrorFacts(status).reason, "NO_EXPERTS");
  EXPECT_EQ(GetErrorFacts(status).field, "messages[0].parts[1].image.expert_weights");
}

}  // namespace
}  // namespace parrot
