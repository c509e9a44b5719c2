// The part of the parser that reads expressions. Precedence is Jinja's, which differs from
// Python's: `~` binds tighter than `+`, and a filter tighter than any operator except a unary sign.
#include <algorithm>
#include <array>

#include "models/base/text.h"
#include "server/template/parser.h"

namespace deltaserve {
namespace {

// The greatest depth of an expression's children.
struct ChildDepth {
  int depth = 0;
  void look(const ExpressionPtr& child) {
    if (child != nullptr) depth = std::max(depth, child->depth);
  }
  void look(const Arguments& arguments) {
    for (const ExpressionPtr& value : arguments.positional) look(value);
    for (const auto& [name, value] : arguments.named) look(value);
    look(arguments.more_positional);
    look(arguments.more_named);
  }
  void operator()(const Constant&) {}
  void operator()(const Name&) {}
  void operator()(const ListLiteral& node) {
    for (const ExpressionPtr& item : node.items) look(item);
  }
  void operator()(const DictLiteral& node) {
    for (const auto& [key, value] : node.entries) look(key), look(value);
  }
  void operator()(const Unary& node) { look(node.operand); }
  void operator()(const Binary& node) { look(node.left), look(node.right); }
  void operator()(const Logical& node) { look(node.left), look(node.right); }
  void operator()(const Concatenation& node) {
    for (const ExpressionPtr& part : node.parts) look(part);
  }
  void operator()(const Comparison& node) {
    look(node.first);
    for (const auto& [comparator, value] : node.rest) look(value);
  }
  void operator()(const Conditional& node) {
    look(node.condition), look(node.then), look(node.otherwise);
  }
  void operator()(const Attribute& node) { look(node.object); }
  void operator()(const Item& node) { look(node.object), look(node.index); }
  void operator()(const Slice& node) {
    look(node.object), look(node.begin), look(node.end), look(node.step);
  }
  void operator()(const Call& node) { look(node.callee), look(node.arguments); }
  void operator()(const FilterUse& node) { look(node.input), look(node.arguments); }
  void operator()(const TestUse& node) { look(node.input), look(node.arguments); }
};

}  // namespace

ExpressionPtr Parser::make(int line, Expression::Node node) {
  ChildDepth children;
  std::visit(children, node);
  auto made =
      std::unique_ptr<Expression>(new Expression{line, children.depth + 1, std::move(node)});
  too_deep(made->depth);
  return made;
}

ExpressionPtr Parser::constant(int line, Value::Data data) {
  return make(line, Constant{Value(std::move(data), true)});
}

ExpressionPtr Parser::text_constant(int line, std::string text) {
  auto node = std::make_shared<TextNode>();
  node->text = TaintedText(std::move(text), true);
  return constant(line, std::move(node));
}

// Parses one expression, or several with commas between them.
ExpressionPtr Parser::parse_tuple(bool with_conditional) {
  const int line = current().line;
  const auto part = [&] { return with_conditional ? parse_expression() : parse_or(); };
  ExpressionPtr first = part();
  if (!is_operator(",")) return first;
  ListLiteral tuple{SequenceValue::Type::kTuple, {}};
  tuple.items.push_back(std::move(first));
  while (!failed() && skip_operator(",")) {
    const bool ends = current().type == TokenType::kBlockEnd ||
                      current().type == TokenType::kOutputEnd || is_operator(")");
    if (!ends) tuple.items.push_back(part());
  }
  return make(line, std::move(tuple));
}

ExpressionPtr Parser::parse_expression() {
  const Nesting nesting(this);
  if (nesting.too_deep()) return nullptr;
  const size_t known_errors = unknown_.size();
  ExpressionPtr value = parse_or();
  while (!failed() && is_name("if")) {
    const int line = current().line;
    advance();
    Conditional conditional;
    conditional.then = std::move(value);
    conditional.condition = parse_or();
    if (skip_name("else")) conditional.otherwise = parse_expression();
    unknown_.resize(known_errors);
    value = make(line, std::move(conditional));
  }
  return value;
}

ExpressionPtr Parser::parse_or() {
  ExpressionPtr left = parse_and();
  while (!failed() && is_name("or")) {
    const int line = current().line;
    advance();
    ExpressionPtr right = parse_and();
    left = make(line, Logical{false, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_and() {
  ExpressionPtr left = parse_not();
  while (!failed() && is_name("and")) {
    const int line = current().line;
    advance();
    ExpressionPtr right = parse_not();
    left = make(line, Logical{true, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_not() {
  const int line = current().line;
  if (!skip_name("not")) return parse_comparison();
  const Nesting nesting(this);
  if (nesting.too_deep()) return nullptr;
  return make(line, Unary{UnaryOperator::kNot, parse_not()});
}

std::optional<Comparator> Parser::parse_comparator() {
  constexpr std::array<std::pair<std::string_view, Comparator>, 6> kComparators = {{
      {"==", Comparator::kEqual},
      {"!=", Comparator::kNotEqual},
      {"<", Comparator::kLess},
      {"<=", Comparator::kLessOrEqual},
      {">", Comparator::kGreater},
      {">=", Comparator::kGreaterOrEqual},
  }};
  for (const auto& [text, comparator] : kComparators) {
    if (skip_operator(text)) return comparator;
  }
  if (skip_name("in")) return Comparator::kIn;
  const bool not_in =
      is_name("not") && following().type == TokenType::kName && following().text == "in";
  if (!not_in) return std::nullopt;
  advance();
  advance();
  return Comparator::kNotIn;
}

ExpressionPtr Parser::parse_comparison() {
  const int line = current().line;
  Comparison comparison;
  comparison.first = parse_sum();
  while (!failed()) {
    const std::optional<Comparator> comparator = parse_comparator();
    if (!comparator.has_value()) break;
    comparison.rest.emplace_back(*comparator, parse_sum());
    const auto* constant =
        failed() ? nullptr : std::get_if<Constant>(&comparison.rest.back().second->node);
    if (constant != nullptr && constant->value.is_none()) note_none_test(comparison.first);
  }
  if (comparison.rest.empty()) return std::move(comparison.first);
  return make(line, std::move(comparison));
}

ExpressionPtr Parser::parse_sum() {
  ExpressionPtr left = parse_concatenation();
  while (!failed() && (is_operator("+") || is_operator("-"))) {
    const int line = current().line;
    const Arithmetic operation = is_operator("+") ? Arithmetic::kAdd : Arithmetic::kSubtract;
    advance();
    ExpressionPtr right = parse_concatenation();
    left = make(line, Binary{operation, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_concatenation() {
  const int line = current().line;
  Concatenation concatenation;
  concatenation.parts.push_back(parse_product());
  while (!failed() && skip_operator("~")) concatenation.parts.push_back(parse_product());
  if (concatenation.parts.size() == 1) return std::move(concatenation.parts[0]);
  return make(line, std::move(concatenation));
}

ExpressionPtr Parser::parse_product() {
  constexpr std::array<std::pair<std::string_view, Arithmetic>, 4> kOperators = {{
      {"*", Arithmetic::kMultiply},
      {"/", Arithmetic::kDivide},
      {"//", Arithmetic::kFloorDivide},
      {"%", Arithmetic::kRemainder},
  }};
  ExpressionPtr left = parse_power();
  while (!failed()) {
    const int line = current().line;
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [&](const auto& known) { return is_operator(known.first); });
    if (found == kOperators.end()) break;
    advance();
    ExpressionPtr right = parse_power();
    left = make(line, Binary{found->second, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_power() {
  ExpressionPtr left = parse_unary(true);
  while (!failed() && is_operator("**")) {
    const int line = current().line;
    advance();
    ExpressionPtr right = parse_unary(true);
    left = make(line, Binary{Arithmetic::kPower, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_unary(bool with_filter) {
  const int line = current().line;
  ExpressionPtr value;
  if (is_operator("-") || is_operator("+")) {
    const Nesting nesting(this);
    if (nesting.too_deep()) return nullptr;
    const UnaryOperator sign = is_operator("-") ? UnaryOperator::kMinus : UnaryOperator::kPlus;
    advance();
    value = make(line, Unary{sign, parse_unary(false)});
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filter ? parse_filters(std::move(value)) : std::move(value);
}

ExpressionPtr Parser::parse_postfix(ExpressionPtr value) {
  while (!failed()) {
    const int line = current().line;
    if (skip_operator(".")) {
      value = parse_attribute(std::move(value));
    } else if (skip_operator("[")) {
      value = parse_subscript(std::move(value));
    } else if (is_operator("(")) {
      Arguments arguments = parse_arguments();
      value = make(line, Call{std::move(value), std::move(arguments)});
    } else {
      break;
    }
  }
  return value;
}

// Parses filters. `value` is null if the input is the output of a block.
ExpressionPtr Parser::parse_filters(ExpressionPtr value) {
  while (!failed()) {
    const int line = current().line;
    if (skip_operator("|")) {
      value = parse_filter(std::move(value));
    } else if (value != nullptr && skip_name("is")) {
      value = parse_test(std::move(value));
    } else if (value != nullptr && is_operator("(")) {
      Arguments arguments = parse_arguments();
      value = make(line, Call{std::move(value), std::move(arguments)});
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr Parser::parse_primary() {
  const TemplateToken& token = current();
  switch (token.type) {
    case TokenType::kName: return parse_name();
    case TokenType::kString: {
      std::string text;
      while (current().type == TokenType::kString) {
        text += current().text;
        advance();
      }
      return text_constant(token.line, std::move(text));
    }
    case TokenType::kInteger: advance(); return constant(token.line, token.integer);
    case TokenType::kFloat: advance(); return constant(token.line, token.real);
    default: break;
  }
  if (skip_operator("(")) return parse_bracketed();
  if (skip_operator("[")) return parse_list();
  if (skip_operator("{")) return parse_dict();
  fail_at_current();
  return nullptr;
}

ExpressionPtr Parser::parse_name() {
  constexpr std::string_view kReserved[] = {"and", "or", "not", "in", "is", "if", "else", "elif"};
  const TemplateToken& token = current();
  const std::string& name = token.text;
  if (std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved)) {
    fail_at_current();
    return nullptr;
  }
  if (macro_ != nullptr) {
    if (name == "caller") macro_->takes_caller = true;
    if (name == "varargs") macro_->takes_more_positional = true;
    if (name == "kwargs") macro_->takes_more_named = true;
  }
  advance();
  if (name == "true" || name == "True") return constant(token.line, true);
  if (name == "false" || name == "False") return constant(token.line, false);
  if (name == "none" || name == "None") return constant(token.line, None{});
  return make(token.line, Name{symbol(name)});
}

// Parses what follows "(": a tuple or a single expression.
ExpressionPtr Parser::parse_bracketed() {
  const int line = current().line;
  if (skip_operator(")")) return make(line, ListLiteral{SequenceValue::Type::kTuple, {}});
  ExpressionPtr value = parse_tuple(true);
  expect_operator(")");
  return value;
}

ExpressionPtr Parser::parse_list() {
  const int line = current().line;
  ListLiteral list{SequenceValue::Type::kList, {}};
  while (!failed() && !is_operator("]")) {
    list.items.push_back(parse_expression());
    if (!is_operator("]")) expect_operator(",");
  }
  expect_operator("]");
  return make(line, std::move(list));
}

ExpressionPtr Parser::parse_dict() {
  const int line = current().line;
  DictLiteral dict;
  while (!failed() && !is_operator("}")) {
    ExpressionPtr key = parse_expression();
    expect_operator(":");
    dict.entries.emplace_back(std::move(key), parse_expression());
    if (!is_operator("}")) expect_operator(",");
  }
  expect_operator("}");
  return make(line, std::move(dict));
}

// Parses what follows ".": a name, or an index as in `pair.0`.
ExpressionPtr Parser::parse_attribute(ExpressionPtr object) {
  const TemplateToken& token = current();
  advance();
  if (token.type == TokenType::kInteger) {
    ExpressionPtr index = constant(token.line, token.integer);
    return make(token.line, Item{std::move(object), std::move(index)});
  }
  if (token.type != TokenType::kName) {
    fail("expected a name after '.'");
    return nullptr;
  }
  return make(token.line, Attribute{std::move(object), token.text});
}

// Parses what follows "[".
ExpressionPtr Parser::parse_subscript(ExpressionPtr object) {
  const int line = current().line;
  const auto bound = [&]() -> ExpressionPtr {
    return is_operator(":") || is_operator("]") ? nullptr : parse_expression();
  };
  ExpressionPtr begin = bound();
  if (!skip_operator(":")) {
    if (begin == nullptr) fail_at_current();
    expect_operator("]");
    return make(line, Item{std::move(object), std::move(begin)});
  }
  Slice slice{std::move(object), std::move(begin), bound(), nullptr};
  if (skip_operator(":")) slice.step = bound();
  expect_operator("]");
  return make(line, std::move(slice));
}

ExpressionPtr Parser::parse_filter(ExpressionPtr input) {
  const int line = current().line;
  const std::string name = expect_name("a filter's name");
  const Builtin* filter = find_filter(name);
  check_known(filter, "filter", name);
  Arguments arguments;
  if (is_operator("(")) arguments = parse_arguments();
  return make(line, FilterUse{std::move(input), filter, name, std::move(arguments)});
}

void Parser::check_known(const Builtin* builtin, std::string_view kind, std::string_view name) {
  if (builtin != nullptr || failed()) return;
  unknown_.push_back(invalid_argument("chat template line ", current().line, ": no ", kind,
                                      " named ", quoted(name)));
}

// Remembers that the template tests whether the content of a message is none.
void Parser::note_none_test(const ExpressionPtr& tested) {
  if (tested == nullptr) return;
  const auto* attribute = std::get_if<Attribute>(&tested->node);
  const auto* item = std::get_if<Item>(&tested->node);
  const auto* name = std::get_if<Name>(&tested->node);
  const auto* key = item == nullptr ? nullptr : std::get_if<Constant>(&item->index->node);
  const bool is_key =
      key != nullptr && key->value.is_text() && key->value.text()->bytes() == "content";
  const bool is_name = name != nullptr && names_[name->symbol].find("content") != std::string::npos;
  if ((attribute != nullptr && attribute->name == "content") || is_key || is_name) {
    asks_for_none_ = true;
  }
}

bool Parser::begins_test_argument() const {
  switch (current().type) {
    case TokenType::kString:
    case TokenType::kInteger:
    case TokenType::kFloat: return true;
    case TokenType::kOperator: return is_operator("[") || is_operator("{");
    case TokenType::kName:
      return !is_name("else") && !is_name("or") && !is_name("and") && !is_name("if") &&
             !is_name("is") && !is_name("in") && !is_name("not");
    default: return false;
  }
}

ExpressionPtr Parser::parse_test(ExpressionPtr input) {
  const int line = current().line;
  const bool negated = skip_name("not");
  const std::string name = expect_name("a test's name");
  const Builtin* test = find_test(name);
  check_known(test, "test", name);
  if (name == "none") note_none_test(input);
  Arguments arguments;
  if (is_operator("(")) {
    arguments = parse_arguments();
  } else if (begins_test_argument()) {
    arguments.positional.push_back(parse_postfix(parse_primary()));
  } else if (is_name("is")) {
    fail("tests cannot be chained with 'is'");
  }
  return make(line, TestUse{std::move(input), test, name, negated, std::move(arguments)});
}

Arguments Parser::parse_arguments() {
  Arguments arguments;
  expect_operator("(");
  while (!failed() && !is_operator(")")) {
    if (is_operator("*") || is_operator("**")) {
      ExpressionPtr* more = is_operator("*") ? &arguments.more_positional : &arguments.more_named;
      if (*more != nullptr || arguments.more_named != nullptr) fail_at_current();
      advance();
      *more = parse_expression();
      if (!is_operator(")")) expect_operator(",");
      continue;
    }
    const bool named = current().type == TokenType::kName &&
                       following().type == TokenType::kOperator && following().text == "=";
    if (named) {
      std::string name = current().text;
      advance();
      advance();
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else if (!arguments.named.empty() || arguments.more_positional != nullptr ||
               arguments.more_named != nullptr) {
      fail("an argument without a name follows one with a name");
    } else {
      arguments.positional.push_back(parse_expression());
    }
    if (!is_operator(")")) expect_operator(",");
  }
  expect_operator(")");
  return arguments;
}

}  // namespace deltaserve
