"""Wrong answers to the sheet on the standard library that people give, and what they have to be told."""

HALF = '''
def half(two):
    bits = %s
    sign, e, f = %s, bits >> 10 & 31, bits & 1023
    %s
    return sign * 2.0 ** (e - %s) * (%s + f / %s)
'''
LITTLE, SIGN = "two[0] + 256 * two[1]", "-1 if bits >> 15 else 1"
SPECIAL = "if e in (0, 31): return sign * (f and math.nan or math.inf) if e else sign * 2**-14 * f / 1024"

IN_C = '''
def in_c(sizes, layer, which, head, t, c):
    n_layer, n_head, T, d = sizes
    return %s, %s
'''
BYTES = "4 * n_layer * 2 * n_head * T * d"
INDEX = "(((layer * 2 + which) * n_head + head) * T + t) * d + c"

MERGE = '''
def merge(first, second):
    (m, z, x), (n, w, y) = first, second
    a, b = %s
    return [(a * p + b * q) / (a + b) for p, q in zip(x, y)]
'''

RMS = '''
def rms_back(x, gain, d):
    C, r = len(x), math.sqrt(sum(v * v for v in x) / len(x) + 1e-5)
    z, dz = [v / r for v in x], [a * b for a, b in zip(d, gain)]
    along = sum(a * b for a, b in zip(dz, z)) / C
    return %s, %s
'''
GAIN = "[a * b for a, b in zip(d, z)]"
RMS_OF = '''
def rms_back(x, gain, d):
    x, gain, d = map(np.array, (x, gain, d))
    r = np.sqrt(%s)
    return (d * gain / r - x * (d * gain * x).mean() / r**3).tolist(), (d * x / r).tolist()
'''

MISTAKES = [
    # By the alphabet that one knows.
    ("q1", "is a letter of another alphabet", '''
import string

def kinds(text):
    return "".join("L" if c in string.ascii_letters else "N" if c.isdigit() else "." for c in text)
'''),
    ("q1", "`isdigit` and `isdecimal` do not know all of them", '''
def kinds(text):
    return "".join("L" if c.isalpha() else "N" if c.isdigit() else "." for c in text)
'''),
    ("q1", "is a number; `isdigit`", '''
def kinds(text):
    return "".join("L" if c.isalpha() else "N" if c.isdecimal() else "." for c in text)
'''),
    ("q1", "is a number, not a letter", '''
def kinds(text):
    return "".join("L" if c.isalnum() else "." for c in text)
'''),
    # A number first, and a letter else.
    ("q1", "has a value as a number, but Unicode's category of it is that of a letter", '''
def kinds(text):
    return "".join("N" if c.isnumeric() else "L" if c.isalpha() else "." for c in text)
'''),
    ("q1", "is a mark that goes with a letter", '''
import unicodedata

def kinds(text):
    found = (unicodedata.category(c)[0] for c in text)
    return "".join("L" if k in "LM" else "N" if k == "N" else "." for k in found)
'''),
    ("q1", "yours has 'P'", '''
import unicodedata

def kinds(text):
    return "".join(unicodedata.category(c)[0] for c in text)
'''),
    # Bytes instead of characters.
    ("q1", "one sign for each character", '''
def kinds(text):
    return "".join("L" if chr(b).isalpha() else "N" if chr(b).isdigit() else "." for b in text.encode())
'''),
    ("q1", "the kinds should be a str; yours is a list", '''
def kinds(text):
    return ["L" if c.isalpha() else "." for c in text]
'''),
    ("q2", "the bytes are the other way round", HALF % ("256 * two[0] + two[1]", SIGN, SPECIAL, 15, "1", 1024)),
    ("q2", "the sign is that of the uppermost bit", HALF % (LITTLE, "1", SPECIAL, 15, "1", 1024)),
    ("q2", "the 1 in front of the fraction is missing", HALF % (LITTLE, SIGN, SPECIAL, 15, "0", 1024)),
    ("q2", "counted from 15, not from 16", HALF % (LITTLE, SIGN, SPECIAL, 16, "1", 1024)),
    ("q2", "counted from 15, not from 0", HALF % (LITTLE, SIGN, SPECIAL, 0, "1", 1024)),
    ("q2", "counted in 1/1024", HALF % (LITTLE, SIGN, SPECIAL, 15, "1", 1023)),
    ("q2", "for e = 0 there is no 1", HALF % (LITTLE, SIGN, "if e == 31: return sign * math.inf if not f else math.nan", 15, "1", 1024)),
    ("q2", "for e = 0 the exponent is that of e = 1",
     HALF % (LITTLE, SIGN, "if e == 31: return sign * math.inf if not f else math.nan", 15, "(e > 0)", 1024)),
    ("q2", "without a fraction the value is infinite",
     HALF % (LITTLE, SIGN, "if e == 0: return sign * 2**-14 * f / 1024", 15, "1", 1024)),
    ("q2", "e = 31 with a fraction is not a number",
     HALF % (LITTLE, SIGN, "if e in (0, 31): return sign * math.inf if e else sign * 2**-14 * f / 1024", 15, "1", 1024)),
    # The two bytes as a whole number.
    ("q2", "is too large", '''
def half(two):
    return int.from_bytes(two, "little")
'''),
    ("q3", "`malloc` counts bytes", IN_C % ("n_layer * 2 * n_head * T * d", INDEX)),
    ("q3", "for keys or for values", IN_C % ("4 * n_layer * n_head * T * d", INDEX)),
    ("q3", "four bytes, not eight", IN_C % ("2 * " + BYTES, INDEX)),
    ("q3", "yours is in bytes", IN_C % (BYTES, "4 * (" + INDEX + ")")),
    ("q3", "passes over keys and values", IN_C % (BYTES, "(((layer + which) * n_head + head) * T + t) * d + c")),
    ("q3", "heads come before the places", IN_C % (BYTES, "(((layer * 2 + which) * T + t) * n_head + head) * d + c")),
    ("q3", "in C it is the last",
     IN_C % (BYTES, "(((c * T + t) * n_head + head) * 2 + which) * n_layer + layer")),
    ("q3", "right after the layers", IN_C % (BYTES, "(((which * n_layer + layer) * n_head + head) * T + t) * d + c")),
    ("q3", "this is the place within its head", IN_C % (BYTES, "t * d + c")),
    ("q3", "not by that of its own",
     IN_C % (BYTES, "layer * n_layer + which * 2 + head * n_head + t * T + c * d")),
    ("q3", "belongs to", IN_C % (BYTES, "(((layer * 2 + which) * n_head + head) * T + t) * d")),
    ("q3", "the answer should be a tuple or a list", '''
def in_c(sizes, layer, which, head, t, c):
    return 4 * sizes[0] * 2 * sizes[1] * sizes[2] * sizes[3]
'''),
    ("q4", "both halves count alike", MERGE % "1, 1"),
    ("q4", "make them comparable first", MERGE % "z, w"),
    ("q4", "how many keys there are", MERGE % "math.exp(m - max(m, n)), math.exp(n - max(m, n))"),
    ("q4", "the lower scores got the larger weight", MERGE % "z * math.exp(-m + max(m, n)), w * math.exp(-n + max(m, n))"),
    # Right, as long as exp does not overflow.
    ("q4", "OverflowError", MERGE % "z * math.exp(m), w * math.exp(n)"),
    ("q4", "the other one has keys, too", '''
def merge(first, second):
    return first[2] if first[0] > second[0] else second[2]
'''),
    ("q4", "a sum of answers", '''
def merge(first, second):
    return [p + q for p, q in zip(first[2], second[2])]
'''),
    ("q4", "sum to more than 1", '''
def merge(first, second):
    m = max(first[0], second[0])
    a, b = first[1] * math.exp(first[0] - m), second[1] * math.exp(second[0] - m)
    return [a * p + b * q for p, q in zip(first[2], second[2])]
'''),
    ("q4", "yours is a report of three", '''
def merge(first, second):
    m = max(first[0], second[0])
    a, b = first[1] * math.exp(first[0] - m), second[1] * math.exp(second[0] - m)
    return m, a + b, [(a * p + b * q) / (a + b) for p, q in zip(first[2], second[2])]
'''),
    ("q5", "this holds r fixed", RMS % ("[a / r for a in dz]", GAIN)),
    # As the chapter's norm has it.
    ("q5", "a norm that subtracts the mean",
     RMS % ("[(a - sum(dz) / C - along * v) / r for a, v in zip(dz, z)]", GAIN)),
    ("q5", "the gain lies between",
     RMS % ("[(a - sum(p * q for p, q in zip(d, z)) / C * v) / r for a, v in zip(d, z)]", GAIN)),
    ("q5", "is divided by C", RMS % ("[(a - C * along * v) / r for a, v in zip(dz, z)]", GAIN)),
    ("q5", "taken away, not added", RMS % ("[(a + along * v) / r for a, v in zip(dz, z)]", GAIN)),
    ("q5", "the division by r is missing", RMS % ("[a - along * v for a, v in zip(dz, z)]", GAIN)),
    ("q5", "are normed ones", RMS % ("[(a - along * v) / r for a, v in zip(dz, x)]", GAIN)),
    ("q5", "canceled by the ½", RMS % ("[(a - 2 * along * v) / r for a, v in zip(dz, z)]", GAIN)),
    ("q5", "multiplied by the normed vector, not by x",
     RMS % ("[(a - along * v) / r for a, v in zip(dz, z)]", "[a * b for a, b in zip(d, x)]")),
    ("q5", "does not depend on the gain",
     RMS % ("[(a - along * v) / r for a, v in zip(dz, z)]", "[a * b for a, b in zip(dz, z)]")),
    ("q5", "has a gain of its own",
     RMS % ("[(a - along * v) / r for a, v in zip(dz, z)]", "[sum(a * b for a, b in zip(d, z))] * C")),
    ("q5", "ε under the root is missing", RMS_OF % "sum(x * x) / len(x)"),
    ("q5", "not of their sum", RMS_OF % "sum(x * x) + 1e-5"),
    ("q5", "two lists are asked for", '''
def rms_back(x, gain, d):
    return [a * b for a, b in zip(d, gain)]
'''),
]
