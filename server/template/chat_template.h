// Chat templates: the Jinja that models of Hugging Face carry in tokenizer_config.json.
//
// The language is Jinja 3.1 as transformers configures it (an immutable sandbox, trim_blocks,
// lstrip_blocks, loop controls, {% generation %}, its own tojson, raise_exception, strftime_now),
// with these differences:
//  - Unknown or omitted constructs are errors that name them: include, import, extends, block,
//    call, with, recursive loops, macros inside of other scopes, **arguments, methods and filters
//    that no chat template uses.
//  - Integers have 64 bits and overflow is an error. Dictionary keys are texts.
//  - A generator (the result of map, select, reverse ...) that is used twice or printed is
//    an error.
//  - Nothing is escaped automatically: |safe does nothing.
//  - upper and lower map one character to one; a `for` with `if` filters before the first pass.
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

// A part of the result. Trusted text was written by the template itself: its data, its constants,
// trusted variables and numbers it counted. Everything that came from a request's variables is
// untrusted, however it was changed.
struct RenderedPart {
  std::string text;
  bool trusted;
};

struct TrustedVariables {
  std::map<std::string, std::string, std::less<>> texts;  // "bos_token" and the like
  std::function<std::tm()> local_time;                    // used by strftime_now; null = the clock
};

struct TemplateTree;

// Thread safety: const methods may be called from any thread at once.
class ChatTemplate {
 public:
  // Parses a template. INVALID_ARGUMENT with the line for invalid or unsupported templates,
  // RESOURCE_EXHAUSTED beyond `limits`.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> parse(
      std::string_view source, const TemplateLimits& limits = {});
  ~ChatTemplate();

  // Renders the template. Neighbouring parts of equal trust are joined, and no part is empty.
  // `variables` are the request's ("messages", "tools", "add_generation_prompt" ...); none may have
  // the name of a trusted variable or of a function that the template uses.
  //
  // INVALID_ARGUMENT with the line if the template fails on these variables, or with just the
  // message if it calls raise_exception; RESOURCE_EXHAUSTED beyond the limits.
  absl::StatusOr<std::vector<RenderedPart>> render(const boost::json::object& variables,
                                                   const TrustedVariables& trusted) const;

 private:
  ChatTemplate(std::unique_ptr<const TemplateTree> tree, const TemplateLimits& limits);
  const std::unique_ptr<const TemplateTree> tree_;
  const TemplateLimits limits_;
};

}  // namespace deltaserve
