"""Grammars that come with the package, by name."""

from typing import Final

JSON: Final = r"""
# RFC 8259
value: object | array | STRING | NUMBER | "true" | "false" | "null"
object: "{" [pair ("," pair)*] "}"
pair: STRING ":" value
array: "[" [value ("," value)*] "]"
STRING: /"([^"\\\x00-\x1f]|\\(["\\\/bfnrt]|u[0-9a-fA-F]{4}))*"/
NUMBER: /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+\-]?[0-9]+)?/
skip: /[ \t\n\r]/
"""

C_TOY: Final = r"""
# Declarations, assignments, if, while, blocks and expressions, as C writes them.
program: statement+
statement: type NAME ["=" expression] ";" | NAME "=" expression ";" | block | "return" expression ";"
    | "if" "(" expression ")" statement ["else" statement] | "while" "(" expression ")" statement
block: "{" statement* "}"
type: "int" | "char"
expression: sum [("<" | ">" | "==" | "!=") sum]
sum: product (("+" | "-") product)*
product: factor (("*" | "/") factor)*
factor: NAME ["(" [expression ("," expression)*] ")"] | NUMBER | "(" expression ")" | "-" factor | "!" factor
NAME: /[a-z_][a-z_0-9]*/
NUMBER: /0|[1-9][0-9]*/
skip: /[ \t\n]/
"""

SHIPPED: Final = {"json": JSON, "c-toy": C_TOY}
