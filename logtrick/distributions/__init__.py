"""Distributions: one draw, a scalar log-prob, declared capabilities.

What every family declares, and so which estimators are legal with it: the score function wherever the support does not move
with the parameters, `Pathwise()` where "pathwise" says yes, `Enumerate()` where "enumerable" does, `MeasureValued()` in the
parameters under "weak derivatives". "Numeric noise": the noise is rows of a counter-based draw, not one key per sample. `Joint`,
`Mixture` and `Transformed` declare what their parts allow; these rows are of `Joint` of a normal and a Bernoulli, of a mixture
of normals, and of exp of a normal. `python -m tests.distributions.test_table` makes the table from the declarations.

| family | support | pathwise | numeric noise | enumerable | factors | inverse CDF | weak derivatives | closed forms |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| Normal | Real | yes | yes | – | yes | yes | loc, scale | mean, variance, entropy, kl_divergence, cdf |
| MultivariateNormal | Real | yes | yes | – | – | – | – | mean, variance, entropy, kl_divergence |
| LogNormal | Positive | yes | yes | – | yes | yes | – | mean, variance, entropy, kl_divergence, cdf |
| Laplace | Real | yes | yes | – | yes | yes | – | mean, variance, entropy, kl_divergence, cdf |
| Cauchy | Real | yes | yes | – | yes | yes | – | entropy, kl_divergence, cdf |
| Gumbel | Real | yes | yes | – | yes | yes | – | mean, variance, entropy, kl_divergence, cdf |
| StudentT | Real | yes | – | – | yes | – | – | mean, variance, entropy, cdf |
| Uniform | Interval (moves) | yes | yes | – | yes | yes | – | mean, variance, entropy, kl_divergence, cdf |
| Exponential | Positive | yes | yes | – | yes | yes | rate | mean, variance, entropy, kl_divergence, cdf |
| Gamma | Positive | yes | – | – | yes | – | rate | mean, variance, entropy, kl_divergence, cdf |
| Beta | UnitInterval | yes | – | – | yes | – | – | mean, variance, entropy, kl_divergence, cdf |
| Dirichlet | Simplex | yes | – | – | yes | – | – | mean, variance, entropy, kl_divergence |
| Bernoulli | Boolean | – | yes | yes | yes | yes | parameter | mean, variance, entropy, kl_divergence, cdf |
| Categorical | IntegerBelow | – | yes | yes | yes | yes | parameter | entropy, kl_divergence, cdf |
| OneHotCategorical | OneHot | – | yes | yes | yes | – | parameter | mean, variance, entropy, kl_divergence |
| Binomial | IntegerBelow | – | – | yes | yes | – | – | mean, variance, kl_divergence |
| Geometric | NonNegativeInteger | – | yes | – | yes | yes | – | mean, variance, entropy, kl_divergence, cdf |
| NegativeBinomial | NonNegativeInteger | – | – | – | yes | – | – | mean, variance |
| Poisson | NonNegativeInteger | – | – | – | yes | – | rate | mean, variance, kl_divergence, cdf |
| PlackettLuce | Permutation | – | yes | yes | – | – | – | – |
| Mixture | Real | yes | yes | – | – | – | – | mean, variance, cdf |
| Transformed | Positive | yes | yes | – | – | – | – | – |
| Joint | Product | – | yes | – | – | – | – | mean, variance, entropy, kl_divergence |
"""

from logtrick import _lazy

__getattr__, __dir__, __all__ = _lazy.names_of_stub(__name__)
