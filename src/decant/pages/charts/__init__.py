"""Charts as inline SVG, each a pure function of its numbers.

Drawn here and not by matplotlib: lengths along x are percentages, so that a chart is as wide as the page and its words
keep their size on a phone; colours are the page's variables, so that they follow the dark scheme and print.
"""
