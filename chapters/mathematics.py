# %% [markdown]
# # The mathematics, in words first
#
# A formula is a sentence in shorthand.
# This appendix says each kind of formula in the book four times: in one sentence, with two or three numbers that can be done by hand, in symbols, and as a line of code that is checked against the same numbers.
#
# Nobody has to read it from the top.
# Where a chapter writes a formula, a line near it, *In words*, leads to its section here; at the end of the section, *Met in* leads back.
# Read the sentence, do the numbers, and go back.
#
# Two habits help with any formula.
# Say it aloud, with the [list of signs](mathematics.ipynb#Signs-and-how-to-say-them) at the end of this page.
# And put numbers in: two are enough, and 1 and 2 will mostly do.
#
# You need Python and school mathematics.
# Looking up: a minute. Reading all: 40 minutes. Running: seconds.

# %%
from functools import partial
from math import comb, cos, exp, floor, log, log2, pi, radians, sin, sqrt

import torch

torch.set_default_dtype(torch.float64)  # 16 digits
tensor = partial(torch.tensor, dtype=torch.float64)


def same(found, by_hand):
    """What was found, to three decimals, if it is what comes out by hand."""
    found, by_hand = torch.as_tensor(found).detach(), torch.as_tensor(by_hand)
    assert found.shape == by_hand.shape and (found - by_hand).abs().max() < 6e-4
    return (1000 * found).round().div(1000).tolist()

# %% [markdown]
# `same` stands in every cell: it compares with the numbers of the text above it, and fails if they differ.
#
# ## Numbers
#
# ### Sums
#
# **In words.** Let the index run through its values, and add up what stands behind the Σ.
#
# **By hand.** For $j$ from 1 to 3, the squares: $1 + 4 + 9 = 14$.
# A **mean** is a sum divided by how many were added: that of 2, 4 and 9 is $15/3 = 5$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \sum_{j=1}^{3} j^2 = 1^2 + 2^2 + 3^2 \\[0.5em]
# \bar x = \frac1N \sum_{i=1}^{N} x_i
# \end{gathered}
# $$
#
# Below the Σ stands where the index begins, above it where it ends; where both are clear they are left out.
# A loop says the same.

# %%
x = tensor([2.0, 4, 9])
assert sum(j**2 for j in range(1, 4)) == 14
same(x.sum() / len(x), 5)

# %% [markdown]
# *Met in:* [02 One number for a prediction](02_next_token.ipynb#One-number-for-a-prediction); [Gradients, Down a curve](gradients.ipynb#Down-a-curve).
#
# ### Powers and roots
#
# **In words.** A power is a product of so many equal factors, $a^3 = a \cdot a \cdot a$; a root, whose exponent is a fraction such as ½ or ⅕, undoes that; a minus in the exponent means "one divided by".
#
# **By hand.** $2^3 \cdot 2^2 = 8 \cdot 4 = 32 = 2^5$: exponents add.
# $9^{1/2} = 3$, $32^{1/5} = 2$, $32^{-1/5} = \tfrac12$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# a^m a^n = a^{m+n} \\[0.5em]
# a^{1/n} = \sqrt[n]{a} \\[0.5em]
# a^{-n} = \frac{1}{a^n}
# \end{gathered}
# $$
#
# "$h$ falls like $n^{-1/5}$" therefore says: with 32 times as many points, $h$ is half as large.

# %%
assert 2**3 * 2**2 == 2**5 == 32
same([9**0.5, 32**0.2, 32**-0.2], [3, 2, 0.5])

# %% [markdown]
# *Met in:* [05 More points, more dimensions](05_attention_as_smoothing.ipynb#More-points,-more-dimensions); [09 One query, two thousand keys](09_generating.ipynb#One-query,-two-thousand-keys); [11 A lookup of fixed size](11_past_the_quadratic.ipynb#A-lookup-of-fixed-size); [13 A law for the loss](13_scale.ipynb#A-law-for-the-loss).
#
# ### Exponential and logarithm
#
# **In words.** $e$ to the power of a sum is a product, and the logarithm, which undoes $e^x$, makes a sum of a product.
#
# ($e = 2.718$ is the number for which the slope of $e^x$ is everywhere equal to its value.)
#
# **By hand.** One number is enough: $\ln 2 = 0.693$, so $e^{0.693} = 2$.
# Then $\ln 8 = \ln(2 \cdot 2 \cdot 2) = 3 \cdot 0.693 = 2.079$, and $\ln \tfrac12 = -0.693$.
# To base 2 the logarithm of 8 is 3: divide by 0.693.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# e^{a+b} = e^a e^b \\[0.5em]
# \ln(ab) = \ln a + \ln b \\[0.5em]
# \log_2 x = \frac{\ln x}{\ln 2}
# \end{gathered}
# $$
#
# A probability of a long text is a product of thousands of factors, far too small to be held as a number; the sum of their logarithms is an ordinary one.
# Two facts are used with it: $\ln u \le u - 1$, with equality at $u = 1$ only; and $(1 - \varepsilon)^n \approx e^{-\varepsilon n}$ for a small ε, such as $0.99^{100} = 0.366$ against $e^{-1} = 0.368$.

# %%
same([log(8), log(1 / 2), log2(8), log(8) / log(2)], [2.079, -0.693, 3, 3])
assert log(2) <= 2 - 1 and log(1 / 2) <= 1 / 2 - 1
same([0.99**100, exp(-0.01 * 100)], [0.366, 0.368])

# %% [markdown]
# *Met in:* [02 One number for a prediction](02_next_token.ipynb#One-number-for-a-prediction); [Gradients, The gradient of a prediction](gradients.ipynb#The-gradient-of-a-prediction).
#
# ### Softmax
#
# **In words.** Raise $e$ to each score and divide by the sum of all the results: positive shares that add up to 1.
#
# **By hand.** The scores $0$, $\ln 2$ and $\ln 5$ become 1, 2 and 5, with the sum 8: the shares are $\tfrac18$, $\tfrac28$ and $\tfrac58$.
# Add 3 to all scores, and nothing changes, since each result is multiplied by the same $e^3$.
# Double them (β = 2), and 1, 4 and 25 of 30 remain: the largest gains.
# Two shares have the ratio $e^{\beta\,(\text{difference of the scores})}$: the third and the second $\tfrac52$, and doubled $\tfrac{25}4$.
# A score of $-\infty$ gets $e^{-\infty} = 0$: that is what a mask does.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# w_j = \frac{e^{\beta s_j}}{\sum_i e^{\beta s_i}} \\[0.5em]
# -\ln w_y = \ln \sum_i e^{\beta s_i} - \beta s_y
# \end{gathered}
# $$
#
# The index $i$ runs through all of them, $j$ is the one that is asked about.
# The second formula is the logarithm of the first, with a minus: of the third score by hand, $\ln 8 - \ln 5 = 0.470$.

# %%
s = tensor([log(1), log(2), log(5)])
same(s.exp() / s.exp().sum(), tensor([1, 2, 5]) / 8)
same((s + 3).softmax(-1), s.softmax(-1))
same((2 * s).softmax(-1), tensor([1, 4, 25]) / 30)
same([exp(s[2] - s[1]), exp(2 * (s[2] - s[1]))], [5 / 2, 25 / 4])
same(tensor([0, -torch.inf]).softmax(-1), tensor([1, 0]))
same(s.logsumexp(-1) - s[2], 0.470)

# %% [markdown]
# *Met in:* [00 Vectors are mixed: attention](00_the_whole_machine.ipynb#Vectors-are-mixed:-attention); [02 One number for a prediction](02_next_token.ipynb#One-number-for-a-prediction); [04 From a dict to attention in four steps](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps); [09 One query, two thousand keys](09_generating.ipynb#One-query,-two-thousand-keys); [Gradients, The gradient of a prediction](gradients.ipynb#The-gradient-of-a-prediction); [A whole language model in the Python standard library, One line does the work](standalone.ipynb#One-line-does-the-work).
#
# ### Orders of size
#
# **In words.** "Of order $h^2$" says that halving a small $h$ leaves about a quarter; $\propto$ says that two things have a fixed ratio; $\approx$ that they are nearly equal.
#
# **By hand.** At $h = 0.1$ the square is 0.01 and the fourth power 0.0001: if an error is $3h^2 + 5h^4 = 0.0305$, its first term is nearly all of it.
# Errors at two bandwidths can be combined so that the first term cancels.
# Take twice this error, and subtract that at $\sqrt2\,h$, where the square is 0.02 and the fourth power 0.0004: $0.0610 - 0.0620 = -0.0010$.
# The term in $h^2$ is gone, and $-2 \cdot 5 \cdot 0.0001$ is left.
#
# **In symbols.**
#
# $$ 2\,(c_2 h^2 + c_4 h^4) - \bigl(c_2 (\sqrt2\,h)^2 + c_4 (\sqrt2\,h)^4\bigr) = -2\,c_4 h^4 $$

# %%
def error(h):
    return 3 * h**2 + 5 * h**4


same(error(0.1), 0.0305)
same(2 * error(0.1) - error(sqrt(2) * 0.1), -0.0010)

# %% [markdown]
# *Met in:* [05 At the edge](05_attention_as_smoothing.ipynb#At-the-edge); [06 Two kernels cancel each other's error](06_two_views_many_heads.ipynb#Two-kernels-cancel-each-other's-error).
#
# ### Sizes multiplied
#
# **In words.** A table has as many numbers as its rows times its columns, and as many bytes as that times the bytes of one number.
#
# **By hand.** A cache of keys and values (2) in 2 layers, for 1 text of 10 tokens, with keys and values for 4 heads ($n_\text{kv}$) of 8 channels, at 2 bytes a number: $2 \cdot 2 \cdot 1 \cdot 10 \cdot 4 \cdot 8 \cdot 2 = 2560$ bytes.
# Multiplying a matrix of $C = 10$ rows and columns with one vector takes 100 multiplications and about as many additions, some 200 operations.
# If four heads of queries, numbered 0 to 3, share two heads of keys, 0 and 1, then head 3 of the queries reads head $\lfloor 3 \cdot 2 / 4 \rfloor = \lfloor 1.5 \rfloor = 1$ of the keys: the brackets round down.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \text{bytes} = 2 \cdot n_\text{layer} \cdot B \cdot T \cdot n_\text{kv} \cdot d \cdot \text{bytes per number} \\[0.5em]
# \text{operations} = 2 \cdot C \cdot C
# \end{gathered}
# $$

# %%
cache = torch.zeros(2, 2, 1, 10, 4, 8, dtype=torch.bfloat16)
assert [floor(h * 2 / 4) for h in range(4)] == [0, 0, 1, 1]
same(cache.numel() * cache.element_size(), 2560)

# %% [markdown]
# *Met in:* [07 The bill](07_the_block_and_the_model.ipynb#The-bill); [09 What it costs](09_generating.ipynb#What-it-costs); [10 Grouped queries: one memory for several readers](10_modern_blocks.ipynb#Grouped-queries:-one-memory-for-several-readers).
#
# ## Lists of numbers
#
# ### Vectors
#
# **In words.** A vector is a list of numbers; two are added place by place, and a number times a vector multiplies every place.
#
# **By hand.** $(1, 2) + (3, -1) = (4, 1)$, and $2 \cdot (1, 2) = (2, 4)$.
# Also place by place, with the sign ⊙: $(1, 2) \odot (3, -1) = (3, -2)$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# (x + y)_c = x_c + y_c \\[0.5em]
# (a\,x)_c = a\,x_c \\[0.5em]
# (x \odot y)_c = x_c\,y_c
# \end{gathered}
# $$
#
# The index $c$ is the number of a place.

# %%
x, y = tensor([1, 2]), tensor([3, -1])
same(torch.stack([x + y, 2 * x, x * y]), tensor([[4, 1], [2, 4], [3, -2]]))

# %% [markdown]
# *Met in:* [00 Pieces become vectors](00_the_whole_machine.ipynb#Pieces-become-vectors); [07 Read through a norm](07_the_block_and_the_model.ipynb#Read-through-a-norm).
#
# ### Sums of layers
#
# **In words.** Each layer adds its answer to what it was given, so what comes out is what went in plus the answers of all layers.
#
# **By hand.** Begin with 1.
# Layer 1 doubles what it reads: $1 + 2 = 3$.
# Layer 2 answers with minus a third of what it reads: $3 - 1 = 2$.
# In all, $1 + 2 - 1$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# x_l = x_{l-1} + f_l(x_{l-1}) \\[0.5em]
# x_L = x_0 + \sum_{l=1}^{L} f_l(x_{l-1})
# \end{gathered}
# $$

# %%
stream = [1.0]
for layer in (lambda x: 2 * x, lambda x: -x / 3):
    stream.append(stream[-1] + layer(stream[-1]))
same(stream, [1, 3, 2])

# %% [markdown]
# *Met in:* [07 Write beside it, not over it](07_the_block_and_the_model.ipynb#Write-beside-it,-not-over-it).
#
# ### Dot product
#
# **In words.** Multiply two vectors place by place, and add up: large if they are large in the same places, with the same signs.
#
# **By hand.** $(1, 2, 3) \cdot (4, 0, 1) = 4 + 0 + 3 = 7$.
# Sums are multiplied out as in school, each with each: $(1 + 2) \cdot (3 + 4) = 3 + 4 + 6 + 8 = 21$, and so it is with vectors.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# q \cdot k = \sum_c q_c\,k_c \\[0.5em]
# (a + b) \cdot (c + d) = a \cdot c + a \cdot d + b \cdot c + b \cdot d
# \end{gathered}
# $$
#
# A logit, which is a score of a next token, is such a product plus a number for each token: $z_{ij} = e_i \cdot w_j + b_j$.

# %%
a, b, c, d = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
same((a + b) @ (c + d), a @ c + a @ d + b @ c + b @ d)
same(tensor([1, 2, 3]) @ tensor([4, 0, 1]), 7)

# %% [markdown]
# *Met in:* [00 Vectors are mixed: attention](00_the_whole_machine.ipynb#Vectors-are-mixed:-attention); [03 A table with too few numbers](03_vectors.ipynb#A-table-with-too-few-numbers); [03 Who, but not where](03_vectors.ipynb#Who,-but-not-where).
#
# ### Length and distance
#
# **In words.** The squared length of a vector is its dot product with itself (Pythagoras), and the distance of two vectors is the length of their difference.
#
# **By hand.** $(3, 4)$ has the length $\sqrt{9 + 16} = 5$.
# From $(3, 4)$ to $(1, 4)$ the squared distance is $2^2 + 0^2 = 4$.
# It can be had from dot products: $25 + 17 - 2 \cdot 19 = 4$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# |q|^2 = q \cdot q \\[0.5em]
# |q - k|^2 = |q|^2 + |k|^2 - 2\,q \cdot k
# \end{gathered}
# $$
#
# The second is $(a - b)^2 = a^2 - 2ab + b^2$, with vectors.

# %%
q, k = tensor([3.0, 4]), tensor([1.0, 4])
same([q.norm(), k @ k, q @ k], [5, 17, 19])
same((q - k).square().sum(), q @ q + k @ k - 2 * q @ k)

# %% [markdown]
# *Met in:* [03 Who is near whom](03_vectors.ipynb#Who-is-near-whom).
#
# ### Angles and projections
#
# **In words.** Divide the dot product by both lengths, and what is left is the cosine of the angle; divide by the length of $k$ alone, and it is how far $q$ reaches along $k$; so many steps of length 1 in the direction of $k$ are the **projection** of $q$ on $k$.
#
# **By hand.** $(3, 4)$ and $(4, 3)$ have the dot product 24 and the length 5 each: the cosine is $24/25 = 0.96$, and the first reaches $24/5 = 4.8$ along the second.
# A step of length 1 along the second is $(0.8, 0.6)$, so the projection is $4.8 \cdot (0.8, 0.6) = (3.84, 2.88)$.
# $(3, 4) \cdot (-4, 3) = 0$: a right angle.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# q \cdot k = |q|\,|k| \cos\theta \\[0.5em]
# \text{projection of } q \text{ on } k = \frac{q \cdot k}{k \cdot k}\,k
# \end{gathered}
# $$
#
# Below stands $k \cdot k = |k|^2$: one length for how far $q$ reaches, one for the step of length 1, $k/|k|$.
# A cosine is 1 for the same direction, 0 for a right angle, −1 for opposite directions.

# %%
q, k = tensor([3.0, 4]), tensor([4.0, 3])
part = (q @ k) / (k @ k) * k  # the projection of q on k
assert abs((q - part) @ k) < 1e-12  # what is left is at a right angle to k
same([q @ k / (q.norm() * k.norm()), part.norm(), *part], [0.96, 4.8, 3.84, 2.88])

# %% [markdown]
# *Met in:* [03 Who is near whom](03_vectors.ipynb#Who-is-near-whom); [04 A dot product is not a similarity](04_attention_as_lookup.ipynb#A-dot-product-is-not-a-similarity).
#
# ### Rotations
#
# **In words.** Turning a pair of numbers by an angle changes no length, and if two vectors are turned, their new dot product depends on the two angles only through their difference.
#
# **By hand.** A quarter turn makes $(-4, 3)$ of $(3, 4)$, and the length is still 5.
# Turn one $(1, 0)$ by 90 degrees and another by 150: between the two are 60 degrees, so their dot product is $\cos 60^\circ = \tfrac12$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# R_t \begin{pmatrix} a \\ b \end{pmatrix} = \begin{pmatrix} a \cos t\omega - b \sin t\omega \\ a \sin t\omega + b \cos t\omega \end{pmatrix} \\[0.5em]
# (R_t\,q) \cdot (R_s\,k) = q \cdot (R_{s-t}\,k)
# \end{gathered}
# $$
#
# $\omega$ is the angle per step, in radians: a full turn is $2\pi = 6.283$, and 60 degrees are 1.047.
# For $(1, 0)$ twice, with $\omega = 1$, the second line is $\cos s \cos t + \sin s \sin t = \cos(s - t)$.
# A vector of $d$ channels is taken as $d/2$ such pairs, each with an ω of its own, and the dot products of the pairs are added: a sum of waves.

# %%
def turned(x, degrees):
    a, b, t = *x, radians(degrees)
    return tensor([a * cos(t) - b * sin(t), a * sin(t) + b * cos(t)])


same(turned([3, 4], 90), tensor([-4, 3]))
same(turned([1, 0], 90) @ turned([1, 0], 150), 1 / 2)

# %% [markdown]
# *Met in:* [03 Clocks](03_vectors.ipynb#Clocks); [10 RoPE: turned by position](10_modern_blocks.ipynb#RoPE:-turned-by-position); [10 A kernel over distance, with waves](10_modern_blocks.ipynb#A-kernel-over-distance,-with-waves).
#
# ### Matrix products
#
# **In words.** In row $i$ and column $j$ of $XW$ stands the dot product of row $i$ of $X$ with column $j$ of $W$: a matrix product is many dot products at once.
#
# **By hand.** In the first row, second column of
#
# $$ \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \begin{pmatrix} 1 & 0 \\ -1 & 2 \end{pmatrix} = \begin{pmatrix} -1 & 4 \\ -1 & 8 \end{pmatrix} $$
#
# stands $(1, 2) \cdot (0, 2) = 4$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# (XW)_{ij} = \sum_c X_{ic}\,W_{cj} \\[0.5em]
# (N, d) \text{ times } (d, m) \text{ gives } (N, m)
# \end{gathered}
# $$
#
# The inner sizes must agree, and they vanish.
# A matrix between two vectors gives a number, a **bilinear form**, $x A\, y^{\mathsf T} = \sum_{ij} x_i A_{ij}\, y_j$.
# It need not be symmetric: with a single 1 in row 1, column 2, $(1, 2)$ and $(3, 4)$ give $1 \cdot 4$, and in the other order $3 \cdot 2$.

# %%
X, W = tensor([[1, 2], [3, 4]]), tensor([[1, 0], [-1, 2]])
A, x, y = tensor([[0, 1], [0, 0]]), tensor([1, 2]), tensor([3, 4])
assert (x @ A @ y, y @ A @ x) == (4, 6)
same(X @ W, tensor([[-1, 4], [-1, 8]]))

# %% [markdown]
# *Met in:* [03 A table with too few numbers](03_vectors.ipynb#A-table-with-too-few-numbers); [04 From a dict to attention in four steps](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps); [06 All heads in one tensor program](06_two_views_many_heads.ipynb#All-heads-in-one-tensor-program); [06 A kernel, but not that kind of kernel](06_two_views_many_heads.ipynb#A-kernel,-but-not-that-kind-of-kernel); [Gradients, Many numbers at once](gradients.ipynb#Many-numbers-at-once); [A whole language model in the Python standard library, One line does the work](standalone.ipynb#One-line-does-the-work).
#
# ### Inverses and rank
#
# **In words.** The transpose swaps rows and columns; the inverse undoes a matrix; the rank says how many directions its results fill.
#
# **By hand.** The inverse of "first number times 2, second times ½" is "times ½, times 2".
# Let the one act on a query and the transpose of the other on a key, and no dot product changes: $(1, 2) \cdot (3, 1) = 5$, and $(2, 1) \cdot (1.5, 2) = 3 + 2 = 5$.
# The rows $(1, 2)$ and $(2, 4)$ point the same way, so a table of these two has rank 1.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# (A^{\mathsf T})_{ij} = A_{ji} \\[0.5em]
# A A^{-1} = I \\[0.5em]
# (q A) \cdot (k A^{-\mathsf T}) = q A A^{-1} k^{\mathsf T} = q \cdot k
# \end{gathered}
# $$
#
# $I$ is the matrix that changes nothing, with 1 on the diagonal and 0 elsewhere.

# %%
A, q, k = tensor([[2, 0], [0, 0.5]]), tensor([1.0, 2]), tensor([3.0, 1])
assert torch.linalg.matrix_rank(tensor([[1.0, 2], [2, 4]])) == 1
same((q @ A) @ (k @ A.inverse().mT), q @ k)

# %% [markdown]
# *Met in:* [03 A table with too few numbers](03_vectors.ipynb#A-table-with-too-few-numbers); [03 What belongs to the model](03_vectors.ipynb#What-belongs-to-the-model); [05 What the identity does not determine](05_attention_as_smoothing.ipynb#What-the-identity-does-not-determine); [06 One head is dumb](06_two_views_many_heads.ipynb#One-head-is-dumb).
#
# ### Outer products
#
# **In words.** The outer product of a key and a value is the table of all products of their entries; a sum of such tables is a memory, and from the memory a query gets each value times how well its key matches.
#
# **By hand.** The values $(5, 6)$ and $(7, 8)$, stored under the keys $(1, 0)$ and $(0, 1)$, make the table with the rows $(5, 6)$ and $(7, 8)$, and the query $(1, 0)$ reads $(5, 6)$.
# If the second key is $(0.6, 0.8)$ instead, the query $(1, 0)$ matches it by 0.6, and reads $(5, 6) + 0.6 \cdot (7, 8) = (9.2, 10.8)$: values under similar keys mix.
#
# To *overwrite* the first value by $(1, 1)$, read what is stored, $(5, 6)$, and add only the difference, $(-4, -5)$: the **delta rule**.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \mathbf M = \sum_j k_j\,v_j^{\mathsf T} \\[0.5em]
# \mathbf M^{\mathsf T} q = \sum_j (q \cdot k_j)\, v_j \\[0.5em]
# \mathbf M \leftarrow \mathbf M + \eta\, k\,(v - \mathbf M^{\mathsf T} k)^{\mathsf T}
# \end{gathered}
# $$
#
# A vector is a column here, and with a $\mathsf T$ a row; a column times a row is a table.
# $\eta$ is the share of the difference that is written, 1 by hand, where the key has the length 1.
# The gradient with respect to a matrix, $X^{\mathsf T} G$, is a sum of outer products, too: one for each row of inputs (see *The gradient of a matrix product*, below).

# %%
keys, values = tensor([[1, 0], [0.6, 0.8]]), tensor([[5.0, 6], [7, 8]])
M = sum(torch.outer(k, v) for k, v in zip(keys, values))
assert torch.equal(M, keys.mT @ values)  # all outer products, summed
same(keys[0] @ M, tensor([9.2, 10.8]))
M = torch.outer(keys[0], values[0])
M += torch.outer(keys[0], tensor([1, 1]) - keys[0] @ M)
same(keys[0] @ M, tensor([1, 1]))

# %% [markdown]
# *Met in:* [11 A lookup of fixed size](11_past_the_quadratic.ipynb#A-lookup-of-fixed-size); [11 Writing over what is there](11_past_the_quadratic.ipynb#Writing-over-what-is-there); [Gradients, Many numbers at once](gradients.ipynb#Many-numbers-at-once).
#
# ### Eigenvalues
#
# **In words.** An eigenvector is a direction whose line a matrix leaves as it is: it stretches, shrinks or reverses the vector, and the eigenvalue is the factor.
#
# **By hand.** The table with the rows $(2, 1)$ and $(1, 2)$ makes $(3, 3)$ of $(1, 1)$, and of $(1, -1)$ again $(1, -1)$: the eigenvalues are 3 and 1.
# The table with the rows $(0, 1)$ and $(1, 0)$ has 1 for $(1, 1)$ and −1 for $(1, -1)$, which it reverses.
# Back to the first table: $x = (1, 0)$ has the dot product 0.707 with both $(1, 1)/\sqrt2$ and $(1, -1)/\sqrt2$, so $x A\,x^{\mathsf T} = 3 \cdot \tfrac12 + 1 \cdot \tfrac12 = 2$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# u A = \lambda\, u \\[0.5em]
# x A\, x^{\mathsf T} = \sum_m \lambda_m\, (x \cdot u_m)^2
# \end{gathered}
# $$
#
# The second holds for a symmetric $A$, whose eigenvectors $u_m$ (of length 1) are at right angles.
# It says that a score $x A\, x^{\mathsf T}$ can be negative exactly if some λ is: if none is, $A$ is **positive semidefinite**.
# Any square matrix has a symmetric half, $\tfrac12 (A + A^{\mathsf T})$.
# A product is a difference of squares, $ab = \tfrac14 (a + b)^2 - \tfrac14 (a - b)^2$: for 3 and 1, $\tfrac14 \cdot 16 - \tfrac14 \cdot 4 = 3$.
# Chapter 06 writes a symmetric half in this way, as one positive semidefinite matrix minus another.

# %%
A, B = tensor([[2.0, 1], [1, 2]]), tensor([[0.0, 1], [1, 0]])
same(torch.linalg.eigvalsh(A), tensor([1, 3]))
same(tensor([1.0, 0]) @ A @ tensor([1.0, 0]), 3 * sqrt(1 / 2) ** 2 + 1 * sqrt(1 / 2) ** 2)
x = tensor([1.0, -1])
assert x @ B @ x == -2  # the score of (1, -1) with itself
same(torch.linalg.eigvalsh(B), tensor([-1, 1]))

# %% [markdown]
# *Met in:* [06 A kernel, but not that kind of kernel](06_two_views_many_heads.ipynb#A-kernel,-but-not-that-kind-of-kernel).
#
# ### Singular values
#
# **In words.** A matrix makes an ellipse of a circle, and the singular values are the lengths of its half axes.
#
# **By hand.** The table with the rows $(0, 1)$ and $(\tfrac12, 0)$ makes $(0, 1)$ of $(1, 0)$ and $(\tfrac12, 0)$ of $(0, 1)$.
# The two are at a right angle before and after, so they are the axes, with the lengths 1 and $\tfrac12$.
# The polynomial $p(\sigma) = 1.5\,\sigma - 0.5\,\sigma^3$ leaves 1 where it is and lifts $\tfrac12$ to $0.75 - 0.0625 = 0.6875$; applied to the matrix, it does so to the singular values and turns nothing.
# (Chapter 08 wants all of them near 1.)
#
# **In symbols.**
#
# $$
# \begin{gathered}
# X = U\,\Sigma\,U'^{\mathsf T} \\[0.5em]
# a X + b\,(X X^{\mathsf T}) X + \dots = U\,p(\Sigma)\,U'^{\mathsf T} \\[0.5em]
# p(\sigma) = a \sigma + b \sigma^3 + \dots
# \end{gathered}
# $$
#
# $U$ and $U'$ are two rotations (perhaps with a reflection; the prime is no derivative), and Σ holds the lengths on its diagonal; it is no sum here.
# The powers in $p$ are odd, since each further $X X^{\mathsf T}$ brings σ twice.

# %%
X = tensor([[0, 1], [0.5, 0]])
same(torch.linalg.svdvals(X), tensor([1, 0.5]))
same(torch.linalg.svdvals(1.5 * X - 0.5 * (X @ X.mT) @ X), tensor([1, 0.6875]))

# %% [markdown]
# *Met in:* [08 Better steps for matrices](08_training.ipynb#Better-steps-for-matrices).
#
# ## Chance
#
# ### Probabilities
#
# **In words.** A probability is a share of what could happen; $p(y \mid x)$ is the share of $y$ among the cases with $x$; the probability of both is that of $x$ times that of $y$ given $x$.
#
# **By hand.** Of ten texts four begin with `b`, and of these four two go on with `a`: $p(b) = 0.4$, $p(a \mid b) = 0.5$, and two of ten begin with `ba`, $0.4 \cdot 0.5 = 0.2$.
# If a quarter of all letters is `a`, then after a `b` it is twice as likely as anywhere, and the logarithm of that, $\ln \frac{0.5}{0.25} = 0.693$, says how much the `b` tells about it.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# p(x, y) = p(x)\,p(y \mid x) \\[0.5em]
# p(x_1, \dots, x_T) = \prod_{t=1}^{T} p(x_t \mid x_1, \dots, x_{t-1})
# \end{gathered}
# $$
#
# ∏ is to products what Σ is to sums.

# %%
texts = ["ba", "ba", "be", "bo", "an", "an", "at", "no", "no", "on"]
b = [text for text in texts if text[0] == "b"]
ba = [text for text in b if text[1] == "a"]
same([len(b) / 10 * len(ba) / len(b), log(0.5 / 0.25)], [0.2, 0.693])

# %% [markdown]
# *Met in:* [02 One number for a prediction](02_next_token.ipynb#One-number-for-a-prediction).
#
# ### Expectation
#
# **In words.** The expectation is the mean over everything that could happen, each outcome counted by its probability.
#
# **By hand.** A die: $(1 + 2 + 3 + 4 + 5 + 6)/6 = 3.5$.
# A prize of 4 with the probability ¼, and else nothing: $\tfrac14 \cdot 4 + \tfrac34 \cdot 0 = 1$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \mathbb{E}_p[f] = \sum_x p(x)\,f(x) \\[0.5em]
# \mathbb{E}[f + g] = \mathbb{E}[f] + \mathbb{E}[g]
# \end{gathered}
# $$
#
# Any weighted mean whose weights are not negative and add up to 1 can be read as an expectation, attention among them.

# %%
p, prize = tensor([1 / 4, 3 / 4]), tensor([4, 0])
same(p @ prize, 1)

# %% [markdown]
# *Met in:* [02 The floor](02_next_token.ipynb#The-floor); [10 A kernel over distance, with waves](10_modern_blocks.ipynb#A-kernel-over-distance,-with-waves); [11 How much it holds](11_past_the_quadratic.ipynb#How-much-it-holds).
#
# ### Variance and standard deviation
#
# **In words.** The variance is the mean squared distance from the mean, and the standard deviation is its root, which has the units of the numbers themselves.
#
# **By hand.** 1, 2 and 3 have the mean 2 and the squared distances 1, 0 and 1: the variance is $\tfrac23$.
# If the three are only a sample, and the variance of what they come from is wanted, divide by $n - 1$ instead: $\tfrac22 = 1$.
# Variances of *independent* numbers add up.
# A fair coin with the sides 1 and −1 has the variance 1, the sum of 64 of them has 64, and so the standard deviation 8: the root is why a dot product of $d$ terms is divided by $\sqrt d$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \operatorname{var}(x) = \mathbb{E}\bigl[(x - \bar x)^2\bigr] \\[0.5em]
# \sigma = \sqrt{\operatorname{var}(x)} \\[0.5em]
# \operatorname{var}\Bigl(\sum_c x_c\Bigr) = \sum_c \operatorname{var}(x_c)
# \end{gathered}
# $$
#
# The last line is for independent numbers.
# A mean with weights $w_j$ of independent values, each of variance $\sigma^2$, has the variance $\sigma^2 \sum_j w_j^2$: of four values weighing ¼ each, a quarter of it.

# %%
x, w = tensor([1.0, 2, 3]), torch.full((4,), 1 / 4)
coins = 2 * torch.randint(2, (100_000, 64), generator=torch.Generator().manual_seed(0)) - 1
assert abs(coins.sum(-1).double().std() - 8) < 0.1
same([x.var(correction=0), x.var(), w.square().sum()], [2 / 3, 1, 1 / 4])

# %% [markdown]
# *Met in:* [02 Different cuts, one text](02_next_token.ipynb#Different-cuts,-one-text); [04 Why divide by √d](04_attention_as_lookup.ipynb#Why-divide-by-√d); [05 Which bandwidth?](05_attention_as_smoothing.ipynb#Which-bandwidth?); [06 One head is dumb](06_two_views_many_heads.ipynb#One-head-is-dumb); [11 The exponential is a dot product](11_past_the_quadratic.ipynb#The-exponential-is-a-dot-product).
#
# ### Standard error
#
# **In words.** A mean of $n$ repetitions varies less than one of them, by a factor of $\sqrt n$; when two things are compared on the same repetitions, what counts is how much their *difference* varies.
#
# **By hand.** Four runs with the losses 5, 1, 1 and 1: the mean is 2, the squared distances 9, 1, 1 and 1 have the sum 12, divided by 3 this is 4, and the standard deviation is 2.
# The standard error of the mean is $2/\sqrt4 = 1$.
# Two methods on two seeds, 10 and 6 against 9 and 4: each of them varies a lot, but the differences 1 and 2 have the mean 1.5, the standard deviation 0.707, and the standard error 0.5.
#
# **In symbols.**
#
# $$ \text{standard error} = \frac{\sigma}{\sqrt n} $$
#
# The book writes $a \pm b$ for a mean and the standard *deviation*; a standard error is called so.
# A mean that lies only one or two standard errors from 0 may be due to chance.
# By the usual measure (less than one chance in twenty, if the true mean is 0 and the numbers are normal) it has to lie about two away, and with three repetitions, whose spread is itself uncertain, more than four.

# %%
runs, ours, theirs = tensor([5.0, 1, 1, 1]), tensor([9.0, 4]), tensor([10.0, 6])


def standard_error(x):
    return x.std() / len(x) ** 0.5


triples = torch.randn(100_000, 3, generator=torch.Generator().manual_seed(0))
away = (triples.mean(-1) / (triples.std(-1) / sqrt(3))).abs()  # in standard errors
assert (away > 2).double().mean() > 0.15 and 0.04 < (away > 4.3).double().mean() < 0.06
same([runs.std(), standard_error(runs), standard_error(theirs - ours)], [2, 1, 0.5])

# %% [markdown]
# *Met in:* [02 Different cuts, one text](02_next_token.ipynb#Different-cuts,-one-text); [08 How sure is a loss?](08_training.ipynb#How-sure-is-a-loss?).
#
# ### Covariance
#
# **In words.** The covariance is the mean product of the distances of two numbers from their means: positive if they are large together, negative if one is large where the other is small.
#
# **By hand.** Two keys, −1 and 1, with the values 0 and 1 and the weights ½: the means are 0 and ½, the products $(-1)(-\tfrac12)$ and $1 \cdot \tfrac12$, and the mean product is $\tfrac12$.
# At β = 4 the answer of that lookup therefore moves by $4 \cdot \tfrac12 = 2$ per unit of the query.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \operatorname{Cov}_w(v, k) = \sum_j w_j\,(v_j - \bar v)(k_j - \bar k)^{\mathsf T} \\[0.5em]
# \frac{\partial \bar v}{\partial q} = \beta \operatorname{Cov}_w(v, k)
# \end{gathered}
# $$
#
# Divided by both standard deviations, a covariance is the **correlation**, between −1 and 1: here $\tfrac12 / (\tfrac12 \cdot 1) = 1$.

# %%
q = tensor(0.0, requires_grad=True)
k, v = tensor([-1.0, 1]), tensor([0.0, 1])
w = (4 * q * k).softmax(-1)
(w @ v).backward()
covariance = w @ ((v - w @ v) * (k - w @ k))
same([covariance.item(), q.grad.item()], [1 / 2, 2])

# %% [markdown]
# *Met in:* [03 What the length knows](03_vectors.ipynb#What-the-length-knows); [04 How the answer moves with the query](04_attention_as_lookup.ipynb#How-the-answer-moves-with-the-query); [A whole language model in the Python standard library, The backward pass](standalone.ipynb#The-backward-pass).
#
# ### The normal distribution
#
# **In words.** Its curve is a bell: numbers near the mean are the likeliest, and with each further standard deviation the height falls by a larger factor.
#
# **By hand.** One standard deviation away from the middle the bell has $e^{-1/2} = 0.607$ of its height, two away $e^{-2} = 0.135$, three away $e^{-4.5} = 0.011$: each time a smaller share of the one before, 0.607, 0.223, 0.082.
# About two thirds of all draws lie within one standard deviation.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \text{density at } x \propto e^{-x^2/2} \\[0.5em]
# \Phi(s) = \text{the chance to be below } s
# \end{gathered}
# $$
#
# That is with mean 0 and variance 1, the *standard* normal distribution; the area under the whole bell is $\sqrt{2\pi} = 2.507$, by which it is divided.
# $\Phi(0) = \tfrac12$, $\Phi(1) = 0.841$, $\Phi(-1) = 0.159$.

# %%
x = torch.linspace(-12, 12, 2401)
bell = (-(x**2) / 2).exp()
assert abs(torch.trapezoid(bell, x) - sqrt(2 * pi)) < 1e-9
same(torch.special.ndtr(tensor([0.0, 1, -1])), tensor([0.5, 0.841, 0.159]))

# %% [markdown]
# *Met in:* [04 How much does it hold?](04_attention_as_lookup.ipynb#How-much-does-it-hold?).
#
# ### Gaussian integrals
#
# **In words.** If $\omega$ is drawn from the standard normal distribution, the mean of $e^{\omega x}$ is $e^{x^2/2}$ and not 1: $e$ to a number rises more to the right than it falls to the left, so what large draws add is more than what small ones take away.
#
# **By hand.** A fair coin with the sides 1 and −1 has the same mean and variance, and shows why: at $x = \ln 2$ the two outcomes are 2 and ½, with the mean 1.25.
# With normal draws it is $e^{0.693^2/2} = e^{0.240} = 1.272$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \mathbb{E}\bigl[e^{\omega \cdot x}\bigr] = e^{|x|^2/2} \\[0.5em]
# \text{because} \quad  \omega\,x - \frac{\omega^2}{2} = \frac{x^2}{2} - \frac{(\omega - x)^2}{2}
# \end{gathered}
# $$
#
# The mean is the area under $e^{\omega x}$ times the bell $e^{-\omega^2/2}$, divided by the area of the bell.
# In the product the exponents add, to the left side of the second line; multiply out its right side to see that they are equal.
# (At $x = 2$ and $\omega = 1$ both are $1.5$.)
# So the product is a bell with its middle at $x$, whose area is the same, times the constant $e^{x^2/2}$.
# With a variance of $1/d$ in place of 1, $x^2$ becomes $x^2/d$.
#
# Put $x = q + k$, and $|q + k|^2 = |q|^2 + 2\,q \cdot k + |k|^2$ gives
#
# $$ e^{q \cdot k} = \mathbb{E}\Bigl[e^{\omega \cdot q - |q|^2/2}\; e^{\omega \cdot k - |k|^2/2}\Bigr], $$
#
# a dot product of two lists of positive numbers, one for each draw ω: random **features** of attention's kernel.
# How much do these numbers vary?
# The mean of $e^{\omega \cdot x}$ is $e^{|x|^2/2}$, and its square $e^{|x|^2}$.
# The mean of the square is the same formula at $2x$, which gives $e^{2|x|^2}$, so the variance is $e^{2|x|^2} - e^{|x|^2}$.
# Divided by the squared mean it is $e^{|x|^2} - 1$: 1.7 for $|x| = 1$, and 54 for $|x| = 2$.
#
# Waves cancel instead: $\mathbb{E}[\cos(\omega \cdot x)] = e^{-|x|^2/2}$, which is 0.607 for $|x| = 1$, and the longer $x$, the less is left.
#
# On a sphere, with the cosine of the angle to a random direction in place of ω, the mean of $e^{\beta\cos\theta}$ begins with the same terms, $1 + \frac{\beta^2}{2d} + \dots$, since $\cos^2\theta$ is $1/d$ on average; chapter 04 names the series.
# By hand: for $d = 3$ and $\beta = 0.3$ the two terms are $1 + 0.09/6 = 1.015$.

# %%
def mean(f):
    """Of a function of normal draws omega: its area under the bell of the cell above."""
    return torch.trapezoid(f * bell, omega) / sqrt(2 * pi)


omega, q, k = x, 0.3, 0.5
same(mean((q * omega - q**2 / 2).exp() * (k * omega - k**2 / 2).exp()), exp(q * k))
same(mean(omega.cos()), 0.607)
for length, varies in ((1, exp(1) - 1), (2, exp(4) - 1)):
    same(mean((2 * length * omega).exp()) / mean((length * omega).exp()) ** 2 - 1, varies)
cosines = torch.linspace(-1, 1, 2001)  # for d = 3 every value from -1 to 1 is equally likely
same(torch.trapezoid((0.3 * cosines).exp(), cosines) / 2, 1 + 0.09 / 6)
same([(2 + 1 / 2) / 2, mean((log(2) * omega).exp())], [1.25, 1.272])

# %% [markdown]
# *Met in:* [04 How much does it hold?](04_attention_as_lookup.ipynb#How-much-does-it-hold?); [11 The exponential is a dot product](11_past_the_quadratic.ipynb#The-exponential-is-a-dot-product).
#
# ### Surprise and entropy
#
# **In words.** The surprise of an outcome is minus the logarithm of its probability; the entropy is the mean surprise, and $e$ to the entropy says how many equally likely outcomes would have the same entropy.
#
# **By hand.** With the probabilities ½, ¼ and ¼ the surprises are 1, 2 and 2 bits.
# The entropy is $\tfrac12 \cdot 1 + \tfrac14 \cdot 2 + \tfrac14 \cdot 2 = 1.5$ bits, or $1.5 \cdot 0.693 = 1.040$ nats.
# That is $2^{1.5} = 2.83$ outcomes: nearly three.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# H = -\sum_j p_j \ln p_j \\[0.5em]
# \text{effective keys} = e^{H}
# \end{gathered}
# $$
#
# Of attention weights $w_j$ it counts the keys that a query uses: $N$ if it weighs $N$ keys alike, 1 if one has all the weight.
# (Chapter 05 also counts by $1/\sum_j w_j^2$, which is here $1/(\tfrac14 + \tfrac1{16} + \tfrac1{16}) = 2.67$, and never more than $e^H$.)

# %%
p = tensor([1 / 2, 1 / 4, 1 / 4])
H = -(p * p.log()).sum()
same([H, H / log(2), H.exp(), 1 / p.square().sum()], [1.040, 1.5, 2.828, 2.667])

# %% [markdown]
# *Met in:* [00 Vectors become probabilities](00_the_whole_machine.ipynb#Vectors-become-probabilities); [05 What the identity does not determine](05_attention_as_smoothing.ipynb#What-the-identity-does-not-determine); [08 What has happened inside](08_training.ipynb#What-has-happened-inside); [12 What may be said of a head](12_reading_the_heads.ipynb#What-may-be-said-of-a-head).
#
# ### Cross-entropy and KL divergence
#
# **In words.** The cross-entropy is the mean surprise of a model $q$ at what $p$ brings; by how much it exceeds the entropy of $p$ is the KL divergence, which is 0 if $q = p$ and positive otherwise.
#
# **By hand.** The truth is ½, ¼, ¼, and the model says ¼, ¼, ½.
# Its surprises are 2, 2 and 1 bits, with the mean $\tfrac12 \cdot 2 + \tfrac14 \cdot 2 + \tfrac14 \cdot 1 = 1.75$.
# The entropy was 1.5, so the divergence is 0.25 bits.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \mathbb{E}_p[-\ln q] = H(p) + D_{\mathrm{KL}}(p \,\|\, q) \\[0.5em]
# D_{\mathrm{KL}}(p \,\|\, q) = \sum_s p(s) \ln \frac{p(s)}{q(s)} \ge 0
# \end{gathered}
# $$
#
# That it is never negative follows from $\ln u \le u - 1$: $\ln\tfrac{q}{p}$ is at most $\tfrac qp - 1$, and the mean of $\tfrac qp$ over $p$ is $\sum_s p(s) \tfrac{q(s)}{p(s)} = \sum_s q(s) = 1$ (at most 1, if $p$ is 0 somewhere).
# So the mean of $\ln\tfrac qp$ is at most $1 - 1 = 0$, and that of $\ln\tfrac pq$, which is minus it, at least 0.
# The loss of a text is the mean of $-\ln q$ over its tokens; $e^{\text{loss}}$ is the perplexity, and the loss divided by $\ln 2$ is in bits: 2.079 nats for each token of three bytes are 3 bits, so 1 bit per byte.

# %%
q = tensor([1 / 4, 1 / 4, 1 / 2])
bits = [-(p @ q.log2()), (p * (p / q).log2()).sum()]
assert bits[0] == 1.5 + bits[1]
same(torch.stack(bits), tensor([1.75, 0.25]))
same([2.079 / log(2), 2.079 / log(2) / 3, exp(2.079)], [2.999, 1, 7.996])

# %% [markdown]
# *Met in:* [02 One number for a prediction](02_next_token.ipynb#One-number-for-a-prediction); [02 The floor](02_next_token.ipynb#The-floor); [03 A table with too few numbers](03_vectors.ipynb#A-table-with-too-few-numbers); [12 What may be said of a head](12_reading_the_heads.ipynb#What-may-be-said-of-a-head); [Is very happy a longer happy?](very_happy.ipynb#Is-very-happy-a-longer-happy?).
#
# ### Discounted counts
#
# **In words.** Take a fixed amount from every count that is not 0, and distribute what was taken in the proportions that the shorter context gives.
#
# **By hand.** After some context the token `x` came 3 times and `y` once; $D = \tfrac12$.
# Of the counts $\tfrac{2.5}{4}$ and $\tfrac{0.5}{4}$ are left, and $\tfrac{2 \cdot 0.5}{4} = \tfrac14$ was taken.
# If the shorter context gives ½, ¼, ¼ to `x`, `y`, `z`, then in all `x` has $0.625 + 0.125 = 0.75$, `y` $0.125 + 0.0625 = 0.1875$, and `z`, which never came, 0.0625.
#
# **In symbols.**
#
# $$ p_k(w \mid h) = \frac{\max(c(hw) - D, 0)}{c(h)} + \frac{D\,n(h)}{c(h)}\,p_{k-1}(w \mid h') $$
#
# $c(hw)$ is how often token $w$ followed the context $h$, $c(h)$ the sum of these counts, $n(h)$ how many different tokens followed, and $h'$ the shorter context.

# %%
counts, shorter, D = tensor([3.0, 1, 0]), tensor([1 / 2, 1 / 4, 1 / 4]), 1 / 2
left = (counts - D).clamp(min=0) / counts.sum()
taken = D * (counts > 0).sum() / counts.sum()
same(left + taken * shorter, tensor([0.75, 0.1875, 0.0625]))

# %% [markdown]
# *Met in:* [02 Mix a long context with a short one](02_next_token.ipynb#Mix-a-long-context-with-a-short-one); [Smoothing counts, What the shorter context should count](smoothing_counts.ipynb#What-the-shorter-context-should-count).
#
# ## Change
#
# ### Derivatives
#
# **In words.** The derivative is how fast the output moves when the input moves: the change of the one divided by a small change of the other.
#
# **By hand.** $x^2$ at 3, with a step of 0.1: $(9.61 - 9)/0.1 = 6.1$.
# With a step of 0.01: 6.01.
# What this comes to is 6.
# With a step to both sides it is 6 at once: $(9.61 - 8.41)/0.2$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# f'(x) = \lim_{h \to 0} \frac{f(x + h) - f(x)}{h} \\[0.5em]
# (x^n)' = n\,x^{n-1} \\[0.5em]
# (e^x)' = e^x \\[0.5em]
# (\ln x)' = \frac1x
# \end{gathered}
# $$

# %%
def f(x):
    return x**2


one_sided = [(f(3 + h) - f(3)) / h for h in (0.1, 0.01)]
same([*one_sided, (f(3.1) - f(2.9)) / 0.2], [6.1, 6.01, 6])

# %% [markdown]
# *Met in:* [Gradients, A slope, by two evaluations](gradients.ipynb#A-slope,-by-two-evaluations); [Gradients, Down a curve](gradients.ipynb#Down-a-curve).
#
# ### Chain rule
#
# **In words.** If $y$ moves three times as fast as $x$, and $L$ moves six times as fast as $y$, then $L$ moves eighteen times as fast as $x$; where several ways lead from $x$ to $L$, their rates are added.
#
# **By hand.** $y = 3x$ and $L = y^2$ at $x = 1$: $y = 3$, the rates are 3 and $2y = 6$, and their product is 18.
# It is right: $L = 9x^2$ has the rate $18x$.
# Two ways: $L = ab + a$ at $a = 2$, $b = 3$ moves with $a$ by 3 through the product and by 1 directly, 4 in all.
#
# **In symbols.**
#
# $$ \frac{\partial L}{\partial x} = \sum_y \frac{\partial L}{\partial y} \cdot \frac{\partial y}{\partial x} $$
#
# The sum is over everything, $y$, that uses $x$.
# The round ∂ says that all other inputs are held.

# %%
x, a, b = (tensor(n, requires_grad=True) for n in (1.0, 2.0, 3.0))
((3 * x) ** 2).backward()
(a * b + a).backward()
same([x.grad, a.grad, b.grad], [18, 4, 2])

# %% [markdown]
# *Met in:* [04 How the answer moves with the query](04_attention_as_lookup.ipynb#How-the-answer-moves-with-the-query); [Gradients, The chain rule on five nodes](gradients.ipynb#The-chain-rule-on-five-nodes); [A whole language model in the Python standard library, The backward pass](standalone.ipynb#The-backward-pass).
#
# ### Gradients
#
# **In words.** The gradient is the list of the slopes with respect to all inputs, each with the others held; its dot product with a small step is about by how much the output changes.
#
# **By hand.** $L = a^2 b$ at $a = 2$, $b = 3$ has the slope $2ab = 12$ in $a$ and $a^2 = 4$ in $b$.
# The step $(0.1, -0.1)$ should change it by $1.2 - 0.4 = 0.8$.
# It does by $2.1^2 \cdot 2.9 - 12 = 0.789$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \nabla L = \Bigl(\frac{\partial L}{\partial a}, \frac{\partial L}{\partial b}\Bigr) \\[0.5em]
# L(\theta + \Delta) \approx L(\theta) + \nabla L \cdot \Delta
# \end{gathered}
# $$

# %%
theta, step = tensor([2.0, 3], requires_grad=True), tensor([0.1, -0.1])
L = theta[0] ** 2 * theta[1]
L.backward()
same(theta.grad, tensor([12, 4]))
same([theta.grad @ step, 2.1**2 * 2.9 - 12], [0.8, 0.789])

# %% [markdown]
# *Met in:* [Gradients, Two numbers](gradients.ipynb#Two-numbers).
#
# ### A step downhill
#
# **In words.** Move each number against its slope, by the learning rate times the slope; in a valley with one curvature each step multiplies the distance to the bottom by the same factor.
#
# **By hand.** $L = (w - 3)^2$ at $w = 0$ has the slope $2 \cdot (0 - 3) = -6$.
# With $\eta = 0.1$ the step goes to 0.6, and the distance from the bottom falls from 3 to 2.4, by the factor $1 - 0.1 \cdot 2 = 0.8$.
# With $\eta = 1$ the factor is −1, and $w$ jumps to 6 and back.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# w \leftarrow w - \eta\,L'(w) \\[0.5em]
# w_\text{new} - w^* = (1 - \eta\lambda)(w - w^*)
# \end{gathered}
# $$
#
# The arrow says "becomes", as `w = w - ...` does in Python.
# λ is the curvature here, how fast the slope grows; in weight decay, $\theta \leftarrow \theta - \eta\lambda\,\theta$, which makes a parameter a little smaller in every step, it is the strength of that pull toward 0.

# %%
def step(w, lr):
    return w - lr * 2 * (w - 3)


same([step(0, 0.1), step(0, 1), step(step(0, 1), 1)], [0.6, 6, 0])

# %% [markdown]
# *Met in:* [08 One rate for all](08_training.ipynb#One-rate-for-all); [11 Writing over what is there](11_past_the_quadratic.ipynb#Writing-over-what-is-there); [Gradients, Down a curve](gradients.ipynb#Down-a-curve).
#
# ### Running means
#
# **In words.** Keep a share $\beta_1$ of the old mean and take the rest from what came: what came $n$ steps ago then counts $\beta_1^n$ times as much as what came last.
#
# **By hand.** With $\beta_1 = \tfrac12$ and the gradients 4 and then 8: $0 \to 2 \to 5$.
# The weights so far are ¼ and ½, with the sum $1 - \tfrac14 = \tfrac34$; divided by that it is a mean, $5/\tfrac34 = 6.667$, which is $(1 \cdot 4 + 2 \cdot 8)/3$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# m \leftarrow \beta_1 m + (1 - \beta_1)\,g \\[0.5em]
# \hat m = \frac{m}{1 - \beta_1^t} \\[0.5em]
# \beta_1^n = e^{-n/h} \text{ with } h = \frac{-1}{\ln \beta_1}
# \end{gathered}
# $$
#
# $t$ is how many steps there were.
# With $\beta_1 = 0.9$ it takes $h = 9.5$ steps until a share of $1/e = 0.37$ is left.
#
# A state that fades by a factor $e^{g}$ with each token, $g \le 0$, forgets in the same way: $g = -0.105$ is a factor of 0.9, and after ten tokens $e^{-1.05} = 0.35$ is left.
#
# *Adam* keeps another one, $v$, of the squares, and moves by $-\eta\,\hat m / (\sqrt{\hat v} + \varepsilon)$; in the first step the fraction is $g/|g|$, which is 1 or −1, whatever the size of the gradient (ε is tiny, and prevents a division by 0).

# %%
m = 0.0
for g in (4, 8):
    m = m / 2 + g / 2
optimizer = torch.optim.Adam([weight := tensor([0.0, 0.0], requires_grad=True)], lr=0.1)
weight.grad = tensor([4.0, -0.001])
optimizer.step()
same(weight, tensor([-0.1, 0.1]))
same([-1 / log(0.9), exp(-0.105), exp(-0.105) ** 10], [9.491, 0.900, 0.350])
same([m, m / (1 - 0.5**2), (1 * 4 + 2 * 8) / 3], [5, 6.667, 6.667])

# %% [markdown]
# *Met in:* [05 Only the past](05_attention_as_smoothing.ipynb#Only-the-past); [08 One rate for all](08_training.ipynb#One-rate-for-all); [11 Fast to train: chunks](11_past_the_quadratic.ipynb#Fast-to-train:-chunks).
#
# ### The gradient of softmax and loss
#
# **In words.** The slope of the loss $-\ln p_y$ with respect to a logit is the probability of its token; for the token that came, that minus 1.
#
# **By hand.** Logits $\ln 2, 0, 0$ have the probabilities ½, ¼, ¼.
# If the second token came, the gradient is $(\tfrac12, -\tfrac34, \tfrac14)$.
# Its sum is 0: moving all logits alike changes nothing.
#
# **In symbols.**
#
# $$ \frac{\partial L}{\partial z_i} = p_i - [i = y] $$
#
# The bracket is 1 if what stands in it is true, and else 0 (in another notation, $\delta_{iy}$).
# The slopes of the softmax alone are $\partial w_j / \partial s_i = w_j (\delta_{ij} - w_i)$: here the first probability grows with its own logit by $\tfrac12 (1 - \tfrac12) = \tfrac14$, and with the second by $\tfrac12 (0 - \tfrac14) = -\tfrac18$.

# %%
z = tensor([log(2), 0, 0], requires_grad=True)
torch.nn.functional.cross_entropy(z, torch.tensor(1)).backward()
(alone,) = torch.autograd.grad(z.softmax(-1)[0], z)
same(alone, tensor([1 / 4, -1 / 8, -1 / 8]))
same(z.grad, tensor([1 / 2, -3 / 4, 1 / 4]))

# %% [markdown]
# *Met in:* [Gradients, The gradient of a prediction](gradients.ipynb#The-gradient-of-a-prediction); [A whole language model in the Python standard library, The backward pass](standalone.ipynb#The-backward-pass).
#
# ### The gradient of a matrix product
#
# **In words.** The gradient with respect to a weight is its input times the gradient with respect to its output, added up over all rows that used it.
#
# **By hand.** $x = (1, 2)$ times the column $(3, 4)$ is $y = 11$.
# With $L = \tfrac12 y^2$ the gradient with respect to $y$ is $G = 11$.
# The weights get $11 \cdot (1, 2) = (11, 22)$, and $x$ gets $11 \cdot (3, 4) = (33, 44)$.
#
# **In symbols.** For $Y = XW$ with the gradient $G$ with respect to $Y$,
#
# $$
# \begin{gathered}
# \frac{\partial L}{\partial W} = X^{\mathsf T} G \\[0.5em]
# \frac{\partial L}{\partial X} = G\,W^{\mathsf T} \\[0.5em]
# \frac{\partial L}{\partial W_{ij}} = \sum_n X_{ni}\,G_{nj}
# \end{gathered}
# $$
#
# Each gradient has the shape of what it belongs to, which is how one remembers where the transposes stand.
# (With the weights of an output in a row, $Y = X W^{\mathsf T}$, the first two are $G^{\mathsf T} X$ and $G\,W$.)

# %%
X, W = tensor([[1.0, 2]], requires_grad=True), tensor([[3.0], [4]], requires_grad=True)
(0.5 * (X @ W) ** 2).sum().backward()
G = (X @ W).detach()
assert torch.equal(W.grad, X.detach().mT @ G) and torch.equal(X.grad, G @ W.detach().mT)
assert torch.equal(W.grad.mT, G.mT @ X.detach())  # if W is stored transposed
same(torch.cat([W.grad.mT, X.grad]), tensor([[11, 22], [33, 44]]))

# %% [markdown]
# *Met in:* [Gradients, Many numbers at once](gradients.ipynb#Many-numbers-at-once); [A whole language model in the Python standard library, The backward pass](standalone.ipynb#The-backward-pass).
#
# ## Weighted means
#
# ### Attention
#
# **In words.** Compare the query with each key by their dot product, make weights of the scores by a softmax, and return the mean of the values with these weights.
#
# **By hand.** Let the scores of two keys be 0 and $\ln 3$: the weights are ¼ and ¾.
# With the values $(4, 0)$ and $(0, 8)$ the answer is $\tfrac14 (4, 0) + \tfrac34 (0, 8) = (1, 6)$.
# With $d = 4$ channels, where β is $1/\sqrt4 = \tfrac12$, the dot products were 0 and $2 \ln 3$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \text{answer} = \sum_j w_j v_j \\[0.5em]
# \operatorname{Attention}(\mathbf Q, \mathbf K, \mathbf V) = \operatorname{softmax}\!\left(\frac{\mathbf Q \mathbf K^{\mathsf T}}{\sqrt d}\right) \mathbf V
# \end{gathered}
# $$
#
# On the right are all queries at once: row $i$ of $\mathbf Q \mathbf K^{\mathsf T}$ holds the scores of query $i$, the softmax works on each row, and the product with $\mathbf V$ takes the means.
# With several heads this is done with several sets of matrices; the answers are set side by side (Concat), and multiplied by one more matrix, $W_O$.

# %%
from tinyllm.attention import attention

q, k = tensor([[1.0, 1, 0, 0]]), tensor([[0, 0, 1.0, 0], [log(3), log(3), 0, 0]])
v = tensor([[4.0, 0], [0, 8]])
assert torch.equal(attention(q, k, v), (q @ k.mT / sqrt(4)).softmax(-1) @ v)
same(attention(q, k, v), tensor([[1, 6]]))

# %% [markdown]
# *Met in:* [00 Vectors are mixed: attention](00_the_whole_machine.ipynb#Vectors-are-mixed:-attention); [04 From a dict to attention in four steps](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps); [06 All heads in one tensor program](06_two_views_many_heads.ipynb#All-heads-in-one-tensor-program); [Gradients, The gradient of a lookup](gradients.ipynb#The-gradient-of-a-lookup).
#
# ### Kernels
#
# **In words.** A kernel says how much a measurement at some distance counts, the bandwidth is the unit of that distance, and the estimate is the weighted mean.
#
# **By hand.** Measured at 0, 1 and 3 were 0, 6 and 3.
# Take a tent as the kernel, $K(u) = 1 - u$ up to $u = 1$ and then 0, and $h = 2$.
# At $x = 1$ the distances are 1, 0 and 2, in bandwidths ½, 0 and 1, the weights ½, 1 and 0, and the estimate is $(\tfrac12 \cdot 0 + 1 \cdot 6)/1.5 = 4$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \hat y(x) = \frac{\sum_j K(|x - x_j| / h)\, y_j}{\sum_j K(|x - x_j| / h)} \\[0.5em]
# K_\text{Gauss}(u) = e^{-u^2/2}
# \end{gathered}
# $$

# %%
places, measured, h = tensor([0.0, 1, 3]), tensor([0.0, 6, 3]), 2
K = (1 - (1 - places).abs() / h).clamp(min=0)
same(K @ measured / K.sum(), 4)

# %% [markdown]
# *Met in:* [05 A kernel and a bandwidth](05_attention_as_smoothing.ipynb#A-kernel-and-a-bandwidth); [11 A lookup of fixed size](11_past_the_quadratic.ipynb#A-lookup-of-fixed-size); [Gradients, The gradient of a lookup](gradients.ipynb#The-gradient-of-a-lookup).
#
# ### Dot products and distances
#
# **In words.** Minus half the squared distance is the dot product less half of both squared lengths; the query's length is the same for all keys and cancels in a softmax, a key's length does not.
#
# **By hand.** The query 2, the keys 1 and 3, $h = 1$.
# Both are at the distance 1, and a Gaussian weighs them alike, by $e^{-1/2}$.
# Their dot products are 2 and 6, and $2 - 2 - \tfrac12 = 6 - 2 - \tfrac92 = -\tfrac12$.
# A softmax over 2 and 6 does not subtract half the squared length of each key, $\tfrac12$ and $\tfrac92$; these differ by 4, so it prefers the longer key by a factor of $e^4$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# -\frac{|q-k|^2}{2h^2} = \frac{q \cdot k}{h^2} - \frac{|q|^2}{2h^2} - \frac{|k|^2}{2h^2} \\[0.5em]
# h^2 = \tau = \frac1\beta = \sqrt d \text{ unless said otherwise}
# \end{gathered}
# $$
#
# :::{two-views}
#
# - **As a lookup.** The score is $\beta\,q \cdot k$; a long key is preferred by queries that point its way.
# - **As a smoother.** The weight is a Gaussian of the distance, times $e^{|k|^2/2h^2}$ for each key, as if a long key had been measured more often.
#
# :::

# %%
q, k = tensor([[2.0]]), tensor([[1.0], [3.0]])
gaussian = torch.exp(-((q - k.mT) ** 2) / 2) * torch.exp(k.mT**2 / 2)  # key weights included
same(gaussian / gaussian.sum(), (q @ k.mT).softmax(-1))
same(gaussian[0, 1] / gaussian[0, 0], exp(4))

# %% [markdown]
# *Met in:* [05 We have written this before](05_attention_as_smoothing.ipynb#We-have-written-this-before); [10 QK-norm: all keys of one length](10_modern_blocks.ipynb#QK-norm:-all-keys-of-one-length); [A whole language model in the Python standard library, The forward pass](standalone.ipynb#The-forward-pass).
#
# ### Features of a kernel
#
# **In words.** Some kernels are dot products of longer vectors, the features; then the sum over all keys can be done once, before any query comes.
#
# **By hand.** $(q \cdot k)^2$ for $q = (1, 2)$ and $k = (3, 1)$ is $5^2 = 25$.
# With the features $\varphi(x) = (x_1^2, \sqrt2\,x_1 x_2, x_2^2)$ it is $(1, 2\sqrt2, 4) \cdot (9, 3\sqrt2, 1) = 9 + 12 + 4 = 25$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# K(q, k) = \varphi(q) \cdot \varphi(k) \\[0.5em]
# \sum_j K(q, k_j)\,v_j = \Bigl( \sum_j \varphi(k_j)\,v_j^{\mathsf T} \Bigr)^{\!\mathsf T} \varphi(q)
# \end{gathered}
# $$
#
# What stands in parentheses is a sum of [outer products](mathematics.ipynb#Outer-products): its size depends on the number of features, not on the number of keys.
# Divide by the same sum with 1 in place of every $v_j$, and it is a weighted mean.
# The $p$-th power of a dot product of $d$ channels has $\binom{d + p - 1}{p}$ features (say: $d + p - 1$ choose $p$), which is how many products of $p$ channels there are, whatever their order: $\binom{3}{2} = 3$ for squares of two channels.

# %%
def features(x):
    a, b = x.unbind(-1)
    return torch.stack([a**2, sqrt(2) * a * b, b**2], dim=-1)


q, keys, v = tensor([1.0, 2]), tensor([[3.0, 1], [0, 1]]), tensor([[1.0], [10]])
memory = features(keys).mT @ v  # (3, 1), however many keys there are
same(features(q) @ memory, (keys @ q) ** 2 @ v)
assert comb(2 + 2 - 1, 2) == features(q).numel() == 3
same(features(q) @ features(keys[0]), 25)

# %% [markdown]
# *Met in:* [06 A kernel, but not that kind of kernel](06_two_views_many_heads.ipynb#A-kernel,-but-not-that-kind-of-kernel); [11 The exponential is a dot product](11_past_the_quadratic.ipynb#The-exponential-is-a-dot-product).
#
# ### Leaving one out
#
# **In words.** What a weighted mean would be without point $i$ follows from the mean with it and from the weight that the point gave itself.
#
# **By hand.** Point $i$ has the value 8 and the weight ½; two others have 2 and 6, and the weights ¼.
# The mean is $4 + 0.5 + 1.5 = 6$.
# Without the point, $(6 - 4)/(1 - \tfrac12) = 4$, which is the mean of 2 and 6.
# The error is $8 - 4 = 4$, and so is $(8 - 6)/(1 - \tfrac12)$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \hat y_{-i} = \frac{\hat y_i - S_{ii}\,y_i}{1 - S_{ii}} \\[0.5em]
# y_i - \hat y_{-i} = \frac{y_i - \hat y_i}{1 - S_{ii}}
# \end{gathered}
# $$
#
# $\hat y_{-i}$ is the estimate at point $i$ without its own value; the hat marks an estimate.
# $S_{ii}$ is the weight that point $i$ gives itself, and the sum of these over all points, the diagonal of $S$, is the **trace**.

# %%
y, w = tensor([8.0, 2, 6]), tensor([1 / 2, 1 / 4, 1 / 4])
without = (w @ y - w[0] * y[0]) / (1 - w[0])
same([without, (y[0] - w @ y) / (1 - w[0])], [y[1:].mean(), y[0] - y[1:].mean()])
same(without, 4)

# %% [markdown]
# *Met in:* [05 Which bandwidth?](05_attention_as_smoothing.ipynb#Which-bandwidth?).
#
# ### Bias and variance
#
# **In words.** The mean squared error of an estimate is the square of how far it is off on average, plus how much it varies; a wider kernel has, as a rule, more of the first and less of the second.
#
# **By hand.** The truth is 2, and an estimate is 3 or 5 with equal chances.
# Its mean is 4, so the bias is 2, and its variance is 1.
# The mean squared error is $(1 + 9)/2 = 5 = 2^2 + 1$.
#
# Let an error be $h^4 + c/h$.
# ($c$ stands for $\sigma^2/(n\sqrt\pi)$: the second formula in one dimension.)
# Its slope $4h^3 - c/h^2$ is 0 at $h^5 = c/4$: for $c = 4$ at $h = 1$, and with 32 times the points, $c = 4/32$, at $h = \tfrac12$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \mathbb{E}\bigl[(\hat y - y)^2\bigr] = \bigl(\mathbb{E}[\hat y] - y\bigr)^2 + \operatorname{var}(\hat y) \\[0.5em]
# \text{error} \approx h^4 + \frac{\sigma^2}{n\,(\sqrt\pi\,h)^d}
# \end{gathered}
# $$
#
# The second is chapter 05's, for a Gaussian and $n$ points spread evenly from −1 to 1 in $d$ dimensions: the noise is averaged over about $n\,(\sqrt\pi\,h)^d$ of them.

# %%
estimates, h = tensor([3.0, 5]), torch.linspace(0.2, 2, 1801)
for c, best in ((4, 1), (4 / 32, 1 / 2)):
    same(h[(h**4 + c / h).argmin()], best)
same((estimates - 2).square().mean(), (4 - 2) ** 2 + estimates.var(correction=0))

# %% [markdown]
# *Met in:* [05 More points, more dimensions](05_attention_as_smoothing.ipynb#More-points,-more-dimensions).
#
# ### Least squares
#
# **In words.** Of all lines (or mixtures of columns) take the one whose squared errors have the smallest sum; what is left of the data is then at a right angle to every column.
#
# **By hand.** A line through 0 for the points $(1, 1)$ and $(2, 3)$: the slope is $\sum x y / \sum x^2 = (1 + 6)/5 = 1.4$.
# It misses by $-0.4$ and $0.2$, and $1 \cdot (-0.4) + 2 \cdot 0.2 = 0$: the right angle.
# **Ridge** adds a number to the denominator, which pulls the slope toward 0: with 2, $7/7 = 1$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# w = (X^{\mathsf T} X + \lambda I)^{-1} X^{\mathsf T} y \\[0.5em]
# R^2 = 1 - \frac{\operatorname{var}(y - \hat y)}{\operatorname{var}(y)}
# \end{gathered}
# $$
#
# λ is the ridge, 0 for plain least squares.
# $R^2$ is the share of the variance that is explained: by hand the errors have the variance 0.09 and the data 1, so it is 0.91.
# With the weights of a kernel in both sums the line is the best one *nearby*, which is the local linear smoother.

# %%
X, y = tensor([[1.0], [2]]), tensor([1.0, 3])
for ridge, by_hand in ((0, 1.4), (2, 1)):
    w = torch.linalg.solve(X.mT @ X + ridge * torch.eye(1), X.mT @ y)
    same(w, tensor([by_hand]))
w = torch.linalg.lstsq(X, y[:, None]).solution[:, 0]
assert abs(X.mT @ (y - X @ w)) < 1e-12
same(1 - (y - X @ w).var(correction=0) / y.var(correction=0), 0.91)
same(y - X @ w, tensor([-0.4, 0.2]))

# %% [markdown]
# *Met in:* [05 At the edge](05_attention_as_smoothing.ipynb#At-the-edge); [11 A smoother that is fitted as it reads](11_past_the_quadratic.ipynb#A-smoother-that-is-fitted-as-it-reads); [Is very happy a longer happy?](very_happy.ipynb#Is-very-happy-a-longer-happy?).
#
# ## Inside a layer
#
# ### Norms of a layer
#
# **In words.** LayerNorm takes the mean of the channels away and divides by their standard deviation; RMSNorm only divides, by the root of the mean square.
#
# **By hand.** $(1, 3)$ has the mean 2 and the standard deviation 1: LayerNorm makes $(-1, 1)$ of it.
# $(1, 7)$ has the mean square $(1 + 49)/2 = 25$: RMSNorm divides by 5, and leaves $(0.2, 1.4)$.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \operatorname{LayerNorm}(x) = g \odot \frac{x - \bar x}{\sqrt{\operatorname{var}(x) + \varepsilon}} \\[0.5em]
# \operatorname{RMSNorm}(x) = g \odot \frac{x}{\sqrt{\tfrac1C \sum_c x_c^2 + \varepsilon}}
# \end{gathered}
# $$
#
# $g$ is a learned factor for each channel, at first 1; ε is tiny and prevents a division by 0.

# %%
from torch.nn import functional as F

same(F.layer_norm(tensor([1.0, 3]), (2,)), tensor([-1, 1]))
same(F.rms_norm(tensor([1.0, 7]), (2,)), tensor([0.2, 1.4]))

# %% [markdown]
# *Met in:* [07 Read through a norm](07_the_block_and_the_model.ipynb#Read-through-a-norm); [10 RMSNorm: what is left of LayerNorm](10_modern_blocks.ipynb#RMSNorm:-what-is-left-of-LayerNorm); [A whole language model in the Python standard library, One line does the work](standalone.ipynb#One-line-does-the-work).
#
# ### Curves and gates
#
# **In words.** GELU and SiLU multiply a number with a share between 0 and 1 that grows with the number itself: large ones pass, very negative ones become nearly 0.
#
# **By hand.** GELU multiplies by the chance that a draw from the standard normal distribution is smaller: of 1 it leaves $1 \cdot 0.841$, of −1 $-1 \cdot 0.159$, of 0 nothing.
# SiLU multiplies by $1/(1 + e^{-z})$: at $z = \ln 3 = 1.099$ that is $1/(1 + \tfrac13) = \tfrac34$, so 0.824 is left.
# In SwiGLU such a number multiplies another one: with 2, it is 1.648.
#
# **In symbols.**
#
# $$
# \begin{gathered}
# \operatorname{GELU}(s) = s\,\Phi(s) \\[0.5em]
# \operatorname{SiLU}(z) = \frac{z}{1 + e^{-z}} \\[0.5em]
# \operatorname{MLP}(x) = \sum_i \operatorname{GELU}(x \cdot k_i)\,v_i
# \end{gathered}
# $$
#
# The last is the matrix form $W_\text{down} \operatorname{GELU}(W_\text{up}\,x)$, written as a sum over its entries: the rows $k_i$ of the one matrix and the columns $v_i$ of the other.

# %%
same(F.gelu(tensor([1.0, -1, 0])), tensor([0.841, -0.159, 0]))
same(F.silu(tensor(log(3))) * tensor([1, 2]), tensor([0.824, 1.648]))

# %% [markdown]
# *Met in:* [07 The other layer: a memory](07_the_block_and_the_model.ipynb#The-other-layer:-a-memory); [10 SwiGLU: a gate](10_modern_blocks.ipynb#SwiGLU:-a-gate); [A whole language model in the Python standard library, One line does the work](standalone.ipynb#One-line-does-the-work).
#
# (symbols)=
# ## Symbols
#
# Mostly one symbol has one meaning; where the field insists on two, both are listed, with the pages on which each holds.
# Sizes come first, then attention, kernels, functions, probabilities, positions, and training.
#
# | symbol | meaning, and name in code | first in |
# |---|---|---|
# | $B$ | batch: texts that are computed together; `B` | [02](02_next_token.ipynb#Every-place-of-a-text-is-a-question-with-its-answer) |
# | $T$, $t$ | time: the number of tokens of a text, and the place of one token. Nothing else is called $T$; `T` | [02](02_next_token.ipynb#Every-place-of-a-text-is-a-question-with-its-answer) |
# | $C$, $c$ | channels of the residual stream; one of them; `C`, `d_model` | [00](00_the_whole_machine.ipynb#Pieces-become-vectors) |
# | $V$ | size of the vocabulary; `V`, `vocab_size` | [02](02_next_token.ipynb#One-number-for-a-prediction) |
# | $n_\text{layer}$, $n_\text{head}$, $n_\text{kv}$ | blocks; heads in each; heads with keys of their own; `n_layer`, `n_head`, `n_kv` | [06](06_two_views_many_heads.ipynb#All-heads-in-one-tensor-program) |
# | $d$ | channels of a query or key of one head; in chapter 05 also the dimension of the places; `d_head` | [04](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps) |
# | $N$, $n$ | keys that are stored, points that were measured, repetitions; in chapter 07 $N$ is also the number of parameters; `n`, `N` | [04](04_attention_as_lookup.ipynb#How-much-does-it-hold?) |
# | $q_i$, $k_j$, $v_j$ | a query, a key, a value, each a row of $\mathbf Q$, $\mathbf K$, $\mathbf V$; `q`, `k`, `v` | [04](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps) |
# | $i$, $j$, $l$, $m$ | indices: query and key, row and column, layer, pair of channels | [03](03_vectors.ipynb#A-table-with-too-few-numbers) |
# | $W_Q$, $W_K$, $W_V$, $W_O$ | the matrices of a head that make queries, keys and values of $x$, and what is added of its answer; `qkv`, `out` | [04](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps) |
# | $W$, $E$ | any matrix of weights; the embeddings ($\mathbb{E}$ is an expectation); `W`, `E` | [03](03_vectors.ipynb#A-table-with-too-few-numbers) |
# | $s_{ij}$ | score of query $i$ and key $j$; in chapter 05 $s$ is also a rescaling of queries against keys, in chapter 02 a story; `scores` | [04](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps) |
# | $w_{ij}$ | attention weight, softmax of the scores; in chapter 02 $w$ is a token, in chapter 03 $w_j$ the vector of a next word, in *Gradients* a parameter; `weights` | [04](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps) |
# | $\beta$ | inverse temperature, which multiplies scores: $\beta = 1/\tau = 1/h^2$, and $1/\sqrt d$ unless said otherwise. $\beta_1, \beta_2$ are Adam's, in chapter 08; `scale` | [04](04_attention_as_lookup.ipynb#From-a-dict-to-attention-in-four-steps) |
# | $\tau$ | temperature, which divides scores or logits; `temperature` | [04](04_attention_as_lookup.ipynb#Down-to-zero:-the-dict-comes-back) |
# | $h$ | bandwidth of a kernel; in chapter 02 and *Smoothing counts* the history, the last tokens; in *Gradients* a small step; `bandwidth` | [05](05_attention_as_smoothing.ipynb#A-kernel-and-a-bandwidth) |
# | $K$ | a kernel, as a function ($\mathbf K$ are the keys); `kernel` | [05](05_attention_as_smoothing.ipynb#A-kernel-and-a-bandwidth) |
# | $S$ | smoothing matrix, whose rows are the weights; `weights` | [05](05_attention_as_smoothing.ipynb#What-the-identity-does-not-determine) |
# | $M$ | in chapter 05 the length of the longest key, in chapter 06 how many numbers a value has | [05](05_attention_as_smoothing.ipynb#What-the-identity-does-not-determine) |
# | $\mathbf M$ | the state of a memory of fixed size: a sum of outer products; `state` | [Outer products](mathematics.ipynb#Outer-products) |
# | $x$, $y$ | the residual stream of a token, or input and output of a function; a place and what was measured there; a token and the one that came; `x`, `y` | [02](02_next_token.ipynb#One-number-for-a-prediction) |
# | $f$ | a function: a layer, or a curve that is estimated | [05](05_attention_as_smoothing.ipynb#At-the-edge) |
# | $X$, $Y$, $G$ | inputs as rows; outputs; the gradient with respect to them, and in chapter 08 any gradient of a matrix; `X` | [Gradients](gradients.ipynb#Many-numbers-at-once) |
# | $A$, $B$ | any matrix that is free to choose; `A` | [03](03_vectors.ipynb#What-belongs-to-the-model) |
# | $a$, $b$ | any two numbers; $b$ also a bias, which is added; `bias` | [Gradients](gradients.ipynb#The-chain-rule-on-five-nodes) |
# | $z$ | logits, or what goes into a gate; `logits` | [02](02_next_token.ipynb#One-number-for-a-prediction) |
# | $p$, $q$ | probabilities: of the true distribution and of a model, where they stand together; `p` | [02](02_next_token.ipynb#One-number-for-a-prediction) |
# | $c(hw)$, $n(h)$, $D$ | a count; how many different tokens followed; the discount taken from each count; `counts`, `discount` | [02](02_next_token.ipynb#Mix-a-long-context-with-a-short-one) |
# | $H$ | entropy, in nats; `entropy` | [05](05_attention_as_smoothing.ipynb#What-the-identity-does-not-determine) |
# | $L$ | loss, in nats; in sums over blocks their number; `loss` | [02](02_next_token.ipynb#One-number-for-a-prediction) |
# | $\mathrm{PE}(t)$, $\omega$ | position vector of place $t$; by what angle a pair of channels turns per token. ω is also a random vector of normal numbers, where kernels are estimated; `position` | [03](03_vectors.ipynb#Who,-but-not-where) |
# | $\varphi(x)$ | the features of $x$: a longer vector, whose dot products are a kernel; `features` | [Features of a kernel](mathematics.ipynb#Features-of-a-kernel) |
# | $R_t$ | the rotation of a query or key at place $t$ | [10](10_modern_blocks.ipynb#RoPE:-turned-by-position) |
# | $\kappa(\Delta)$, $\phi$ | mean score at the distance Δ; the angle with which a wave begins | [10](10_modern_blocks.ipynb#A-kernel-over-distance,-with-waves) |
# | $u$ | a direction, the argument of a kernel, any positive number | [02](02_next_token.ipynb#The-floor) |
# | $\theta$ | an angle; in chapter 08 any weight of a model, in chapter 10 the base of the rotary frequencies | [03](03_vectors.ipynb#Who-is-near-whom) |
# | $\eta$, $\lambda$ | learning rate, weight decay; λ is also a curvature (*Gradients*) and an eigenvalue (chapter 06); `lr`, `weight_decay` | [Gradients](gradients.ipynb#Down-a-curve) |
# | $g$, $m$, $v$ | in chapter 08 a gradient and Adam's two running means; $g$ is also the gain of a norm, and of a random layer in *Gradients*; $g_t$ a gate, which says how fast a memory fades; `gain` | [07](07_the_block_and_the_model.ipynb#Read-through-a-norm) |
# | $\Delta$ | a small change; a distance in tokens | [Gradients](gradients.ipynb#Two-numbers) |
# | $\delta_{ij}$ | 1 if $i = j$, and else 0 | [04](04_attention_as_lookup.ipynb#How-the-answer-moves-with-the-query) |
# | $\varepsilon$ | something small, or what is left to the others; `eps` | [04](04_attention_as_lookup.ipynb#How-much-does-it-hold?) |
# | $\sigma$, $\Sigma$ | a standard deviation; in chapter 08 singular values, and the matrix that holds them | [05](05_attention_as_smoothing.ipynb#Which-bandwidth?) |
# | $U$ | in chapter 08, singular vectors | [08](08_training.ipynb#Better-steps-for-matrices) |
# | $\Phi(s)$ | the chance that a draw from the normal distribution is below $s$ | [07](07_the_block_and_the_model.ipynb#The-other-layer:-a-memory) |
# | $F$ | only in ${}_0F_1$, the name of a series | [04](04_attention_as_lookup.ipynb#How-much-does-it-hold?) |
#
# ### Signs and how to say them
#
# | sign | say | for example |
# |---|---|---|
# | $\sum_j x_j$ | the sum over $j$ of $x_j$ | [Sums](mathematics.ipynb#Sums) |
# | $\bar x$ | $x$ bar: a mean | [Sums](mathematics.ipynb#Sums) |
# | $\hat y$ | $y$ hat: an estimate, or something corrected | [Leaving one out](mathematics.ipynb#Leaving-one-out) |
# | $e^x$, $\ln x$, $\log x$ | $e$ to the $x$; the natural logarithm, which is also meant by log | [Exponential and logarithm](mathematics.ipynb#Exponential-and-logarithm) |
# | $\frac{a}{b}$, $\tfrac12$, $a/b$ | $a$ over $b$, one half | |
# | $\sqrt x$, $x^{-1/5}$ | root of $x$; $x$ to the minus one fifth | [Powers and roots](mathematics.ipynb#Powers-and-roots) |
# | $\propto$, $\approx$, $\neq$ | is proportional to, is about, is not | [Orders of size](mathematics.ipynb#Orders-of-size) |
# | $\le$, $\ge$ | is at most, is at least | |
# | $\pm$ | plus or minus: before a number either sign; $a \pm b$ is a mean and the standard deviation over seeds or samples | [Standard error](mathematics.ipynb#Standard-error) |
# | $\infty$, $\pi$ | infinity; pi, 3.142 | |
# | $a \cdot b$ | $a$ times $b$; of vectors their dot product | [Dot product](mathematics.ipynb#Dot-product) |
# | $\lvert x \rvert$, $\lVert x \rVert$ | the length of $x$; of a number its size without the sign | [Length and distance](mathematics.ipynb#Length-and-distance) |
# | $a \odot b$ | $a$ times $b$, place by place | [Vectors](mathematics.ipynb#Vectors) |
# | $3 \times 2$ | three by two: three rows, two columns | [Matrix products](mathematics.ipynb#Matrix-products) |
# | $A^{\mathsf T}$, $A^{-1}$ | $A$ transposed, $A$ inverse | [Inverses and rank](mathematics.ipynb#Inverses-and-rank) |
# | $\cos$, $\sin$ | cosine and sine of an angle | [Rotations](mathematics.ipynb#Rotations) |
# | $p(y \mid x)$ | the probability of $y$ given $x$ | [Probabilities](mathematics.ipynb#Probabilities) |
# | $\mathbb{E}_p[f]$ | the expectation of $f$ under $p$ | [Expectation](mathematics.ipynb#Expectation) |
# | $D_{\mathrm{KL}}(p \,\Vert\, q)$ | the KL divergence of $p$ from $q$ | [Cross-entropy and KL divergence](mathematics.ipynb#Cross-entropy-and-KL-divergence) |
# | $f'(x)$, $\partial L / \partial w$ | $f$ prime of $x$; del $L$ by del $w$: how fast the one moves with the other | [Derivatives](mathematics.ipynb#Derivatives) |
# | $\nabla L$ | the gradient of $L$ | [Gradients](mathematics.ipynb#Gradients) |
# | $w \leftarrow w - 1$ | $w$ becomes $w - 1$ | [A step downhill](mathematics.ipynb#A-step-downhill) |
# | $h \to 0$ | $h$ goes to 0 | [Derivatives](mathematics.ipynb#Derivatives) |
# | $w^*$ | $w$ star: the best one | [A step downhill](mathematics.ipynb#A-step-downhill) |
# | $h'$ | $h$ prime: another one like $h$ | |
# | $[i = y]$ | 1 if $i = y$, and else 0 | [The gradient of softmax and loss](mathematics.ipynb#The-gradient-of-softmax-and-loss) |
# | $\lfloor x \rfloor$ | $x$ rounded down | [Sizes multiplied](mathematics.ipynb#Sizes-multiplied) |
# | $\max(a, b)$, $\min$, $\arg\min$ | the larger of the two, the smallest, where it is smallest | [Discounted counts](mathematics.ipynb#Discounted-counts) |
# | $\binom{3}{2}$ | 3 choose 2: in how many ways | [Features of a kernel](mathematics.ipynb#Features-of-a-kernel) |
# | $i = 0, \dots, 3$ | $i$ runs from 0 to 3 | [Sums](mathematics.ipynb#Sums) |
#
# ## Check yourself
#
# Ten questions.
# Paper is enough; an answer folds out, and the cell at the end computes all of them.
#
# **1.** $\sum_{j=0}^{2} (2j + 1)$ is how much?
#
# <details>
# <summary>Answer</summary>
#
# $1 + 3 + 5 = 9$. Three terms, since the index begins at 0.
# [Sums](mathematics.ipynb#Sums)
#
# </details>
#
# **2.** A softmax gives the shares $\tfrac15$ and $\tfrac45$. What is the difference of the two scores? And which shares come out if β is doubled?
#
# <details>
# <summary>Answer</summary>
#
# The ratio of the shares is 4, so the difference is $\ln 4 = 1.386$.
# Doubled, it is $\ln 16$, with the ratio 16: $\tfrac1{17}$ and $\tfrac{16}{17}$.
# [Softmax](mathematics.ipynb#Softmax)
#
# </details>
#
# **3.** $|q| = 3$, $|k| = 2$, and the two are at a right angle. How far is $q$ from $k$?
#
# <details>
# <summary>Answer</summary>
#
# $|q - k|^2 = 9 + 4 - 2 \cdot 0 = 13$, so $\sqrt{13} = 3.606$.
# [Length and distance](mathematics.ipynb#Length-and-distance)
#
# </details>
#
# **4.** $X$ has the shape $(5, 3)$ and $XW$ has the shape $(5, 2)$. What is the shape of $W$, how many dot products does the product consist of, and what is the shape of $\partial L / \partial W$?
#
# <details>
# <summary>Answer</summary>
#
# $(3, 2)$. Ten dot products, each of 3 terms. The gradient has the shape of what it belongs to, $(3, 2)$, and is $X^{\mathsf T} G$.
# [Matrix products](mathematics.ipynb#Matrix-products), [their gradient](mathematics.ipynb#The-gradient-of-a-matrix-product)
#
# </details>
#
# **5.** A model gives the right token the probabilities ½, ⅛ and ½ at three places. What is the loss in bits per token, and what is the perplexity?
#
# <details>
# <summary>Answer</summary>
#
# The surprises are 1, 3 and 1 bits, with the mean $\tfrac53 = 1.667$.
# The perplexity is $2^{5/3} = 3.175$: the cube root of $2 \cdot 8 \cdot 2 = 32$.
# [Cross-entropy](mathematics.ipynb#Cross-entropy-and-KL-divergence)
#
# </details>
#
# **6.** Four attention weights are ½, ½, 0 and 0. How many effective keys are these? (By both counts.)
#
# <details>
# <summary>Answer</summary>
#
# $H = \ln 2$, so $e^H = 2$; and $1/(\tfrac14 + \tfrac14) = 2$. (For 0 the product $0 \cdot \ln 0$ counts as 0.) The two counts agree where the weights that are not 0 are all alike.
# [Surprise and entropy](mathematics.ipynb#Surprise-and-entropy)
#
# </details>
#
# **7.** A dot product of 16 independent terms, each with mean 0 and variance 1: what is its standard deviation? And after division by $\sqrt{16}$?
#
# <details>
# <summary>Answer</summary>
#
# The variances add up to 16, so 4; and divided by 4, 1.
# [Variance and standard deviation](mathematics.ipynb#Variance-and-standard-deviation)
#
# </details>
#
# **8.** $L = (2w - 6)^2$. What is the slope at $w = 2$? Where does a step with $\eta = \tfrac1{10}$ lead, and what is the largest η with which steps do not diverge?
#
# <details>
# <summary>Answer</summary>
#
# Outer times inner: $2 (2w - 6) \cdot 2 = -8$.
# The step leads to $2 + 0.8 = 2.8$.
# The slope grows by 8 per unit, so a step multiplies the distance to $w = 3$ by $1 - 8\eta$: at $\eta = \tfrac14$ that is −1, and above, the steps diverge.
# [Chain rule](mathematics.ipynb#Chain-rule), [A step downhill](mathematics.ipynb#A-step-downhill)
#
# </details>
#
# **9.** Two methods, three seeds each, with the losses 5, 7, 9 and 4, 6, 9. Is the second better?
#
# <details>
# <summary>Answer</summary>
#
# By the pairs, the differences are 1, 1 and 0: mean $\tfrac23$, standard deviation $\sqrt{(\tfrac19 + \tfrac19 + \tfrac49)/2} = 0.577$, standard error $0.577/\sqrt3 = 0.333$.
# The mean is two standard errors from 0; with three seeds it would have to be more than four.
# Without the pairs nothing could be said at all: the standard error of each method's own mean is more than 1.
# [Standard error](mathematics.ipynb#Standard-error)
#
# </details>
#
# **10.** A key has the length 1 and the value 6 is to be stored under it. The memory answers 2 for it so far. What does a plain sum of outer products answer afterward, and what the delta rule?
#
# <details>
# <summary>Answer</summary>
#
# The plain sum adds 6 to what it answered: 8. The delta rule adds the difference, 4: 6.
# [Outer products](mathematics.ipynb#Outer-products)
#
# </details>

# %% tags=["hide-input"]
same(sum(2 * j + 1 for j in range(3)), 9)
same(tensor([0, 2 * log(4)]).softmax(-1), tensor([1, 16]) / 17)
same((tensor([3.0, 0]) - tensor([0.0, 2])).norm(), 3.606)
assert (torch.ones(5, 3) @ torch.ones(3, 2)).shape == (5, 2)
bits = -tensor([1 / 2, 1 / 8, 1 / 2]).log2().mean()
same([bits, 2**bits], [1.667, 3.175])
w = tensor([1 / 2, 1 / 2, 0, 0])
same([torch.special.entr(w).sum().exp(), 1 / w.square().sum()], [2, 2])
same([sqrt(16), sqrt(16) / sqrt(16)], [4, 1])
w = tensor(2.0, requires_grad=True)
((2 * w - 6) ** 2).backward()
same([w.grad, w.detach() - w.grad / 10], [-8, 2.8])
first, second = tensor([5.0, 7, 9]), tensor([4.0, 6, 9])
same([(first - second).std(), standard_error(first - second)], [0.577, 0.333])
assert min(standard_error(first), standard_error(second)) > 1
k, M = tensor([0.6, 0.8]), 2 * tensor([[0.6], [0.8]])  # k M = 2
summed, corrected = M + 6 * k[:, None], M + (6 - k @ M) * k[:, None]
same(torch.cat([k @ summed, k @ corrected]), tensor([8, 6]))
print("ten answers, computed")

# %% [markdown]
# **Further reading.** {cite}`boyd2018` goes slowly from vectors to least squares; {cite}`deisenroth2020` covers linear algebra, derivatives and probability as machine learning uses them, with exercises.
