"""Bad inputs and faults, each refused or without effect here. Tests in all folders name them by their numbers in this list.

Silent wrong gradients: 1 a log-prob per coordinate, its sum forgotten; 2 a log-prob of shape (S, 1) beside costs of shape (S,);
3 the same where both sizes agree; 4 a draw that carries a derivative into its own score; 5 path and score counted both; 6 the
cost's own dependence on the parameters lost; 7 a baseline that includes the own sample; 8 a baseline that carries a derivative;
9 leave-one-out of one sample; 10 one key for all steps; 11 `split` and `fold_in` of one key; 12 one key for all shards; 13
`psum` in a `shard_map` that inserts its own; 14 the sign of a maximization; 15 importance weights without their score; 16 a
discrete draw differentiated pathwise.

Values: 17 a draw of probability 0; 18 a cost that is nan, 19 or infinite; 20 squares that overflow; 21 a small variance of
large numbers; 22 weights that overflow; 23 log Σ exp of nothing but −∞; 24 logits that are nan, or all −∞; 25 derivatives of
masked logarithms; 26 the logarithm of a saturated sigmoid; 27 a scale that underflows, 28 or is negative; 29 probabilities that
are none; 30 a class out of range; 31 gamma and beta draws at the edge of their support; 32 16-bit floats; 33 float64 data in
float32 mode; 34 float32 parameters in float64 mode; 35 parameters that are ints, 36 bools, strings or None, 37 complex; 38
complex costs; 39 no parameters.

Shapes, types, calls: 40 no samples, 41 a negative number of them, 42 one that is no int, 43 more than memory holds; 44 chunks
and 45 shards that do not divide; 46 costs that are no scalar; 47 Python and NumPy on traced values; 48 a host function that
raises, 49 returns another shape, 50 is vmapped, 51 is impure; 52 keys that are none; 53 seeds beyond 32 bits; 54 optimizers
that need more than a gradient; 55 an optimizer's state of other parameters; 56 compilation at every step.

Runs: 57 killed at any moment; 58 damaged checkpoints; 59 full disks, read-only folders; 60 checkpoints of another model, two
writers, SIGTERM.
"""
