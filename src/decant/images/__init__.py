"""Images as sequences of codes: the nouns, the seams and the one formula that both distilled decodings rest on.

Read `layout.py`, `seams.py`, `flow.py`. Letters beside those of `types.py`:

    L  places of an image, unit after unit      C  numbers of a code vector
    K  places of one unit                       D  hidden width
    V  codes of the codebook                    Y, X  rows and columns of an image, whose values lie in 0 ... 1
"""
