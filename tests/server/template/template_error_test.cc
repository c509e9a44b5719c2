// Tests the errors of texts that are no template, of what is not supported, and of templates that
// fail on their variables: each error says what and where.
#include <gtest/gtest.h>

#include <string>

#include "tests/server/template/template_testing.h"

namespace deltaserve {
namespace {

struct ErrorCase {
  const char* source;
  const char* message;  // after "chat template line "
};

const ErrorCase kSyntaxErrors[] = {
    {"{{ 1", "1: a tag does not end"},
    {"a\n{% if x %}\nb", "3: 'endif' is missing for the block of line 2"},
    {"{% for x in y %}", "1: 'endfor' is missing for the block of line 1"},
    {"{# x", "1: a comment does not end"},
    {"{% raw %}x", "1: a raw block does not end"},
    {"\n\n{{ 'x }}", "3: a string does not end"},
    {"{{ 'x\\", "1: a string does not end"},
    {"{{ '\\u12' }}", "1: a character code in a string is cut short"},
    {"{{ '\\ud800' }}", "1: a character code in a string is no character"},
    {"{{ '\\N{DASH}' }}", "1: named characters in strings are not supported"},
    {"{{ 1 $ 2 }}", "1: unexpected character '$'"},
    {"{{ \xe2\x82\xac }}", "1: unexpected character '\\xe2\\x82\\xac'"},
    {"{{ (1] }}", "1: unexpected ']'"},
    {"{{ 1 ) }}", "1: unexpected ')'"},
    {"{{ }}", "1: unexpected '}}'"},
    {"{{ 1 2 }}", "1: expected '}}', not a number"},
    {"{{ 1 + }}", "1: unexpected '}}'"},
    {"{{ a. }}", "1: expected a name after '.'"},
    {"{{ a[] }}", "1: unexpected ']'"},
    {"{{ if }}", "1: unexpected 'if'"},
    {"{{ 012 }}", "1: the integer '012' is not valid"},
    {"{{ x|nope }}", "1: no filter named 'nope'"},
    {"{{ x is nope }}", "1: no test named 'nope'"},
    {"{{ x is string is number }}", "1: tests cannot be chained with 'is'"},
    {"{{ f(a=1, 2) }}", "1: an argument without a name follows one with a name"},
    {"{% endif %}", "1: unexpected tag 'endif'"},
    {"{% else %}", "1: unexpected tag 'else'"},
    {"{% if x %}{% endfor %}{% endif %}", "1: unexpected tag 'endfor'"},
    {"{% if x %}{% else %}{% elif y %}{% endif %}", "1: unexpected tag 'elif'"},
    {"{% 1 %}", "1: a block tag has no name"},
    {"{{ f(*a, 1) }}", "1: an argument without a name follows one with a name"},
    {"{{ f(**a, *b) }}", "1: unexpected '*'"},
    {"{% call x %}{% endcall %}", "1: the tag 'call' needs a call"},
    {"{% with a %}{% endwith %}", "1: expected '=', not '%}'"},
    {"{% block %}{% endblock %}", "1: expected a block's name, not '%}'"},
    {"{% do x %}", "1: the tag 'do' is not supported"},
    {"{% for x on y %}{% endfor %}", "1: expected 'in', not 'on'"},
    {"{% for loop in y %}{% endfor %}", "1: cannot assign to 'loop'"},
    {"{% set true = 1 %}", "1: cannot assign to 'true'"},
    {"{% set 1 = 1 %}", "1: expected a name, not a number"},
    {"{% set a, b %}{% endset %}", "1: a set block takes one name"},
    {"{% break %}", "1: 'break' outside of a loop"},
    {"{% continue %}", "1: 'continue' outside of a loop"},
    {"{% for x in y %}{% set z %}{% break %}{% endset %}{% endfor %}",
     "1: 'break' outside of a loop"},
    {"{% macro f(a=1, b) %}{% endmacro %}",
     "1: a parameter without a default follows one with a default"},
};

TEST(TemplateError, Syntax) {
  for (const ErrorCase& one : kSyntaxErrors) {
    const auto parsed = ChatTemplate::parse(one.source);
    ASSERT_FALSE(parsed.ok()) << one.source;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(parsed.status().message()),
              std::string("chat template line ") + one.message)
        << one.source;
  }
  const auto parsed = ChatTemplate::parse("\xff");
  EXPECT_EQ(parsed.status().message(), "the chat template is not valid UTF-8");
}

const ErrorCase kRenderErrors[] = {
    {"{{ nope.x }}", "1: 'nope' is undefined"},
    {"\n{{ nope() }}", "2: 'nope' is undefined"},
    {"{{ nope + 1 }}", "1: 'nope' is undefined"},
    {"{{ d.x.y }}", "1: a value of type dict has no attribute 'x'"},
    {"{{ d['x']['y'] }}", "1: a value of type dict has no attribute 'x'"},
    {"{{ s.x.y }}", "1: a value of type str has no attribute 'x'"},
    {"{{ l[9].x }}", "1: a value of type list does not have what is asked of it"},
    {"{{ loop.index }}", "1: 'loop' is undefined"},
    {"{% for x in l %}{{ loop.nope('a') }}{% endfor %}",
     "1: a value of type LoopContext has no attribute 'nope'"},
    {"{% for x in l %}{{ loop.cycle() }}{% endfor %}", "1: loop.cycle needs at least one item"},
    {"{{ '%.3d' % 5 }}", "1: a format of an integer has a precision, which is not supported"},
    {"{{ 1 + 'a' }}", "1: unsupported operands of '+': int and str"},
    {"{{ 'a' + 1 }}", "1: unsupported operands of '+': str and int"},
    {"{{ {} - {} }}", "1: unsupported operands of '-': dict and dict"},
    {"{{ -'a' }}", "1: '-' does not take str"},
    {"{{ 1 < 'a' }}", "1: cannot order a value of type int and one of type str"},
    {"{{ none > 1 }}", "1: cannot order a value of type NoneType and one of type int"},
    {"{{ 1 in 5 }}", "1: 'in' needs a text, list or dictionary after it, not int"},
    {"{{ 1 in 'a' }}", "1: 'in' on a text needs a text before it, not int"},
    {"{{ 1 // 0 }}", "1: division by zero"},
    {"{{ 1.5 % 0 }}", "1: division by zero"},
    {"{{ (10 ** 4299) * 1.5 }}", "1: an integer is too large for a float"},
    {"{{ (10 ** 4299)|float }}", "1: an integer is too large for a float"},
    {"{{ '%e' % (10 ** 4299) }}", "1: an integer is too large for a float"},
    {"{{ (10 ** 4299) / 3 }}", "1: the result of '/' is out of range"},
    {"{{ (10 ** 4299) // 0 }}", "1: division by zero"},
    {"{{ 1e300 * 1e300 }}", "1: the result of '*' is out of range"},
    {"{{ (-1) ** 0.5 }}", "1: a power is not a real number"},
    {"{{ 'inf'|float|int }}", "1: an infinite number is no integer"},
    {"{{ '%d' % ('inf'|float) }}", "1: a number has no integer part"},
    {"{{ 5() }}", "1: a value of type int cannot be called"},
    {"{{ s.nope() }}", "1: a value of type str has no attribute 'nope'"},
    {"{{ s.encode() }}", "1: templates may not use 'encode' of a value of type str"},
    {"{{ l.append(1) }}", "1: templates may not use 'append' of a value of type list"},
    {"{{ d.pop('a') }}", "1: templates may not use 'pop' of a value of type dict"},
    {"{{ d.update(d) }}", "1: templates may not use 'update' of a value of type dict"},
    {"{{ s.__class__ }}", "1: templates may not use '__class__' of a value of type str"},
    {"{{ s.split('') }}", "1: split needs a separator that is not empty"},
    {"{{ s.split(1) }}", "1: an argument must be a text, not of type int"},
    {"{{ s.strip('a', 'b') }}", "1: method 'strip' takes at most 1 argument"},
    {"{{ s.replace('a') }}", "1: method 'replace' needs the argument 'new'"},
    {"{{ s|replace('a', 'b', wrong=1) }}", "1: filter 'replace' has no argument 'wrong'"},
    {"{{ s|trim('a', chars='b') }}", "1: filter 'trim' is given twice the argument 'chars'"},
    {"{{ ','.join([1]) }}", "1: an argument must be a text, not of type int"},
    {"{% for x in 5 %}{% endfor %}", "1: a value of type int has no items to go through"},
    {"{% for a, b in [1] %}{% endfor %}", "1: a value of type int has no items to go through"},
    {"{% for a, b in [[1]] %}{% endfor %}", "1: 2 values are to be assigned, but there are 1"},
    {"{% set a, b = 'xyz' %}", "1: 2 values are to be assigned, but there are 3"},
    {"{% set d.x = 1 %}", "1: only attributes of a namespace can be set, not of dict"},
    {"{% set nope.x = 1 %}", "1: only attributes of a namespace can be set, not of Undefined"},
    {"{{ {[1]: 2} }}", "1: a value of type list cannot be a dictionary's key"},
    {"{% include 'x' %}", "1: the tag 'include' needs other templates, and there are none"},
    {"{% from 'x' import y %}", "1: the tag 'from' needs other templates, and there are none"},
    {"{{ 'x'|nope if true }}", "1: no filter named 'nope'"},
    {"{% if true %}\n{{ 'x' is nope }}{% endif %}", "2: no test named 'nope'"},
    {"{{ f(*5) }}{% set f = range %}", "1: a value of type int has no items to go through"},
    {"{{ range(**l) }}", "1: '**' before an argument needs a dictionary, not list"},
    {"{{ range(**{1: 2}) }}", "1: the name of an argument must be a text, not of type int"},
    {"{% macro f() %}{% endmacro %}{% call f() %}{% endcall %}",
     "1: macro 'f' has no argument 'caller'"},
    {"{% for x in l %}{{ loop(l) }}{% endfor %}",
     "1: the loop cannot be called: it has no 'recursive', or it has ended"},
    {"{% set n = namespace() %}{% for x in l recursive %}{% set n.l = loop %}{% endfor %}{{ n.l(l) "
     "}}",
     "1: the loop cannot be called: it has no 'recursive', or it has ended"},
    {"{{ '{}'.format() }}", "1: a format has too few arguments"},
    {"{{ '{'.format(1) }}", "1: a format has a '{' without its '}'"},
    {"{{ '}'.format(1) }}", "1: a format has a single '}'"},
    {"{{ '{:d}'.format('a') }}", "1: a text cannot have such a format"},
    {"{{ '{:q}'.format(1) }}", "1: a format has the bad specification 'q'"},
    {"{{ '{0}{}'.format(1) }}", "1: a format mixes {} and {0}"},
    {"{{ 'a'.index('b') }}", "1: the text does not have what is looked for"},
    {"{{ l|random }}",
     "1: filter 'random' is not supported: the same messages must give the same prompt each time"},
    {"{{ lipsum() }}",
     "1: function 'lipsum' is not supported: the same messages must give the same prompt each "
     "time"},
    {"{{ 'a'|urlize(extra_schemes=['a b']) }}", "1: 'a b' is not a valid URI scheme prefix"},
    {"{{ 5[1:] }}", "1: a value of type int cannot be sliced"},
    {"{{ l['a':] }}", "1: slice bounds must be integers, not str"},
    {"{{ l[::0] }}", "1: a slice's step must not be zero"},
    {"{{ 5|length }}", "1: a value of type int has no length"},
    {"{{ l|map('upper')|length }}", "1: a value of type generator has no length; use |list before"},
    {"{{ l|map('upper') }}", "1: a generator cannot be printed; use |list"},
    {"{{ range(3) }}", "1: a range cannot be printed; use |list"},
    {"{{ range(1, 2, 0) }}", "1: range needs a step that is not zero"},
    {"{{ range('a') }}", "1: an argument must be an integer, not of type str"},
    {"{{ range }}", "1: a value of type function cannot be printed"},
    {"{{ namespace() }}", "1: a value of type Namespace cannot be printed"},
    {"{{ namespace(d, d) }}", "1: namespace takes one dictionary"},
    {"{{ namespace(1) }}", "1: a value of type int has no items to go through"},
    {"{{ dict([1]) }}", "1: a value of type int has no items to go through"},
    {"{{ dict([[1]]) }}", "1: dict takes a dictionary or pairs of a key and a value"},
    {"{{ s.upper }}", "1: a value of type builtin_function_or_method cannot be printed"},
    {"{{ nope|tojson }}", "1: tojson cannot write a value of type Undefined"},
    {"{{ [d.items()]|tojson }}", "1: tojson cannot write a value of type dict_items"},
    {"{{ l|map }}", "1: filter 'map' needs a filter or an attribute"},
    {"{{ l|map('nope')|list }}", "1: no filter named 'nope'"},
    {"{{ l|map('map')|list }}", "1: map('map') is not supported"},
    {"{{ l|select('nope')|list }}", "1: no test named 'nope'"},
    {"{{ [1, 'a']|sort }}", "1: cannot order a value of type str and one of type int"},
    {"{{ 5|items|list }}", "1: filter 'items' does not take int"},
    {"{{ 5|dictsort }}", "1: filter 'dictsort' does not take int"},
    {"{{ 1|round(-1) }}", "1: filter 'round' needs a precision in [0, 100]"},
    {"{{ 'a' is odd }}", "1: a test needs a number, not a value of type str"},
    {"{{ '%d' % 'a' }}", "1: a format needs a number, not a value of type str"},
    {"{{ '%s%s' % 'a' }}", "1: a format has too few arguments"},
    {"{{ '%s' % ('a', 'b') }}", "1: a format does not use all its arguments"},
    {"{{ '%q' % 'a' }}", "1: a format has the unknown conversion '%q'"},
    {"{{ '%' % 'a' }}", "1: a format has the unknown conversion '%'"},
    {"{{ '%(a' % {} }}", "1: a format has the unknown conversion '%('"},
    {"{{ '%(a)s' % {} }}", "1: a format has no argument 'a'"},
    {"{{ strftime_now('%Q') }}", "1: strftime_now has a bad format '%Q'"},
    {"{{ strftime_now('%') }}", "1: strftime_now has a bad format '%'"},
    {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "1: macro 'f' takes at most 1 arguments"},
    {"{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "1: macro 'f' has no argument 'b'"},
    {"{% macro f(a) %}{% endmacro %}{{ f(1, a=2) }}",
     "1: macro 'f' is given twice the argument 'a'"},
    {"{% macro f() %}\n\n{% endmacro %}{{ f() + 1 }}",
     "3: unsupported operands of '+': str and int"},
    {"{% set x | int | first %}\n\n{% endset %}",
     "1: a value of type int has no items to go through"},
    {"{% macro f() %}\n{{ 1 + none }}{% endmacro %}\n\n{{ f() }}",
     "2: unsupported operands of '+': int and NoneType"},
};

TEST(TemplateError, Render) {
  const boost::json::object given =
      variables(R"({"s": "text", "l": ["a", "b"], "d": {"a": 1}, "n": 5})");
  for (const ErrorCase& one : kRenderErrors) {
    const auto text = render_text(one.source, given);
    ASSERT_FALSE(text.ok()) << one.source << " gives " << *text;
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
    const bool has_line = one.message[0] >= '0' && one.message[0] <= '9';
    EXPECT_EQ(std::string(text.status().message()),
              std::string(has_line ? "chat template line " : "chat template: ") + one.message)
        << one.source;
  }
}

TEST(TemplateError, RaisedMessageIsGivenAsItIs) {
  const auto text =
      render_text("\n{{ raise_exception('No ' ~ n ~ ' here: <é>') }}", variables(R"({"n": 5})"));
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(text.status().message(), "No 5 here: <é>");
  // A long one is cut between characters.
  const auto cut = render_text("{{ raise_exception('x' ~ 'é' * 1000) }}");
  EXPECT_EQ(cut.status().message().size(), 1023u);
  EXPECT_TRUE(std::string(cut.status().message()).ends_with("é"));
}

TEST(TemplateError, ClientsCannotReplaceNames) {
  const auto function = render_text("{{ range(2)|list }}", variables(R"({"range": 1})"));
  EXPECT_EQ(function.status().message(), "the variable 'range' of a chat template is reserved");
  const auto text = render_text("{{ bos_token }}", variables(R"({"bos_token": "x"})"));
  EXPECT_EQ(text.status().message(), "the variable 'bos_token' of a chat template is reserved");
  // Variables that the template does not use are not looked at.
  EXPECT_EQ(*render_text("a", variables(R"({"bos_token": "x", "deep": [[[]]], "range": 1})")), "a");
}

TEST(TemplateError, SafeToTryOnAnyCut) {
  const std::string source =
      "{%- macro f(a, b=1) -%}{{ a|default('x', true) ~ b }}{%- endmacro -%}{% for m in messages "
      "if "
      "m.role is string %}{{ f(m['role'][1:], b={'k': [1, 2.5e3, (3,)]}) }}{% raw %}{{{% endraw %}"
      "{# c #}{% else %}{{ 'q\\u00e9' if not x and y or z not in w }}{% endfor %}";
  ASSERT_TRUE(ChatTemplate::parse(source).ok()) << ChatTemplate::parse(source).status();
  for (size_t size = 0; size < source.size(); ++size) {
    const auto parsed = ChatTemplate::parse(source.substr(0, size));
    if (parsed.ok()) {
      (*parsed)->render(variables(R"({"messages": [{"role": "user"}]})"), {}).IgnoreError();
    } else {
      EXPECT_FALSE(parsed.status().message().empty());
    }
  }
}

}  // namespace
}  // namespace deltaserve
