"""Kinds of support: where the draws of a distribution live."""

from logtrick.supports._supports import (
    Boolean as Boolean,
    Countable as Countable,
    CorrelationCholesky as CorrelationCholesky,
    CovarianceCholesky as CovarianceCholesky,
    Finite as Finite,
    IntegerBelow as IntegerBelow,
    Interval as Interval,
    NonNegativeInteger as NonNegativeInteger,
    OneHot as OneHot,
    Ordered as Ordered,
    Permutation as Permutation,
    Positive as Positive,
    Product as Product,
    Real as Real,
    Simplex as Simplex,
    Support as Support,
    UnitInterval as UnitInterval,
    Unknown as Unknown,
    grid as grid,
    union as union,
)
