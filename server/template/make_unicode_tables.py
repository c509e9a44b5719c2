"""Writes long_case_table.h and unicode_classes.h: what Python's str methods know of characters.

Run: python3 make_unicode_tables.py (Python 3.11 has Unicode 14), then clang-format.
"""

import contextlib
import pathlib
import unicodedata

ALL = [chr(code) for code in range(128, 0x110000) if not 0xD800 <= code < 0xE000]


def ranges(holds):
    found = []
    for character in ALL:
        if not holds(character):
            continue
        code = ord(character)
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def literal(text):
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def table(name, holds):
    body = ", ".join(f"{{{first:#x}, {last:#x}}}" for first, last in ranges(holds))
    print(f"inline constexpr CodeRange {name}[] = {{{body}}};\n")


def is_title(character):
    return unicodedata.category(character) == "Lt"


def mapping(name, pairs):
    body = ", ".join(f"{{{ord(key):#x}, {literal(value)}}}" for key, value in pairs)
    print(f"inline constexpr CaseText {name}[] = {{{body}}};\n")


HEAD = """// {what} of characters beyond ASCII, as Python has them, Unicode {version}. Made by
// make_unicode_tables.py.
#pragma once
#include <string_view>

namespace deltaserve {{

"""


def write(name, what, body):
    with open(pathlib.Path(__file__).with_name(name), "w") as file, contextlib.redirect_stdout(file):
        print(HEAD.format(what=what, version=unicodedata.unidata_version), end="")
        body()
        print("}  // namespace deltaserve")


def cases():
    print("// A character and the text that takes its place, as UTF-8.")
    print("struct CaseText {\n  char32_t code;\n  std::string_view text;\n};\n")
    mapping("kLongUpperCase", [(c, c.upper()) for c in ALL if len(c.upper()) > 1])
    mapping("kLongLowerCase", [(c, c.lower()) for c in ALL if len(c.lower()) > 1])
    mapping("kTitleCase", [(c, c.title()) for c in ALL if c.title() != c.upper()])
    mapping("kFoldedCase", [(c, c.casefold()) for c in ALL if c.casefold() != c.lower()])


def classes():
    print("struct CodeRange {\n  char32_t first;\n  char32_t last;\n};\n")
    table("kAlphabetic", str.isalpha)
    table("kDecimal", str.isdecimal)
    table("kDigit", str.isdigit)
    table("kNumeric", str.isnumeric)
    table("kTitleLetters", is_title)
    # All other letters with a case change when they are mapped to the other one.
    table("kSingleLowerLetters", lambda c: c.islower() and (c.upper() == c or is_title(c)))
    table("kSingleUpperLetters", lambda c: c.isupper() and (c.lower() == c or is_title(c)))


write("long_case_table.h", "Cases of several characters, title case and folding", cases)
write("unicode_classes.h", "Classes", classes)
