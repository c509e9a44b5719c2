// Chat templates: the Jinja that models of Hugging Face carry in tokenizer_config.json.
//
// The language is Jinja 3.1 as transformers configures it (an immutable sandbox, trim_blocks,
// lstrip_blocks, loop controls, {% generation %}, its own tojson, raise_exception, strftime_now),
// with these differences:
//  - Other templates cannot be used: include, import and extends fail when they run.
//  - Filters and functions that depend on chance (random, lipsum) fail when they run, because the
//    same messages must give the same prompt. So do methods that change a value (append, update),
//    as in Jinja's immutable sandbox.
//  - Integers have 64 bits and overflow is an error; a request's integers up to 2^64 are printed as
//    they came.
//  - A generator or range cannot be printed.
//  - What escape and safe return escapes the texts that are added to it by + only; filters and
//    methods make an ordinary text of it.
//  - A `for` with `if` filters before the first pass. A macro sees the variables of the loops and
//    blocks around it as they were where it is defined.
#pragma once
#include <boost/json/object.hpp>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/template/limits.h"

namespace deltaserve {

// A part of the result. Trusted text comes from the template itself: its data, its constants,
// trusted variables and numbers it counted. Everything made from a request's variables is
// untrusted.
struct RenderedPart {
  std::string text;
  bool trusted;
};

struct TrustedVariables {
  std::map<std::string, std::string, std::less<>> texts;  // "bos_token" and the like
  std::map<std::string, std::vector<std::string>, std::less<>> lists;
  std::function<std::tm()> local_time;  // used by strftime_now; null = the clock
};

struct TemplateTree;

// Thread safety: const methods may be called from any thread at once.
class ChatTemplate {
 public:
  // Parses a template. Returns INVALID_ARGUMENT with the line for invalid or unsupported templates,
  // and RESOURCE_EXHAUSTED beyond `limits`.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> parse(
      std::string_view source, const TemplateLimits& limits = {});
  ~ChatTemplate();

  // Renders the template. Neighbouring parts of equal trust are joined, and no part is empty.
  // `variables` are the request's ("messages", "tools", "add_generation_prompt" ...); none may have
  // the name of a trusted variable or of a function that the template uses.
  //
  // Returns INVALID_ARGUMENT with the line if the template fails on these variables, or with just
  // the message if it calls raise_exception. Returns RESOURCE_EXHAUSTED beyond the limits.
  absl::StatusOr<std::vector<RenderedPart>> render(const boost::json::object& variables,
                                                   const TrustedVariables& trusted) const;

 private:
  ChatTemplate(std::unique_ptr<const TemplateTree> tree, const TemplateLimits& limits);
  const std::unique_ptr<const TemplateTree> tree_;
  const TemplateLimits limits_;
};

}  // namespace deltaserve
